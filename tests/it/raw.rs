//! HTTP as bytes: one end of a connection, and an upstream that answers what the test says.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::patiently;

/// A reply without a body that ends its connection.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// A reply without a body after which the connection can be used again.
pub(crate) const OK_KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// One end of a connection.
pub(crate) struct Peer {
    stream: TcpStream,
    /// Read, and not yet looked at.
    buffer: Vec<u8>,
}

/// The start line and the fields, as `name: value` in their order. Bytes that are not ASCII are escaped (`\xe9`).
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<String>,
}

/// A head and the body that its framing announces.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

/// How the other end stopped sending.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.unwrap();
        Self::on(stream)
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patiently(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// As `send`, where the other end may have closed already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = patiently(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends until the other side takes no more for `pause_ms`, or `bytes_max` are sent. Returns how many were taken.
    pub(crate) async fn send_until_stalled(&mut self, bytes_max: usize, pause_ms: u64) -> usize {
        let piece = vec![b'x'; 64 << 10];
        let pause = std::time::Duration::from_millis(pause_ms);
        let mut sent = 0;
        while sent < bytes_max {
            let piece = &piece[..piece.len().min(bytes_max - sent)];
            match tokio::time::timeout(pause, self.stream.write(piece)).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    /// Sends until the other side has closed. Returns how many bytes were taken.
    pub(crate) async fn send_until_closed(&mut self) -> usize {
        let piece = vec![b'x'; 64 << 10];
        let mut sent = 0;
        while let Ok(count) = self.stream.write(&piece).await {
            sent += count;
        }
        sent
    }

    /// Says that nothing more will be sent, and goes on reading.
    /// Ends the connection with a reset, whatever is under way.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) async fn close_sending(&mut self) {
        patiently(self.stream.shutdown()).await.unwrap();
    }

    /// Up to and with `end`.
    pub(crate) async fn through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.buffer.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return self.take(at + end.len());
            }
            self.more().await;
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            self.more().await;
        }
        self.take(length)
    }

    pub(crate) async fn head(&mut self) -> Head {
        let bytes = self.through(b"\r\n\r\n").await;
        Head::parse(&bytes)
    }

    /// One whole message; a head that announces no body has none.
    pub(crate) async fn message(&mut self) -> Message {
        let head = self.head().await;
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if head.get("transfer-encoding") == Some("chunked") {
            (body, trailers) = self.chunks().await;
        } else if let Some(length) = head.get("content-length") {
            body = self.exactly(length.parse().unwrap()).await;
        }
        Message { head, body, trailers }
    }

    /// The chunks that follow, put together, and the trailers.
    pub(crate) async fn chunks(&mut self) -> (Vec<u8>, Vec<String>) {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (body, trailers);
            }
            trailers.push(line);
        }
    }

    /// One chunk; of the last one, only its size line.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.line().await, 16).unwrap();
        if size == 0 {
            return Vec::new();
        }
        let chunk = self.exactly(size).await;
        assert_eq!(self.exactly(2).await, b"\r\n");
        chunk
    }

    async fn line(&mut self) -> String {
        let line = self.through(b"\r\n").await;
        line[..line.len() - 2].escape_ascii().to_string()
    }

    /// All that still comes, and how it ends.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            match patiently(self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) => return (std::mem::take(&mut self.buffer), End::Closed),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.buffer), End::Reset),
            }
        }
    }

    /// Waits until the other end has closed, and sees to it that it sent nothing more.
    pub(crate) async fn closed(&mut self) {
        let (rest, _) = self.rest().await;
        assert_eq!(rest.escape_ascii().to_string(), "");
    }

    async fn more(&mut self) {
        let count = patiently(self.stream.read_buf(&mut self.buffer)).await.unwrap();
        assert!(count > 0, "closed after: {}", self.buffer.escape_ascii());
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = bytes[..bytes.len() - 4].split(|byte| *byte == b'\n');
        let mut lines = text.map(|line| {
            line.strip_suffix(b"\r")
                .unwrap_or(line)
                .escape_ascii()
                .to_string()
        });
        Self {
            start: lines.next().unwrap(),
            fields: lines.collect(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(here, value)| here.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The fields, sorted: the order of fields of different names means nothing.
    pub(crate) fn sorted(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = self.fields.iter().map(String::as_str).collect();
        fields.sort_unstable();
        fields
    }
}

impl Message {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status of a reply, and the code if it is an error of the sidecar's own.
    pub(crate) fn verdict(&self) -> (&str, String) {
        let status = self.head.start.split(' ').nth(1).unwrap();
        let code = serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|body| Some(body.get("code")?.as_str()?.to_owned()));
        (status, code.unwrap_or_default())
    }
}

/// An upstream whose connections the test serves. The sidecar's look at the users when it starts is answered here.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connections: mpsc::Receiver<Peer>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(crate::harness::ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel(256);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hand_over(stream, sender.clone()));
            }
        });
        Self { address, connections }
    }

    /// The next connection on which something is sent.
    pub(crate) async fn accept(&mut self) -> Peer {
        patiently(self.connections.recv()).await.unwrap()
    }
}

async fn hand_over(stream: TcpStream, sender: mpsc::Sender<Peer>) {
    const LOOK: &[u8] = b"GET /snapTrade/listUsers?";
    let mut peer = Peer::on(stream);
    while LOOK.starts_with(&peer.buffer) {
        match peer.stream.read_buf(&mut peer.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if peer.buffer.starts_with(LOOK) {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
            .await;
    } else {
        let _ = sender.send(peer).await;
    }
}

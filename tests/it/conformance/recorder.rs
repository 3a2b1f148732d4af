//! An upstream that takes requests literally and notes each as it understands it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::row::{Answer, Row, listed, shown};
use crate::harness::{ANY_PORT, patiently};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Tells the caller that its last request was understood.
const END: &[u8] = b"HTTP/1.1 200 OK\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n";
const NOBODY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";

pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    notes: Arc<Notes>,
}

struct Notes {
    seen: Mutex<Vec<String>>,
    /// The answer to a row's requests.
    reply: Mutex<Answer>,
    /// The caller has got something.
    heard: watch::Sender<bool>,
    /// Requests that have begun and not ended.
    busy: watch::Sender<usize>,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Notes {
            seen: Mutex::default(),
            reply: Mutex::default(),
            heard: watch::channel(false).0,
            busy: watch::channel(0).0,
        });
        let shared = Arc::clone(&notes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let line = Line {
                    stream,
                    buffer: Vec::new(),
                };
                tokio::spawn(serve(line, Arc::clone(&shared)));
            }
        });
        Self { address, notes }
    }

    pub(super) fn begin(&self, row: &Row) {
        *self.notes.reply.lock().unwrap() = row.reply();
        self.notes.heard.send_replace(false);
        self.notes.seen.lock().unwrap().clear();
    }

    /// The caller has got something.
    pub(super) fn heard(&self) {
        self.notes.heard.send_replace(true);
    }

    /// What came since, once all of it has ended.
    pub(super) async fn seen(&self) -> String {
        let mut busy = self.notes.busy.subscribe();
        patiently(busy.wait_for(|count| *count == 0)).await.unwrap();
        std::mem::take(&mut *self.notes.seen.lock().unwrap()).join(" + ")
    }
}

struct Busy<'n>(&'n Notes);

impl<'n> Busy<'n> {
    fn new(notes: &'n Notes) -> Self {
        notes.busy.send_modify(|count| *count += 1);
        Self(notes)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.send_modify(|count| *count -= 1);
    }
}

async fn serve(mut line: Line, notes: Arc<Notes>) {
    loop {
        if line.buffer.is_empty() && !line.more().await {
            return;
        }
        let busy = Busy::new(&notes);
        let Request {
            start,
            told,
            is_whole,
        } = line.request().await;
        let path = start.split(' ').nth(1).unwrap_or_default();
        let plain = |bytes: &[u8]| Answer {
            first: bytes.to_vec(),
            ..Answer::default()
        };
        let answer = match path {
            "/sync" => plain(OK),
            "/end" => plain(END),
            _ if path.starts_with("/snapTrade/listUsers?") => plain(NOBODY),
            _ => {
                let answer = notes.reply.lock().unwrap().clone();
                let is_plain = answer.first.is_empty() && !answer.closes;
                if is_plain { plain(OK) } else { answer }
            }
        };
        match path {
            "/sync" => {}
            "/end" if told == "GET /end" => notes.seen.lock().unwrap().push("end".to_owned()),
            _ if path.starts_with("/snapTrade/listUsers?") => {}
            _ => notes.seen.lock().unwrap().push(told),
        }
        drop(busy);
        if !is_whole || line.answer(&answer, &notes).await.is_err() || answer.closes {
            return;
        }
    }
}

struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Request {
    start: String,
    told: String,
    is_whole: bool,
}

impl Line {
    async fn answer(&mut self, answer: &Answer, notes: &Notes) -> std::io::Result<()> {
        self.stream.write_all(&answer.first).await?;
        if let Some(rest) = &answer.rest {
            let mut heard = notes.heard.subscribe();
            tokio::select! {
                _ = heard.wait_for(|heard| *heard) => {}
                // A proxy that waits for more before it passes on anything gives up.
                _ = self.stream.readable() => {}
            }
            self.stream.write_all(rest).await?;
        }
        Ok(())
    }

    /// Whether anything came.
    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    async fn through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// As many bytes, or those that came before the end.
    async fn exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length && self.more().await {}
        let is_whole = self.buffer.len() >= length;
        let taken = self.buffer.len().min(length);
        (self.buffer.drain(..taken).collect(), is_whole)
    }

    async fn request(&mut self) -> Request {
        let Some(head) = self.through(b"\r\n\r\n").await else {
            let told = format!("half a head: {}", shown(&self.buffer));
            return Request {
                start: String::new(),
                told,
                is_whole: false,
            };
        };
        let lines: Vec<&[u8]> = split(&head[..head.len() - 4]);
        let start = lines[0].strip_suffix(b" HTTP/1.1").unwrap_or(lines[0]);
        let fields: Vec<String> = lines[1..].iter().map(|line| field(line)).collect();
        let values = |name: &str| -> Vec<&str> {
            let fields = fields.iter().filter_map(|field| field.split_once(": "));
            fields
                .filter(|(here, _)| *here == name)
                .map(|(_, value)| value)
                .collect()
        };
        let (coded, lengths) = (!values("transfer-encoding").is_empty(), values("content-length"));
        let (body, trailers, is_whole) = if coded {
            self.chunks().await
        } else {
            let length = lengths.first().and_then(|length| length.parse().ok());
            let (body, is_whole) = self.exactly(length.unwrap_or(0)).await;
            (body, Vec::new(), is_whole)
        };
        let known = ["host: a", "host: b", "host: u", &format!("host: {}", self.own())];
        let mut told = shown(start);
        told += &listed(
            fields
                .iter()
                .filter(|field| !known.contains(&field.as_str()))
                .cloned()
                .collect(),
        );
        if !body.is_empty() {
            let _ = write!(told, " {}", shown(&body));
        }
        told += &listed(trailers);
        if !is_whole {
            told += " (cut off)";
        }
        Request {
            start: lines[0].escape_ascii().to_string(),
            told,
            is_whole,
        }
    }

    fn own(&self) -> String {
        self.stream
            .local_addr()
            .map(|own| own.to_string())
            .unwrap_or_default()
    }

    /// The body, the trailers, and whether the last chunk came.
    async fn chunks(&mut self) -> (Vec<u8>, Vec<String>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.through(b"\r\n").await else {
                return (body, Vec::new(), false);
            };
            let size = std::str::from_utf8(&line[..line.len() - 2]).ok();
            let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
                body.extend(format!("(not a chunk: {})", shown(&line)).bytes());
                return (body, Vec::new(), false);
            };
            if size == 0 {
                break;
            }
            let (chunk, is_whole) = self.exactly(size + 2).await;
            body.extend(chunk.strip_suffix(b"\r\n").unwrap_or(&chunk));
            if !is_whole {
                return (body, Vec::new(), false);
            }
        }
        let mut trailers = Vec::new();
        loop {
            match self.through(b"\r\n").await {
                Some(line) if line.len() == 2 => return (body, trailers, true),
                Some(line) => trailers.push(format!("trailer {}", field(&line[..line.len() - 2]))),
                None => return (body, trailers, false),
            }
        }
    }
}

/// By CR LF; a line break of another kind stays where it is.
fn split(head: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), head);
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// `name: value`, the name in lower case.
fn field(line: &[u8]) -> String {
    let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(at);
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    format!("{}: {}", shown(name).to_ascii_lowercase(), shown(value))
}

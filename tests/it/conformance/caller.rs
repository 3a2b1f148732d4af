//! A caller that sends bytes as they are, reads until its connection ends, and says what it got.

use std::fmt::Write as _;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::row::{Row, listed, shown};
use crate::harness::patiently;

/// All that comes back, until the other side closes; `heard` is called when something does.
pub(super) async fn exchange(stream: impl AsyncRead + AsyncWrite, bytes: &[u8], heard: impl Fn()) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut got = Vec::new();
    let read = async {
        // A reset ends it as well; what came before counts.
        while let Ok(count) = reader.read_buf(&mut got).await {
            if count == 0 {
                break;
            }
            heard();
        }
    };
    // What is refused early is not taken to its end.
    let write = async {
        let _ = writer.write_all(bytes).await;
    };
    patiently(async { tokio::join!(read, write) }).await;
    got
}

/// The replies, one after the other: the status alone, or all of it if the row is about the reply.
pub(super) fn told(bytes: &[u8], row: &Row) -> String {
    if bytes.is_empty() {
        return "closed".to_owned();
    }
    let (mut told, mut rest) = (Vec::new(), bytes);
    let mut is_to_head = row.asks_for_head();
    while !rest.is_empty() {
        let Some(reply) = Reply::take(&mut rest, is_to_head) else {
            let line = rest.split(|byte| *byte == b'\r').next().unwrap_or_default();
            told.push(format!("not HTTP/1: {}…", shown(&line[..line.len().min(20)])));
            break;
        };
        is_to_head &= reply.is_interim();
        told.push(reply.told(row));
    }
    told.join(" + ")
}

struct Reply {
    start: Vec<u8>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<String>,
    is_whole: bool,
}

impl Reply {
    fn take(rest: &mut &[u8], is_to_head: bool) -> Option<Self> {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, after) = rest.split_at(end + 4);
        let mut lines = head[..end]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let start = lines.next()?.to_vec();
        if !start.starts_with(b"HTTP/1.") {
            return None;
        }
        let fields = lines.map(|line| {
            let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line[at..].strip_prefix(b":").unwrap_or_default();
            (shown(&line[..at]).to_ascii_lowercase(), shown(value.trim_ascii()))
        });
        let mut reply = Self {
            start,
            fields: fields.collect(),
            body: Vec::new(),
            trailers: Vec::new(),
            is_whole: true,
        };
        *rest = after;
        let has_body = !is_to_head && !reply.is_interim() && !["204", "304"].contains(&&*reply.status());
        if has_body {
            reply.take_body(rest);
        }
        Some(reply)
    }

    fn take_body(&mut self, rest: &mut &[u8]) {
        let value = |name: &str| {
            let mut fields = self.fields.iter();
            fields
                .find(|(here, _)| here == name)
                .map(|(_, value)| value.clone())
        };
        if value("transfer-encoding").is_some() {
            self.is_whole = self.take_chunks(rest).is_some();
        } else {
            let length = value("content-length").and_then(|length| length.parse().ok());
            let length = length.unwrap_or(rest.len());
            self.is_whole = rest.len() >= length;
            let (body, after) = rest.split_at(rest.len().min(length));
            self.body = body.to_vec();
            *rest = after;
        }
    }

    fn take_chunks(&mut self, rest: &mut &[u8]) -> Option<()> {
        let line = |rest: &mut &[u8]| -> Option<Vec<u8>> {
            let at = rest.windows(2).position(|two| two == b"\r\n");
            let Some(at) = at else {
                *rest = &[];
                return None;
            };
            let line = rest[..at].to_vec();
            *rest = &rest[at + 2..];
            Some(line)
        };
        loop {
            let size = line(rest)?;
            let size = usize::from_str_radix(std::str::from_utf8(&size).ok()?, 16).ok()?;
            if size == 0 {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(size));
            self.body.extend(chunk);
            *rest = after;
            *rest = rest.strip_prefix(b"\r\n")?;
        }
        loop {
            let trailer = line(rest)?;
            if trailer.is_empty() {
                return Some(());
            }
            self.trailers
                .push(format!("trailer {}", shown(&trailer).to_ascii_lowercase()));
        }
    }

    fn status(&self) -> String {
        let status = self.start.split(|byte| *byte == b' ').nth(1);
        status.unwrap_or_default().escape_ascii().to_string()
    }

    fn is_interim(&self) -> bool {
        self.status().starts_with('1')
    }

    fn told(&self, row: &Row) -> String {
        if self.fields.iter().any(|(name, _)| name == "x-end") {
            return "end".to_owned();
        }
        let upstreams = String::from_utf8_lossy(&row.reply().first).to_ascii_lowercase();
        let is_upstreams = |name: &str| upstreams.contains(&format!("\n{name}"));
        // An error of the proxy's own is its status; so is any reply of a row that is not about it.
        let is_own = self.status() != "200" && !upstreams.starts_with(&format!("http/1.1 {}", self.status()));
        if !row.is_about_reply() || is_own {
            return self.status();
        }
        let start = self.start.strip_prefix(b"HTTP/1.1 ").unwrap_or(&self.start);
        // What a proxy says of itself and of its own connection is left out, but for a `Date` where that is the question.
        let is_hidden = |name: &str| {
            let is_asked = name == "date" && row.id == "reply-without-date";
            ["connection", "date", "server"].contains(&name) && !is_upstreams(name) && !is_asked
        };
        let fields = self.fields.iter().filter(|(name, _)| !is_hidden(name));
        let fields = fields.map(|(name, value)| {
            if is_upstreams(name) || name == "transfer-encoding" {
                format!("{name}: {value}")
            } else {
                // Made by the proxy itself: that it is there is what counts.
                name.clone()
            }
        });
        let mut told = shown(start);
        told += &listed(fields.collect());
        if !self.body.is_empty() {
            let _ = write!(told, " {}", shown(&self.body));
        }
        told += &listed(self.trailers.clone());
        if !self.is_whole {
            told += " (cut off)";
        }
        told
    }
}

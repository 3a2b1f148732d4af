//! A row: the bytes that a caller sends, what the upstream answers, and what has to become of both.

use std::fmt::Write as _;

use serde::Deserialize;

/// A run of one character, or of one line, that is longer is shown as `{x*300}`.
const SHOWN_RUN_MAX: usize = 40;

/// Follows the bytes of a row on the same connection. Whoever answers it has understood where the row ends.
pub(super) const END: &str = "GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: String,
    /// Of an RFC: `9112 6.3`.
    pub(super) section: String,
    /// What the section asks for, or what is tried.
    pub(super) rule: String,
    sent: String,
    /// Instead of an empty 200; what follows `{heard}` is sent when the caller has got something, and `{close}` at the end
    /// closes the upstream's connection.
    #[serde(default)]
    reply: String,
    /// Nothing follows on the connection: what was sent is not whole, and what is waited for does not come.
    #[serde(default)]
    alone: bool,
    /// What the upstream gets of the sidecar, and its caller.
    pub(super) upstream: String,
    pub(super) caller: String,
    /// Why nginx or `HAProxy` differs; empty where neither does.
    #[serde(default)]
    pub(super) why: String,
}

/// What the upstream answers.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) first: Vec<u8>,
    /// Sent when the caller has got something.
    pub(super) rest: Option<Vec<u8>>,
    pub(super) closes: bool,
}

impl Row {
    pub(super) fn sent(&self) -> Vec<u8> {
        let mut sent = bytes(&self.sent);
        if !self.alone {
            sent.extend(END.as_bytes());
        }
        sent
    }

    pub(super) fn reply(&self) -> Answer {
        let text = self.reply.strip_suffix("{close}");
        let closes = text.is_some();
        let text = text.unwrap_or(&self.reply);
        let (first, rest) = match text.split_once("{heard}") {
            Some((first, rest)) => (first, Some(bytes(rest))),
            None => (text, None),
        };
        Answer {
            first: bytes(first),
            rest,
            closes,
        }
    }

    /// Whether the reply is what the row is about, and is shown whole.
    pub(super) fn is_about_reply(&self) -> bool {
        !self.reply.is_empty()
    }

    pub(super) fn asks_for_head(&self) -> bool {
        self.sent.starts_with("HEAD ")
    }
}

pub(super) fn table() -> Table {
    toml::from_str(include_str!("../../conformance.toml")).unwrap()
}

/// Reads `\r`, `\n`, `\t`, `\xNN`, `\\`, and `{x*300}`, which is 300 times what stands before the `*`.
fn bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        if let Some(escape) = rest.strip_prefix('\\') {
            let (byte, length) = escaped(escape);
            bytes.push(byte);
            rest = &escape[length..];
        } else if let Some((repeated, length)) = repeated(rest) {
            bytes.extend(repeated);
            rest = &rest[length..];
        } else {
            let (character, after) = rest.split_at(first.len_utf8());
            bytes.extend(character.as_bytes());
            rest = after;
        }
    }
    bytes
}

fn escaped(escape: &str) -> (u8, usize) {
    match escape.as_bytes()[0] {
        b'r' => (b'\r', 1),
        b'n' => (b'\n', 1),
        b't' => (b'\t', 1),
        b'x' => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
        other => (other, 1),
    }
}

fn repeated(text: &str) -> Option<(Vec<u8>, usize)> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find('}')?;
    let (piece, times) = inner[..end].rsplit_once('*')?;
    Some((bytes(piece).repeat(times.parse().ok()?), end + 2))
}

/// Bytes as they are shown: escaped, and long runs of one character shortened.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        let one = run[..1].escape_ascii().to_string();
        if run.len() > SHOWN_RUN_MAX {
            let _ = write!(text, "{{{one}*{}}}", run.len());
        } else {
            text += &one.repeat(run.len());
        }
    }
    text
}

/// Header lines as they are shown: sorted, those that are equal once.
pub(super) fn listed(mut lines: Vec<String>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    lines.sort();
    let runs = lines.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].clone(),
        count => format!("{} ({count} times)", run[0]),
    });
    format!(" [{}]", runs.collect::<Vec<_>>().join("; "))
}

#[test]
fn rows_are_read_as_bytes() {
    assert_eq!(bytes(r"a\r\n\x00\\{}"), b"a\r\n\0\\{}");
    assert_eq!(bytes(r"{ab\n*2}c"), b"ab\nab\nc");
    assert_eq!(shown(&[b'x'; 41]), "{x*41}");
    assert_eq!(shown(b"a\0"), r"a\x00");
}

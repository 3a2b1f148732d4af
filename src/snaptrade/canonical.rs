//! A request body as signatures see it: keys sorted at every level, no spaces, one spelling of each string.
//!
//! The reader is strict where two readers of the same bytes could disagree (repeated keys, lone surrogates),
//! because a signature over one reading must not be proof of the other.

use std::fmt::{self, Write as _};

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::types::UserId;

/// How deep objects and arrays may nest.
pub const DEPTH_MAX: usize = 64;

/// How a client's JSON library spells the characters of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// Python's `json.dumps`: whatever is not printable ASCII is `\uXXXX`.
    Ascii,
    /// JavaScript's `JSON.stringify`: only what JSON requires is escaped.
    Utf8,
}

/// Why a body has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCanonical {
    /// Not UTF-8, not one JSON value, or a string with half a surrogate pair.
    NotJson,
    /// An object, at any level, names a key twice.
    DuplicateKey,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

impl fmt::Display for NotCanonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the body is not JSON"),
            Self::DuplicateKey => f.write_str("the body repeats a key"),
            Self::TooDeep => write!(f, "the body nests deeper than {DEPTH_MAX} levels"),
        }
    }
}

impl std::error::Error for NotCanonical {}

/// The canonical content of a body, in both escapings.
#[derive(Clone, PartialEq, Eq)]
pub struct Canonical {
    ascii: String,
    utf8: String,
    user_id: Option<UserId>,
}

impl Canonical {
    /// The content of a request without a body.
    pub fn null() -> Self {
        Self {
            ascii: "null".to_owned(),
            utf8: "null".to_owned(),
            user_id: None,
        }
    }

    /// Reads a body. An empty one and `{}` count as `null`. The work is at most [`DEPTH_MAX`] times the body's
    /// length, so the caller bounds that.
    pub fn read(body: &[u8]) -> Result<Self, NotCanonical> {
        if body.is_empty() {
            return Ok(Self::null());
        }
        let raw: &RawValue = serde_json::from_slice(body).map_err(|_| NotCanonical::NotJson)?;
        let node = Node::read(raw, DEPTH_MAX)?;
        if matches!(&node, Node::Object(members) if members.is_empty()) {
            return Ok(Self::null());
        }
        let user_id = node.user_id();
        Ok(Self {
            ascii: node.written(Escaping::Ascii),
            utf8: node.written(Escaping::Utf8),
            user_id,
        })
    }

    /// The canonical JSON text.
    pub fn content(&self, escaping: Escaping) -> &str {
        match escaping {
            Escaping::Ascii => &self.ascii,
            Escaping::Utf8 => &self.utf8,
        }
    }

    /// The top-level `userId`, if it is a string that is not empty.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user_id.as_ref()
    }
}

/// A body may hold anything, so only the id shows.
impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canonical")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

enum Node<'b> {
    /// A number, `true`, `false` or `null`, as written.
    Plain(&'b str),
    Text(String),
    Array(Vec<Node<'b>>),
    Object(Vec<(String, Node<'b>)>),
}

impl<'b> Node<'b> {
    fn read(raw: &'b RawValue, depth_left: usize) -> Result<Self, NotCanonical> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => parse(text).map(Node::Text),
            Some(b'[') => {
                let inner = depth_left.checked_sub(1).ok_or(NotCanonical::TooDeep)?;
                let items: Vec<&'b RawValue> = parse(text)?;
                items
                    .into_iter()
                    .map(|item| Node::read(item, inner))
                    .collect::<Result<_, _>>()
                    .map(Node::Array)
            }
            Some(b'{') => {
                let inner = depth_left.checked_sub(1).ok_or(NotCanonical::TooDeep)?;
                let read = |(key, value)| Ok((key, Node::read(value, inner)?));
                members(text)?
                    .into_iter()
                    .map(read)
                    .collect::<Result<_, _>>()
                    .map(Node::Object)
            }
            _ => Ok(Node::Plain(text)),
        }
    }

    fn user_id(&self) -> Option<UserId> {
        let Node::Object(members) = self else { return None };
        match members.iter().find(|(key, _)| key == "userId") {
            Some((_, Node::Text(id))) if !id.is_empty() => Some(UserId::new(id)),
            _ => None,
        }
    }

    fn written(&self, escaping: Escaping) -> String {
        let mut out = String::new();
        self.write(&mut out, escaping);
        out
    }

    fn write(&self, out: &mut String, escaping: Escaping) {
        match self {
            Node::Plain(text) => out.push_str(text),
            Node::Text(text) => write_string(out, text, escaping),
            Node::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    item.write(out, escaping);
                }
                out.push(']');
            }
            Node::Object(members) => write_object(out, members, escaping),
        }
    }
}

/// Sorts as the client's language does: Python by code point, JavaScript by UTF-16 code unit.
fn write_object(out: &mut String, members: &[(String, Node<'_>)], escaping: Escaping) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| match escaping {
        Escaping::Ascii => a.cmp(b),
        Escaping::Utf8 => a.encode_utf16().cmp(b.encode_utf16()),
    });
    out.push('{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        write_string(out, key, escaping);
        out.push(':');
        value.write(out, escaping);
    }
    out.push('}');
}

/// Writes a JSON string, quotes included.
pub(super) fn write_string(out: &mut String, text: &str, escaping: Escaping) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            '\u{7f}'.. if escaping == Escaping::Utf8 => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

fn parse<'b, T: serde::Deserialize<'b>>(text: &'b str) -> Result<T, NotCanonical> {
    serde_json::from_str(text).map_err(|_| NotCanonical::NotJson)
}

/// The members of an object; a map type would drop the repeated key that must be noticed.
fn members(text: &str) -> Result<Vec<(String, &RawValue)>, NotCanonical> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut members = serde_json::Deserializer::from_str(text)
        .deserialize_map(Members)
        .map_err(|_| NotCanonical::NotJson)?;
    members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(NotCanonical::DuplicateKey);
    }
    Ok(members)
}

#[cfg(test)]
mod tests;

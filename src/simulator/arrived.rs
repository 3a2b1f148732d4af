//! A call that has arrived.

use std::fmt::Write as _;

use bytes::{Buf as _, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::calls::{Call, CallKind, without_old_prefix};

/// How much of a body is kept; the rest is read, counted, hashed and dropped.
pub(super) const BODY_KEPT_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) kind: CallKind,
    /// Its place among all calls.
    pub(super) number: usize,
    pub(super) parts: Parts,
    pub(super) body: Gathered,
}

/// A body that was read to its end.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) kept: Bytes,
    pub(super) length: u64,
    pub(super) sha256: String,
    pub(super) trailers: HeaderMap,
}

impl Gathered {
    /// Fails if the caller broke off.
    pub(super) async fn read(mut incoming: Incoming) -> Result<Self, hyper::Error> {
        let mut kept = BytesMut::new();
        let mut hash = Sha256::new();
        let mut gathered = Self::default();
        while let Some(frame) = incoming.frame().await {
            let data = match frame?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    gathered.trailers = frame.into_trailers().unwrap_or_default();
                    continue;
                }
            };
            hash.update(&data);
            gathered.length += data.remaining() as u64;
            let room = BODY_KEPT_BYTES_MAX - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        gathered.kept = kept.freeze();
        gathered.sha256 = hex(&hash.finalize());
        Ok(gathered)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.length == self.kept.len() as u64
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Arrived {
    pub(super) fn new(parts: Parts, body: Gathered) -> Self {
        let kind = CallKind::of(&parts.method, bare_path(parts.uri.path()));
        Self {
            kind,
            number: 0,
            parts,
            body,
        }
    }

    pub(super) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        parameter(self.query(), name)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(super) fn has_deprecated_path(&self) -> bool {
        without_old_prefix(self.parts.uri.path()).is_some()
    }

    pub(super) fn logged(&self) -> Call {
        let headers = self.parts.headers.iter();
        Call {
            kind: self.kind,
            method: self.parts.method.to_string(),
            target: target(&self.parts),
            at: Instant::now(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            body: self.body.kept.clone(),
            status: None,
        }
    }
}

pub(super) fn bare_path(path: &str) -> &str {
    without_old_prefix(path).unwrap_or(path)
}

/// As it stood in the request line; over HTTP/2 there is none, and `:path` stands for it.
pub(super) fn target(parts: &Parts) -> String {
    let path = parts.uri.path_and_query();
    match path {
        Some(path) if parts.version == Version::HTTP_2 => path.to_string(),
        _ => parts.uri.to_string(),
    }
}

/// The first parameter of that name, decoded as a web form is.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced)
            .decode_utf8()
            .ok()
            .map(std::borrow::Cow::into_owned)
    };
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| decoded(key).as_deref() == Some(name))?;
    decoded(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_as_a_form_and_the_first_counts() {
        let query = "clientId=C&userId=a%2Bb+%C3%A9%26&userId=x";
        assert_eq!(parameter(query, "userId").as_deref(), Some("a+b é&"));
        assert_eq!(parameter("userId=%ff", "userId"), None);
        assert_eq!(parameter(query, "user"), None);
    }
}

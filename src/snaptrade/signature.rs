//! Signatures: the base64 of an HMAC-SHA256, keyed with the consumer key, over a canonical JSON text of content, path
//! and raw query.
//!
//! The official clients differ in three ways, all in use: whether the signed path has the old prefix, how strings
//! are escaped, and whether the consumer key goes through JavaScript's `encodeURI` first. Eight forms, and no more.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::canonical::{Canonical, Escaping, write_string};
use super::route::{PREFIX, without_prefix};
use crate::types::ConsumerKey;

/// What `encodeURI` escapes beside controls and non-ASCII (ECMA-262, 19.2.6.4).
const ENCODE_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// How a client turns the consumer key into HMAC key bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    Plain,
    /// JavaScript's `encodeURI`, as the TypeScript client applies it.
    EncodeUri,
}

/// One way to sign a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// The signed path starts with `/api/v1`, whatever the path on the wire does.
    pub prefixed: bool,
    pub escaping: Escaping,
    pub key_encoding: KeyEncoding,
}

impl Form {
    /// How the sidecar signs its own calls: as the newest Python client does.
    pub const OURS: Self = Self {
        prefixed: false,
        escaping: Escaping::Ascii,
        key_encoding: KeyEncoding::Plain,
    };
}

/// A consumer key, ready to sign. Keeps HMAC states instead of the key, one per encoding that differs.
#[derive(Clone)]
pub struct SigningKey {
    plain: Hmac<Sha256>,
    encoded: Option<Hmac<Sha256>>,
}

impl SigningKey {
    pub fn new(key: &ConsumerKey) -> Self {
        let encoded = Zeroizing::new(utf8_percent_encode(key.expose(), ENCODE_URI).to_string());
        let differs = encoded.as_str() != key.expose();
        Self {
            plain: keyed(key.expose()),
            encoded: differs.then(|| keyed(&encoded)),
        }
    }

    /// The form in which `signature` signs this request, or `None` if it does not.
    ///
    /// `path` and `query` are as on the wire, without the `?`. Forms that come to the same text or key are tried once,
    /// and named as the one that stands first: plain key, ASCII, path as on the wire.
    pub fn verify(&self, path: &str, query: &str, body: &Canonical, signature: &[u8]) -> Option<Form> {
        let given = STANDARD.decode(signature).ok().filter(|tag| tag.len() == 32)?;
        let on_wire = without_prefix(path).len() != path.len();
        for prefixed in [on_wire, !on_wire] {
            let ascii = signed_text(prefixed, Escaping::Ascii, path, query, body);
            let utf8 = signed_text(prefixed, Escaping::Utf8, path, query, body);
            let texts = [
                Some((Escaping::Ascii, &ascii)),
                (utf8 != ascii).then_some((Escaping::Utf8, &utf8)),
            ];
            for (escaping, text) in texts.into_iter().flatten() {
                if let Some(key_encoding) = self.key_that_signs(text, &given) {
                    return Some(Form {
                        prefixed,
                        escaping,
                        key_encoding,
                    });
                }
            }
        }
        None
    }

    /// Whether `signature` signs a body alone, as that of a webhook does, in either escaping.
    pub fn signs_body(&self, body: &Canonical, signature: &[u8]) -> bool {
        let given = STANDARD.decode(signature).ok().filter(|tag| tag.len() == 32);
        given.is_some_and(|given| {
            [Escaping::Ascii, Escaping::Utf8]
                .into_iter()
                .any(|escaping| self.key_that_signs(body.content(escaping), &given).is_some())
        })
    }

    /// The value of the header `Signature`. Only the form decides whether the signed path has the prefix.
    pub fn sign(&self, form: Form, path: &str, query: &str, body: &Canonical) -> String {
        let text = signed_text(form.prefixed, form.escaping, path, query, body);
        let mac = match form.key_encoding {
            KeyEncoding::Plain => &self.plain,
            KeyEncoding::EncodeUri => self.encoded.as_ref().unwrap_or(&self.plain),
        };
        STANDARD.encode(mac.clone().chain_update(text).finalize().into_bytes())
    }

    fn key_that_signs(&self, text: &str, given: &[u8]) -> Option<KeyEncoding> {
        let keys = [
            (KeyEncoding::Plain, Some(&self.plain)),
            (KeyEncoding::EncodeUri, self.encoded.as_ref()),
        ];
        keys.into_iter().find_map(|(encoding, mac)| {
            let mac = mac?.clone().chain_update(text);
            mac.verify_slice(given).is_ok().then_some(encoding)
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes a key of any length (RFC 2104, section 3)"
)]
fn keyed(key: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.as_bytes()).expect("a key of any length")
}

fn signed_text(prefixed: bool, escaping: Escaping, path: &str, query: &str, body: &Canonical) -> String {
    let content = body.content(escaping);
    let mut path_signed = String::from(if prefixed { PREFIX } else { "" });
    path_signed.push_str(without_prefix(path));
    let mut text = String::with_capacity(content.len() + path_signed.len() + query.len() + 40);
    text.push_str(r#"{"content":"#);
    text.push_str(content);
    text.push_str(r#","path":"#);
    write_string(&mut text, &path_signed, escaping);
    text.push_str(r#","query":"#);
    write_string(&mut text, query, escaping);
    text.push('}');
    text
}

#[cfg(test)]
mod tests;

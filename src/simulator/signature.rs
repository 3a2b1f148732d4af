//! Signing and verifying as the vendor's software development kits do, written without a look at the sidecar's
//! own code, so that a mistake in one shows against the other.
//!
//! `Signature: base64(HMAC-SHA256(consumerKey, {"content":…,"path":"…","query":"…"}))`, keys sorted at every level
//! and no spaces. Python and TypeScript disagree on how to write non-ASCII text and how to use the key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::calls::{OLD_PREFIX, without_old_prefix};

/// Deeper bodies are refused rather than followed.
const DEPTH_MAX: usize = 64;

/// How text is written into the signed JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// Python's `json.dumps`: all but 0x20 to 0x7e becomes `\u` and four digits, UTF-16 where it takes two.
    Ascii,
    /// JavaScript's `JSON.stringify`: as it is, except control characters.
    Utf8,
}

/// How the consumer key becomes the key of the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    Plain,
    /// After JavaScript's `encodeURI`.
    EncodeUri,
}

/// One way of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub escaping: Escaping,
    pub key: KeyForm,
}

impl Dialect {
    pub const PYTHON: Self = Self {
        escaping: Escaping::Ascii,
        key: KeyForm::Plain,
    };
    pub const TYPESCRIPT: Self = Self {
        escaping: Escaping::Utf8,
        key: KeyForm::EncodeUri,
    };
    const ALL: [Self; 4] = [
        Self::PYTHON,
        Self::TYPESCRIPT,
        Self {
            escaping: Escaping::Ascii,
            key: KeyForm::EncodeUri,
        },
        Self {
            escaping: Escaping::Utf8,
            key: KeyForm::Plain,
        },
    ];
}

/// The value of the header `Signature`, for exactly this path; `None` if the body is neither empty nor JSON.
pub fn sign(consumer_key: &str, dialect: Dialect, path: &str, query: &str, body: &[u8]) -> Option<String> {
    let content = content(body, dialect.escaping)?;
    let mut signed = format!("{{\"content\":{content},\"path\":");
    write_text(path, dialect.escaping, &mut signed);
    signed.push_str(",\"query\":");
    write_text(query, dialect.escaping, &mut signed);
    signed.push('}');
    sign_text(consumer_key, dialect.key, &signed)
}

/// The same for a webhook, whose body alone is signed.
pub fn sign_body(consumer_key: &str, dialect: Dialect, body: &[u8]) -> Option<String> {
    sign_text(consumer_key, dialect.key, &content(body, dialect.escaping)?)
}

fn sign_text(consumer_key: &str, form: KeyForm, text: &str) -> Option<String> {
    let mut hmac = match form {
        KeyForm::Plain => Hmac::<Sha256>::new_from_slice(consumer_key.as_bytes()),
        KeyForm::EncodeUri => Hmac::<Sha256>::new_from_slice(encode_uri(consumer_key).as_bytes()),
    }
    .ok()?;
    hmac.update(text.as_bytes());
    Some(BASE64.encode(hmac.finalize().into_bytes()))
}

/// Whether the signature fits in any dialect, for the path with the old prefix or without it.
pub(super) fn verifies(consumer_key: &str, path: &str, query: &str, body: &[u8], signature: &str) -> bool {
    let bare = without_old_prefix(path).unwrap_or(path);
    let old = format!("{OLD_PREFIX}{bare}");
    Dialect::ALL.into_iter().any(|dialect| {
        [bare, &old]
            .into_iter()
            .any(|path| sign(consumer_key, dialect, path, query, body).as_deref() == Some(signature))
    })
}

/// The body in canonical form; nothing at all and the empty object both count as `null`.
fn content(body: &[u8], escaping: Escaping) -> Option<String> {
    if body.is_empty() {
        return Some("null".to_owned());
    }
    let value: &RawValue = serde_json::from_slice(body).ok()?;
    let mut written = String::with_capacity(body.len());
    write_value(value, escaping, 0, &mut written)?;
    Some(if written == "{}" {
        "null".to_owned()
    } else {
        written
    })
}

/// Numbers stay as they were sent, since no parser could restore how the sender wrote them.
fn write_value(value: &RawValue, escaping: Escaping, depth: usize, out: &mut String) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let mut members: Vec<_> = members.into_iter().collect();
            if escaping == Escaping::Utf8 {
                // JavaScript compares UTF-16 units, Python code points.
                members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            }
            out.push('{');
            for (place, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write_text(&name, escaping, out);
                out.push(':');
                write_value(value, escaping, depth + 1, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (place, value) in items.into_iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write_value(value, escaping, depth + 1, out)?;
            }
            out.push(']');
        }
        b'"' => write_text(&serde_json::from_str::<String>(text).ok()?, escaping, out),
        _ => out.push_str(text),
    }
    Some(())
}

fn write_text(text: &str, escaping: Escaping, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            '\u{7f}'.. if escaping == Escaping::Utf8 => out.push(character),
            _ => write_escaped(character, out),
        }
    }
    out.push('"');
}

fn write_escaped(character: char, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing into a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// ECMA-262, `encodeURI`: letters, digits and these marks stay, all else becomes its UTF-8 bytes as `%XX`.
fn encode_uri(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b";,/?:@&=+$#-_.!~*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "clientId=C&timestamp=1";

    fn canonical(body: &str, escaping: Escaping) -> Option<String> {
        content(body.as_bytes(), escaping)
    }

    #[test]
    fn keys_are_sorted_at_every_level_and_spaces_go() {
        let body = r#"{ "b": [1.0, {"z": true, "a": null}], "a": "x" }"#;
        assert_eq!(
            canonical(body, Escaping::Utf8).unwrap(),
            r#"{"a":"x","b":[1.0,{"a":null,"z":true}]}"#
        );
    }

    #[test]
    fn nothing_and_the_empty_object_are_null_and_what_is_not_json_is_refused() {
        for body in ["", "{}", " { } ", "null"] {
            assert_eq!(
                canonical(body, Escaping::Ascii).as_deref(),
                Some("null"),
                "{body:?}"
            );
        }
        assert_eq!(canonical("{", Escaping::Ascii), None);
        assert_eq!(canonical(r#""\ud800""#, Escaping::Ascii), None);
        assert_eq!(
            canonical(&("[".repeat(5000) + &"]".repeat(5000)), Escaping::Ascii),
            None
        );
    }

    #[test]
    fn python_escapes_what_javascript_leaves() {
        let body = "\"é\u{7f}😀\\u0001\\n\\/\"";
        assert_eq!(
            canonical(body, Escaping::Ascii).unwrap(),
            r#""\u00e9\u007f\ud83d\ude00\u0001\n/""#
        );
        assert_eq!(
            canonical(body, Escaping::Utf8).unwrap(),
            "\"é\u{7f}😀\\u0001\\n/\""
        );
    }

    /// Computed with Python's `hmac`, `json.dumps(…, separators=(",", ":"), sort_keys=True)` and `base64`.
    #[test]
    fn a_signature_computed_elsewhere_is_reproduced() {
        let path = "/api/v1/snapTrade/registerUser";
        let signed = sign(
            "k€y %",
            Dialect::PYTHON,
            path,
            QUERY,
            "{\"userId\":\"é\"}".as_bytes(),
        );
        assert_eq!(
            signed.as_deref(),
            Some("p7eXqqdgKrTd+apGGRxXs/0AZtblOsuFjh91O1THVCU=")
        );
        let signed = sign(
            "k€y %",
            Dialect::TYPESCRIPT,
            path,
            QUERY,
            "{\"userId\":\"é\"}".as_bytes(),
        );
        assert_eq!(
            signed.as_deref(),
            Some("h+vJhQL1y+qwQ6Ef+ffEBH+l2hqHjnnbMxfHWPthQmo=")
        );
    }

    #[test]
    fn each_dialect_verifies_under_both_path_forms_and_nothing_else_does() {
        let body = "{\"userId\":\"é\"}".as_bytes();
        for dialect in Dialect::ALL {
            for signed_path in ["/snapTrade/registerUser", "/api/v1/snapTrade/registerUser"] {
                let signature = sign("k y", dialect, signed_path, QUERY, body).unwrap();
                for path in ["/snapTrade/registerUser", "/api/v1/snapTrade/registerUser"] {
                    assert!(verifies("k y", path, QUERY, body, &signature), "{dialect:?}");
                }
                assert!(!verifies("other", signed_path, QUERY, body, &signature));
                assert!(!verifies("k y", "/snapTrade/deleteUser", QUERY, body, &signature));
                assert!(!verifies(
                    "k y",
                    signed_path,
                    "clientId=C&timestamp=2",
                    body,
                    &signature
                ));
                assert!(!verifies(
                    "k y",
                    signed_path,
                    QUERY,
                    b"{\"userId\":\"e\"}",
                    &signature
                ));
                assert!(!verifies("k y", signed_path, QUERY, body, ""));
            }
        }
    }
}

//! What the fuzz targets share. Their inputs are text as far as what they test is, so that a corpus can be read, and
//! written by hand.

use serde_json::Value;
use serde_json::value::RawValue;
use snaptrade_sidecar::simulator::{Dialect, Escaping, KeyForm};

/// The first `N` lines of an input, without their ends, and all that follows them. What is not there is empty.
pub fn fields<const N: usize>(input: &[u8]) -> ([&[u8]; N], &[u8]) {
    let mut rest = input;
    let lines = std::array::from_fn(|_| {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    });
    (lines, rest)
}

/// A field as text; an input that has other bytes where only text can be is none to learn from.
pub fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// Every way in which the simulator signs.
pub fn dialects() -> impl Iterator<Item = Dialect> {
    [Escaping::Ascii, Escaping::Utf8]
        .into_iter()
        .flat_map(|escaping| {
            [KeyForm::Plain, KeyForm::EncodeUri]
                .into_iter()
                .map(move |key| Dialect { escaping, key })
        })
}

/// A query as HTML forms have it, read by another library than the program's.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

/// Whether an object in this JSON names a key twice, told without looking for one: a reader that keeps the last of two
/// keeps fewer than there are colons. `None` if that reader cannot read it.
pub fn repeats_a_key(json: &[u8]) -> Option<bool> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let written: &RawValue = serde_json::from_slice(json).ok()?;
    Some(members(&value) != colons(written.get()))
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// Colons outside of strings.
fn colons(json: &str) -> usize {
    let (mut in_string, mut is_escaped, mut count) = (false, false, 0);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

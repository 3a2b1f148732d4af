//! Raw query strings. They are part of what was signed, so reading and changing them leaves every other byte alone.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::types::Timestamp;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A parameter stands twice in a query, so that two readers may see two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

/// The raw value of the parameter `name`, or `None` if there is none.
///
/// Names are compared decoded: `%63lientId` is `clientId` to the server, so it must be to whoever asks whether there
/// are two. A parameter without `=` has the empty value.
pub fn unique<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Duplicate> {
    let mut found = None;
    for (_, value) in values(query, name) {
        if found.replace(value).is_some() {
            return Err(Duplicate);
        }
    }
    Ok(found)
}

/// One parameter as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'q> {
    name: &'q str,
    pub value: &'q str,
    /// Where the value begins, in bytes of the query.
    pub value_at: usize,
}

impl Parameter<'_> {
    /// Whether the name, decoded, is this one, which has nothing to encode. Most are as they are, or too short for it.
    pub fn is(&self, name: &str) -> bool {
        let raw = self.name;
        raw == name || raw.len() > name.len() && decode(raw).is_some_and(|raw| raw == name)
    }
}

/// All parameters, for who looks for several. Byte by byte: most names and values are too short for anything cleverer.
pub fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let (start, bytes) = (next, query.as_bytes());
        let rest = bytes.get(start..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'&' | b'='));
        let name_end = length.map_or(bytes.len(), |length| start + length);
        let (value_at, end) = if bytes.get(name_end) == Some(&b'=') {
            let value_at = name_end + 1;
            let length = bytes[value_at..].iter().position(|byte| *byte == b'&');
            (value_at, length.map_or(bytes.len(), |length| value_at + length))
        } else {
            (name_end, name_end)
        };
        next = end + 1;
        Some(Parameter {
            name: &query[start..name_end],
            value: &query[value_at..end],
            value_at,
        })
    })
}

/// The query with the value of its first `timestamp` replaced; unchanged if it has none.
pub fn replace_timestamp(query: &str, timestamp: Timestamp) -> String {
    let Some((at, value)) = values(query, "timestamp").next() else {
        return query.to_owned();
    };
    let (before, after) = (&query[..at], &query[at + value.len()..]);
    let equals = if before.ends_with('=') { "" } else { "=" };
    format!("{before}{equals}{timestamp}{after}")
}

/// Percent-encodes all but letters, digits and `-._~`, so that any string is one query value or one path segment.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Reads a query name or value as HTML forms and the vendor's server do: `+` is a space. `None` if not UTF-8.
pub fn decode(raw: &str) -> Option<Cow<'_, str>> {
    // All bytes are looked at, so that many can be at a time.
    let is_encoded = |byte: u8| u8::from(byte == b'+') | u8::from(byte == b'%');
    if raw.bytes().fold(0, |some, byte| some | is_encoded(byte)) == 0 {
        return Some(Cow::Borrowed(raw));
    }
    if raw.contains('+') {
        let spaced = raw.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        return Some(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(raw).decode_utf8().ok()
}

/// The raw values of `name`, each with its byte offset.
fn values<'q, 'n>(query: &'q str, name: &'n str) -> impl Iterator<Item = (usize, &'q str)> + use<'q, 'n> {
    let named = parameters(query).filter(move |parameter| parameter.is(name));
    named.map(|parameter| (parameter.value_at, parameter.value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_raw_value() {
        let query = "clientId=A%2FB&timestamp=17&empty=&flag&x=a=b";
        assert_eq!(unique(query, "clientId"), Ok(Some("A%2FB")));
        assert_eq!(unique(query, "timestamp"), Ok(Some("17")));
        assert_eq!(unique(query, "empty"), Ok(Some("")));
        assert_eq!(unique(query, "flag"), Ok(Some("")));
        assert_eq!(unique(query, "x"), Ok(Some("a=b")));
        assert_eq!(unique(query, "clientid"), Ok(None));
        assert_eq!(unique("", "clientId"), Ok(None));
    }

    #[test]
    fn r2_a_repeated_parameter_is_found_however_it_is_written() {
        for query in [
            "clientId=a&clientId=a",
            "clientId=a&timestamp=1&clientId=b",
            "clientId=a&%63lientId=b",
            "%63%6c%69%65%6E%74%49%64=a&clientId",
        ] {
            assert_eq!(unique(query, "clientId"), Err(Duplicate), "{query}");
        }
        assert_eq!(unique("timestamp=1&time%73tamp=2", "timestamp"), Err(Duplicate));
    }

    #[test]
    fn a_longer_name_is_another_however_it_is_written() {
        let query = "clientIds=1&client%49d%73=2&account%5B0%5D=3&%FFclientId=4&clientId=5";
        assert_eq!(unique(query, "clientId"), Ok(Some("5")));
    }

    #[test]
    fn only_the_timestamp_changes() {
        let now = Timestamp(1_700_000_009);
        for (query, expected) in [
            (
                "clientId=a&timestamp=1&b=%c3%A9+&&",
                "clientId=a&timestamp=1700000009&b=%c3%A9+&&",
            ),
            ("timestamp=1", "timestamp=1700000009"),
            ("&timestamp&x", "&timestamp=1700000009&x"),
            ("time%73tamp=&x", "time%73tamp=1700000009&x"),
            ("xtimestamp=1", "xtimestamp=1"),
            ("", ""),
        ] {
            assert_eq!(replace_timestamp(query, now), expected);
        }
    }

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(
            encode("a/b?c&d=e+f g%\u{7f}é😀"),
            "a%2Fb%3Fc%26d%3De%2Bf%20g%25%7F%C3%A9%F0%9F%98%80"
        );
        assert_eq!(decode("a+b%2Bc%C3%A9").as_deref(), Some("a b+cé"));
        assert_eq!(decode("+").as_deref(), Some(" "));
        assert_eq!(decode("%FF"), None);
        assert_eq!(decode("+%FF"), None);
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(text in ".*") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded), Some(Cow::Borrowed(text.as_str())));
        }

        #[test]
        fn a_replaced_timestamp_is_read_back(query in "[a-z%&=]{0,12}(&timestamp=[0-9]{0,4})?", now in 0_i64..) {
            let replaced = replace_timestamp(&query, Timestamp(now));
            if unique(&query, "timestamp").is_ok_and(|value| value.is_some()) {
                let expected = now.to_string();
                prop_assert_eq!(unique(&replaced, "timestamp"), Ok(Some(expected.as_str())));
            }
        }
    }
}

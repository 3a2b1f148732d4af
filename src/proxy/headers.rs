//! The headers that belong to one connection and go no further (RFC 9110, section 7.6.1). Nothing else is touched.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Goes, whether `Connection` names it or not; the first two say more than that. The two for proxy authentication are of
/// the older list (RFC 2616, section 13.5.1): they are between the caller and this proxy, and a credential for one must not
/// reach `SnapTrade`.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Stays, even if `Connection` names it. A sender must not name what is meant for the recipient, and a message without one
/// of these would be another message: unsigned, misread or of another length. Whoever could slip a name into `Connection`
/// could otherwise strip a signature or an encoding on the way.
static ESSENTIAL: [HeaderName; 8] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    HeaderName::from_static("signature"),
    // The server sends no trailers that are not announced.
    TRAILER,
];

/// Removes from a request or a reply what was meant for the connection that it came by. Of `TE`, `trailers` remains, which
/// this proxy can pass on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // One pass instead of a lookup for each, since most messages have one of these or none.
    let mut found = [false; HOP_BY_HOP.len()];
    for name in headers.keys() {
        let place = match name.as_str() {
            "connection" => 0,
            "te" => 1,
            "keep-alive" => 2,
            "proxy-connection" => 3,
            "proxy-authenticate" => 4,
            "proxy-authorization" => 5,
            "transfer-encoding" => 6,
            "upgrade" => 7,
            _ => continue,
        };
        found[place] = true;
    }
    let [has_connection, has_te, ..] = found;
    let trailers = has_te && accepts_trailers(headers);
    if has_connection {
        strip_named(headers);
    }
    for (name, _) in HOP_BY_HOP.iter().zip(found).filter(|(_, found)| *found) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a request's `Host` leaves no doubt (RFC 9112, section 3.2): one at most, and that a name or address, with or without
/// a port. It is replaced all the same; but whoever reads two, or one that is none, in another way than this proxy does, must
/// not be given the chance. Without any there is nothing to be read in two ways.
pub fn has_clear_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let is_clear = hosts.next().is_none_or(|host| is_host(host.as_bytes()));
    is_clear && hosts.next().is_none()
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), where a name may be empty.
fn is_host(host: &[u8]) -> bool {
    let (is_name, port) = if let Some(literal) = host.strip_prefix(b"[") {
        let end = literal.iter().position(|byte| *byte == b']');
        let (address, after) = literal.split_at(end.unwrap_or(literal.len()));
        let is_address = address
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b":.-_~".contains(byte));
        (is_address && !address.is_empty(), after.strip_prefix(b"]"))
    } else {
        let end = host.iter().position(|byte| *byte == b':');
        let (name, after) = host.split_at(end.unwrap_or(host.len()));
        let is_name = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_~%!$&'()*+,;=".contains(byte));
        (is_name, Some(after))
    };
    is_name
        && port.is_some_and(|port| {
            port.is_empty()
                || port
                    .strip_prefix(b":")
                    .is_some_and(|port| port.iter().all(u8::is_ascii_digit))
        })
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers")))
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        // What nearly all say, and what goes anyway.
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !ESSENTIAL.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// The members of a comma-separated list. Read as bytes, so that one odd member does not shield the others.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&'static str, &[u8])]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn r1_only_hop_by_hop_headers_go() {
        let kept = stripped(&[
            ("connection", b"keep-alive"),
            ("keep-alive", b"timeout=5"),
            ("proxy-connection", b"keep-alive"),
            ("proxy-authenticate", b"Basic"),
            ("proxy-authorization", b"Basic eDp5"),
            ("transfer-encoding", b"chunked"),
            ("upgrade", b"websocket"),
            ("te", b"gzip"),
            ("authorization", b"Bearer x"),
            ("cookie", b"a=1"),
            ("cookie", b"b=2"),
            ("date", b"today"),
            ("trailer", b"X-Sum"),
            ("via", b"1.1 x"),
            ("x-odd", b"caf\xe9"),
        ]);
        assert_eq!(
            kept,
            [
                "authorization: Bearer x",
                "cookie: a=1",
                "cookie: b=2",
                "date: today",
                "trailer: X-Sum",
                "via: 1.1 x",
                r"x-odd: caf\xe9",
            ]
        );
    }

    #[test]
    fn what_connection_names_goes_in_any_case_and_on_any_line() {
        let kept = stripped(&[
            ("connection", b"close, X-One ,,\tx-TWO"),
            ("connection", b"\xe9, bad name, X-Three"),
            ("x-one", b"1"),
            ("x-two", b"2"),
            ("x-two", b"2"),
            ("x-three", b"3"),
            ("x-four", b"4"),
        ]);
        assert_eq!(kept, ["x-four: 4"]);
    }

    #[test]
    fn what_connection_must_not_name_stays() {
        let kept = stripped(&[
            (
                "connection",
                b"Signature, Host, Content-Length, Authorization, Content-Encoding, Trailer",
            ),
            ("signature", b"s"),
            ("content-length", b"3"),
            ("content-encoding", b"gzip"),
            ("authorization", b"a"),
            ("trailer", b"t"),
        ]);
        assert_eq!(kept.len(), 5);
    }

    #[test]
    fn one_host_is_clear_and_two_or_half_a_one_are_not() {
        for host in [
            "",
            "a",
            "a.b-c_d",
            "a:80",
            "a:",
            "[::1]",
            "[::1]:8080",
            "127.0.0.1:1",
            "%41",
            "a,b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "u@a", "a:x", "a:80:80", "a, b", "[::1", "[::1]x", "[]", "[a b]", "http://a",
            "a?b", "a#b", "a\\b", "a\tb", "\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
        let mut headers = HeaderMap::new();
        assert!(has_clear_host(&headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(has_clear_host(&headers));
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(!has_clear_host(&headers));
    }

    #[test]
    fn of_te_only_trailers_stays() {
        for value in [&b"trailers"[..], b"deflate;q=0.5, Trailers"] {
            assert_eq!(
                stripped(&[("connection", b"TE"), ("te", value)]),
                ["te: trailers"]
            );
        }
        assert!(stripped(&[("te", b"trailers;q=0"), ("te", b"gzip")]).is_empty());
    }
}

//! R1: what becomes of the request line.

use crate::between::Between;
use crate::raw::OK_KEPT;

fn request(start: &[u8]) -> Vec<u8> {
    [start, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

/// The start line that the upstream gets for this one.
async fn forwarded(it: &mut Between, start: &[u8]) -> String {
    it.forwarded(request(start)).await.head.start
}

/// What the caller of this start line is told instead.
async fn refused(it: &mut Between, start: &[u8]) -> (String, String) {
    let mut caller = it.sends(request(start)).await;
    let reply = caller.message().await;
    let (status, code) = reply.verdict();
    (status.to_owned(), code)
}

#[tokio::test]
async fn r1_targets_arrive_byte_for_byte() {
    let mut it = Between::start().await;
    let targets: &[&[u8]] = &[
        b"/",
        b"/?",
        b"/a?",
        b"/a??",
        b"//",
        b"//a//b//",
        b"/../x",
        b"/a/./b/../../c",
        b"/%2F%2f%00%",
        b"/%zz?%",
        b"/?a=b&&=&",
        b"/?a;b;c=1|2",
        b"/a;b|c",
        b"/?q='{}[]^`\\",
        b"/\"{}[]|^'\\",
        b"/accounts/caf\xc3\xa9/\xf0\x9f\x98\x80?n=\xc3\xbc",
        b"/+?a+b=c+d",
        b"/api/v1/snapTrade/login?clientId=x&timestamp=1&userId=a%20b",
        b"/http://elsewhere/x",
        b"/x@y:z",
    ];
    for target in targets {
        let start = [b"GET ", *target].concat();
        let got = forwarded(&mut it, &start).await;
        assert_eq!(got, format!("{} HTTP/1.1", start.escape_ascii()));
    }
}

#[tokio::test]
async fn r1_every_byte_of_a_target_is_kept_or_the_request_is_refused() {
    let mut it = Between::start().await;
    // Of the printable characters, those that no URI may hold, as far as the parser insists. JSON in a query has to have
    // its quotes encoded.
    for (before, unprintable_or) in [(&b"GET /a"[..], &b"<>`"[..]), (b"GET /?a", b"\"<>")] {
        let mut caller = it.caller().await;
        caller.send(request(before)).await;
        let mut upstream = it.upstream.accept().await;
        upstream.message().await;
        upstream.send(OK_KEPT).await;
        caller.message().await;
        for byte in 0..=255_u8 {
            let start = [before, &[byte, b'z']].concat();
            // A byte of 0x80 or more is none of UTF-8 by itself.
            if unprintable_or.contains(&byte) || !byte.is_ascii_graphic() {
                let told = refused(&mut it, &start).await;
                assert_eq!(told, ("400".into(), String::new()), "{byte:#x}");
                continue;
            }
            caller.send(request(&start)).await;
            let kept = if byte == b'#' { before } else { &start };
            let got = upstream.message().await.head.start;
            assert_eq!(got, format!("{} HTTP/1.1", kept.escape_ascii()));
            upstream.send(OK_KEPT).await;
            caller.message().await;
        }
    }
    it.sidecar.stop().await;
}

#[tokio::test]
async fn r1_a_fragment_is_dropped() {
    let mut it = Between::start().await;
    for (sent, arrives) in [("/a?b#c", "/a?b"), ("/a#b?c", "/a"), ("/#", "/")] {
        let got = forwarded(&mut it, format!("GET {sent}").as_bytes()).await;
        assert_eq!(got, format!("GET {arrives} HTTP/1.1"));
    }
}

#[tokio::test]
async fn r1_a_target_may_have_65534_bytes() {
    let mut it = Between::start().await;
    for query in ["", "?"] {
        let start = format!("GET /{query}{}", "x".repeat(65_533 - query.len()));
        let got = forwarded(&mut it, start.as_bytes()).await;
        assert!(got == format!("{start} HTTP/1.1"));
        let told = refused(&mut it, format!("{start}x").as_bytes()).await;
        assert_eq!(told, ("414".into(), String::new()));
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn r1_whatever_host_a_target_names_the_upstream_gets_it() {
    let mut it = Between::start().await;
    let host = format!("host: {}", it.upstream.address);
    for (sent, arrives) in [
        ("GET http://127.0.0.1:1/x?y=%2f", "GET /x?y=%2f"),
        ("POST https://user:word@elsewhere:444//x?", "POST //x?"),
        ("GET http://elsewhere", "GET /"),
        ("GET http://elsewhere?x=/", "GET /?x=/"),
        ("GET ftp://elsewhere/x", "GET /x"),
        ("OPTIONS *", "OPTIONS *"),
    ] {
        let got = it.forwarded(request(sent.as_bytes())).await.head;
        assert_eq!(got.start, format!("{arrives} HTTP/1.1"));
        assert_eq!(got.fields, [host.as_str()]);
    }
}

#[tokio::test]
async fn a_target_without_a_path_is_refused() {
    let mut it = Between::start().await;
    for target in ["elsewhere", "elsewhere:80", "127.0.0.1:80", "x", "mailto:a@b"] {
        let told = refused(&mut it, format!("GET {target}").as_bytes()).await;
        assert_eq!(told, ("400".into(), "sidecar_bad_target".into()), "{target}");
    }
    for target in ["x/y", "?x", "#", "http:///x"] {
        let told = refused(&mut it, format!("GET {target}").as_bytes()).await;
        assert_eq!(told, ("400".into(), String::new()), "{target}");
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn r1_methods_arrive_as_they_are() {
    let mut it = Between::start().await;
    let longest = "M".repeat(1000);
    for method in [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "M-SEARCH",
        "get",
        "Post",
        "!#$%&'*+-.^_`|~",
        &longest,
    ] {
        let start = format!("{method} /x");
        let got = forwarded(&mut it, start.as_bytes()).await;
        assert_eq!(got, format!("{} HTTP/1.1", start.as_bytes().escape_ascii()));
    }
}

#[tokio::test]
async fn connect_is_refused() {
    let mut it = Between::start().await;
    for target in ["elsewhere:443", "/x", "http://elsewhere/x"] {
        let mut caller = it.sends(request(format!("CONNECT {target}").as_bytes())).await;
        let reply = caller.message().await;
        assert_eq!(reply.head.start, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(reply.head.get("content-type"), Some("application/json"));
        assert!(reply.head.get("allow").is_some_and(|allow| allow.contains("GET")));
        let body = reply.json();
        assert_eq!(body["code"], "sidecar_connect_refused");
        assert_eq!(body["status_code"], 405);
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn what_is_not_http_1_is_refused() {
    let mut it = Between::start().await;
    for sent in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/3.0\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "G\0T / HTTP/1.1\r\n\r\n",
    ] {
        let mut caller = it.sends(sent).await;
        let (rest, _) = caller.rest().await;
        let status = rest.get(..12).unwrap_or_default().escape_ascii().to_string();
        assert!(
            status.is_empty() || status == "HTTP/1.1 400",
            "{sent:?}: {status}"
        );
    }
    it.nothing_was_forwarded().await;
}

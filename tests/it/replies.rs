//! R1: what becomes of a reply.

use crate::between::Between;
use crate::raw::{End, OK};

/// The start line that the caller gets for this one.
async fn start_line(it: &mut Between, line: &str) -> String {
    it.replied(format!("{line}\r\nContent-Length: 0\r\n\r\n"))
        .await
        .head()
        .await
        .start
}

#[tokio::test]
async fn r1_statuses_and_reason_phrases_come_back() {
    let mut it = Between::start().await;
    for line in [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 Fine",
        "HTTP/1.1 200 ",
        "HTTP/1.1 201 Created",
        "HTTP/1.1 299 Odd But Fine",
        "HTTP/1.1 301 Moved Permanently",
        "HTTP/1.1 400 no such thing: <b>",
        "HTTP/1.1 418 ",
        "HTTP/1.1 425 Too Early",
        "HTTP/1.1 429 Slow Down",
        "HTTP/1.1 500 Internal Server Error",
        "HTTP/1.1 599 Whatever",
        "HTTP/1.1 600 x",
        "HTTP/1.1 999 Request denied",
    ] {
        assert_eq!(start_line(&mut it, line).await, line);
    }
    assert_eq!(start_line(&mut it, "HTTP/1.1 404").await, "HTTP/1.1 404 ");
}

#[tokio::test]
async fn a_reason_phrase_that_is_not_ascii_is_left_out() {
    let mut it = Between::start().await;
    let start = start_line(&mut it, "HTTP/1.1 404 Pas trouv\u{e9}").await;
    assert_eq!(start, "HTTP/1.1 404 ");
}

#[tokio::test]
async fn r1_a_reply_over_http_1_0_comes_back_as_1_1() {
    let mut it = Between::start().await;
    let mut caller = it.replied("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let reply = caller.message().await;
    assert_eq!(reply.head.start, "HTTP/1.1 200 OK");
    assert_eq!(reply.head.fields, ["content-length: 2"]);
    assert_eq!(reply.body, b"hi");
}

#[tokio::test]
async fn r1_a_reply_that_ends_with_its_connection_comes_back_chunked() {
    let mut it = Between::start().await;
    for version in ["1.0", "1.1"] {
        for body in ["", "hello"] {
            let mut caller = it.replied(format!("HTTP/{version} 200 OK\r\n\r\n{body}")).await;
            let reply = caller.message().await;
            assert_eq!(reply.head.fields, ["transfer-encoding: chunked"]);
            assert_eq!(reply.body, body.as_bytes());
        }
    }
}

#[tokio::test]
async fn r1_a_reply_keeps_its_framing_and_every_byte() {
    let mut it = Between::start().await;
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Encoding: gzip\r\n\r\n",
        gzip.len()
    );
    let reply = it.replied([head.as_bytes(), gzip].concat()).await.message().await;
    assert_eq!(
        reply.head.sorted(),
        [
            "content-encoding: gzip".to_owned(),
            format!("content-length: {}", gzip.len())
        ]
    );
    assert_eq!(reply.body, gzip);

    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;ext=1\r\na\0b\r\n1\r\nc\r\n0\r\n\r\n";
    let reply = it.replied(chunks).await.message().await;
    assert_eq!(reply.head.fields, ["transfer-encoding: chunked"]);
    assert_eq!(reply.body, b"a\0bc");
}

#[tokio::test]
async fn r1_replies_without_a_body_have_none() {
    let mut it = Between::start().await;
    for (reply, expected) in [
        ("204 No Content\r\nETag: \"1\"", &["etag: \\\"1\\\""][..]),
        ("304 Not Modified\r\nETag: \"1\"", &["etag: \\\"1\\\""]),
        // Allowed on a 304, and lost: the server writes none.
        ("304 Not Modified\r\nContent-Length: 5", &[]),
        ("204 No Content\r\nContent-Length: 0", &[]),
        ("205 Reset Content\r\nContent-Length: 0", &["content-length: 0"]),
    ] {
        let mut caller = it.replied(format!("HTTP/1.1 {reply}\r\n\r\n")).await;
        assert_eq!(caller.head().await.sorted(), expected, "{reply}");
        // The next reply follows at once.
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        let mut upstream = it.upstream.accept().await;
        upstream.send(OK).await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn r1_a_reply_to_head_keeps_its_length() {
    let mut it = Between::start().await;
    let head = "HEAD /x HTTP/1.1\r\n\r\n";
    for (fields, expected) in [
        ("Content-Length: 12345\r\n", &["content-length: 12345"][..]),
        ("Content-Length: 0\r\n", &["content-length: 0"]),
        ("X: 1\r\n", &["x: 1"]),
        // Of the connection, and optional.
        ("Transfer-Encoding: chunked\r\n", &[]),
    ] {
        let mut caller = it
            .answered(head, format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
            .await;
        assert_eq!(caller.head().await.sorted(), expected);
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        let mut upstream = it.upstream.accept().await;
        upstream.send(OK).await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn interim_replies_of_the_upstream_are_dropped() {
    let mut it = Between::start().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 100 Continue\r\n\r\n";
    let mut caller = it
        .replied(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
        .await;
    let reply = caller.message().await;
    assert_eq!(reply.head.start, "HTTP/1.1 200 OK");
    assert_eq!(reply.head.fields, ["content-length: 2"]);
    assert_eq!(reply.body, b"hi");
}

#[tokio::test]
async fn r1_a_caller_over_http_1_0_is_understood() {
    let mut it = Between::start().await;
    let request = "POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
    let mut caller = it.sends(request).await;
    let mut upstream = it.upstream.accept().await;
    let got = upstream.message().await;
    assert_eq!(
        (got.head.start.as_str(), &got.body[..]),
        ("POST /x HTTP/1.1", &b"{}"[..])
    );
    upstream
        .send("HTTP/1.1 299 Fine\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert_eq!(head.start, "HTTP/1.0 299 Fine");
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(caller.rest().await, (b"hi".to_vec(), End::Closed));

    let mut caller = it
        .answered("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", OK)
        .await;
    let head = caller.head().await;
    assert_eq!(head.get("connection"), Some("keep-alive"));
    caller.send("GET / HTTP/1.0\r\n\r\n").await;
    it.upstream.accept().await.send(OK).await;
    caller.head().await;
    caller.closed().await;
}

/// Whether a caller would take what it got for a whole message.
fn is_complete(got: &[u8], end: &End) -> bool {
    let text = got.escape_ascii().to_string();
    let Some((head, body)) = text.split_once("\\r\\n\\r\\n") else {
        return false;
    };
    if let Some((_, length)) = head.split_once("content-length: ") {
        let digits = length.split('\\').next().unwrap();
        return body.len() >= digits.parse().unwrap();
    }
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\\r\\n\\r\\n");
    }
    *end == End::Closed
}

#[tokio::test]
async fn a_reply_cut_short_never_looks_complete() {
    let mut it = Between::start().await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for (head, body) in [
        ("Content-Length: 5\r\n\r\n", "hell"),
        ("Content-Length: 5\r\n\r\n", ""),
        (chunked, ""),
        (chunked, "5\r\nhello\r\n"),
        (chunked, "5\r\nhel"),
        (chunked, "5\r\nhello\r\n0\r\n"),
        (chunked, "5\r\nhello\r\nzz\r\n"),
        (chunked, "zz\r\nhello\r\n0\r\n\r\n"),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5\r\nhello\r\n",
        ),
    ] {
        for version in ["1.1", "1.0"] {
            let request = format!("GET / HTTP/{version}\r\nConnection: close\r\n\r\n");
            let mut caller = it
                .answered(&request, format!("HTTP/1.1 200 OK\r\n{head}{body}"))
                .await;
            let (got, end) = caller.rest().await;
            // Where nothing was sent on yet, it can still be said.
            let is_said = got.get(9..12) == Some(b"502");
            assert!(
                is_said || !is_complete(&got, &end),
                "{version} {body:?}: {}",
                got.escape_ascii()
            );
        }
    }
}

//! Messages whose length two readers could understand differently: refused, or sent on in a form that leaves no choice.

use crate::between::Between;

/// Refused, with this status, and nothing of it sent on.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "400",
        "two lengths",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    ),
    ("400", "two lengths in one", "Content-Length: 2, 3\r\n\r\nhi!"),
    (
        "400",
        "the same length twice in one",
        "Content-Length: 2, 2\r\n\r\nhi",
    ),
    ("400", "a signed length", "Content-Length: +2\r\n\r\nhi"),
    ("400", "a negative length", "Content-Length: -2\r\n\r\nhi"),
    ("400", "a hexadecimal length", "Content-Length: 0x2\r\n\r\nhi"),
    ("400", "an empty length", "Content-Length:\r\n\r\nhi"),
    (
        "400",
        "a length beyond counting",
        "Content-Length: 99999999999999999999\r\n\r\nhi",
    ),
    (
        "400",
        "a coding like chunked",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "400",
        "a coding after chunked",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("400", "a coding alone", "Transfer-Encoding: gzip\r\n\r\nhi"),
    (
        "400",
        "a coding and a length",
        "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "400",
        "a coding on a second line",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "400",
        "a quoted coding",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "400",
        "a vertical tab",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    ("400", "a space before the colon", "Content-Length : 2\r\n\r\nhi"),
    (
        "400",
        "a folded line",
        "X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "400",
        "a folded coding",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    ("400", "a line that begins with a space", " X: a\r\n\r\n"),
    ("400", "a return alone", "X: a\rContent-Length: 2\r\n\r\nhi"),
    ("400", "a NUL", "X: a\0b\r\n\r\n"),
    ("400", "a name with a space", "X Y: a\r\n\r\n"),
    ("400", "a line without a colon", "X\r\n\r\n"),
    (
        "501",
        "a coding before chunked",
        "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
    (
        "501",
        "chunked twice",
        "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
    (
        "501",
        "chunked on two lines",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
];

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let mut it = Between::start().await;
    for (status, what, rest) in REFUSED {
        let mut caller = it.sends(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}")).await;
        let reply = caller.message().await;
        let code = if *status == "501" {
            "sidecar_transfer_coding"
        } else {
            ""
        };
        assert_eq!(reply.verdict(), (*status, code.to_owned()), "{what}");
    }
    let mut caller = it
        .sends("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(caller.message().await.verdict().0, "400");
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn requests_that_leave_a_doubt_are_sent_on_without_it() {
    let mut it = Between::start().await;
    let (chunks, smuggled) = (
        "2\r\nhi\r\n0\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for (what, framing, body, arrives) in [
        (
            "a length before chunks",
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            chunks,
            "transfer-encoding: chunked",
        ),
        (
            "a length after chunks",
            "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
            chunks,
            "transfer-encoding: chunked",
        ),
        (
            "the same length twice",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "hi",
            "content-length: 2",
        ),
        (
            "lines that end without a return",
            "Content-Length: 2\nX: 1\n",
            "hi",
            "content-length: 2",
        ),
        (
            "chunks with extensions",
            "Transfer-Encoding: chunked\r\n",
            "02 ;a=\"b\r\nhi\r\n0000\r\n\r\n",
            "transfer-encoding: chunked",
        ),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n{body}{smuggled}");
        let mut caller = it.sends(request).await;
        let mut upstream = it.upstream.accept().await;
        let got = upstream.message().await;
        assert_eq!(got.body, b"hi", "{what}");
        let framing: Vec<&String> = got
            .head
            .fields
            .iter()
            .filter(|field| field.starts_with("content-length") || field.starts_with("transfer-encoding"))
            .collect();
        assert_eq!(framing, [arrives], "{what}");
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        caller.message().await;
        // What follows is another request, or nothing: never part of the body.
        if what.starts_with("a length") {
            caller.closed().await;
        } else {
            let next = it.upstream.accept().await.message().await;
            assert_eq!(next.head.start, "GET /smuggled HTTP/1.1", "{what}");
        }
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn broken_chunks_never_become_a_whole_request() {
    let mut it = Between::start().await;
    for chunks in [
        "zz\r\nhi\r\n0\r\n\r\n",
        "2\r\nhi!\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
        "2\nhi\n0\n\n",
        "\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n";
        let mut caller = it.sends(format!("{head}{chunks}")).await;
        let mut upstream = it.upstream.accept().await;
        let head = upstream.head().await;
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        let (rest, _) = upstream.rest().await;
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "{chunks:?}: {}",
            rest.escape_ascii()
        );
        let reply = caller.message().await;
        assert_eq!(
            reply.verdict(),
            ("400", "sidecar_request_body".to_owned()),
            "{chunks:?}"
        );
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn ambiguous_replies_are_not_passed_on() {
    let mut it = Between::start().await;
    for reply in [
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "Content-Length: x\r\n\r\nhi",
        "Content-Length: -2\r\n\r\nhi",
        "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\nhi",
        "X: a\0b\r\n\r\n",
        "X : a\r\n\r\n",
    ] {
        let mut caller = it.replied(format!("HTTP/1.1 200 OK\r\n{reply}")).await;
        let verdict = caller.message().await;
        assert_eq!(
            verdict.verdict(),
            ("502", "sidecar_upstream_protocol".to_owned()),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn the_chunks_of_a_reply_count_and_not_its_length() {
    let mut it = Between::start().await;
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n",
    ] {
        let mut caller = it
            .replied(format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nhi\r\n0\r\n\r\n"))
            .await;
        let reply = caller.message().await;
        assert_eq!(reply.head.fields, ["transfer-encoding: chunked"]);
        assert_eq!(reply.body, b"hi");
    }
}

#[tokio::test]
async fn a_folded_header_of_a_reply_becomes_one_line() {
    let mut it = Between::start().await;
    let mut caller = it
        .replied("HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(caller.head().await.sorted(), ["content-length: 0", "x: a b"]);
}

#[tokio::test]
async fn what_follows_a_reply_unasked_is_nobodys_reply() {
    let mut it = Between::start().await;
    let extra = "HTTP/1.1 200 Evil\r\nContent-Length: 0\r\n\r\n";
    for (request, reply) in [
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HEAD / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi",
        ),
    ] {
        let mut caller = it.sends(request).await;
        let mut upstream = it.upstream.accept().await;
        upstream.message().await;
        upstream.send(format!("{reply}{extra}")).await;
        caller.head().await;
        caller.send("GET /next HTTP/1.1\r\n\r\n").await;
        let mut fresh = it.upstream.accept().await;
        assert_eq!(fresh.message().await.head.start, "GET /next HTTP/1.1");
        fresh
            .send("HTTP/1.1 200 Good\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 Good");
    }
}

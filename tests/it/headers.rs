//! R1: what becomes of the headers, both ways.

use crate::between::Between;
use crate::raw::Peer;

impl Between {
    /// The fields that the upstream gets, sorted, without its `Host`, which is always there.
    async fn fields(&mut self, request: impl AsRef<[u8]>) -> Vec<String> {
        let host = format!("host: {}", self.upstream.address);
        let head = self.forwarded(request).await.head;
        let mut fields = head.sorted();
        let at = fields.iter().position(|field| *field == host).unwrap();
        fields.remove(at);
        fields.into_iter().map(str::to_owned).collect()
    }

    /// The fields that the caller gets of a reply, sorted.
    async fn reply_fields(&mut self, reply: &str) -> Vec<String> {
        let head = self.replied(reply).await.head().await;
        head.sorted().into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn r1_header_values_arrive_byte_for_byte() {
    let mut it = Between::start().await;
    let fields = it
        .fields(
            b"POST / HTTP/1.1\r\nHOST: api.snaptrade.com\r\nX-First: 1\r\nAccept:\r\nX-Repeated: a, b\r\nX-Odd: caf\xe9 \
              \xff\"\\\r\nx-REPEATED: \r\nSignature: a+b/c==\r\nX-Spaces: \t a  b\t c \t\r\nX-Repeated:c\r\n\
              User-Agent: x/1\r\nContent-Type: application/json\r\n\r\n",
        )
        .await;
    assert_eq!(
        fields,
        [
            "accept: ",
            "content-type: application/json",
            "signature: a+b/c==",
            "user-agent: x/1",
            "x-first: 1",
            "x-odd: caf\\xe9 \\xff\\\"\\\\",
            "x-repeated: ",
            "x-repeated: a, b",
            "x-repeated: c",
            "x-spaces: a  b\\t c",
        ]
    );
}

#[tokio::test]
async fn r1_repeated_headers_keep_their_order_and_names_are_in_lower_case() {
    let mut it = Between::start().await;
    let (b, c) = ("X-Many: b\r\n", "X-MANY: c\r\n");
    let got = it
        .forwarded(format!(
            "GET / HTTP/1.1\r\nx-many: a\r\nX-One: 1\r\n{b}Cookie: k=v\r\n{c}\r\n"
        ))
        .await;
    let many = |fields: &[String]| -> Vec<String> {
        let many = fields.iter().filter(|field| field.contains("any: "));
        many.cloned().collect()
    };
    assert_eq!(many(&got.head.fields), ["x-many: a", "x-many: b", "x-many: c"]);
    let reply = format!("HTTP/1.1 200 OK\r\nx-many: a\r\nX-One: 1\r\n{b}{c}Content-Length: 0\r\n\r\n");
    let got = it.replied(reply).await.head().await;
    assert_eq!(many(&got.fields), ["x-many: a", "x-many: b", "x-many: c"]);
}

#[tokio::test]
async fn r1_nothing_is_added_to_a_request_but_its_host() {
    let mut it = Between::start().await;
    let nothing: [&str; 0] = [];
    for method in ["GET", "POST", "DELETE"] {
        let fields = it.fields(format!("{method} / HTTP/1.1\r\n\r\n")).await;
        assert_eq!(fields, nothing);
        let fields = it.fields(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(fields, nothing);
    }
    assert_eq!(it.fields("GET / HTTP/1.0\r\n\r\n").await, nothing);
}

#[tokio::test]
async fn r1_nothing_is_added_to_a_reply() {
    let mut it = Between::start().await;
    let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    let fields = it
        .reply_fields(&format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 0\r\n\r\n"))
        .await;
    assert_eq!(
        fields,
        ["content-length: 0", "date: Thu, 01 Jan 1970 00:00:00 GMT"]
    );
    let fields = it
        .reply_fields("HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(fields, ["content-length: 0", "date: yesterday"]);
    let fields = it
        .reply_fields("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(fields, ["content-length: 0"]);
}

#[tokio::test]
async fn r1_reply_header_values_come_back_byte_for_byte() {
    let mut it = Between::start().await;
    let mut caller = it
        .replied(
            &b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Odd: caf\xe9\r\nSet-Cookie: a=1; Path=/\r\nVia: 1.1 x\r\n\
               X-Empty:\r\nSet-Cookie: b=\"2\"\r\nX-RateLimit-Remaining: 7\r\nContent-Length: 0\r\n\r\n"[..],
        )
        .await;
    assert_eq!(
        caller.head().await.sorted(),
        [
            "content-length: 0",
            "server: x",
            "set-cookie: a=1; Path=/",
            "set-cookie: b=\\\"2\\\"",
            "via: 1.1 x",
            "x-empty: ",
            "x-odd: caf\\xe9",
            "x-ratelimit-remaining: 7",
        ]
    );
}

const HOP_BY_HOP: &str = "Connection: keep-alive, X-Mine\r\nConnection: Signature, x-two\r\nKeep-Alive: timeout=5\r\n\
    Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
    TE: gzip\r\nX-Mine: 1\r\nX-Two: 2\r\nX-Two: 3\r\nX-Three: 3\r\nSignature: s\r\n";

#[tokio::test]
async fn r1_hop_by_hop_headers_go_no_further() {
    let mut it = Between::start().await;
    let fields = it.fields(format!("GET / HTTP/1.1\r\n{HOP_BY_HOP}\r\n")).await;
    assert_eq!(fields, ["signature: s", "x-three: 3"]);
    let fields = it
        .reply_fields(&format!(
            "HTTP/1.1 200 OK\r\n{HOP_BY_HOP}Content-Length: 0\r\n\r\n"
        ))
        .await;
    assert_eq!(fields, ["content-length: 0", "signature: s", "x-three: 3"]);
}

#[tokio::test]
async fn connection_cannot_name_what_frames_a_message() {
    let mut it = Between::start().await;
    let head = "POST / HTTP/1.1\r\nConnection: Content-Length, Transfer-Encoding, Host\r\nHost: a\r\n";
    let got = it.forwarded(format!("{head}Content-Length: 2\r\n\r\nhi")).await;
    assert_eq!(got.body, b"hi");
    let got = it
        .forwarded(format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(got.body, b"hi");
}

#[tokio::test]
async fn r1_a_body_is_announced_as_its_caller_did() {
    let mut it = Between::start().await;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "X"] {
        for (framing, body) in [
            ("", ""),
            ("content-length: 0", ""),
            ("content-length: 2", "{}"),
            ("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
            ("transfer-encoding: chunked", "0\r\n\r\n"),
        ] {
            let line = if framing.is_empty() { "" } else { "\r\n" };
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n{framing}{line}\r\n{body}");
            let got = it.forwarded(request).await;
            let host = format!("host: {}", it.upstream.address);
            let mut expected = vec![framing, host.as_str()];
            expected.retain(|field| !field.is_empty());
            expected.sort_unstable();
            assert_eq!(got.head.sorted(), expected, "{method}");
            assert_eq!(got.body, if body.contains("{}") { &b"{}"[..] } else { b"" });
        }
    }
}

#[tokio::test]
async fn r1_a_hundred_headers_pass_and_more_are_refused() {
    let mut it = Between::start().await;
    let lines = |count: usize| (0..count).fold(String::new(), |all, n| all + &format!("x-{n}: {n}\r\n"));
    let fields = it.fields(format!("GET / HTTP/1.1\r\n{}\r\n", lines(100))).await;
    assert_eq!(fields.len(), 100);
    let mut caller = it.sends(format!("GET / HTTP/1.1\r\n{}\r\n", lines(101))).await;
    refused(&mut caller, "431 Request Header Fields Too Large").await;

    let reply = |count| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", lines(count));
    assert_eq!(it.reply_fields(&reply(99)).await.len(), 100);
    let reply = it.replied(reply(100)).await.message().await;
    assert_eq!(reply.verdict(), ("502", "sidecar_upstream_protocol".to_owned()));
}

#[tokio::test]
async fn r1_a_large_head_passes_and_one_that_is_too_large_is_refused() {
    let mut it = Between::start().await;
    let large = "x".repeat(130_000);
    let fields = it.fields(format!("GET / HTTP/1.1\r\nX: {large}\r\n\r\n")).await;
    assert!(fields == [format!("x: {large}")]);
    let fields = it
        .reply_fields(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {large}\r\n\r\n"
        ))
        .await;
    assert!(fields[1] == format!("x: {large}"));

    let mut caller = it.caller().await;
    caller.try_send("GET / HTTP/1.1\r\nX: ").await;
    caller.try_send("x".repeat(140_000)).await;
    refused(&mut caller, "431 Request Header Fields Too Large").await;
    it.nothing_was_forwarded().await;
}

async fn refused(caller: &mut Peer, status: &str) {
    let reply = caller.message().await;
    assert_eq!(reply.head.start, format!("HTTP/1.1 {status}"));
    assert_eq!(reply.body, b"");
}

//! R1: bodies flow as they come, in both directions, and so do trailers.

use crate::between::Between;
use crate::raw::OK;

/// More than the operating system keeps for two connections, and than anybody should keep in memory.
const LARGE: usize = 128 << 20;

/// For the other side to take the next piece, before it counts as stalled.
const STALLED_MS: u64 = 300;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn r1_a_request_is_sent_on_before_it_ends() {
    let mut it = Between::start().await;
    let mut caller = it
        .sends(format!("POST / HTTP/1.1\r\n{CHUNKED}\r\n5\r\nfirst\r\n"))
        .await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    assert_eq!(upstream.chunk().await, b"first");
    caller.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(upstream.chunks().await.0, b"last");
    upstream.send(OK).await;
    caller.message().await;

    let mut caller = it.sends("PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nfirst").await;
    let mut upstream = it.upstream.accept().await;
    assert_eq!(upstream.head().await.get("content-length"), Some("9"));
    assert_eq!(upstream.exactly(5).await, b"first");
    caller.send("last").await;
    assert_eq!(upstream.exactly(4).await, b"last");
}

#[tokio::test]
async fn r1_a_reply_is_sent_on_before_it_ends() {
    let mut it = Between::start().await;
    let mut caller = it.sends("GET / HTTP/1.1\r\n\r\n").await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream.send(format!("HTTP/1.1 200 OK\r\n{CHUNKED}\r\n")).await;
    assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    upstream.send("5\r\nfirst\r\n").await;
    assert_eq!(caller.chunk().await, b"first");
    upstream.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(caller.chunks().await.0, b"last");
}

#[tokio::test]
async fn r1_a_slow_caller_slows_the_upstream_down() {
    let mut it = Between::start().await;
    let mut caller = it.sends("GET / HTTP/1.1\r\n\r\n").await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream
        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"))
        .await;
    let sent = upstream.send_until_stalled(LARGE, STALLED_MS).await;
    assert!(sent < LARGE / 2, "{sent} bytes were taken, and nobody reads them");
    caller.head().await;
    let rest = vec![b'y'; LARGE - sent];
    let all = async {
        let mut got = 0;
        while got < LARGE {
            let length = (LARGE - got).min(1 << 20);
            let piece = caller.exactly(length).await;
            let ((first, last), split) = ((piece[0], piece[length - 1]), sent.saturating_sub(got));
            assert_eq!(first, if split > 0 { b'x' } else { b'y' });
            assert_eq!(last, if split >= length { b'x' } else { b'y' });
            got += length;
        }
    };
    tokio::join!(upstream.send(rest), all);
}

#[tokio::test]
async fn r1_a_slow_upstream_slows_the_caller_down() {
    let mut it = Between::start().await;
    let mut caller = it
        .sends(format!("POST / HTTP/1.1\r\nContent-Length: {LARGE}\r\n\r\n"))
        .await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    let sent = caller.send_until_stalled(LARGE, STALLED_MS).await;
    assert!(sent < LARGE / 2, "{sent} bytes were taken, and nobody reads them");
    upstream.exactly(sent).await;
}

#[tokio::test]
async fn r1_a_reply_may_come_before_the_request_has_ended() {
    let mut it = Between::start().await;
    let mut caller = it
        .sends("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\nfirst")
        .await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop")
        .await;
    let reply = caller.message().await;
    assert_eq!(reply.head.start, "HTTP/1.1 413 Too Much");
    assert_eq!(reply.body, b"stop");
}

#[tokio::test]
async fn r1_a_request_goes_on_after_a_reply_that_came_before_its_end_and_then_its_connection_closes() {
    let mut it = Between::start().await;
    let mut caller = it
        .sends("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nfirst")
        .await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nre")
        .await;
    caller.head().await;
    caller.send("-last").await;
    assert_eq!(upstream.exactly(10).await, b"first-last");
    upstream.send("ply!").await;
    assert_eq!(caller.exactly(6).await, b"reply!");
    // Nobody keeps a connection that no task of a request drives.
    upstream.closed().await;
}

#[tokio::test]
async fn r1_a_body_waits_for_100_continue() {
    let mut it = Between::start().await;
    for (framing, body) in [("Content-Length: 2\r\n", "hi"), (CHUNKED, "2\r\nhi\r\n0\r\n\r\n")] {
        let mut caller = it
            .sends(format!(
                "POST / HTTP/1.1\r\n{framing}Expect: 100-continue\r\n\r\n"
            ))
            .await;
        // The sidecar says it, as soon as there is a connection to the upstream, whatever the upstream says.
        assert_eq!(caller.head().await.start, "HTTP/1.1 100 Continue");
        caller.send(body).await;
        let mut upstream = it.upstream.accept().await;
        let got = upstream.message().await;
        assert_eq!(got.head.get("expect"), Some("100-continue"));
        assert_eq!(got.body, b"hi");
        upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        upstream.send(OK).await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_that_has_no_way_on() {
    let nowhere = crate::connections::nobodys_address().await;
    let sidecar = crate::harness::Sidecar::before(&format!("http://{nowhere}"), &[]).await;
    let mut caller = crate::raw::Peer::connect(sidecar.proxy).await;
    caller
        .send("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let reply = caller.message().await;
    assert_eq!(
        reply.verdict(),
        ("502", "sidecar_upstream_unreachable".to_owned())
    );
}

#[tokio::test]
async fn r1_trailers_that_are_announced_pass_both_ways() {
    let mut it = Between::start().await;
    let chunks = "2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-End: caf\u{e9}\r\nX-Sum: 2\r\n\r\n";
    let announced = format!("{CHUNKED}Trailer: X-Sum, x-end\r\n");
    let mut caller = it
        .sends(format!(
            "POST / HTTP/1.1\r\nTE: gzip, trailers\r\nConnection: TE\r\n{announced}\r\n{chunks}"
        ))
        .await;
    let mut upstream = it.upstream.accept().await;
    let mut got = upstream.message().await;
    assert_eq!(got.head.get("te"), Some("trailers"));
    assert_eq!(got.head.get("trailer"), Some("X-Sum, x-end"));
    got.trailers.sort();
    let expected = ["x-end: caf\\xc3\\xa9", "x-sum: 1", "x-sum: 2"];
    assert_eq!(
        (&got.body[..], &got.trailers[..]),
        (&b"hi"[..], &expected.map(str::to_owned)[..])
    );
    upstream
        .send(format!("HTTP/1.1 200 OK\r\n{announced}\r\n{chunks}"))
        .await;
    let mut reply = caller.message().await;
    assert_eq!(reply.head.get("trailer"), Some("X-Sum, x-end"));
    reply.trailers.sort();
    assert_eq!(
        (&reply.body[..], &reply.trailers[..]),
        (&b"hi"[..], &expected.map(str::to_owned)[..])
    );
}

#[tokio::test]
async fn trailers_that_are_not_announced_or_not_wanted_are_left_out() {
    let mut it = Between::start().await;
    let chunks = "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
    for te in ["TE: trailers\r\n", ""] {
        let mut caller = it
            .sends(format!("POST / HTTP/1.1\r\n{te}{CHUNKED}\r\n{chunks}"))
            .await;
        let mut upstream = it.upstream.accept().await;
        let got = upstream.message().await;
        assert_eq!((&got.body[..], got.trailers.len()), (&b"hi"[..], 0));
        let trailer = if te.is_empty() { "Trailer: X-Sum\r\n" } else { "" };
        let fields = format!("{CHUNKED}{trailer}Connection: close\r\n");
        upstream
            .send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{chunks}"))
            .await;
        let reply = caller.message().await;
        assert_eq!((&reply.body[..], reply.trailers.len()), (&b"hi"[..], 0));
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        it.upstream.accept().await.send(OK).await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    }
}

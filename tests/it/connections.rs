//! The callers' connections, the upstream's, and what happens when one of them ends.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::between::Between;
use crate::harness::{ANY_PORT, Sidecar, patiently};
use crate::raw::{End, OK, OK_KEPT, Peer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where nothing listens.
pub(crate) async fn nobodys_address() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    listener.local_addr().unwrap()
}

async fn verdict(caller: &mut Peer) -> (String, String) {
    let reply = caller.message().await;
    let (status, code) = reply.verdict();
    (status.to_owned(), code)
}

fn own(status: &str, code: &str) -> (String, String) {
    (status.to_owned(), format!("sidecar_{code}"))
}

#[tokio::test]
async fn both_connections_are_used_again() {
    let mut it = Between::start().await;
    let mut caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    for round in 0..3 {
        upstream.message().await;
        upstream.send(OK_KEPT).await;
        let head = caller.head().await;
        assert_eq!(head.get("connection"), None, "{round}");
        caller.send(GET).await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut it = Between::start().await;
    let request = |n: usize| format!("POST /{n} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{n:02}");
    let mut caller = it.sends((0..20).map(request).collect::<String>()).await;
    let mut upstream = it.upstream.accept().await;
    for n in 0..20 {
        let got = upstream.message().await;
        assert_eq!(got.head.start, format!("POST /{n} HTTP/1.1"));
        assert_eq!(got.body, format!("{n:02}").as_bytes());
        upstream
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{n:02}"))
            .await;
        assert_eq!(caller.message().await.body, format!("{n:02}").as_bytes());
    }
}

#[tokio::test]
async fn a_caller_may_have_its_connection_closed() {
    let mut it = Between::start().await;
    let mut caller = it
        .answered("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", OK_KEPT)
        .await;
    assert_eq!(caller.head().await.get("connection"), Some("close"));
    caller.closed().await;
    let mut caller = it.answered("GET / HTTP/1.0\r\n\r\n", OK_KEPT).await;
    caller.head().await;
    caller.closed().await;
}

#[tokio::test]
async fn an_upgrade_is_not_passed_on() {
    let mut it = Between::start().await;
    let upgrade = "GET / HTTP/1.1\r\nConnection: Upgrade, Sec-WebSocket-Key\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: x\r\n\r\n";
    let got = it.forwarded(upgrade).await.head;
    assert_eq!(got.fields, [format!("host: {}", it.upstream.address)]);
    let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut caller = it.answered(upgrade, reply).await;
    assert_eq!(verdict(&mut caller).await, own("502", "upstream_protocol"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up_and_a_quiet_connection_is_not() {
    let mut it = Between::with(&[("proxy.header_timeout", "200ms")]).await;
    let mut quiet = it.caller().await;
    let mut kept = it.answered(GET, OK).await;
    kept.head().await;
    for sent in ["G", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut slow = it.sends(sent).await;
        assert_eq!(verdict(&mut slow).await, own("408", "head_timeout"));
        slow.closed().await;
    }
    for caller in [&mut quiet, &mut kept] {
        caller.send(GET).await;
        it.upstream.accept().await.send(OK).await;
        assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn further_connections_wait_for_their_turn() {
    let mut it = Between::with(&[("proxy.max_connections", "1")]).await;
    let mut first = it.sends("GET /1 HTTP/1.1\r\n\r\n").await;
    let mut upstream = it.upstream.accept().await;
    upstream.message().await;
    let mut second = it.sends("GET /2 HTTP/1.1\r\n\r\n").await;
    upstream.send(OK_KEPT).await;
    first.head().await;
    first.send("GET /3 HTTP/1.1\r\n\r\n").await;
    assert_eq!(upstream.message().await.head.start, "GET /3 HTTP/1.1");
    upstream.send(OK_KEPT).await;
    first.head().await;
    drop(first);
    assert_eq!(upstream.message().await.head.start, "GET /2 HTTP/1.1");
    upstream.send(OK_KEPT).await;
    second.head().await;
}

#[tokio::test]
async fn a_call_dies_with_its_caller() {
    let mut it = Between::start().await;
    // Before the reply, during it, and during the request.
    let caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    drop(caller);
    upstream.closed().await;

    let mut caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        .await;
    caller.head().await;
    drop(caller);
    upstream.closed().await;

    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let caller = it.sends(head).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream.chunk().await;
    drop(caller);
    upstream.closed().await;
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_counts_as_gone() {
    let mut it = Between::start().await;
    let mut caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    caller.close_sending().await;
    upstream.closed().await;
    caller.closed().await;
}

#[tokio::test]
async fn r9_a_pooled_connection_that_the_upstream_closed_is_nobodys_error() {
    let mut it = Between::start().await;
    let mut caller = it.caller().await;
    for round in 0..100 {
        caller
            .send(format!("POST /{round} HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"))
            .await;
        let mut upstream = it.upstream.accept().await;
        let got = upstream.message().await;
        assert_eq!(got.head.start, format!("POST /{round} HTTP/1.1"));
        upstream.send(OK_KEPT).await;
        // Half the time, the upstream closes when it knows that the reply has arrived.
        if round % 2 == 0 {
            caller.head().await;
            drop(upstream);
        } else {
            drop(upstream);
            caller.head().await;
        }
    }
}

/// The upstream's side of a connection that has served a request, and is idle.
async fn served(it: &mut Between, caller: &mut Peer) -> Peer {
    caller.send(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.message().await;
    upstream.send(OK_KEPT).await;
    caller.head().await;
    upstream
}

#[tokio::test]
async fn a_safe_request_that_met_a_closing_connection_is_sent_once_more() {
    let mut it = Between::start().await;
    for (number, method) in ["GET", "HEAD", "OPTIONS", "GET"].into_iter().enumerate() {
        let mut caller = it.caller().await;
        let mut upstream = served(&mut it, &mut caller).await;
        let request =
            format!("{method} /{number}?a=%20 HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\nx: 2\r\nY:\r\n\r\n");
        caller.send(request).await;
        let first = upstream.head().await;
        if number % 2 == 0 {
            drop(upstream);
        } else {
            upstream.reset();
        }
        let mut upstream = it.upstream.accept().await;
        let second = upstream.head().await;
        assert_eq!((&second.start, second.sorted()), (&first.start, first.sorted()));
        if number == 0 {
            upstream.send(OK_KEPT).await;
            assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
            drop(upstream);
        } else {
            drop(upstream);
            assert_eq!(caller.head().await.start, "HTTP/1.1 502 Bad Gateway");
        }
        it.nothing_was_forwarded().await;
    }
}

#[tokio::test]
async fn r9_what_an_upstream_may_have_read_is_not_sent_again() {
    let mut it = Between::start().await;
    let with_body = |method: &str| format!("{method} / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
    let unsafe_ones = ["POST", "PUT", "PATCH", "DELETE", "GET"].map(with_body);
    for request in [GET.to_owned(), "DELETE / HTTP/1.1\r\n\r\n".to_owned()]
        .iter()
        .chain(&unsafe_ones)
    {
        let mut caller = it.sends(request).await;
        it.upstream.accept().await.message().await;
        assert_eq!(verdict(&mut caller).await, own("502", "upstream_broke_off"));

        let mut upstream = served(&mut it, &mut caller).await;
        caller.send(request).await;
        upstream.message().await;
        if request == GET {
            // A byte of a reply: it has been heard.
            upstream.send("H").await;
        }
        drop(upstream);
        assert_eq!(verdict(&mut caller).await, own("502", "upstream_broke_off"));
        it.nothing_was_forwarded().await;
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_said_so() {
    let nowhere = nobodys_address().await;
    let sidecar = Sidecar::before(&format!("http://{nowhere}"), &[]).await;
    let mut caller = Peer::connect(sidecar.proxy).await;
    for _ in 0..2 {
        caller.send(GET).await;
        assert_eq!(verdict(&mut caller).await, own("502", "upstream_unreachable"));
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_given_up() {
    let mut it = Between::with(&[("proxy.response_timeout", "200ms")]).await;
    for request in [GET, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"] {
        let mut caller = it.sends(request).await;
        let mut upstream = it.upstream.accept().await;
        upstream.message().await;
        assert_eq!(verdict(&mut caller).await, own("504", "upstream_timeout"));
        upstream.closed().await;
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let mut it = Between::with(&[("proxy.body_idle_timeout", "200ms")]).await;
    let mut caller = it
        .sends("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nfirst")
        .await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    assert_eq!(verdict(&mut caller).await, own("408", "request_timeout"));
    assert_eq!(upstream.rest().await.0, b"first");

    let mut caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
        .await;
    caller.head().await;
    assert_eq!(caller.rest().await.0, b"first");
    upstream.closed().await;
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_the_upstreams_fault() {
    let mut it = Between::start().await;
    for reply in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "<html>\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 2000 High\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let mut caller = it.replied(reply).await;
        assert_eq!(
            verdict(&mut caller).await,
            own("502", "upstream_protocol"),
            "{reply:?}"
        );
    }
    for reply in ["", "HTTP/1.1 200 OK\r\nContent-Len"] {
        let mut caller = it.replied(reply).await;
        assert_eq!(
            verdict(&mut caller).await,
            own("502", "upstream_broke_off"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_given_up() {
    let mut it = Between::with(&[("proxy.body_idle_timeout", "500ms")]).await;
    let caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let taken = patiently(upstream.send_until_closed()).await;
    assert!(taken < 64 << 20);
    drop(caller);
}

#[tokio::test]
async fn a_reply_cut_short_by_a_vanished_upstream_resets_an_http_1_0_caller() {
    let mut it = Between::start().await;
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut caller = it.answered("GET / HTTP/1.0\r\n\r\n", chunks).await;
    assert_eq!(caller.rest().await.1, End::Reset);
}

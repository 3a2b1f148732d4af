//! What callers may take up: each limit with its answer, its count, and its line in the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind};

use crate::between::Between;
use crate::harness::{Harness, Registration, client, options, patiently, read};
use crate::program::{Sidecar, simulator};
use crate::raw::{End, OK, OK_KEPT, Peer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// How often each limit was reached, of those that were.
pub(crate) async fn reached(ops: &str) -> HashMap<String, u64> {
    let reply = read(client().get(format!("{ops}/metrics")).send().await.unwrap()).await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let counts = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("snaptrade_sidecar_limits_total{limit=\"")?;
        let (limit, count) = rest.split_once("\"} ")?;
        Some((limit.to_owned(), count.parse().unwrap()))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

async fn only(it: &Between, limit: &str, count: u64) {
    let (ops, only) = (
        format!("http://{}", it.sidecar.ops),
        HashMap::from([(limit.to_owned(), count)]),
    );
    // The caller may see its connection closed before that is counted.
    patiently(async { while reached(&ops).await != only {} }).await;
}

async fn refused(caller: &mut Peer, status: &str) {
    let reply = caller.message().await;
    assert_eq!(reply.head.start, format!("HTTP/1.1 {status}"));
    caller.closed().await;
}

fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |all, n| all + &format!("x-{n}: {n}\r\n"))
}

#[tokio::test]
async fn a_head_is_as_large_as_it_may_be() {
    let settings = [("proxy.max_headers", "20"), ("proxy.max_header_bytes", "9000")];
    let mut it = Between::with(&settings).await;
    let head = |count| format!("GET / HTTP/1.1\r\n{}\r\n", lines(count));
    it.forwarded(head(20)).await;
    refused(
        &mut it.sends(head(21)).await,
        "431 Request Header Fields Too Large",
    )
    .await;
    let head = |bytes| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    it.forwarded(head(8_900)).await;
    refused(
        &mut it.sends(head(9_000)).await,
        "431 Request Header Fields Too Large",
    )
    .await;
    only(&it, "head_bytes", 2).await;
    // That of a reply is not the caller's to answer for.
    let large = "x".repeat(20_000);
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}X: {large}\r\n\r\n",
        lines(50)
    );
    assert_eq!(it.replied(reply).await.head().await.fields.len(), 52);
}

#[tokio::test]
async fn what_is_not_http_is_counted() {
    let it = Between::start().await;
    refused(&mut it.sends("s3cret\r\n\r\n").await, "400 Bad Request").await;
    refused(
        &mut it.sends("GET / HTTP/1.1\r\n X: folded\r\n\r\n").await,
        "400 Bad Request",
    )
    .await;
    it.sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.closed().await;
    only(&it, "head_malformed", 3).await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_answered() {
    let it = Between::with(&[("proxy.header_timeout", "200ms")]).await;
    let mut caller = it.sends("GET / HTTP/1.1\r\nHost:").await;
    let reply = caller.message().await;
    assert_eq!(reply.verdict(), ("408", "sidecar_head_timeout".to_owned()));
    assert_eq!(reply.head.get("connection"), Some("close"));
    caller.closed().await;
    only(&it, "head_time", 1).await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_counted_by_its_side() {
    let mut it = Between::with(&[("proxy.body_idle_timeout", "200ms")]).await;
    let upload = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nfirst";
    let reply = it.sends(upload).await.message().await;
    assert_eq!(reply.verdict(), ("408", "sidecar_request_timeout".to_owned()));
    it.upstream.accept().await;
    only(&it, "request_body_time", 1).await;

    let mut it = Between::with(&[("proxy.body_idle_timeout", "200ms")]).await;
    let mut caller = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
        .await;
    caller.head().await;
    assert_eq!(caller.rest().await, (b"first".to_vec(), End::Closed));
    only(&it, "reply_body_time", 1).await;

    let mut it = Between::with(&[("proxy.body_idle_timeout", "500ms")]).await;
    let _unread = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.send("HTTP/1.1 200 OK\r\n\r\n").await;
    patiently(upstream.send_until_closed()).await;
    only(&it, "reply_unread", 1).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_counted() {
    let mut it = Between::with(&[("proxy.response_timeout", "200ms")]).await;
    let mut caller = it.sends(GET).await;
    let _upstream = it.upstream.accept().await;
    assert_eq!(caller.message().await.verdict().0, "504");
    only(&it, "response_time", 1).await;
}

#[tokio::test]
async fn a_registration_is_as_large_as_it_may_be() {
    let it = Harness::with(options(), &[("proxy.max_registration_bytes", "1024")]).await;
    for (spaces, status) in [(1_000, 200), (1_100, 413)] {
        let mut registration = Registration::of("new");
        registration.body = format!("{{{}\"userId\":\"new\"}}", " ".repeat(spaces)).into();
        let reply = it.send(&registration).await;
        assert_eq!(reply.status, status);
        if status == 413 {
            assert_eq!(reply.json()["code"], "sidecar_body_too_large");
        }
    }
    let reached = reached(&format!("http://{}", it.ops)).await;
    assert_eq!(reached, HashMap::from([("registration_bytes".to_owned(), 1)]));
}

#[tokio::test]
async fn a_queue_is_as_long_and_as_slow_as_it_may_be() {
    let settings = [
        ("tenants.default.queue_max", "1"),
        ("tenants.default.admission_timeout", "1s"),
    ];
    let it = Harness::with(options(), &settings).await;
    it.sim.inject(Fault::new(FaultCall::Register, FaultKind::Hang));
    let first = it.register("first");
    tokio::pin!(first);
    let registered = it.until(|sim| sim.count(snaptrade_sidecar::simulator::CallKind::Register) == 1);
    tokio::select! {
        () = registered => {}
        _ = &mut first => panic!("it hangs"),
    }
    let rest = async {
        let (one, other) = tokio::join!(it.register("second"), it.register("third"));
        let mut codes = [one.json(), other.json()].map(|reply| reply["code"].as_str().unwrap().to_owned());
        codes.sort();
        assert_eq!(codes, ["sidecar_queue_full", "sidecar_queued_too_long"]);
    };
    tokio::select! {
        () = rest => {}
        _ = &mut first => panic!("it hangs"),
    }
    let reached = reached(&format!("http://{}", it.ops)).await;
    let expected = [("queue".to_owned(), 1), ("queue_time".to_owned(), 1)];
    assert_eq!(reached, HashMap::from(expected));
}

#[tokio::test]
async fn quiet_connections_make_room_where_every_place_is_taken() {
    let settings = [("proxy.max_connections", "3"), ("proxy.header_timeout", "300ms")];
    let mut it = Between::with(&settings).await;
    let mut quiet = [it.caller().await, it.answered(GET, OK_KEPT).await];
    quiet[1].head().await;
    let mut busy = it.sends(GET).await;
    let mut upstream = it.upstream.accept().await;
    upstream.head().await;
    // With every place taken.
    let mut waiting = it.sends("GET /waiting HTTP/1.1\r\n\r\n").await;
    let mut next = it.upstream.accept().await;
    assert_eq!(next.head().await.start, "GET /waiting HTTP/1.1");
    next.send(OK).await;
    assert_eq!(waiting.head().await.start, "HTTP/1.1 200 OK");
    upstream.send(OK_KEPT).await;
    assert_eq!(busy.head().await.start, "HTTP/1.1 200 OK");
    let reached = reached(&format!("http://{}", it.sidecar.ops)).await;
    assert_eq!(reached["connections"], 1);
    assert!((1..=2).contains(&reached["idle_connections"]), "{reached:?}");
}

#[tokio::test]
async fn a_flood_is_one_line_with_an_address_and_none_of_its_bytes() {
    let mut it = Sidecar::start(simulator(options()).await, &[]).await;
    it.program.logged("SnapTrade answers for this key").await;
    let address: SocketAddr = it.proxy.strip_prefix("http://").unwrap().parse().unwrap();
    for _ in 0..100 {
        let mut caller = Peer::connect(address).await;
        caller.send("s3cret s3cret\r\n\r\n").await;
        refused(&mut caller, "400 Bad Request").await;
    }
    assert_eq!(reached(&it.ops).await["head_malformed"], 100);
    let ended = it.stop().await;
    let said: Vec<serde_json::Value> = ended
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["limit"] == "head_malformed")
        .collect();
    assert_eq!(said.len(), 1, "{}", ended.err);
    assert_eq!(
        (&said[0]["level"], &said[0]["count"]),
        (&"WARN".into(), &1.into())
    );
    assert!(said[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!ended.err.contains("s3cret"));
}

/// The processor time that a process has used, in hundredths of a second.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn without_descriptors_it_waits_and_does_not_spin() {
    let mut it = Sidecar::start(simulator(options()).await, &[("proxy.worker_threads", "1")]).await;
    it.program.logged("SnapTrade answers for this key").await;
    let address: SocketAddr = it.proxy.strip_prefix("http://").unwrap().parse().unwrap();
    let mut kept = Peer::connect(address).await;
    kept.send(GET).await;
    kept.message().await;
    let (used, began) = (ticks(it.program.id()), Instant::now());
    limit_descriptors(it.program.id(), 40);
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(Peer::connect(address).await);
    }
    let warning = "cannot accept connections; trying again until it works. Said once a minute";
    let said = it.program.logged(warning).await;
    assert!(said["error"].as_str().unwrap().contains("os error 24"), "{said}");
    // Meanwhile what was there before is served.
    let slow = FaultKind::Delay(Duration::from_secs(1));
    it.sim.inject(Fault::new(FaultCall::Other, slow));
    kept.send(GET).await;
    assert_eq!(kept.message().await.verdict().0, "200");
    let used = ticks(it.program.id()) - used;
    assert!(
        used < 50,
        "{used} hundredths of a second in {:?}",
        began.elapsed()
    );
    callers.clear();
    assert_eq!(it.get(&format!("{}/healthz", it.proxy)).await.status, 200);
    let tries_max = began.elapsed().as_millis() / 100 + 1;
    let tries = reached(&it.ops).await["descriptors"];
    assert!(
        (2..=tries_max).contains(&u128::from(tries)),
        "{tries} of {tries_max}"
    );
    let ended = it.stop().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.logged(warning).len(), 1);
}

fn limit_descriptors(id: u32, count: u64) {
    let limit = Rlimit {
        current: Some(count),
        maximum: Some(count),
    };
    let id = Pid::from_raw(id.cast_signed());
    prlimit(id, Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn callers_leave_descriptors_for_the_operator() {
    let sim = simulator(options()).await;
    let mut it = Sidecar::start_with_files(sim, 64).await;
    let warning = it.program.logged(
        "the process may have fewer files open than proxy.max_connections and proxy.max_requests take, so that fewer \
         callers are served at once; raise the limit (ulimit -n, LimitNOFILE=), or lower these",
    );
    let warning = warning.await;
    assert_eq!(
        (&warning["allowed"], &warning["connections"]),
        (&64.into(), &32.into())
    );
    let address: SocketAddr = it.proxy.strip_prefix("http://").unwrap().parse().unwrap();
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(Peer::connect(address).await);
    }
    callers[0].send(GET).await;
    callers[0].message().await;
    assert_eq!(it.get(&format!("{}/readyz", it.ops)).await.status, 200);
    assert!(reached(&it.ops).await.contains_key("connections"));
    drop(callers);
    assert_eq!(it.stop().await.code, Some(0));
}

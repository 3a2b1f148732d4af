//! More than there is room for: new calls are refused before those under way suffer, and what matters most goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::between::Between;
use crate::harness::{FIVE, Harness, options};
use crate::limits::reached;
use crate::program::{Sidecar, simulator};
use crate::raw::{OK, Peer};

const GET: &str = "GET /accounts HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn beyond_max_requests_calls_are_refused_and_registrations_are_not() {
    let mut it = Between::with(&[("proxy.max_requests", "2")]).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let caller = it.sends(GET).await;
        let mut upstream = it.upstream.accept().await;
        upstream.message().await;
        waiting.push((caller, upstream));
    }
    for request in [GET, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"] {
        let mut caller = it.sends(request).await;
        let refused = caller.message().await;
        assert_eq!(refused.verdict(), ("503", "sidecar_overloaded".to_owned()));
        assert_eq!(refused.head.get("retry-after"), Some("1"));
    }
    let mut probe = it.sends("GET /readyz HTTP/1.1\r\n\r\n").await;
    assert_eq!(probe.message().await.verdict().0, "200");
    let reached = reached(&format!("http://{}", it.sidecar.ops)).await;
    assert_eq!(reached["requests"], 2);
    // Each answer makes room, also if it is still being read.
    let (mut caller, mut upstream) = waiting.remove(0);
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
        .await;
    caller.head().await;
    let mut next = it.sends(GET).await;
    let mut other = it.upstream.accept().await;
    other.message().await;
    other.send(OK).await;
    assert_eq!(next.head().await.start, "HTTP/1.1 200 OK");
    // And so does a caller that leaves.
    let (caller, mut upstream) = waiting.remove(0);
    drop(caller);
    upstream.closed().await;
    it.answered(GET, OK).await.head().await;

    let it = Harness::with_users(&FIVE, options(), &[("proxy.max_requests", "1")]).await;
    let (x, y, z) = tokio::join!(it.register("x"), it.register("y"), it.register("z"));
    assert_eq!([x, y, z].map(|reply| reply.status.as_u16()), [200; 3]);
}

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Calls without a pause until `stop`, and counts them.
async fn hammer(proxy: SocketAddr, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>) {
    let mut caller = Peer::connect(proxy).await;
    while !stop.load(Ordering::Relaxed) {
        caller.send(GET).await;
        caller.message().await;
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_registrations_have_their_turn_under_load() {
    let settings = [("proxy.worker_threads", "1")];
    let mut it = Sidecar::start(simulator(options()).await, &settings).await;
    it.program.logged("SnapTrade answers for this key").await;
    for user in FIVE {
        it.sim.add_user(user);
    }
    let proxy: SocketAddr = it.proxy.strip_prefix("http://").unwrap().parse().unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..64)
        .map(|_| tokio::spawn(hammer(proxy, Arc::clone(&stop), Arc::clone(&calls))))
        .collect();
    let mut probes = Vec::new();
    for round in 0..10 {
        let before = calls.load(Ordering::Relaxed);
        let began = Instant::now();
        assert_eq!(it.get(&format!("{}/readyz", it.ops)).await.status, 200);
        probes.push(began.elapsed());
        let reply = it.register(&format!("new-{round}")).await;
        assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
        assert!(calls.load(Ordering::Relaxed) > before, "there is no load");
    }
    stop.store(true, Ordering::Relaxed);
    for caller in load {
        caller.await.unwrap();
    }
    // One call of 64 that take turns would have to wait for all the others.
    let probe = median(probes);
    assert!(probe < Duration::from_millis(500), "{probe:?}");
    assert_eq!(it.stop().await.code, Some(0));
}

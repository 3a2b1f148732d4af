//! From SIGTERM to the end: who is told to leave, what is finished, and what a second signal leaves behind.

use std::net::SocketAddr;
use std::time::Duration;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Simulator};

use crate::harness::{FIVE, Registration, client, options, patiently, read};
use crate::program::{Program, Sidecar, remembering, simulator};
use crate::raw::Peer;

const GET: &str = "GET /accounts HTTP/1.1\r\nHost: a\r\n\r\n";

async fn caller(it: &Sidecar) -> Peer {
    let address: SocketAddr = it.proxy.strip_prefix("http://").unwrap().parse().unwrap();
    Peer::connect(address).await
}

#[tokio::test]
async fn while_draining_it_is_not_ready_and_every_reply_sends_its_caller_elsewhere() {
    let mut it = Sidecar::start(simulator(options()).await, &[("proxy.drain_delay", "1h")]).await;
    let mut kept = caller(&it).await;
    kept.send(GET).await;
    assert_eq!(kept.message().await.head.get("connection"), None);
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    for ready in [&it.proxy, &it.ops] {
        let reply = it.get(&format!("{ready}/readyz")).await;
        assert_eq!(reply.status, 503);
        assert!(
            reply.json()["reasons"][0]
                .as_str()
                .unwrap()
                .starts_with("draining")
        );
        assert_eq!(it.get(&format!("{ready}/healthz")).await.status, 200);
    }
    // On a connection of before and on a new one.
    for mut caller in [kept, caller(&it).await] {
        caller.send(GET).await;
        let reply = caller.message().await;
        assert_eq!(reply.head.get("connection"), Some("close"));
        caller.closed().await;
    }
    it.program.signal("INT").await;
    assert_eq!(it.program.end().await.code, Some(130));
}

#[tokio::test]
async fn quiet_connections_are_closed_and_the_busy_finish() {
    let mut it = Sidecar::start(simulator(options()).await, &[]).await;
    let (mut new, mut quiet, mut busy) = (caller(&it).await, caller(&it).await, caller(&it).await);
    quiet.send(GET).await;
    quiet.message().await;
    let slow = FaultKind::Delay(Duration::from_secs(1));
    it.sim.inject(Fault::new(FaultCall::Other, slow));
    busy.send(GET).await;
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::Other) == 2)).await;
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    new.closed().await;
    quiet.closed().await;
    let reply = busy.message().await;
    assert_eq!(reply.verdict().0, "200");
    assert_eq!(reply.head.get("connection"), Some("close"));
    busy.closed().await;
    assert_eq!(it.program.end().await.code, Some(0));
}

/// A full key, and a registration whose deletion the simulator is slow with.
async fn deleting(
    sim: &Simulator,
    proxy: &str,
    kind: FaultKind,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    for user in FIVE {
        sim.add_user(user);
    }
    sim.inject(Fault::new(FaultCall::Delete, kind));
    let request = Registration::of("new").request(proxy);
    let sent = tokio::spawn(request.send());
    patiently(sim.wait_for(|sim| sim.count(CallKind::Delete) == 1)).await;
    sent
}

#[tokio::test]
async fn a_registration_that_has_begun_to_delete_is_finished() {
    let mut it = Sidecar::start(simulator(options()).await, &[]).await;
    it.program.logged("SnapTrade answers for this key").await;
    let slow = FaultKind::DelayAfter(Duration::from_secs(1));
    let sent = deleting(&it.sim, &it.proxy, slow).await;
    it.program.signal("TERM").await;
    let reply = read(sent.await.unwrap().unwrap()).await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    let ended = it.program.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.err.matches("WARN").count(), 0, "{}", ended.err);
    assert_eq!(it.sim.users(), ["b", "c", "d", "e", "new"]);
}

#[tokio::test]
async fn r7_what_a_second_signal_cuts_short_is_settled_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let registry = format!("sqlite://{}", directory.path().join("registry.db").display());
    let sim = simulator(options()).await;
    let (mut first, ready) = remembering(&sim, &registry, &[]).await;
    first.logged("SnapTrade answers for this key").await;
    let slow = FaultKind::DelayAfter(Duration::from_mins(1));
    let sent = deleting(&sim, ready["proxy"].as_str().unwrap(), slow).await;
    first.signal("TERM").await;
    first.logged("draining").await;
    first.signal("INT").await;
    let ended = first.end().await;
    assert_eq!(ended.code, Some(130));
    assert_eq!(
        ended
            .logged("stopped at once, because a second signal came")
            .len(),
        1
    );
    assert!(sent.await.unwrap().is_err());

    let (mut second, ready) = remembering(&sim, &registry, &[]).await;
    second
        .logged("evictions were cut short the last time; looking what became of them")
        .await;
    second.logged("SnapTrade answers for this key").await;
    let url = format!("{}/api/tenants/default/evictions", ready["ops"].as_str().unwrap());
    let journal = read(client().get(url).send().await.unwrap()).await.json();
    let newest = &journal["entries"][0];
    assert_eq!(
        (&newest["event"], &newest["user_id"], &newest["outcome"]),
        (&"outcome".into(), &"a".into(), &"evicted".into())
    );
    assert_eq!(sim.count(CallKind::Delete), 1);
    end(second).await;
}

async fn end(program: Program) {
    program.signal("TERM").await;
    assert_eq!(program.end().await.code, Some(0));
}

//! 429 on the sidecar's own calls, and the calls that are left for the application.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::simulator::CallKind::{Delete, List, Register};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind, Options};

use crate::harness::{CLIENT_ID, FIVE, Harness, options};
use crate::ops::{ask, metrics_of};

fn throttled(call: FaultCall, seconds: u64) -> Fault {
    Fault::new(call, FaultKind::Throttled(seconds))
}

#[tokio::test]
async fn a_list_that_is_throttled_is_asked_for_again_when_that_is_welcome() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    it.sim.inject(throttled(FaultCall::List, 1));
    let began = Instant::now();
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(it.kinds(), [List, List, Delete, List, Register]);
    it.stop().await;
}

#[tokio::test]
async fn a_list_that_is_welcome_too_late_is_not_waited_for() {
    for (on_list_error, status, admission) in [
        ("forward", 400, "forwarded; reason=list-failed"),
        ("reject", 503, "refused; reason=list-failed"),
    ] {
        let settings = [("tenants.default.on_list_error", on_list_error)];
        let it = Harness::with_users(&FIVE, options(), &settings).await;
        it.sim.inject(throttled(FaultCall::List, 30));
        let reply = it.register("new").await;
        assert_eq!((reply.status.as_u16(), reply.admission()), (status, admission));
        // The limit error that SnapTrade then answers brings no call that is not welcome either.
        assert_eq!(it.sim.count(List), 1);
        assert_eq!(it.sim.deletions(), 0);
        it.stop().await;
    }
}

#[tokio::test]
async fn r10_a_throttled_deletion_is_settled_by_looking_and_never_sent_again() {
    let settings = [("tenants.default.settle_timeout", "1500ms")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    it.sim.inject(throttled(FaultCall::Delete, 1));
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=deletion-unsettled")
    );
    assert_eq!(it.sim.count(Delete), 1);
    assert_eq!(it.sim.users(), FIVE);
    it.stop().await;
}

#[tokio::test]
async fn r4_nobody_waits_for_a_welcome_once_the_caller_has_left() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    it.sim.inject(throttled(FaultCall::List, 25));
    {
        let leaving = std::pin::pin!(it.register("new"));
        tokio::select! {
            _ = leaving => panic!("it was to wait"),
            () = it.until(|sim| sim.calls().iter().any(|call| call.status == Some(429))) => {}
        }
    }
    // Whoever is next waits for the lock.
    assert_eq!(
        it.register("c").await.admission(),
        "forwarded; reason=already-listed"
    );
    assert_eq!(it.sim.count(Register), 1);
    it.stop().await;
}

#[tokio::test]
async fn an_operator_is_told_when_a_call_is_welcome_again() {
    let it = Harness::with_users(&FIVE, options(), &[("ops.token", "open-sesame")]).await;
    it.sim.inject(throttled(FaultCall::List, 7));
    let token = [("authorization", "Bearer open-sesame")];
    let reply = ask(&it, "POST", "/api/tenants/default/users/a/evict", &token, None).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (502, Some("7"))
    );
    assert_eq!(it.sim.users(), FIVE);
    it.stop().await;
}

#[tokio::test]
async fn looking_slows_down_while_few_calls_are_left() {
    let scarce = Options {
        rate_limit: 6,
        delete_lag: Duration::from_millis(500),
        ..options()
    };
    let settings = [("tenants.default.settle_timeout", "1500ms")];
    let it = Harness::with_users(&FIVE, scarce, &settings).await;
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert_eq!(it.kinds(), [List, Delete, List, List, Register]);
    it.stop().await;
}

#[tokio::test]
async fn the_calls_that_are_left_are_told_as_any_reply_tells_them() {
    let few = Options {
        rate_limit: 100,
        ..options()
    };
    let it = Harness::with(few, &[]).await;
    let left = async |calls: u32| {
        let metrics = metrics_of(it.ops).await;
        let line = format!("snaptrade_sidecar_rate_limit_remaining{{tenant=\"default\"}} {calls}\n");
        assert!(metrics.contains(&line), "no {line} in:\n{metrics}");
    };
    // Waits for the first look, if it is still under way.
    it.ops_get("/api/snaptrade/status").await;
    left(99).await;
    let target = format!("/accounts?clientId={CLIENT_ID}");
    it.call(Method::GET, &target, HeaderMap::new(), Bytes::new())
        .await;
    left(98).await;
    it.delete("nobody").await;
    left(97).await;
    // Listed and registered.
    it.register("new").await;
    left(95).await;
    it.stop().await;
}

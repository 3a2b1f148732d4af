//! What follows from webhooks: what is known of users, and whom the guard counts.

use std::time::Duration;

use snaptrade_sidecar::admission::known::{Connections, Source};
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind};
use snaptrade_sidecar::types::UserId;

use super::{ON, ago, connection, counted, known, now, taken, webhook};
use crate::harness::{CLIENT_ID, FIVE, Harness, options, patiently};

#[tokio::test]
async fn a_registration_elsewhere_is_remembered_with_its_time() {
    let it = Harness::with(options(), &[ON]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 90);
    taken(&it, &event, "handled").await;
    let (at, source) = known(&it, "a").await.unwrap().registered.unwrap();
    assert_eq!(source, Source::Webhook);
    assert!(now().since(at) >= Duration::from_secs(89));
    assert_eq!(counted(&it, "default", "handled").await, 1);
    it.stop().await;
}

#[tokio::test]
async fn r3_a_late_webhook_casts_doubt_on_the_list_that_is_on_its_way() {
    let it = Harness::with_users(&FIVE, options(), &[ON]).await;
    let slow = FaultKind::DelayAfter(Duration::from_millis(500));
    it.sim.inject(Fault::new(FaultCall::List, slow));
    let late = webhook("w1", "USER_DELETED", "c", 301);
    let (reply, ()) = tokio::join!(it.register("new"), async {
        it.until(|sim| sim.count(CallKind::List) == 1).await;
        taken(&it, &late, "late").await;
        it.until(|sim| sim.count(CallKind::List) == 2).await;
    });
    assert_eq!(reply.admission(), "evicted");
    // The first was asked for before, and the second by the webhook.
    let calls = it.kinds();
    let deleted = calls.iter().position(|kind| *kind == CallKind::Delete).unwrap();
    assert_eq!(calls[..deleted], [CallKind::List; 3]);
    it.stop().await;
}

#[tokio::test]
async fn our_own_knowledge_of_a_registration_stays_unless_it_is_another() {
    let it = Harness::with(options(), &[ON]).await;
    let (registry, user) = (it.registry(), UserId::new("a"));
    let own = ago(200);
    registry
        .registered(CLIENT_ID, &user, own, Source::Own)
        .await
        .unwrap();
    taken(&it, &webhook("w1", "USER_REGISTERED", "a", 100), "handled").await;
    assert_eq!(
        known(&it, "a").await.unwrap().registered,
        Some((own, Source::Own))
    );
    let long_ago = ago(3_600);
    registry
        .gone(CLIENT_ID, std::slice::from_ref(&user), own)
        .await
        .unwrap();
    registry
        .registered(CLIENT_ID, &user, long_ago, Source::Own)
        .await
        .unwrap();
    taken(&it, &webhook("w2", "USER_REGISTERED", "a", 10), "handled").await;
    let (at, source) = known(&it, "a").await.unwrap().registered.unwrap();
    assert!(source == Source::Webhook && at > own);
    it.stop().await;
}

#[tokio::test]
async fn events_may_arrive_in_another_order_than_they_happened() {
    let it = Harness::with(options(), &[ON]).await;
    taken(&it, &webhook("w1", "USER_REGISTERED", "a", 10), "handled").await;
    // The deletion of the user who had that id before.
    taken(&it, &webhook("w2", "USER_DELETED", "a", 60), "late").await;
    assert!(known(&it, "a").await.unwrap().registered.is_some());
    let counts = |working, broken| Some(Connections { working, broken });
    for (event, outcome, connections) in [
        (
            connection("c1", "CONNECTION_ADDED", "x", 9),
            "handled",
            counts(1, 0),
        ),
        (
            connection("c2", "CONNECTION_ADDED", "y", 8),
            "handled",
            counts(2, 0),
        ),
        (
            connection("c3", "CONNECTION_BROKEN", "x", 5),
            "handled",
            counts(1, 1),
        ),
        (connection("c4", "CONNECTION_FIXED", "x", 7), "late", counts(1, 1)),
        (
            connection("c5", "CONNECTION_FIXED", "x", 4),
            "handled",
            counts(2, 0),
        ),
        (
            connection("c6", "CONNECTION_DELETED", "y", 3),
            "handled",
            counts(1, 0),
        ),
        (
            webhook("c7", "CONNECTION_ADDED", "a", 2),
            "malformed",
            counts(1, 0),
        ),
    ] {
        taken(&it, &event, outcome).await;
        assert_eq!(known(&it, "a").await.unwrap().connections, connections, "{event}");
    }
    it.stop().await;
}

#[tokio::test]
async fn r3_a_user_whose_deletion_a_webhook_told_counts_no_more_although_the_list_lags() {
    let it = Harness::with_users(&FIVE, options(), &[ON]).await;
    it.sim.set(|options| options.user_limit = 6);
    taken(&it, &webhook("w1", "USER_DELETED", "c", 1), "handled").await;
    assert_eq!(it.register("new").await.admission(), "forwarded");
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn r8_a_burst_evicts_as_many_as_without_webhooks() {
    let it = Harness::with_users(&FIVE, options(), &[ON]).await;
    let url = it.webhooks();
    it.sim.set(|options| options.webhook_url = url);
    let replies = tokio::join!(
        it.register("1"),
        it.register("2"),
        it.register("3"),
        it.register("4")
    );
    for reply in [replies.0, replies.1, replies.2, replies.3] {
        assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    }
    assert_eq!((it.sim.deletions(), it.sim.most_live()), (4, 5));
    // Four came and four went, and SnapTrade told of each.
    patiently(async { while counted(&it, "default", "handled").await < 8 {} }).await;
    assert!(known(&it, "4").await.unwrap().registered.is_some());
    assert_eq!(counted(&it, "default", "unverified").await, 0);
    it.stop().await;
}

//! R3, R4: the application's own deletions, which the sidecar sees pass by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Options};

use crate::by_hand::TOKEN;
use crate::harness::{CLIENT_ID, FIVE, Harness, options};

#[tokio::test]
async fn r3_a_user_that_the_application_deleted_counts_no_more_although_the_list_lags() {
    let lagging = Options {
        delete_lag: Duration::from_secs(5),
        ..options()
    };
    let it = Harness::with_users(&FIVE, lagging, &[]).await;
    assert_eq!(it.delete("c").await.status, 200);
    let kept: Vec<String> = it.sim.listed();
    assert_eq!(kept, FIVE);
    // SnapTrade still counts it, and says so; that makes nobody else go.
    it.sim.set(|options| options.user_limit = 6);
    assert_eq!(it.register("new").await.admission(), "forwarded");
    assert_eq!(it.sim.count(CallKind::Delete), 1, "the application's own");
    it.stop().await;
}

#[tokio::test]
async fn r3_a_deletion_of_unclear_outcome_casts_doubt_on_the_list_that_is_on_its_way() {
    for lost in [FaultKind::ResetAfter, FaultKind::CloseAfter] {
        let it = Harness::with_users(&FIVE, options(), &[]).await;
        let slow = FaultKind::DelayAfter(Duration::from_millis(300));
        it.sim.inject(Fault::new(FaultCall::List, slow));
        it.sim.inject(Fault::new(FaultCall::Delete, lost));
        let (reply, deleted) = tokio::join!(it.register("new"), async {
            it.until(|sim| sim.count(CallKind::List) == 1).await;
            it.delete("c").await
        });
        assert_eq!(deleted.status, 502);
        assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
        assert_eq!(it.sim.users(), ["a", "b", "d", "e", "new"]);
        it.stop().await;
    }
}

/// A key whose lists lag, and the reply to the next deletion is lost.
async fn with_a_lost_reply() -> Harness {
    let lagging = Options {
        delete_lag: Duration::from_secs(1),
        ..options()
    };
    let it = Harness::with_users(&FIVE, lagging, &[]).await;
    it.sim
        .inject(Fault::new(FaultCall::Delete, FaultKind::CloseAfter));
    it
}

#[tokio::test]
async fn r4_nobody_goes_for_a_user_whose_deletion_was_not_answered_and_who_is_listed_still() {
    let it = with_a_lost_reply().await;
    assert_eq!(it.delete("c").await.status, 502);
    assert_eq!(it.sim.listed(), FIVE);
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
    assert_eq!(it.sim.users(), ["a", "b", "d", "e", "new"]);
    it.stop().await;
}

#[tokio::test]
async fn r4_nobody_goes_for_a_user_whose_deletion_is_under_way() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let slow = FaultKind::Delay(Duration::from_secs(2));
    it.sim.inject(Fault::new(FaultCall::Delete, slow));
    let (deleted, reply) = tokio::join!(it.delete("c"), async {
        it.until(|sim| sim.count(CallKind::Delete) == 1).await;
        it.register("new").await
    });
    assert_eq!((deleted.status.as_u16(), reply.admission()), (200, "forwarded"));
    assert_eq!(it.sim.users(), ["a", "b", "d", "e", "new"]);
    it.stop().await;
}

#[tokio::test]
async fn r4_who_was_not_deleted_after_all_counts_again() {
    let settings = [("tenants.default.settle_timeout", "1s")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    it.sim
        .inject(Fault::new(FaultCall::Delete, FaultKind::ResetBefore));
    assert_eq!(it.delete("c").await.status, 502);
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert_eq!(it.sim.users(), ["b", "c", "d", "e", "new"]);
    // SnapTrade says that it did nothing.
    let refused = FaultKind::Status {
        status: 403,
        body: String::new(),
        content_type: None,
        done: false,
    };
    it.sim.inject(Fault::new(FaultCall::Delete, refused));
    assert_eq!(it.delete("c").await.status, 403);
    assert_eq!(it.register("newer").await.admission(), "evicted");
    it.stop().await;
}

#[tokio::test]
async fn r4_a_deletion_by_a_stranger_keeps_nobody_from_being_counted() {
    for signature in ["AAAA", ""] {
        let it = with_a_lost_reply().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let target = format!("/snapTrade/deleteUser?userId=c&clientId={CLIENT_ID}&timestamp={now}");
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("signature"), signature.parse().unwrap())]);
        let reply = it.call(Method::DELETE, &target, headers, Bytes::new()).await;
        assert_eq!(reply.status, 502);
        assert_eq!(it.register("new").await.admission(), "evicted");
        it.stop().await;
    }
}

#[tokio::test]
async fn r3_an_eviction_by_hand_does_not_rest_on_a_list_that_the_application_overtook() {
    let it = Harness::with_users(&FIVE, options(), &[("ops.token", TOKEN)]).await;
    let slow = FaultKind::DelayAfter(Duration::from_millis(300));
    it.sim.inject(Fault::new(FaultCall::List, slow));
    let url = format!("http://{}/api/tenants/default/users/a/evict", it.ops);
    let evict = async || {
        it.http
            .post(&url)
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap()
            .status()
    };
    let (evicted, deleted) = tokio::join!(evict(), async {
        it.until(|sim| sim.count(CallKind::List) == 1).await;
        it.delete("c").await
    });
    assert_eq!(deleted.status, 200);
    // It may have been this one, and registered anew.
    assert_eq!(evicted, 409);
    assert_eq!(it.sim.users(), ["a", "b", "d", "e"]);
    assert_eq!(evict().await, 200);
    assert_eq!(it.sim.users(), ["b", "d", "e"]);
    it.stop().await;
}

#[tokio::test]
async fn the_applications_own_deletion_makes_room_although_the_list_lags() {
    let lagging = Options {
        delete_lag: Duration::from_millis(500),
        ..options()
    };
    let it = Harness::with_users(&FIVE, lagging, &[]).await;
    assert_eq!(it.delete("c").await.status, 200);
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (200, "forwarded; retried")
    );
    assert_eq!(it.sim.deletions(), 1, "the application's own");
    it.stop().await;
}

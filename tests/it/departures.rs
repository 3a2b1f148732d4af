//! R3: the application's own deletions, which the sidecar sees pass by.

use std::time::Duration;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Options};

use crate::by_hand::TOKEN;
use crate::harness::{FIVE, Harness, options};

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

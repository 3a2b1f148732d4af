//! R12: a user secret is not lost with the connection of the caller that it was for.

use std::time::Duration;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind};

use crate::harness::{Harness, Registration, options};

const SLOW: FaultKind = FaultKind::DelayAfter(Duration::from_millis(300));

/// A caller registers this user, and leaves when SnapTrade has got it.
async fn leaves(it: &Harness, user: &str) {
    it.sim.inject(Fault::new(FaultCall::Register, SLOW));
    let before = it.sim.count(CallKind::Register);
    tokio::select! {
        reply = it.register(user) => panic!("{reply:?} came too soon"),
        () = it.until(|sim| sim.count(CallKind::Register) > before) => {}
    }
}

#[tokio::test]
async fn r12_a_reply_that_nobody_took_is_given_once_to_the_next_who_asks() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    leaves(&it, "new").await;
    let forged = Registration {
        consumer_key: "another",
        ..Registration::of("new")
    };
    assert_ne!(it.send(&forged).await.status, 200);

    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (200, "forwarded; replayed")
    );
    assert_eq!(reply.json()["userId"], "new");
    assert!(reply.json()["userSecret"].is_string());
    assert_eq!(
        it.register("new").await.admission(),
        "forwarded; reason=already-listed"
    );
    it.stop().await;
}

#[tokio::test]
async fn r12_a_kept_reply_goes_with_its_user() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    leaves(&it, "new").await;
    // Behind the one that is on its way.
    assert_eq!(it.register("other").await.status, 200);
    assert_eq!(it.delete("new").await.status, 200);
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
    it.stop().await;
}

#[tokio::test]
async fn a_reply_is_not_kept_if_that_is_not_wanted() {
    let settings = [("tenants.default.replay_window", "0s")];
    let it = Harness::with_users(&["a"], options(), &settings).await;
    leaves(&it, "new").await;
    assert_eq!(
        it.register("new").await.admission(),
        "forwarded; reason=already-listed"
    );
    it.stop().await;
}

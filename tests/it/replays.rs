//! R12: a user secret is not lost with the connection of the caller that it was for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind};

use crate::harness::{CLIENT_ID, Harness, Registration, options};
use crate::ops::ask;

const TOKEN: [(&str, &str); 1] = [("ops.token", "open-sesame")];
const AUTHORIZED: [(&str, &str); 1] = [("authorization", "Bearer open-sesame")];

const SLOW: FaultKind = FaultKind::DelayAfter(Duration::from_millis(300));

fn status(status: u16, done: bool) -> FaultKind {
    FaultKind::Status {
        status,
        body: "{}".to_owned(),
        content_type: None,
        done,
    }
}

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
async fn r12_a_kept_reply_goes_with_a_deletion_whose_answer_is_lost() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    let lost = [FaultKind::ResetAfter, status(500, true), status(404, true)];
    for kind in lost {
        leaves(&it, "new").await;
        assert_eq!(it.register("other").await.status, 200);
        it.sim.inject(Fault::new(FaultCall::Delete, kind));
        assert!(!it.delete("new").await.status.is_success());
        let reply = it.register("new").await;
        assert_eq!(reply.status, 200);
        assert!(!reply.admission().contains("replayed"), "{reply:?}");
        assert_eq!(it.delete("new").await.status, 200);
        assert_eq!(it.delete("other").await.status, 200);
    }
    it.stop().await;
}

#[tokio::test]
async fn r12_a_kept_reply_stays_where_a_deletion_is_plainly_refused() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    leaves(&it, "new").await;
    assert_eq!(it.register("other").await.status, 200);
    for refused in [401, 403] {
        it.sim
            .inject(Fault::new(FaultCall::Delete, status(refused, false)));
        assert_eq!(it.delete("new").await.status, refused);
    }
    assert_eq!(it.register("new").await.admission(), "forwarded; replayed");
    it.stop().await;
}

#[tokio::test]
async fn r12_a_kept_reply_goes_with_a_new_secret_whose_answer_is_lost() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    leaves(&it, "new").await;
    assert_eq!(it.register("other").await.status, 200);
    // Before the simulator looks at anything.
    it.sim.inject(Fault::new(FaultCall::Any, FaultKind::ResetBefore));
    let target = format!("/snapTrade/resetUserSecret?clientId={CLIENT_ID}&userId=new");
    let reply = it
        .call(Method::POST, &target, HeaderMap::new(), Bytes::new())
        .await;
    assert_eq!(reply.status, 502);
    assert_eq!(
        it.register("new").await.admission(),
        "forwarded; reason=already-listed"
    );
    it.stop().await;
}

#[tokio::test]
async fn r12_a_kept_reply_is_given_while_the_tenant_is_paused() {
    let it = Harness::with_users(&["a"], options(), &TOKEN).await;
    leaves(&it, "new").await;
    assert_eq!(it.register("other").await.status, 200);
    let pause = "/api/tenants/default/pause";
    assert_eq!(ask(&it, "POST", pause, &AUTHORIZED, None).await.status, 200);
    let another = it.register("another").await;
    assert_eq!(
        (another.status.as_u16(), another.admission()),
        (200, "unmanaged; reason=paused")
    );
    let forged = Registration {
        consumer_key: "another",
        ..Registration::of("new")
    };
    let reply = it.send(&forged).await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (401, "unmanaged; reason=paused")
    );
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (200, "forwarded; replayed")
    );
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "unmanaged; reason=paused")
    );
    it.stop().await;
}

#[tokio::test]
async fn r12_an_operator_gets_no_reply_that_is_kept_for_the_application() {
    let it = Harness::with_users(&["a"], options(), &TOKEN).await;
    leaves(&it, "new").await;
    let wanted = serde_json::json!({"user_id": "new"});
    let reply = ask(&it, "POST", "/api/snaptrade/register", &AUTHORIZED, Some(&wanted)).await;
    assert_ne!(reply.status, 200, "{reply:?}");
    assert_eq!(it.register("new").await.admission(), "forwarded; replayed");
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

//! R3, R4, R5, R9, R10 and the modes: when somebody is deleted, and above all when nobody is.

use std::time::Duration;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Options};

use crate::harness::{FIVE, Harness, Registration, options};

const MODE: &str = "tenants.default.eviction.mode";

#[tokio::test]
async fn r3_nobody_is_evicted_when_the_users_cannot_be_counted() {
    let broken = [
        Fault::status(FaultCall::List, 500, "limit reached"),
        Fault::status(FaultCall::List, 429, r#"{"detail":"Request was throttled."}"#),
        Fault::status(FaultCall::List, 200, "{}"),
        Fault::status(FaultCall::List, 200, r#""nope""#),
        Fault::status(FaultCall::List, 200, "[1,2]"),
        Fault::status(FaultCall::List, 200, "[]"),
        Fault::new(FaultCall::List, FaultKind::TruncatedBody),
        Fault::new(FaultCall::List, FaultKind::ResetBefore),
        Fault::new(FaultCall::List, FaultKind::ResetAfter),
        Fault::new(FaultCall::List, FaultKind::CloseBefore),
    ];
    for (on_list_error, status, admission) in [
        ("forward", 400, "forwarded; reason=list-failed"),
        ("reject", 503, "refused; reason=list-failed"),
    ] {
        let settings = [("tenants.default.on_list_error", on_list_error)];
        let it = Harness::with_users(&FIVE, options(), &settings).await;
        // Once with a good list, so that an empty one cannot be right.
        it.sim.remove_user("e");
        assert_eq!(it.register("e").await.status, 200);
        for fault in &broken {
            // The limit error that SnapTrade then answers makes the sidecar look again, and what was reset is asked twice.
            it.sim.inject(fault.clone().times(4));
            let reply = it.register("new").await;
            assert_eq!(
                (reply.status.as_u16(), reply.admission()),
                (status, admission),
                "{fault:?}"
            );
            it.sim.clear_faults();
        }
        assert_eq!(it.sim.deletions(), 0);
        assert_eq!(it.sim.users().len(), 5);
        it.stop().await;
    }
}

#[tokio::test]
async fn r4_while_max_users_is_not_set_one_goes_for_a_registration_at_most() {
    let options = || Options {
        user_limit: 20,
        ..options()
    };
    let six = ["a", "b", "c", "d", "e", "f"];
    let it = Harness::with_users(&six, options(), &[]).await;
    assert_eq!(
        it.register("new").await.admission(),
        "forwarded; reason=too-many-over-limit"
    );
    assert_eq!((it.sim.deletions(), it.sim.users().len()), (0, 7));
    it.stop().await;
    let it = Harness::with_users(&six, options(), &[("tenants.default.max_users", "5")]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    assert_eq!((it.sim.deletions(), it.sim.users().len()), (2, 5));
    it.stop().await;
}

#[tokio::test]
async fn r4_an_account_far_above_its_limit_loses_nobody() {
    let many: Vec<String> = (0..40).map(|n| format!("user-{n}")).collect();
    let users: Vec<&str> = many.iter().map(String::as_str).collect();
    let it = Harness::with_users(&users, options(), &[]).await;
    let reply = it.register("new").await;
    assert_eq!(reply.admission(), "forwarded; reason=too-many-over-limit");
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn r4_a_user_who_is_there_already_evicts_nobody() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let reply = it.register("c").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["code"].as_str()),
        (400, Some("1010"))
    );
    assert_eq!(reply.admission(), "forwarded; reason=already-listed");
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn r4_a_body_without_a_usable_id_evicts_nobody() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    for body in [
        "",
        "{}",
        r#"{"userId":""}"#,
        r#"{"userId":7}"#,
        r#"{"userid":"new"}"#,
        "[]",
    ] {
        let mut registration = Registration::of("new");
        registration.body = body.into();
        let reply = it.send(&registration).await;
        assert_eq!(reply.admission(), "forwarded; reason=no-user-id", "{body}");
    }
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn r4_a_caller_who_leaves_before_the_deletion_deletes_nobody() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    it.sim.inject(Fault::new(
        FaultCall::List,
        FaultKind::DelayAfter(Duration::from_millis(300)),
    ));
    {
        let leaving = std::pin::pin!(it.register("new"));
        tokio::select! {
            _ = leaving => panic!("the list was to take longer"),
            () = it.until(|sim| !sim.calls().is_empty()) => {}
        }
    }
    // Whoever is next waits for the lock, so that the first admission is over when this one is answered.
    let reply = it.register("c").await;
    assert_eq!(reply.admission(), "forwarded; reason=already-listed");
    assert_eq!(it.sim.deletions(), 0);
    assert_eq!(
        it.sim.count(CallKind::Register),
        1,
        "nor was the one who left registered"
    );
    it.stop().await;
}

#[tokio::test]
async fn an_admission_past_its_first_deletion_finishes_although_the_caller_leaves() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    it.sim.inject(Fault::new(
        FaultCall::Delete,
        FaultKind::DelayAfter(Duration::from_millis(300)),
    ));
    {
        let leaving = std::pin::pin!(it.register("new"));
        tokio::select! {
            _ = leaving => panic!("the deletion was to take longer"),
            () = it.until(|sim| sim.count(CallKind::Delete) == 1) => {}
        }
    }
    it.until(|sim| sim.users().contains(&"new".to_owned())).await;
    assert_eq!(it.sim.deletions(), 1);
    it.stop().await;
}

#[tokio::test]
async fn r4_nobody_is_evicted_once_the_sidecar_is_stopping() {
    let it = Harness::with_users(&FIVE, options(), &[("proxy.drain_delay", "1s")]).await;
    it.sim.inject(Fault::new(
        FaultCall::List,
        FaultKind::DelayAfter(Duration::from_millis(300)),
    ));
    let (http, proxy) = (it.http.clone(), it.proxy);
    let (target, signature) = Registration::of("new").signed();
    let caller = tokio::spawn(async move {
        let request = http.post(format!("http://{proxy}{target}"));
        let request = request.header("signature", signature.unwrap());
        request.body(r#"{"userId":"new"}"#).send().await.unwrap().status()
    });
    it.until(|sim| !sim.calls().is_empty()).await;
    let sim = it.stop_keeping_simulator().await;
    assert_eq!(caller.await.unwrap(), 400, "SnapTrade's own answer");
    assert_eq!(sim.deletions(), 0);
}

#[tokio::test]
async fn r5_protected_users_stay_and_the_caller_gets_snaptrades_answer() {
    let settings = [("tenants.default.eviction.protect", "a,b*,c,d,e")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=nobody-evictable")
    );
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;

    let settings = [("tenants.default.eviction.evictable", "d")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    assert_eq!(
        it.register("new").await.header("snaptrade-sidecar-evicted"),
        Some("d")
    );
    it.stop().await;
}

#[tokio::test]
async fn r5_min_age_keeps_those_whose_age_is_not_known() {
    let it = Harness::with_users(&FIVE, options(), &[("tenants.default.eviction.min_age", "1h")]).await;
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=nobody-evictable")
    );
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn r9_a_registration_whose_reply_is_lost_is_not_sent_twice() {
    let it = Harness::with_users(&["a"], options(), &[]).await;
    for (kind, code) in [
        (FaultKind::ResetAfter, "sidecar_upstream_broke_off"),
        (FaultKind::CloseAfter, "sidecar_upstream_broke_off"),
        (FaultKind::ResetBefore, "sidecar_upstream_broke_off"),
        (FaultKind::TruncatedBody, "sidecar_upstream_broke_off"),
    ] {
        it.sim.clear_calls();
        it.sim.inject(Fault::new(FaultCall::Register, kind.clone()));
        let reply = it.register(&format!("{kind:?}")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["code"].as_str()),
            (502, Some(code)),
            "{kind:?}"
        );
        assert_eq!(it.sim.count(CallKind::Register), 1, "{kind:?}");
    }
    it.stop().await;
}

#[tokio::test]
async fn r9_a_registration_that_times_out_is_not_sent_twice() {
    let it = Harness::with_users(&["a"], options(), &[("proxy.response_timeout", "200ms")]).await;
    it.sim.inject(Fault::new(FaultCall::Register, FaultKind::Hang));
    let reply = it.register("new").await;
    assert_eq!(reply.status, 504);
    assert_eq!(it.sim.count(CallKind::Register), 1);
    it.stop().await;
}

#[tokio::test]
async fn r10_an_unclear_deletion_is_settled_by_looking_and_never_sent_again() {
    let unclear = [
        FaultKind::ResetAfter,
        FaultKind::CloseAfter,
        FaultKind::TruncatedBody,
        FaultKind::Status {
            status: 500,
            body: String::new(),
            content_type: None,
            done: true,
        },
        FaultKind::Status {
            status: 429,
            body: String::new(),
            content_type: None,
            done: true,
        },
    ];
    for kind in unclear {
        let it = Harness::with_users(&FIVE, options(), &[]).await;
        it.sim.inject(Fault::new(FaultCall::Delete, kind.clone()));
        let reply = it.register("new").await;
        assert_eq!(
            (reply.status.as_u16(), reply.admission()),
            (200, "evicted"),
            "{kind:?}"
        );
        assert_eq!(it.sim.count(CallKind::Delete), 1, "{kind:?}");
        assert_eq!(it.sim.users(), ["b", "c", "d", "e", "new"]);
        it.stop().await;
    }
}

#[tokio::test]
async fn r10_a_deletion_that_did_not_happen_takes_no_second_victim() {
    let settings = [("tenants.default.settle_timeout", "400ms")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    it.sim
        .inject(Fault::new(FaultCall::Delete, FaultKind::ResetBefore));
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=deletion-unsettled")
    );
    assert_eq!(it.sim.count(CallKind::Delete), 1);
    assert_eq!(it.sim.users().len(), 5);
    it.stop().await;
}

#[tokio::test]
async fn r10_a_plain_refusal_frees_the_next_in_order() {
    for status in [403, 404] {
        let it = Harness::with_users(&FIVE, options(), &[]).await;
        it.sim
            .inject(Fault::status(FaultCall::Delete, status, r#"{"detail":"no"}"#));
        let reply = it.register("new").await;
        assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("b"));
        assert_eq!(it.sim.users(), ["a", "c", "d", "e", "new"]);
        it.stop().await;
    }
}

#[tokio::test]
async fn r10_a_slow_deletion_is_awaited() {
    let slow = Options {
        delete_lag: Duration::from_millis(500),
        settle_time: Duration::from_secs(1),
        ..options()
    };
    let it = Harness::with_users(&FIVE, slow, &[]).await;
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert_eq!(it.sim.deletions(), 1);
    it.stop().await;
}

#[tokio::test]
async fn r8_registrations_wait_their_turn_and_each_makes_room_once() {
    let lagging = Options {
        list_lag: Duration::from_millis(300),
        ..options()
    };
    let it = Harness::with_users(&FIVE, lagging, &[]).await;
    it.until(|sim| sim.listed().len() == 5).await;
    let (first, second) = tokio::join!(it.register("new-1"), it.register("new-2"));
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    assert_eq!(it.sim.deletions(), 2);
    assert!(it.sim.most_live() <= 5);
    it.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_refused_with_the_time_to_come_back() {
    let it = Harness::with_users(&["a"], options(), &[("tenants.default.queue_max", "1")]).await;
    it.sim.inject(Fault::new(
        FaultCall::List,
        FaultKind::DelayAfter(Duration::from_millis(400)),
    ));
    let replies = tokio::join!(it.register("x"), it.register("y"), it.register("z"));
    let replies = [replies.0, replies.1, replies.2];
    let refused = replies
        .iter()
        .find(|reply| reply.status == 503)
        .expect("one too many");
    assert_eq!(refused.json()["code"], "sidecar_queue_full");
    assert_eq!(refused.admission(), "refused");
    assert!(refused.header("retry-after").is_some());
    assert!(replies.iter().filter(|reply| reply.status == 200).count() >= 1);
    it.stop().await;
}

#[tokio::test]
async fn observe_deletes_nobody() {
    let it = Harness::with_users(&FIVE, options(), &[(MODE, "observe")]).await;
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=observe")
    );
    assert_eq!(it.sim.deletions(), 0);
    it.stop().await;
}

#[tokio::test]
async fn off_forwards_unmanaged_and_asks_nothing() {
    let it = Harness::with_users(&FIVE, options(), &[(MODE, "off")]).await;
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "unmanaged; reason=mode-off")
    );
    assert_eq!(it.kinds(), [CallKind::Register]);
    it.stop().await;
}

#[tokio::test]
async fn on_limit_error_ignores_max_users_while_snaptrade_accepts() {
    let roomy = Options {
        user_limit: 50,
        ..options()
    };
    let it = Harness::with_users(&FIVE, roomy, &[(MODE, "on-limit-error")]).await;
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
    assert_eq!(it.kinds(), [CallKind::Register]);
    it.stop().await;
}

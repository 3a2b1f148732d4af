//! R9: which answers are a limit error, which never are, and what follows.

use std::time::Duration;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, LimitField, Options};

use crate::harness::{FIVE, Harness, Registration, options};

/// The sidecar does not count, so that `SnapTrade` itself has to refuse.
const ON_LIMIT_ERROR: (&str, &str) = ("tenants.default.eviction.mode", "on-limit-error");

#[tokio::test]
async fn r9_every_known_wording_is_caught_and_retried_once() {
    let wordings = [
        "Connection Limit Reached",
        "connection limit reached",
        "LIMIT REACHED",
        "You have hit the maximum number of connections.",
    ];
    for wording in wordings {
        for limit_field in [LimitField::Detail, LimitField::DefaultDetail] {
            for limit_status in [400, 402, 403] {
                let options = Options {
                    limit_detail: wording.to_owned(),
                    limit_field,
                    limit_status,
                    ..options()
                };
                let it = Harness::with_users(&FIVE, options, &[ON_LIMIT_ERROR]).await;
                let reply = it.register("new").await;
                assert_eq!(reply.status, 200, "{wording} {limit_field:?} {limit_status}");
                assert_eq!(reply.admission(), "evicted; retried");
                assert_eq!(it.sim.users(), ["b", "c", "d", "e", "new"]);
                assert_eq!(it.sim.count(CallKind::Register), 2);
                it.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn r9_a_compressed_limit_error_is_read_all_the_same() {
    let options = Options {
        gzip_errors: true,
        ..options()
    };
    let it = Harness::with_users(&FIVE, options, &[ON_LIMIT_ERROR]).await;
    let mut registration = Registration::of("new");
    registration
        .headers
        .insert("accept-encoding", "gzip, br".parse().unwrap());
    assert_eq!(it.send(&registration).await.status, 200);
    it.stop().await;
}

#[tokio::test]
async fn r9_where_tombstones_count_they_are_waited_for() {
    let options = Options {
        tombstones_count: true,
        settle_time: Duration::from_millis(300),
        ..options()
    };
    let it = Harness::with_users(&FIVE, options, &[]).await;
    let first = it.register("new-1").await;
    assert_eq!(
        (first.status.as_u16(), first.admission()),
        (200, "evicted; retried")
    );
    let second = it.register("new-2").await;
    assert_eq!(second.status, 200);
    assert_eq!(it.sim.deletions(), 2, "one victim for each, and no more");
    assert_eq!(it.sim.users(), ["c", "d", "e", "new-1", "new-2"]);
    it.stop().await;
}

#[tokio::test]
async fn r9_other_answers_evict_nobody_and_come_back_byte_for_byte() {
    let answers: [(u16, &str); 9] = [
        (
            400,
            r#"{"detail":"User with the following userId already exist: new","status_code":400,"code":"1010"}"#,
        ),
        (
            400,
            r#"{"detail":"Limit reached: user already exists","status_code":400,"code":"1010"}"#,
        ),
        (
            400,
            r#"{"detail":"Personal SnapTrade keys are provisioned with their user automatically at signup. registerUser is not available for personal keys.","status_code":400,"code":"1012"}"#,
        ),
        (
            400,
            r#"{"detail":"Invalid input","status_code":400,"code":"1012"}"#,
        ),
        (
            401,
            r#"{"detail":"Unable to verify signature sent","status_code":401,"code":"1076"}"#,
        ),
        (
            429,
            r#"{"detail":"Request limit reached. Expected available in 7 seconds.","status_code":429,"code":"0000"}"#,
        ),
        (500, r#"{"detail":"connection limit reached"}"#),
        (400, r#"{ "detail" : "userId length limit is 100 characters" }"#),
        (404, "limit reached"),
    ];
    for mode in ["enforce", "on-limit-error"] {
        let it = Harness::with_users(&["a"], options(), &[("tenants.default.eviction.mode", mode)]).await;
        for (status, body) in answers {
            it.sim.inject(Fault::status(FaultCall::Register, status, body));
            let reply = it.register("new").await;
            assert_eq!(reply.status.as_u16(), status, "{mode} {body}");
            assert_eq!(reply.body, body, "{mode}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
        assert_eq!(it.sim.deletions(), 0);
        assert_eq!(
            it.sim.count(CallKind::Register),
            answers.len(),
            "nothing was sent twice"
        );
        it.stop().await;
    }
}

#[tokio::test]
async fn r9_a_second_limit_error_is_the_callers_answer() {
    let it = Harness::with_users(&FIVE, options(), &[ON_LIMIT_ERROR]).await;
    let body = r#"{"detail":"limit reached","status_code":400,"code":"1012"}"#;
    it.sim
        .inject(Fault::status(FaultCall::Register, 400, body).times(2));
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_ref()),
        (400, body.as_bytes())
    );
    assert_eq!(reply.admission(), "evicted; retried");
    assert_eq!(it.sim.count(CallKind::Register), 2);
    assert_eq!(it.sim.deletions(), 1);
    it.stop().await;
}

#[tokio::test]
async fn r11_the_retry_is_signed_anew_with_a_later_timestamp_in_the_callers_form() {
    let options = Options {
        reject_replayed_signatures: true,
        timestamp_freshness: Some(300),
        ..options()
    };
    let it = Harness::with_users(&FIVE, options, &[ON_LIMIT_ERROR]).await;
    let mut registration = Registration::of("né\"w");
    registration.dialect = snaptrade_sidecar::simulator::Dialect::TYPESCRIPT;
    registration.timestamp = -100;
    assert_eq!(it.send(&registration).await.status, 200);
    let timestamps: Vec<i64> = it
        .calls_of(CallKind::Register)
        .iter()
        .map(|call| call.target.split("timestamp=").nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(timestamps.len(), 2);
    let later = timestamps[1] - timestamps[0];
    assert!((1..10).contains(&later), "held for a moment, so {later} s later");
    it.stop().await;
}

//! R2: a registration that does not prove itself is forwarded as it came and evicts nobody.

use snaptrade_sidecar::simulator::{CallKind, Dialect, Fault, FaultCall};

use crate::harness::{FIVE, Harness, Registration, options};

#[tokio::test]
async fn r2_every_form_that_the_sdks_sign_in_is_managed() {
    for dialect in [Dialect::PYTHON, Dialect::TYPESCRIPT] {
        for path in ["/snapTrade/registerUser", "/api/v1/snapTrade/registerUser"] {
            for signed_path in ["/snapTrade/registerUser", "/api/v1/snapTrade/registerUser"] {
                let it = Harness::with_users(&FIVE, options(), &[]).await;
                let registration = Registration {
                    path,
                    signed_path,
                    dialect,
                    ..Registration::of("ü😀 \"/?&%20")
                };
                let reply = it.send(&registration).await;
                assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
                assert_eq!(it.calls_of(CallKind::Register)[0].path(), path);
                it.stop().await;
            }
        }
    }
}

/// The reason that is given, and the registration.
fn unproven() -> [(&'static str, Registration); 8] {
    let base = || Registration::of("new");
    let repeated = br#"{"userId":"new","userId":"a"}"#;
    [
        (
            "signature-not-recognised",
            Registration {
                consumer_key: "another key",
                ..base()
            },
        ),
        (
            "signature-not-recognised",
            Registration {
                signed_path: "/snapTrade/listUsers",
                ..base()
            },
        ),
        (
            "signature-not-recognised",
            Registration {
                signature: Some("AAAA"),
                ..base()
            },
        ),
        (
            "signature-missing",
            Registration {
                signature: Some(""),
                ..base()
            },
        ),
        (
            "timestamp-stale",
            Registration {
                timestamp: -400,
                ..base()
            },
        ),
        (
            "timestamp-stale",
            Registration {
                timestamp: 400,
                ..base()
            },
        ),
        (
            "parameter-repeated",
            Registration {
                query_tail: "&timestamp=1",
                ..base()
            },
        ),
        (
            "body-key-repeated",
            Registration {
                body: repeated.as_slice().into(),
                signature: Some("AAAA"),
                ..base()
            },
        ),
    ]
}

#[tokio::test]
async fn r2_what_proves_nothing_is_forwarded_untouched_and_evicts_nobody() {
    for (reason, registration) in unproven() {
        let it = Harness::with_users(&FIVE, options(), &[]).await;
        let answer = r#"{"detail":"connection limit reached"}"#;
        it.sim.inject(Fault::status(FaultCall::Register, 400, answer));
        let reply = it.send(&registration).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.as_ref()),
            (400, answer.as_bytes()),
            "{reason}"
        );
        assert_eq!(reply.admission(), format!("unmanaged; reason={reason}"));
        assert_eq!(it.kinds(), [CallKind::Register], "{reason}");
        assert_eq!(
            it.calls_of(CallKind::Register)[0].body,
            registration.body,
            "{reason}"
        );
        it.stop().await;
    }
}

#[tokio::test]
async fn r2_another_client_id_is_none_of_our_business() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let registration = Registration {
        client_id: "SOMEBODY",
        ..Registration::of("new")
    };
    let reply = it.send(&registration).await;
    assert_eq!(reply.admission(), "unmanaged; reason=client-unknown");
    assert_eq!(it.kinds(), [CallKind::Register]);
    let metrics = it.ops_get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = r#"snaptrade_sidecar_registrations_total{tenant="unknown",outcome="unmanaged"} 1"#;
    assert!(text.contains(line), "{text}");
    it.stop().await;
}

#[tokio::test]
async fn r2_an_unproven_registration_that_snaptrade_accepts_shows_in_the_metrics() {
    let it = Harness::start().await;
    let accepted = r#"{"userId":"new","userSecret":"s"}"#;
    it.sim.inject(Fault::status(FaultCall::Register, 200, accepted));
    let registration = Registration {
        signature: Some("AAAA"),
        ..Registration::of("new")
    };
    assert_eq!(it.send(&registration).await.status, 200);
    let metrics = it.ops_get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = r#"snaptrade_sidecar_registrations_total{tenant="default",outcome="unrecognised-accepted"} 1"#;
    assert!(text.contains(line), "{text}");
    it.stop().await;
}

#[tokio::test]
async fn a_registration_body_over_64_kib_is_refused() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let mut registration = Registration::of("new");
    registration.body = vec![b' '; 65_537].into();
    registration.signature = Some("AAAA");
    let reply = it.send(&registration).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()["code"].as_str()),
        (413, Some("sidecar_body_too_large"))
    );
    assert!(it.kinds().is_empty());
    it.stop().await;
}

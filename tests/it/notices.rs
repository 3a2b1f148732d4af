//! What the application is told after an eviction.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use snaptrade_sidecar::registry::Event;
use snaptrade_sidecar::simulator::Options;

use crate::application::{Application, Arrived};
use crate::harness::{CLIENT_ID, FIVE, Harness, options};
use crate::program::{Sidecar, simulator};

const SECRET: &str = "shared with the application";

async fn harness(application: &Application, options: Options, more: &[(&str, &str)]) -> Harness {
    let url = application.url("/evicted?v=1");
    let mut settings = vec![
        ("tenants.default.eviction.notify_url", url.as_str()),
        ("tenants.default.eviction.notify_secret", SECRET),
    ];
    settings.extend(more);
    Harness::with_users(&FIVE, options, &settings).await
}

/// What it says, if it is signed.
fn verified(notice: &Arrived) -> Value {
    let timestamp = notice.header("snaptrade-sidecar-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update([timestamp.as_bytes(), b".", &notice.body].concat().as_slice());
    let right = bytes::Bytes::copy_from_slice(&mac.finalize().into_bytes());
    assert_eq!(
        notice.header("snaptrade-sidecar-signature"),
        format!("sha256={right:x}")
    );
    let told = notice.json();
    assert_eq!(told["id"], notice.header("snaptrade-sidecar-notice"));
    told
}

fn fields<'v>(told: &'v Value, names: &[&str]) -> Vec<&'v str> {
    names.iter().map(|name| told[name].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_eviction_is_told_in_order_and_tried_again() {
    let mut application = Application::start().await;
    application.answers(&[500]);
    let it = harness(&application, options(), &[]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let refused = application.next().await;
    assert_eq!(
        (refused.method.as_str(), &*refused.target),
        ("POST", "/evicted?v=1")
    );
    assert_eq!(
        fields(
            &verified(&refused),
            &["type", "tenant", "client_id", "user_id", "newcomer", "outcome"]
        ),
        ["user.evicted", "default", CLIENT_ID, "a", "new", "evicted"]
    );
    assert_eq!(it.register("newer").await.admission(), "evicted");
    let (one, other) = (application.next().await, application.next().await);
    let mut told: Vec<Value> = [&one, &other].map(verified).into();
    // The first comes again a second later, and the second may have taken longer than that.
    told.sort_by_key(|told| told["user_id"].to_string());
    assert_eq!(told[0]["id"], verified(&refused)["id"]);
    assert_eq!(fields(&told[1], &["user_id", "newcomer"]), ["b", "newer"]);

    let registry = it.registry();
    it.stop().await;
    assert!(application.is_quiet());
    let journal = registry.journal(CLIENT_ID, None, 100).await.unwrap();
    let notices: Vec<_> = journal
        .iter()
        .filter(|recorded| recorded.entry.event == Event::Notice)
        .map(|recorded| recorded.entry.outcome.as_deref())
        .collect();
    assert_eq!(notices, [Some("delivered"); 2]);
}

#[tokio::test]
async fn an_eviction_that_does_not_settle_is_told_as_such() {
    let mut application = Application::start().await;
    let never = Options {
        delete_lag: Duration::from_hours(1),
        ..options()
    };
    let hasty = [("tenants.default.settle_timeout", "50ms")];
    let it = harness(&application, never, &hasty).await;
    let reply = it.register("new").await;
    assert_eq!(reply.header("snaptrade-sidecar-unsettled"), Some("a"));
    let told = verified(&application.next().await);
    assert_eq!(fields(&told, &["user_id", "outcome"]), ["a", "unsettled"]);
    it.stop().await;
}

#[tokio::test]
async fn nobody_is_told_of_what_did_not_happen() {
    let application = Application::start().await;
    let it = harness(
        &application,
        options(),
        &[("tenants.default.eviction.mode", "observe")],
    )
    .await;
    it.register("new").await;
    it.stop().await;
    assert!(application.is_quiet());
}

#[tokio::test]
async fn r13_a_notice_that_is_not_taken_is_told_of_with_its_host_alone() {
    let mut application = Application::start().await;
    application.answers(&[500]);
    let url = application.url("/needle?needle=1");
    let settings = [
        ("tenants.default.eviction.notify_url", url.as_str()),
        ("tenants.default.eviction.notify_secret", SECRET),
    ];
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let mut it = Sidecar::start(sim, &settings).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    application.next().await;
    let said = "the application did not take the notice of an eviction; it is tried again for a day. See to it that \
                eviction.notify_url answers";
    let line = it.program.logged(said).await;
    assert_eq!(
        (&line["host"], &line["why"]),
        (&application.addr.to_string().into(), &"answered with 500".into())
    );
    let ended = it.stop().await;
    assert!(!ended.err.contains("needle"), "{}", ended.err);
}

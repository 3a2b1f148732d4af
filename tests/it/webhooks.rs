//! SnapTrade's webhooks: what is believed, what follows from it, and what is passed on.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use snaptrade_sidecar::admission::known::Known;
use snaptrade_sidecar::simulator::CallKind;
use snaptrade_sidecar::types::{Millis, UserId};

use crate::application::Application;
use crate::harness::{ANY_PORT, CLIENT_ID, CONSUMER_KEY, Harness, Reply, client, options, patiently, read};
use crate::program::{Sidecar, simulator};

mod forwarded;
mod knowledge;

const ON: (&str, &str) = ("webhooks.listen", ANY_PORT);

fn now() -> Millis {
    Millis::from(SystemTime::now())
}

fn ago(seconds: u64) -> Millis {
    now().minus(Duration::from_secs(seconds))
}

/// A webhook about a user, from so many seconds ago.
pub(crate) fn webhook(id: &str, kind: &str, user: &str, seconds_ago: u64) -> Value {
    let at = jiff::Timestamp::from_millisecond(ago(seconds_ago).0).unwrap();
    json!({
        "webhookId": id, "eventType": kind, "userId": user, "clientId": CLIENT_ID,
        "eventTimestamp": at.to_string(), "details": { "z": [1.50, null], "a": "é" },
    })
}

fn connection(id: &str, kind: &str, connection: &str, seconds_ago: u64) -> Value {
    let mut webhook = webhook(id, kind, "a", seconds_ago);
    webhook["brokerageAuthorizationId"] = connection.into();
    webhook
}

pub(crate) fn signature(canonical: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(CONSUMER_KEY.as_bytes()).unwrap();
    mac.update(canonical.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

async fn post(url: &str, headers: &[(&str, &str)], body: String) -> Reply {
    let mut request = client().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(patiently(request.send()).await.unwrap()).await
}

/// Sends it signed, with the body spelled in another way than it is signed in.
pub(crate) async fn send(it: &Harness, webhook: &Value) -> Reply {
    // Sorted and without spaces.
    let signature = signature(&webhook.to_string());
    let headers = [("content-type", "application/json"), ("signature", &*signature)];
    post(
        &it.webhooks(),
        &headers,
        serde_json::to_string_pretty(webhook).unwrap(),
    )
    .await
}

/// Sends it and expects this outcome.
async fn taken(it: &Harness, webhook: &Value, outcome: &str) {
    let reply = send(it, webhook).await;
    assert_eq!(reply.status, 200, "{webhook}");
    assert_eq!(reply.json(), json!({ "outcome": outcome }), "{webhook}");
}

async fn known(it: &Harness, user: &str) -> Option<Known> {
    it.registry().user(CLIENT_ID, &UserId::new(user)).await.unwrap()
}

async fn counted(it: &Harness, tenant: &str, outcome: &str) -> u64 {
    let text = String::from_utf8(it.ops_get("/metrics").await.body.to_vec()).unwrap();
    let series = format!("snaptrade_sidecar_webhooks_total{{tenant=\"{tenant}\",outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn both_spellings_of_what_is_not_ascii_verify() {
    let it = Harness::with(options(), &[ON]).await;
    let event = webhook("w1", "USER_REGISTERED", "böb", 0);
    // As Python's json.dumps writes it.
    let ascii = event.to_string().replace('ö', "\\u00f6").replace('é', "\\u00e9");
    assert!(ascii.is_ascii());
    let signature = signature(&ascii);
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("signature", &*signature),
    ];
    let reply = post(&it.webhooks(), &headers, event.to_string()).await;
    assert_eq!(reply.status, 200);
    assert!(known(&it, "böb").await.is_some());
    it.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_by_the_tenants_key_is_refused_and_changes_nothing() {
    let application = Application::start().await;
    let forward = application.url("/hook");
    let it = Harness::with(options(), &[ON, ("webhooks.forward_url", &forward)]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 0);
    let right = signature(&event.to_string());
    let mut of_another = event.clone();
    of_another["clientId"] = "OTHER".into();
    let mut tampered = event.clone();
    tampered["userId"] = "b".into();
    let repeated = event.to_string().replacen('{', "{\"userId\":\"x\",", 1);
    for (body, signature, status, code) in [
        (event.to_string(), None, 401, "sidecar_webhook_unverified"),
        (event.to_string(), Some("bm8="), 401, "sidecar_webhook_unverified"),
        (
            event.to_string(),
            Some("not base64"),
            401,
            "sidecar_webhook_unverified",
        ),
        (
            tampered.to_string(),
            Some(&*right),
            401,
            "sidecar_webhook_unverified",
        ),
        (
            of_another.to_string(),
            Some(&*signature(&of_another.to_string())),
            401,
            "sidecar_webhook_unverified",
        ),
        (repeated, Some(&*right), 400, "sidecar_webhook_body"),
        ("no JSON".to_owned(), Some(&*right), 400, "sidecar_webhook_body"),
    ] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(signature.map(|signature| ("signature", signature)));
        let reply = post(&it.webhooks(), &headers, body.clone()).await;
        assert_eq!(reply.status, status, "{body}");
        let said = reply.json();
        assert_eq!(
            (&said["code"], &said["status_code"]),
            (&json!(code), &json!(status))
        );
        assert!(said["detail"].is_string() && said.as_object().unwrap().len() == 3);
    }
    assert!(known(&it, "a").await.is_none());
    assert_eq!(counted(&it, "default", "unverified").await, 4);
    assert_eq!(counted(&it, "unknown", "unverified").await, 3);
    // It would have been the first of its id.
    assert_eq!(send(&it, &event).await.status, 200);
    assert!(known(&it, "a").await.is_some());
    it.stop().await;
}

#[tokio::test]
async fn requests_that_are_no_webhooks_are_told_what_to_do() {
    let it = Harness::with(options(), &[ON]).await;
    let url = it.webhooks();
    let json = [("content-type", "application/json")];
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(64 << 10));
    for (reply, status, code) in [
        (post(&url, &json, large).await, 413, "sidecar_body_too_large"),
        (
            post(&url, &[("content-type", "text/plain")], "{}".into()).await,
            415,
            "sidecar_webhook_type",
        ),
        (
            post(&format!("{url}x"), &json, "{}".into()).await,
            404,
            "sidecar_unknown_path",
        ),
        (
            read(client().get(&url).send().await.unwrap()).await,
            405,
            "sidecar_wrong_method",
        ),
    ] {
        assert_eq!(reply.status, status);
        assert_eq!(reply.json()["code"], code);
    }
    it.stop().await;
}

#[tokio::test]
async fn a_repeated_webhook_does_nothing() {
    let it = Harness::with(options(), &[ON]).await;
    let registered = webhook("w1", "USER_REGISTERED", "a", 120);
    taken(&it, &registered, "handled").await;
    taken(&it, &registered, "repeated").await;
    taken(&it, &webhook("w2", "USER_DELETED", "a", 0), "handled").await;
    taken(&it, &registered, "repeated").await;
    assert!(known(&it, "a").await.is_none());
    it.stop().await;
}

#[tokio::test]
async fn of_two_at_once_with_the_same_id_one_is_handled() {
    let it = Harness::with(options(), &[ON]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 0);
    let (one, other) = tokio::join!(send(&it, &event), send(&it, &event));
    let mut outcomes = [one, other].map(|reply| reply.json()["outcome"].as_str().unwrap().to_owned());
    outcomes.sort();
    assert_eq!(outcomes, ["handled", "repeated"]);
    it.stop().await;
}

#[tokio::test]
async fn a_late_webhook_changes_nothing_and_causes_a_fresh_look() {
    let it = Harness::with(options(), &[ON]).await;
    let users = [UserId::new("a")];
    it.registry().seen(CLIENT_ID, &users, ago(600)).await.unwrap();
    let late = webhook("w2", "USER_DELETED", "a", 301);
    taken(&it, &late, "late").await;
    it.until(|sim| sim.count(CallKind::List) == 1).await;
    assert!(known(&it, "a").await.is_some());
    taken(&it, &late, "repeated").await;
    it.stop().await;
}

#[tokio::test]
async fn what_is_malformed_or_of_no_use_is_acknowledged_and_counted() {
    let it = Harness::with(options(), &[ON]).await;
    let mut nameless = webhook("w1", "USER_DELETED", "a", 0);
    nameless.as_object_mut().unwrap().remove("webhookId");
    taken(&it, &nameless, "malformed").await;
    let other = webhook("w2", "ACCOUNT_HOLDINGS_UPDATED", "a", 0);
    taken(&it, &other, "unknown").await;
    taken(&it, &other, "unknown").await;
    assert_eq!(counted(&it, "default", "malformed").await, 1);
    assert_eq!(counted(&it, "default", "unknown").await, 2);
    it.stop().await;
}

#[tokio::test]
async fn refused_webhooks_are_logged_once_a_minute_and_without_their_content() {
    let sim = simulator(options()).await;
    let mut sidecar = Sidecar::start(sim, &[ON]).await;
    let ready = sidecar.program.logged("snaptrade-sidecar is ready").await;
    let url = ready["webhooks"].as_str().unwrap();
    let event = webhook("needle-w", "USER_REGISTERED", "needle-u", 0);
    let headers = [("content-type", "application/json"), ("signature", "bmVlZGxl")];
    let mut of_a_stranger = event.clone();
    of_a_stranger["clientId"] = "needle-c".into();
    for _ in 0..2 {
        let reply = post(url, &headers, of_a_stranger.to_string()).await;
        assert_eq!(reply.status, 401);
    }
    for _ in 0..3 {
        assert_eq!(post(url, &headers, event.to_string()).await.status, 401);
    }
    let ended = sidecar.stop().await;
    let said = "refused a webhook that does not verify; if it is SnapTrade's, compare consumer_key and client_id. \
                This is said once a minute";
    let lines = ended.logged(said);
    // What strangers send does not keep the tenant's own from being told.
    let told: Vec<_> = lines.iter().map(|line| (&line["tenant"], &line["why"])).collect();
    assert_eq!(
        told,
        [
            (&"unknown".into(), &"its clientId is no tenant's".into()),
            (
                &"default".into(),
                &"it is not signed with this tenant's consumer_key".into()
            ),
        ],
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("needle") && !ended.err.contains("bmVlZGxl"));
}

//! What a working registry cannot show over HTTP: how one fails.

use http::header::RETRY_AFTER;

use super::*;
use crate::guard::tests::{config, means};
use crate::upstream::{outbound, tls};

fn webhooks() -> Arc<Webhooks> {
    let config = config();
    let means = means(&config);
    let http = outbound::client(tls::client_config(None).unwrap(), Duration::from_secs(1)).unwrap();
    let (registry, metrics) = (Arc::clone(&means.registry), Arc::clone(&means.metrics));
    let in_force = InForce::new(config, |tenant| {
        Arc::new(Guard::new(Arc::clone(tenant), means.clone()))
    });
    Arc::new(Webhooks::new(Live::new(in_force), http, registry, metrics))
}

fn webhook(webhooks: &Webhooks, id: &str) -> Webhook {
    let body = serde_json::json!({
        "webhookId": id, "eventType": "USER_REGISTERED", "userId": "u", "clientId": "C",
        "eventTimestamp": jiff::Timestamp::now().to_string(),
    });
    let body = Bytes::from(body.to_string());
    let in_force = webhooks.live.load();
    let guard = &in_force.guards()[0];
    Webhook {
        tenant: webhooks.tenant(guard, &in_force),
        guard: Arc::clone(guard),
        forward: None,
        event: Event::read(&body).unwrap(),
        method: Method::POST,
        headers: HeaderMap::new(),
        body,
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_does_not_take_in_time_is_to_be_sent_again() {
    let webhooks = webhooks();
    let tenant = webhook(&webhooks, "w").tenant;
    let stuck = tenant.turn.lock().await;
    let reply = Arc::clone(&webhooks).take(webhook(&webhooks, "w")).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers().contains_key(RETRY_AFTER));
    drop(stuck);
    let again = Arc::clone(&webhooks).take(webhook(&webhooks, "w")).await;
    assert_eq!(again.status(), StatusCode::OK);
    let known = webhooks.registry.users("C").await.unwrap();
    assert_eq!(known.len(), 1);
}

#[tokio::test]
async fn a_webhook_that_was_noted_and_not_handled_is_handled_when_it_comes_again() {
    let webhooks = webhooks();
    let tenant = &webhook(&webhooks, "one").tenant;
    // The registry failed after this.
    assert!(webhooks.begin(tenant, "C:one", Millis(0)).await.unwrap());
    // Another replica noted this one, and nothing is known here of its failing.
    let two = "C:two";
    assert!(webhooks.registry.is_new_webhook(two, Millis(0)).await.unwrap());
    for (id, outcome) in [
        ("two", Outcome::Repeated),
        ("one", Outcome::Handled),
        ("one", Outcome::Repeated),
    ] {
        assert_eq!(webhooks.record(&webhook(&webhooks, id)).await, outcome, "{id}");
    }
}

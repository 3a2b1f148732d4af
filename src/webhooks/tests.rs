//! What a working registry cannot show over HTTP: how one fails.

use http::header::RETRY_AFTER;
use tokio::runtime::Handle;

use super::*;
use crate::activity::Teller;
use crate::config::{self, Sources};
use crate::guard::Means;
use crate::notices::{self, Notices, Schedule};
use crate::upstream::forward::Forwarder;
use crate::upstream::own::Own;
use crate::upstream::{outbound, tls};

fn webhooks() -> Arc<Webhooks> {
    let flags = [
        // Nobody listens there, and what is looked for is not found.
        ("proxy.upstream", "http://127.0.0.1:1"),
        ("tenants.default.client_id", "C"),
        ("tenants.default.consumer_key", "k"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.to_vec(),
        ..Sources::default()
    };
    let config = config::load(sources).unwrap().config;
    let tls = tls::client_config(None).unwrap();
    let http = outbound::client(tls.clone(), Duration::from_secs(1)).unwrap();
    let (registry, metrics) = (
        Arc::new(Registry::memory()),
        Arc::new(Metrics::new([("default", 5)])),
    );
    let means = notices::Means {
        http: http.clone(),
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        replica: "r".into(),
    };
    let means = Means {
        forwarder: Forwarder::new(&config.proxy, tls, Own::default(), metrics.cut_short()),
        metrics: Arc::clone(&metrics),
        registry: Arc::clone(&registry),
        tally: Teller::new(Arc::clone(&registry), Arc::clone(&metrics)).tally(),
        replica: "r".into(),
        notices: Notices::new(&config.tenants, means, Schedule::default()),
        clock_differs: Arc::default(),
        stopping: CancellationToken::new(),
        runtime: Handle::current(),
        tasks: TaskTracker::new(),
    };
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

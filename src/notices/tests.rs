use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::config::{self, Sources};
use crate::registry::Recorded;
use crate::upstream::{outbound, tls};

const SECRET: &str = "a secret of the application";
const PATIENCE: Duration = Duration::from_secs(20);
const FAST: Schedule = Schedule {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    patience: Duration::from_hours(24),
};

/// An application that answers with these statuses, one after the other, then with 200.
struct Application {
    url: String,
    arrived: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
}

type Script = Arc<(Mutex<VecDeque<u16>>, mpsc::UnboundedSender<(HeaderMap, Bytes)>)>;

impl Application {
    async fn answering(statuses: &[u16]) -> Self {
        async fn take(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> StatusCode {
            script.1.send((headers, body)).unwrap();
            let status = script.0.lock().unwrap().pop_front().unwrap_or(200);
            StatusCode::from_u16(status).unwrap()
        }
        let (sender, arrived) = mpsc::unbounded_channel();
        let script = Arc::new((Mutex::new(statuses.iter().copied().collect()), sender));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/evicted", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(script);
        tokio::spawn(async move { axum_serve(listener, router).await });
        Self { url, arrived }
    }

    async fn next(&mut self) -> (HeaderMap, Bytes) {
        let arrived = tokio::time::timeout(PATIENCE, self.arrived.recv());
        arrived.await.expect("no notice came").unwrap()
    }

    /// The user of the next notice.
    async fn user(&mut self) -> String {
        let (_, body) = self.next().await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["user_id"].as_str().unwrap().to_owned()
    }
}

/// The framework's own server needs a feature that only this test would use.
async fn axum_serve(listener: TcpListener, router: Router) {
    use hyper_util::rt::TokioIo;
    use hyper_util::service::TowerToHyperService;
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

/// One, whose application is told there.
fn tenants(url: Option<&str>) -> Vec<Arc<Tenant>> {
    let mut flags = vec![
        ("tenants.default.client_id", "C"),
        ("tenants.default.consumer_key", "k"),
    ];
    if let Some(url) = url {
        flags.push(("tenants.default.eviction.notify_url", url));
        flags.push(("tenants.default.eviction.notify_secret", SECRET));
    }
    let flags = flags
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.collect(),
        ..Sources::default()
    };
    config::load(sources).unwrap().config.tenants
}

struct Teller {
    notices: Notices,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    telling: Telling,
}

impl Teller {
    fn to(url: &str, schedule: Schedule) -> Self {
        let tenants = tenants(Some(url));
        let registry = Arc::new(Registry::memory());
        let metrics = Arc::new(Metrics::new([("default", 5)]));
        let means = Means {
            http: outbound::client(tls::client_config(None).unwrap(), PATIENCE).unwrap(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            replica: "r".into(),
        };
        let notices = Notices::new(&tenants, means, schedule);
        let telling = notices.start();
        Self {
            notices,
            registry,
            metrics,
            telling,
        }
    }

    fn tell(&self, user: &str) {
        let newcomer = UserId::new("new");
        self.notices
            .tell("default", &UserId::new(user), Some(&newcomer), Outcome::Evicted);
    }

    /// Ends it, which waits until everything was tried; what the journal says then.
    async fn end(self) -> Vec<Recorded> {
        self.telling.end(Instant::now() + PATIENCE).await;
        self.registry.journal("C", None, 10_000).await.unwrap()
    }
}

fn counted(metrics: &Metrics, outcome: &str) -> String {
    let text = metrics.encode(crate::telemetry::metrics::Format::OpenMetrics);
    let series = format!("snaptrade_sidecar_notices_total{{tenant=\"default\",outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap().to_owned()
}

fn outcomes(journal: &[Recorded]) -> Vec<(Option<&str>, Option<&str>, Option<&str>)> {
    journal
        .iter()
        .map(|recorded| {
            let entry = &recorded.entry;
            assert_eq!(entry.event, Event::Notice);
            assert_eq!(entry.newcomer, Some(UserId::new("new")));
            (
                entry.user.as_ref().map(UserId::as_str),
                entry.outcome.as_deref(),
                entry.reason.as_deref(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_notice_names_the_user_and_is_signed() {
    let mut application = Application::answering(&[]).await;
    let teller = Teller::to(&application.url, FAST);
    teller.tell("böb");
    let (headers, body) = application.next().await;
    let mut told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let at: jiff::Timestamp = told["at"].take().as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(at).as_secs() < 60);
    let id = told["id"].take();
    assert_eq!(
        told,
        serde_json::json!({
            "id": null, "type": "user.evicted", "tenant": "default", "client_id": "C", "user_id": "böb",
            "newcomer": "new", "at": null, "outcome": "evicted",
        })
    );
    assert_eq!(headers["snaptrade-sidecar-notice"], id.as_str().unwrap());
    assert_eq!(headers["content-type"], "application/json");
    let timestamp = headers["snaptrade-sidecar-timestamp"].to_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(&body);
    let right = format!(
        "sha256={:x}",
        Bytes::copy_from_slice(&mac.finalize().into_bytes())
    );
    assert_eq!(headers["snaptrade-sidecar-signature"], right);
    let metrics = Arc::clone(&teller.metrics);
    assert_eq!(
        outcomes(&teller.end().await),
        [(Some("böb"), Some("delivered"), None)]
    );
    assert_eq!(counted(&metrics, "delivered"), "1");
}

#[tokio::test]
async fn a_notice_is_tried_until_it_is_taken_under_the_same_id() {
    // A redirect is followed no more than any other refusal.
    let mut application = Application::answering(&[500, 302, 404, 204]).await;
    let teller = Teller::to(&application.url, FAST);
    teller.tell("a");
    let (first, body) = application.next().await;
    for _ in 0..3 {
        let (headers, again) = application.next().await;
        assert_eq!(again, body);
        let id = "snaptrade-sidecar-notice";
        assert_eq!(headers[id], first[id]);
    }
    assert_eq!(
        outcomes(&teller.end().await),
        [(Some("a"), Some("delivered"), None)]
    );
    assert!(application.arrived.try_recv().is_err(), "it was taken");
}

#[tokio::test]
async fn notices_come_in_the_order_of_the_evictions_and_one_refused_delays_no_other() {
    let mut application = Application::answering(&[503]).await;
    let slow = Schedule {
        first: Duration::from_hours(1),
        longest: Duration::from_hours(1),
        ..FAST
    };
    let teller = Teller::to(&application.url, slow);
    for user in ["a", "b", "c"] {
        teller.tell(user);
    }
    for user in ["a", "b", "c"] {
        assert_eq!(application.user().await, user);
    }
    // It waits for an hour, so that only the end of the program has it tried again.
    let journal = teller.end().await;
    assert_eq!(application.user().await, "a");
    let last = outcomes(&journal)[0];
    assert_eq!(last, (Some("a"), Some("delivered"), None));
}

#[tokio::test]
async fn a_notice_that_nobody_takes_is_given_up_and_recorded() {
    let mut application = Application::answering(&[500, 500, 500]).await;
    let hasty = Schedule {
        patience: Duration::ZERO,
        ..FAST
    };
    let teller = Teller::to(&application.url, hasty);
    teller.tell("a");
    assert_eq!(application.user().await, "a");
    let metrics = Arc::clone(&teller.metrics);
    assert_eq!(
        outcomes(&teller.end().await),
        [(Some("a"), Some("given-up"), Some("answered with 500"))]
    );
    assert_eq!(counted(&metrics, "given-up"), "1");
}

#[tokio::test]
async fn the_end_of_the_program_is_the_last_try() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=needle", nobody.local_addr().unwrap());
    drop(nobody);
    let teller = Teller::to(&url, Schedule::default());
    teller.tell("a");
    let journal = teller.end().await;
    let [(Some("a"), Some("given-up"), Some(why))] = outcomes(&journal)[..] else {
        panic!("{journal:?}")
    };
    assert!(!why.contains("needle"), "r13: {why}");
}

#[tokio::test]
async fn of_too_many_the_oldest_goes() {
    let mut application = Application::answering(&[]).await;
    let teller = Teller::to(&application.url, FAST);
    // Nothing is sent before this test waits for the first time.
    for number in 0..=desk::NOTICES_MAX {
        teller.tell(&format!("u{number}"));
    }
    assert_eq!(teller.notices.untold(), desk::NOTICES_MAX);
    assert_eq!(counted(&teller.metrics, "dropped"), "1");
    assert_eq!(application.user().await, "u1");
}

#[tokio::test]
async fn a_tenant_without_a_url_is_told_nothing() {
    let teller = Teller::to("http://127.0.0.1:1", FAST);
    teller
        .notices
        .tell("other", &UserId::new("a"), None, Outcome::Evicted);
    assert_eq!(teller.notices.untold(), 0);
}

#[test]
fn pauses_double_from_a_second_to_five_minutes() {
    let pauses: Vec<u64> = [1, 2, 3, 9, 10, 4_000_000_000]
        .map(|failures| Schedule::default().pause(failures).as_secs())
        .into();
    assert_eq!(pauses, [1, 2, 4, 256, 300, 300]);
}

#[test]
fn ids_differ_and_say_nothing() {
    let one = post::id(&["r", "default", "a"], Millis(1), 0);
    assert_eq!(one.len(), 32);
    for other in [
        post::id(&["r", "defaulta", ""], Millis(1), 0),
        post::id(&["r", "default", "a"], Millis(2), 0),
        post::id(&["r", "default", "a"], Millis(1), 1),
    ] {
        assert_ne!(one, other);
    }
}

#[tokio::test]
async fn after_a_reload_what_waits_goes_to_the_new_address() {
    // Nobody listens there.
    let it = Teller::to("http://127.0.0.1:1/evicted", FAST);
    it.tell("a");
    let mut application = Application::answering(&[]).await;
    it.notices.set_tenants(&tenants(Some(&application.url)));
    assert_eq!(application.user().await, "a");
    it.tell("b");
    assert_eq!(application.user().await, "b");
    assert_eq!(it.end().await.len(), 2);
}

#[tokio::test]
async fn what_was_to_be_told_is_told_after_the_tenant_is_gone_and_when_it_comes_back() {
    let mut application = Application::answering(&[500]).await;
    let it = Teller::to(&application.url, FAST);
    it.tell("a");
    it.notices.set_tenants(&[]);
    // An admission that was under way.
    it.tell("b");
    let mut users = [
        application.user().await,
        application.user().await,
        application.user().await,
    ];
    users.sort();
    assert!(users == ["a", "a", "b"] || users == ["a", "b", "b"], "{users:?}");
    it.notices.set_tenants(&tenants(Some(&application.url)));
    it.tell("c");
    assert_eq!(application.user().await, "c");
    it.notices.set_tenants(&tenants(None));
    let told = it.end().await;
    assert!(
        told.iter()
            .all(|told| told.entry.outcome.as_deref() == Some("delivered")),
        "{told:?}"
    );
    assert_eq!(told.len(), 3);
}

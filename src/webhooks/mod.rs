//! `SnapTrade`'s webhooks: verified, taken in once, and passed on to the application.
//!
//! They arrive on a listener of their own, since it has to be reachable for `SnapTrade` and the ops plane must not be.
//! What one says feeds the registry only if it is signed, new and fresh; anything less has the users looked at anew.
//!
//! - `event`: what a webhook says.
//! - `record`: what follows from it here.
//! - `forward`: passing it on.
//! - `problem`: the listener's own errors.

mod event;
mod forward;
mod problem;
mod record;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::guard::{Guard, InForce, Live};
use crate::ops;
use crate::registry::Registry;
use crate::snaptrade::canonical::Canonical;
use crate::telemetry::metrics::Metrics;
use crate::tls::Acceptor;
use crate::types::Millis;
use event::Event;
#[cfg(fuzzing)]
pub use event::told;
use forward::Forward;
use problem::Problem;
use record::Outcome;

/// Where webhooks arrive.
pub const PATH: &str = "/webhooks/snaptrade";

const BODY_BYTES_MAX: usize = 64 << 10;
/// For a body to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two lines of the log about one tenant's webhooks that do not verify: anyone may send such.
const COMPLAINT_PAUSE: Duration = Duration::from_mins(1);

const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// Whose a webhook is that names no tenant.
const UNKNOWN: &str = "unknown";

/// Takes webhooks in, for every tenant.
pub struct Webhooks {
    live: Live,
    /// By name, made with the first webhook that verifies.
    tenants: Mutex<HashMap<Arc<str>, Arc<Tenant>>>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    http: reqwest::Client,
    /// Those being handled. One goes on if its sender leaves, so that none is handled by half.
    tasks: TaskTracker,
    /// By the names of tenants, and [`UNKNOWN`]: no stranger can keep a tenant's own from being told.
    complaints: Mutex<HashMap<Arc<str>, Complaints>>,
}

/// What is known of a tenant's webhooks, whatever is configured.
#[derive(Default)]
struct Tenant {
    /// One webhook of a tenant at a time, so that no two of the same id are both new.
    turn: tokio::sync::Mutex<()>,
    /// Ids that are noted as arrived and whose handling failed.
    owed: Mutex<HashSet<String>>,
    /// When the last event of a connection was, for those of the last minutes.
    connections: Mutex<HashMap<String, Millis>>,
    /// Whether a look is awaited that has not begun.
    is_look_due: AtomicBool,
    last_look: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

/// What was said of webhooks that do not verify.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    /// One more: how many that makes since it was last said, if it is to be said again.
    fn add(&mut self) -> Option<u64> {
        self.unsaid += 1;
        if self.last.is_some_and(|last| clock::since(last) < COMPLAINT_PAUSE) {
            return None;
        }
        self.last = Some(clock::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// A webhook that is signed by its tenant's key.
struct Webhook {
    tenant: Arc<Tenant>,
    guard: Arc<Guard>,
    /// Where it is passed on to.
    forward: Option<Forward>,
    event: Event,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

/// The keys stay out of logs.
impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Webhooks {
    /// `http` must follow no redirects and use no proxy.
    pub fn new(live: Live, http: reqwest::Client, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Self {
        Self {
            live,
            tenants: Mutex::default(),
            registry,
            metrics,
            http,
            tasks: TaskTracker::new(),
            complaints: Mutex::default(),
        }
    }

    /// Where what is known of this tenant's webhooks is kept.
    fn tenant(&self, guard: &Guard, in_force: &InForce) -> Arc<Tenant> {
        let mut tenants = lock(&self.tenants);
        if let Some(tenant) = tenants.get(guard.tenant()) {
            return Arc::clone(tenant);
        }
        // Those that are configured no more make room for the new one.
        tenants.retain(|name, _| in_force.named(name).is_some());
        let tenant = Arc::new(Tenant::default());
        tenants.insert(Arc::clone(&guard.config().name), Arc::clone(&tenant));
        tenant
    }

    /// Answers on `listener` until `stopping`, then finishes what it began.
    pub async fn serve(self, listener: TcpListener, tls: Option<Acceptor>, stopping: CancellationToken) {
        let tasks = self.tasks.clone();
        let router = Router::new()
            .route(PATH, post(arrive))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::new(self));
        ops::serve(listener, tls, router, stopping).await;
        tasks.close();
        tasks.wait().await;
    }

    async fn verified(&self, request: Request) -> Result<Webhook, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Problem::NOT_JSON_TYPE);
        }
        let body = read(body).await?;
        let unverified = |tenant: &str, why| {
            self.complain(tenant, why);
            Problem::UNVERIFIED
        };
        let (Ok(canonical), Some(event)) = (Canonical::read(&body), Event::read(&body)) else {
            self.complain(UNKNOWN, "its body is not a JSON object, or repeats a key");
            return Err(Problem::NOT_JSON);
        };
        let in_force = self.live.load();
        let client_id = event.client_id.as_deref();
        let Some(guard) = client_id.and_then(|client_id| in_force.of_client(client_id)) else {
            return Err(unverified(UNKNOWN, "its clientId is no tenant's"));
        };
        let name = guard.tenant();
        let url = in_force.config.webhooks.forward_url.clone();
        match parts.headers.get(SIGNATURE) {
            Some(signature) if guard.signed(&canonical, signature.as_bytes()) => Ok(Webhook {
                tenant: self.tenant(guard, &in_force),
                guard: Arc::clone(guard),
                forward: url.map(|url| Forward::new(self.http.clone(), url)),
                event,
                method: parts.method,
                headers: parts.headers,
                body,
            }),
            Some(_) => Err(unverified(
                name,
                "it is not signed with this tenant's consumer_key",
            )),
            None => Err(unverified(name, "it has no Signature")),
        }
    }

    /// Says that a webhook did not verify, now and then.
    fn complain(&self, tenant: &str, why: &'static str) {
        self.metrics.webhook(tenant, "unverified");
        let said = lock(&self.complaints).entry(Arc::from(tenant)).or_default().add();
        if let Some(count) = said {
            tracing::warn!(
                tenant,
                why,
                count,
                "refused a webhook that does not verify; if it is SnapTrade's, compare consumer_key and client_id. This \
                 is said once a minute"
            );
        }
    }

    async fn take(self: Arc<Self>, webhook: Webhook) -> Response {
        let Webhook { guard, event, .. } = &webhook;
        let forwarded = async {
            match &webhook.forward {
                Some(forward) => Some(forward.send(&webhook).await),
                None => None,
            }
        };
        let (outcome, forwarded) = tokio::join!(self.record(&webhook), forwarded);
        let name = guard.tenant();
        self.metrics.webhook(name, outcome.token());
        event.log(name, outcome);
        match forwarded {
            Some(Ok(answer)) => answer,
            Some(Err(problem)) => {
                self.metrics.webhook(name, "unforwarded");
                problem.into_response()
            }
            None if outcome == Outcome::Unrecorded => Problem::UNRECORDED.into_response(),
            None => outcome.into_response(),
        }
    }
}

async fn arrive(State(webhooks): State<Arc<Webhooks>>, request: Request) -> Response {
    match webhooks.verified(request).await {
        Ok(webhook) => {
            let taken = webhooks.tasks.spawn(Arc::clone(&webhooks).take(webhook));
            taken.await.unwrap_or_else(|_| Problem::INTERNAL.into_response())
        }
        Err(problem) => problem.into_response(),
    }
}

async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!(
        "There is nothing at {}. SnapTrade's webhooks go to {PATH}; calls meant for SnapTrade go to the proxy's address.",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, "sidecar_unknown_path", detail)
}

/// The framework adds `Allow`.
async fn wrong_method() -> Problem {
    Problem::WRONG_METHOD
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TOO_LARGE),
        Ok(Err(_)) => Err(Problem::BROKEN),
        Err(_) => Err(Problem::TOO_SLOW),
    }
}

/// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

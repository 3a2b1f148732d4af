//! The data plane's requests: which are passed through, and which registrations are managed.
//!
//! A pass-through call dies with its caller. A managed registration belongs to its tenant's guard, which sees it
//! through where leaving it would be worse.

pub mod headers;
pub mod outcome;
pub mod replies;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::admission::policy::Mode;
use crate::guard::{Guard, Registration};
use crate::snaptrade::proof::RegistrationView;
use crate::snaptrade::query;
use crate::snaptrade::route::Route;
use crate::telemetry::chain;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::types::{Timestamp, UserId};
use crate::upstream::body::{ReplyBody, RequestBody, has_other_coding};
use crate::upstream::error::UpstreamError;
use crate::upstream::forward::Forwarder;
use replies::Problem;

/// The longest body of a registration under a tenant's client id.
pub const REGISTRATION_BYTES_MAX: usize = 64 << 10;

/// Client ids of strangers that are told of.
const STRANGERS_MAX: usize = 100;

/// The metric label of a request that names none of our client ids.
const NO_TENANT: &str = "unknown";

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    guards: HashMap<Box<str>, Arc<Guard>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    body_idle_timeout: Duration,
    health_paths: bool,
    /// Client ids that registrations came under and no tenant has.
    strangers: Mutex<HashSet<String>>,
}

impl Shared {
    pub fn new(
        guards: &[Arc<Guard>],
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        config: &crate::config::Proxy,
    ) -> Self {
        let guards = guards
            .iter()
            .map(|guard| (guard.client_id().into(), Arc::clone(guard)));
        Self {
            guards: guards.collect(),
            health,
            metrics,
            body_idle_timeout: config.body_idle_timeout,
            health_paths: config.health_paths,
            strangers: Mutex::default(),
        }
    }

    /// A registration came under a client id that no tenant has: most likely a setting is wrong. Said once for each.
    fn warn_of_stranger(&self, query: Option<&str>) {
        let client_id = query::unique(query.unwrap_or_default(), "clientId")
            .ok()
            .flatten();
        let Some(client_id) = client_id.and_then(query::decode) else {
            return;
        };
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() < STRANGERS_MAX && strangers.insert(client_id.to_string()) {
            tracing::warn!(
                client_id = &*client_id,
                "a registration came for a client id that no tenant has; it was forwarded, and nobody makes room for it. If \
                 it is yours, set client_id to it"
            );
        }
    }

    /// The guard of the tenant whose client id the query names.
    fn guard_of(&self, query: Option<&str>) -> Option<&Arc<Guard>> {
        query::every(query?, "clientId")
            .filter_map(query::decode)
            .find_map(|client_id| self.guards.get(client_id.as_ref()))
    }
}

/// A reply, and how long it took.
type Passed = (Response<ReplyBody>, Duration);

/// One worker's proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    forwarder: Forwarder,
}

impl Proxy {
    pub fn new(shared: Arc<Shared>, forwarder: Forwarder) -> Self {
        Self { shared, forwarder }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        if let Some(reply) = self.own_reply(&request) {
            return reply;
        }
        let arrived = Instant::now();
        let route = Route::classify(request.method(), request.uri().path());
        // Copied only for a line that is wanted.
        let told = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let guard = self.shared.guard_of(request.uri().query()).cloned();
        if guard.is_none() && route == Route::Register {
            self.shared.warn_of_stranger(request.uri().query());
        }
        let (reply, took) = match (route, &guard) {
            // In boxes, so that what is rare takes no room in what is moved for every request.
            (Route::Register, Some(guard)) => {
                let reply = Box::pin(self.register(request, guard, arrived)).await;
                (reply, arrived.elapsed())
            }
            (Route::DeleteUser, Some(guard)) => Box::pin(self.delete(request, guard, arrived)).await,
            (Route::ResetSecret, Some(guard)) => Box::pin(self.reset_secret(request, guard, arrived)).await,
            _ => {
                let mut request = streaming(request, self.shared.body_idle_timeout);
                self.pass(&mut request, route, arrived).await
            }
        };
        let tenant = guard.as_ref().map_or(NO_TENANT, |guard| guard.tenant());
        let status = reply.status().as_u16();
        self.shared.metrics.request(tenant, route, status, took);
        if let Some((method, path)) = told {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(tenant, %method, path, status, took_us, "request");
        }
        reply
    }

    /// What never goes to the upstream.
    fn own_reply(&self, request: &Request<Incoming>) -> Option<Response<ReplyBody>> {
        if request.method() == Method::CONNECT {
            return Some(Problem::Connect.reply());
        }
        if has_other_coding(request.headers()) {
            return Some(Problem::TransferCoding.reply());
        }
        let probe = self.shared.health_paths && matches!(*request.method(), Method::GET | Method::HEAD);
        let verdict = match request.uri().path() {
            "/healthz" if probe => self.shared.health.live(),
            "/readyz" if probe => self.shared.health.ready(),
            _ => return None,
        };
        Some(replies::verdict(&verdict))
    }

    /// Forwards a call as it is. Also returns how long it took from `began` to the reply's head; the clock is read no more
    /// often than that needs.
    async fn pass(&self, request: &mut Request<RequestBody>, route: Route, began: Instant) -> Passed {
        headers::strip_hop_by_hop(request.headers_mut());
        let sent = self.forwarder.send(request, began).await;
        let took = began.elapsed();
        let reply = match sent {
            Ok(mut reply) => {
                self.shared.metrics.upstream(route, took);
                headers::strip_hop_by_hop(reply.headers_mut());
                reply
            }
            Err(error) => self.failed(&error, route),
        };
        (reply, took)
    }

    fn failed(&self, error: &UpstreamError, route: Route) -> Response<ReplyBody> {
        let problem = Problem::from(error);
        if problem == Problem::BadTarget {
            // The upstream has nothing to do with it.
            return problem.reply();
        }
        self.shared.metrics.upstream_error(error.label());
        tracing::warn!(route = route.label(), error = %chain(error), "a call was not answered by the upstream");
        problem.reply()
    }

    /// A deletion by the application itself. The guard is told, so that no lagging list makes it evict somebody.
    async fn delete(&self, request: Request<Incoming>, guard: &Arc<Guard>, arrived: Instant) -> Passed {
        let user = user_of(&request);
        let mut request = streaming(request, self.shared.body_idle_timeout);
        // However this ends, also by the caller's leaving.
        let _doubt = guard.doubt();
        let passed = self.pass(&mut request, Route::DeleteUser, arrived).await;
        if let Some(user) = user.filter(|_| passed.0.status().is_success()) {
            guard.departed(user);
        }
        passed
    }

    /// A new secret by the application itself.
    async fn reset_secret(&self, request: Request<Incoming>, guard: &Guard, arrived: Instant) -> Passed {
        let user = user_of(&request);
        let mut request = streaming(request, self.shared.body_idle_timeout);
        let passed = self.pass(&mut request, Route::ResetSecret, arrived).await;
        if let Some(user) = user {
            guard.new_secret(&user);
        }
        passed
    }

    async fn register(
        &self,
        request: Request<Incoming>,
        guard: &Arc<Guard>,
        arrived: Instant,
    ) -> Response<ReplyBody> {
        let why_unmanaged = if guard.terms().mode == Mode::Off {
            Some("mode-off")
        } else {
            guard.is_paused().then_some("paused")
        };
        if let Some(why) = why_unmanaged {
            let mut request = streaming(request, self.shared.body_idle_timeout);
            let (reply, _) = self.pass(&mut request, Route::Register, arrived).await;
            guard.unmanaged();
            return outcome::unmanaged(reply, why);
        }
        let (head, body) = request.into_parts();
        let body = match self.registration_body(body).await {
            Ok(body) => body,
            Err(problem) => return problem.reply(),
        };
        let view = RegistrationView {
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            signature: signature(&head.headers),
            body: &body,
        };
        match guard.prove(view, Timestamp::from(SystemTime::now())) {
            Ok(proven) => {
                let registration = registration(head, body, proven, arrived);
                outcome::reply(guard.admit(registration).await)
            }
            Err(why) => {
                let mut request = Request::from_parts(head, RequestBody::full(body));
                let (reply, _) = self.pass(&mut request, Route::Register, Instant::now()).await;
                guard.unproven(why, reply.status().is_success());
                outcome::unmanaged(reply, why.reason())
            }
        }
    }

    async fn registration_body(&self, body: Incoming) -> Result<Bytes, Problem> {
        let too_large = Problem::BodyTooLarge {
            limit: REGISTRATION_BYTES_MAX,
        };
        // Said before the body is asked for (`Expect: 100-continue`), where its length is known.
        if body.size_hint().lower() > REGISTRATION_BYTES_MAX as u64 {
            return Err(too_large);
        }
        let body = RequestBody::streaming(body, self.shared.body_idle_timeout);
        match Limited::new(body, REGISTRATION_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large),
            Err(error) => Err(Problem::from(&UpstreamError::caller_body(error))),
        }
    }
}

/// The user that a call is about.
fn user_of(request: &Request<Incoming>) -> Option<UserId> {
    let raw = query::unique(request.uri().query()?, "userId").ok()??;
    query::decode(raw).map(UserId::new)
}

fn streaming(request: Request<Incoming>, idle: Duration) -> Request<RequestBody> {
    request.map(|body| RequestBody::streaming(body, idle))
}

/// The one `Signature`; with two, nobody knows which the upstream would read.
fn signature(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all("signature").iter();
    let first = all.next()?;
    all.next().is_none().then_some(first.as_bytes())
}

fn registration(
    mut head: Parts,
    body: Bytes,
    proven: crate::snaptrade::proof::Proven,
    arrived: Instant,
) -> Registration {
    headers::strip_hop_by_hop(&mut head.headers);
    Registration {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        proven,
        arrived,
    }
}

//! The data plane's requests: which are passed through, and which registrations are managed.
//!
//! A pass-through call dies with its caller. A managed registration belongs to its tenant's guard, which sees it
//! through where leaving it would be worse.

pub mod headers;
pub mod outcome;
mod registration;
pub mod replies;
mod view;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::activity::{Notes, Tally};
use crate::clock;
use crate::guard::{Guard, Live};
use crate::snaptrade::answer::{self, Deletion};
use crate::snaptrade::budget;
use crate::snaptrade::query;
use crate::snaptrade::route::Route;
use crate::telemetry::chain;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{Metrics, Place};
use crate::telemetry::spans::Spans;
use crate::types::UserId;
use crate::upstream::body::{ReplyBody, RequestBody, has_other_coding};
use crate::upstream::error::UpstreamError;
use crate::upstream::forward::Forwarder;
use replies::Problem;
use view::{View, Views, Whose};

/// Client ids of strangers that are told of.
const STRANGERS_MAX: usize = 100;

/// The metric label of a request that names none of our client ids.
const NO_TENANT: &str = "unknown";

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    live: Live,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// Where the requests of no tenant are counted.
    nowhere: Place,
    tally: Arc<Tally>,
    body_idle_timeout: Duration,
    /// Calls that wait for the upstream.
    in_flight: Arc<AtomicUsize>,
    /// Client ids that registrations came under and no tenant has.
    strangers: Mutex<HashSet<String>>,
    /// Where requests are traced.
    spans: Option<Spans>,
}

impl Shared {
    pub fn new(live: Live, health: Arc<Health>, metrics: Arc<Metrics>, tally: Arc<Tally>) -> Self {
        Self {
            body_idle_timeout: live.load().config.proxy.body_idle_timeout,
            live,
            health,
            nowhere: metrics.place(NO_TENANT),
            in_flight: metrics.requests_in_flight(),
            metrics,
            tally,
            strangers: Mutex::default(),
            spans: None,
        }
    }

    /// Requests are traced by these.
    #[must_use]
    pub fn traced(self, spans: Option<Spans>) -> Self {
        Self { spans, ..self }
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
}

/// A reply, and how long it took.
type Passed = (Response<ReplyBody>, Duration);

/// One worker's proxy, and the connections that it uses.
pub struct Proxy {
    shared: Arc<Shared>,
    views: Views,
    notes: Notes,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    pub fn new(shared: Arc<Shared>, forwarder: &Forwarder) -> Self {
        Self {
            views: Views::new(&shared.live, forwarder),
            notes: shared.tally.notes(),
            shared,
        }
    }

    /// Answers one request.
    pub async fn handle(&self, mut request: Request<Incoming>) -> Response<ReplyBody> {
        let view = self.views.now();
        if let Some(reply) = self.own_reply(&request, &view) {
            return reply;
        }
        let arrived = clock::now();
        let route = Route::classify(request.method(), request.uri().path());
        let spans = self.shared.spans.as_ref();
        let mut span = spans.and_then(|spans| spans.request(&mut request, route));
        // Copied only for a line that is wanted.
        let told = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let Whose { tenant, user } = view.whose(request.uri().query());
        let (reply, took) = match (route, tenant) {
            // In boxes, so that what is rare takes no room in what is moved for every request.
            (Route::Register, Some(tenant)) => {
                let span = span.as_mut();
                let reply = Box::pin(self.register(request, &view, tenant, arrived, span)).await;
                (reply, clock::since(arrived))
            }
            (Route::Register, None) => {
                Box::pin(self.pass_strangers(request, &view, arrived, span.as_mut())).await
            }
            (Route::DeleteUser, Some(tenant)) => Box::pin(self.delete(request, &view, tenant, arrived)).await,
            (Route::ResetSecret, Some(tenant)) => Box::pin(self.reset(request, &view, tenant, arrived)).await,
            _ => {
                let user = user.filter(|_| tenant.is_some() && may_be_activity(route, request.method()));
                // What is sent is gone; to copy this costs a count.
                let user = user.and_then(|user| Some((user, request.uri().path_and_query()?.clone())));
                let mut request = streaming(request, self.shared.body_idle_timeout);
                let passed = self.pass(&view, &mut request, route, arrived).await;
                if passed.0.status().is_success()
                    && let (Some(tenant), Some((user, target))) = (tenant, user)
                {
                    let user = target.query().and_then(|query| query.get(user));
                    self.note_activity(tenant, user.unwrap_or_default(), arrived + passed.1);
                }
                passed
            }
        };
        if let Some(tenant) = tenant.filter(|_| route != Route::Register)
            && let Some(remaining) = budget::remaining(reply.headers())
        {
            tenant.place().set_remaining(&self.shared.metrics, remaining);
        }
        let counted_at = tenant.map_or(&self.shared.nowhere, |tenant| tenant.place());
        let status = reply.status().as_u16();
        self.shared.metrics.request(counted_at, route, status, took);
        let tenant = tenant.map_or(NO_TENANT, |tenant| tenant.tenant());
        if let Some(span) = span {
            let problem = reply.extensions().get::<Problem>();
            span.answered(tenant, &reply, problem.map(Problem::code));
        }
        if let Some((method, path)) = told {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(tenant, %method, path, status, took_us, "request");
        }
        reply
    }

    /// What never goes to the upstream.
    fn own_reply(&self, request: &Request<Incoming>, view: &View) -> Option<Response<ReplyBody>> {
        if request.method() == Method::CONNECT {
            return Some(Problem::Connect.reply());
        }
        if !headers::has_clear_host(request.headers()) {
            return Some(Problem::Host.reply());
        }
        if has_other_coding(request.headers()) {
            return Some(Problem::TransferCoding.reply());
        }
        let probe = view.health_paths() && matches!(*request.method(), Method::GET | Method::HEAD);
        let verdict = match request.uri().path() {
            "/healthz" if probe => self.shared.health.live(),
            "/readyz" if probe => self.shared.health.ready(),
            // It means the server as a whole, of which only OPTIONS can be asked (RFC 9112, section 3.2.4).
            "*" if *request.method() != Method::OPTIONS => return Some(Problem::BadTarget.reply()),
            _ => return None,
        };
        Some(replies::verdict(&verdict))
    }

    /// Forwards a call as it is. Also returns how long it took from `began` to the reply's head; the clock is read no more
    /// often than that needs.
    async fn pass(
        &self,
        view: &View,
        request: &mut Request<RequestBody>,
        route: Route,
        began: Instant,
    ) -> Passed {
        let Some(_in_flight) = InFlight::enter(&self.shared.in_flight, view.max_requests()) else {
            return (self.refused(Problem::Overloaded), clock::since(began));
        };
        headers::strip_hop_by_hop(request.headers_mut());
        let sent = view.forwarder.send(request, began).await;
        let took = clock::since(began);
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

    /// `SnapTrade` took a call for the user of this raw id.
    fn note_activity(&self, guard: &Guard, user: &str, at: Instant) {
        if let Some(user) = query::decode(user).filter(|user| !user.is_empty()) {
            self.notes.called(guard.client_id(), &user, at);
        }
    }

    fn failed(&self, error: &UpstreamError, route: Route) -> Response<ReplyBody> {
        let problem = Problem::from(error);
        if problem == Problem::BadTarget {
            // The upstream has nothing to do with it.
            return problem.reply();
        }
        self.shared.metrics.upstream_error(error.label());
        let (route, kind, remedy) = (route.label(), error.label(), error.remedy());
        tracing::warn!(route, kind, error = %chain(error), remedy, "a call was not answered by the upstream");
        self.refused(problem)
    }

    /// Answers in the upstream's place.
    fn refused(&self, problem: Problem) -> Response<ReplyBody> {
        self.note_limit(problem);
        problem.reply()
    }

    fn note_limit(&self, problem: Problem) {
        if let Some(limit) = problem.limit() {
            self.shared.metrics.limit(limit);
        }
    }

    /// A deletion by the application itself. The guard is told, so that no lagging list makes it evict somebody.
    async fn delete(
        &self,
        request: Request<Incoming>,
        view: &View,
        guard: &Arc<Guard>,
        arrived: Instant,
    ) -> Passed {
        let user = user_of(&request);
        let is_proven = registration::is_proven_without_body(guard, &request);
        let mut request = streaming(request, self.shared.body_idle_timeout);
        // However this ends, also by the caller's leaving.
        let _doubt = guard.doubt();
        let kept = user.as_ref().map(|user| guard.outdating(user));
        let deleting = user
            .clone()
            .filter(|_| is_proven)
            .map(|user| guard.deleting(user));
        let passed = self.pass(view, &mut request, Route::DeleteUser, arrived).await;
        if let Some(kept) = kept.filter(|_| is_plainly_refused(&passed.0)) {
            kept.stands();
        }
        if let Some(user) = user.filter(|_| passed.0.status().is_success()) {
            self.shared.tally.departed(guard.client_id(), user.clone());
            guard.departed(user);
        }
        // After that, so that who is gone counts at no time.
        if let Some(deleting) = deleting.filter(|_| is_decided(&passed.0)) {
            deleting.answered();
        }
        passed
    }

    /// The application has a user's secret replaced.
    async fn reset(
        &self,
        request: Request<Incoming>,
        view: &View,
        guard: &Arc<Guard>,
        arrived: Instant,
    ) -> Passed {
        let user = user_of(&request);
        let mut request = streaming(request, self.shared.body_idle_timeout);
        let kept = user.as_ref().map(|user| guard.outdating(user));
        let passed = self.pass(view, &mut request, Route::ResetSecret, arrived).await;
        if let Some(kept) = kept.filter(|_| is_plainly_refused(&passed.0)) {
            kept.stands();
        }
        if let Some(user) = user.filter(|_| passed.0.status().is_success()) {
            let at = arrived + passed.1;
            self.notes.called(guard.client_id(), user.as_str(), at);
        }
        passed
    }
}

/// One call in the count of those that wait for the upstream.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    /// `None` if there are `max` already.
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let entered = Self(count);
        (before < max).then_some(entered)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The user that a call is about.
fn user_of(request: &Request<Incoming>) -> Option<UserId> {
    let raw = query::unique(request.uri().query()?, "userId").ok()??;
    let user = query::decode(raw).filter(|user| !user.is_empty());
    user.map(UserId::new)
}

/// Whether a user is as before, for certain, after a call that was to delete it or to replace its secret.
fn is_plainly_refused(reply: &Response<ReplyBody>) -> bool {
    let judged = answer::classify_deletion(reply.status().as_u16());
    matches!(judged, Deletion::Refused | Deletion::Rejected)
}

/// Whether it is known what came of a deletion: SnapTrade said so, or it never got there. What it throttled it did not do.
fn is_decided(reply: &Response<ReplyBody>) -> bool {
    if let Some(problem) = reply.extensions().get::<Problem>() {
        return !problem.may_have_taken_effect();
    }
    let status = reply.status().as_u16();
    status == 429 || answer::classify_deletion(status) != Deletion::Unclear
}

fn streaming(request: Request<Incoming>, idle: Duration) -> Request<RequestBody> {
    request.map(|body| RequestBody::streaming(body, idle))
}

/// Whether a call tells of a user's activity if `SnapTrade` accepts it: not those that are about the users, and not those
/// that it answers without looking at a signature, or anybody could make a user look active.
fn may_be_activity(route: Route, method: &Method) -> bool {
    route == Route::Other && !matches!(*method, Method::HEAD | Method::OPTIONS)
}

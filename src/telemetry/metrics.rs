//! Counts and durations for scraping. Every label is bounded: a tenant that is not configured is `unknown`, and no
//! user id ever becomes a label.

mod exposition;
mod labels;
mod process;
mod register;
mod tenants;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::limits::{Limit, Reached};
use crate::snaptrade::route::Route;
pub use exposition::Format;
use labels::ROUTES;
use register::{by_route, durations, limits, register, seconds, under_way};
pub use tenants::Place;
use tenants::Tenants;

/// What becomes of a registration, as the reply's `Snaptrade-Sidecar-Admission` says it; and, of the unmanaged ones,
/// those that `SnapTrade` accepted although we could not verify them.
pub const REGISTRATION_OUTCOMES: [&str; 5] = [
    "forwarded",
    "unmanaged",
    "evicted",
    "refused",
    "unrecognised-accepted",
];
/// What becomes of an intended eviction.
pub const EVICTION_OUTCOMES: [&str; 5] = ["evicted", "refused", "unsettled", "withdrawn", "would-evict"];
/// What becomes of a webhook; `unforwarded` beside one of the others.
pub const WEBHOOK_OUTCOMES: [&str; 8] = [
    "handled",
    "repeated",
    "late",
    "malformed",
    "unknown",
    "unrecorded",
    "unverified",
    "unforwarded",
];
/// What becomes of a notice.
pub const NOTICE_OUTCOMES: [&str; 3] = ["delivered", "given-up", "dropped"];
/// The calls that the sidecar makes itself, and what becomes of them.
pub const MANAGEMENT_CALLS: [&str; 2] = ["list_users", "delete_user"];
pub const MANAGEMENT_OUTCOMES: [&str; 2] = ["ok", "error"];
/// Why a call got no answer, or only part of one; see [`crate::upstream::error`].
pub const UPSTREAM_ERRORS: [&str; 10] = [
    "dns",
    "connect",
    "tls",
    "loop",
    "connect_timeout",
    "timeout",
    "broke_off",
    "protocol",
    "caller_body",
    CUT_SHORT,
];
/// Of a reply that began and did not end.
const CUT_SHORT: &str = "cut_short";
/// The sidecar's own.
pub const LISTENERS: [&str; 3] = ["proxy", "ops", "webhooks"];
/// What becomes of a configuration that is loaded anew.
pub const RELOAD_OUTCOMES: [&str; 3] = ["applied", "refused", "unchanged"];

/// The tenant label of requests that belong to none.
const UNKNOWN: &str = "unknown";
/// The statuses that SnapTrade and this proxy answer with; others are counted too, only more slowly. There may be thousands
/// of tenants, and each has room for these.
const STATUSES: [u16; 16] = [
    200, 201, 202, 204, 304, 400, 401, 402, 403, 404, 422, 429, 500, 502, 503, 504,
];
/// Seconds. A pass-through call takes a round trip, 50 ms to some seconds; 60 s is the response timeout's default.
const CALL_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];
/// Seconds. Two calls with room, four with an eviction, up to 18 s while one settles; 30 s is the default's end.
const ADMISSION_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0];

type Level = Gauge<u64, AtomicU64>;
type ByOutcome = Family<labels::TenantOutcome, Counter>;
type Decimal = Gauge<f64, AtomicU64>;
type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of the process; shared by `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The configured ones.
    tenants: ArcSwap<Tenants>,
    /// Of what is no tenant's.
    unknown: Place,
    limits: Family<labels::Tenant, Level>,
    requests: Family<labels::Request, Counter>,
    /// By route, like the next: handles, so that a request looks nothing up.
    request_duration: [Histogram; ROUTES.len()],
    upstream_duration: [Histogram; ROUTES.len()],
    upstream_errors: Family<labels::Kind, Counter>,
    registrations: ByOutcome,
    admissions: Durations<labels::Outcome>,
    evictions: ByOutcome,
    refusals: Family<labels::Refusal, Counter>,
    webhooks: ByOutcome,
    notices: ByOutcome,
    users: Family<labels::Tenant, Level>,
    pending_deletions: Family<labels::Tenant, Level>,
    admission_queue: Family<labels::Tenant, Level>,
    fuse_blown: Family<labels::Tenant, Level>,
    key_refused: Family<labels::Tenant, Level>,
    registry_up: Level,
    management_calls: Family<labels::Management, Counter>,
    rate_limit_remaining: Family<labels::Tenant, Level>,
    clock_skew: Family<labels::Process, Decimal>,
    activity_dropped: Counter,
    config_reloads: Family<labels::Outcome, Counter>,
    tls_failures: Family<labels::Listener, Counter>,
    ops_token_failures: Counter,
    spans_lost: Counter,
    connections_open: Arc<AtomicUsize>,
    requests_in_flight: Arc<AtomicUsize>,
    limits_reached: Arc<Reached>,
}

impl Metrics {
    /// `tenants` are the configured names with their user limits.
    pub fn new<'n>(tenants: impl IntoIterator<Item = (&'n str, usize)>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let own = registry.sub_registry_with_prefix("snaptrade_sidecar");
        let connections_open = under_way(
            own,
            "connections_open",
            "Connections from callers that are open now.",
        );
        let help = "Calls that wait for SnapTrade to answer now.";
        let requests_in_flight = under_way(own, "requests_in_flight", help);
        own.register_collector(Box::new(process::Panics));
        own.register("build", "What is running", Info::new(build()));
        let metrics = Self {
            limits: register(own, "user_limit", "Users allowed"),
            requests: register(own, "requests", "Requests on the proxy, by what the caller got"),
            request_duration: by_route(own, "request_duration", "From request head to reply head"),
            upstream_duration: by_route(own, "upstream_duration", "From sending to SnapTrade's reply head"),
            upstream_errors: register(own, "upstream_errors", "Calls that SnapTrade did not answer"),
            registrations: register(own, "registrations", "Registrations of users"),
            admissions: durations(own, "admission_duration", "Managed registrations", || {
                Histogram::new(ADMISSION_BUCKETS)
            }),
            evictions: register(own, "evictions", "Users deleted, or meant to be, to make room"),
            refusals: register(own, "refusals", "Registrations that no room was made for"),
            webhooks: register(own, "webhooks", "Webhooks that arrived, by what became of them"),
            notices: register(own, "notices", "Notices of evictions to the application"),
            users: register(own, "users", "Users that SnapTrade listed last and that stay"),
            pending_deletions: register(own, "pending_deletions", "Users whose deletion is not settled"),
            admission_queue: register(own, "admission_queue", "Registrations that wait for their turn"),
            fuse_blown: register(own, "fuse_blown", "1 while too many were evicted to go on"),
            key_refused: register(own, "key_refused", "1 while SnapTrade refuses our own calls"),
            registry_up: register(
                own,
                "registry_up",
                "1 if what is remembered can be read and written",
            ),
            management_calls: register(own, "management_calls", "Calls of the sidecar's own"),
            rate_limit_remaining: register(own, "rate_limit_remaining", "Calls that SnapTrade still allows"),
            clock_skew: seconds(
                own,
                "clock_skew",
                "SnapTrade's clock minus ours",
                Family::default(),
            ),
            activity_dropped: register(
                own,
                "activity_dropped",
                "Calls whose user was not noted as active",
            ),
            config_reloads: register(own, "config_reloads", "Configurations loaded anew"),
            tls_failures: register(own, "tls_failures", "Connections on which TLS was not agreed on"),
            ops_token_failures: register(own, "ops_token_failures", "Wrong tokens sent to the ops plane"),
            spans_lost: register(own, "spans_lost", "Spans that no collector took"),
            tenants: ArcSwap::default(),
            unknown: Place::of(UNKNOWN.into()),
            connections_open,
            requests_in_flight,
            limits_reached: limits(own),
            registry,
        };
        metrics.set_tenants(tenants);
        metrics.begin_at_zero();
        metrics
    }

    /// What is of no tenant's is there before it first happens, so that a rate sees its first time.
    fn begin_at_zero(&self) {
        for outcome in RELOAD_OUTCOMES {
            let _ = self.config_reloads.get_or_create(&labels::Outcome { outcome });
        }
        for listener in LISTENERS {
            let _ = self.tls_failures(listener);
        }
        for kind in UPSTREAM_ERRORS {
            let _ = self.upstream_errors.get_or_create(&labels::Kind { kind });
        }
    }

    /// A request on the data plane, when its reply is through.
    pub fn request(&self, tenant: &Place, route: Route, status: u16, took: Duration) {
        self.count(tenant, route, status);
        self.request_duration[route as usize].observe(took.as_secs_f64());
    }

    /// A call to `SnapTrade`, until the head of its reply.
    pub fn upstream(&self, route: Route, took: Duration) {
        self.upstream_duration[route as usize].observe(took.as_secs_f64());
    }

    pub fn upstream_error(&self, kind: &'static str) {
        self.upstream_errors.get_or_create(&labels::Kind { kind }).inc();
    }

    /// Where the connections to one of [`LISTENERS`] are counted on which TLS was not agreed on.
    pub fn tls_failures(&self, listener: &'static str) -> Counter {
        self.tls_failures
            .get_or_create_owned(&labels::Listener { listener })
    }

    /// Where replies are counted that began and did not end.
    pub fn cut_short(&self) -> Counter {
        let kind = CUT_SHORT;
        self.upstream_errors.get_or_create_owned(&labels::Kind { kind })
    }

    pub fn registration(&self, tenant: &str, outcome: &'static str) {
        self.registrations
            .get_or_create(&self.outcome(tenant, outcome))
            .inc();
    }

    /// A managed registration, from arrival to reply.
    pub fn admission(&self, outcome: &'static str, took: Duration) {
        self.admissions
            .get_or_create(&labels::Outcome { outcome })
            .observe(took.as_secs_f64());
    }

    pub fn eviction(&self, tenant: &str, outcome: &'static str) {
        self.evictions.get_or_create(&self.outcome(tenant, outcome)).inc();
    }

    /// Room was wanted and not made, for one of `labels::REFUSALS`.
    pub fn refusal(&self, tenant: &str, reason: &'static str) {
        let tenant = self.label(tenant);
        self.refusals
            .get_or_create(&labels::Refusal { tenant, reason })
            .inc();
    }

    /// `tenant` is `unknown` where it is not known whose it is.
    pub fn webhook(&self, tenant: &str, outcome: &'static str) {
        self.webhooks.get_or_create(&self.outcome(tenant, outcome)).inc();
    }

    pub fn notice(&self, tenant: &str, outcome: &'static str) {
        self.notices.get_or_create(&self.outcome(tenant, outcome)).inc();
    }

    /// How many users were listed last.
    pub fn users(&self, tenant: &str, count: usize) {
        self.set(&self.users, tenant, count as u64);
    }

    pub fn pending_deletions(&self, tenant: &str, count: usize) {
        self.set(&self.pending_deletions, tenant, count as u64);
    }

    pub fn fuse_blown(&self, tenant: &str, blown: bool) {
        self.set(&self.fuse_blown, tenant, blown.into());
    }

    /// Whether `SnapTrade` answered the last list with 401 or 403.
    pub fn key_refused(&self, tenant: &str, refused: bool) {
        self.set(&self.key_refused, tenant, refused.into());
    }

    pub fn registry_up(&self, up: bool) {
        self.registry_up.set(up.into());
    }

    pub fn admission_queue(&self, tenant: &str, waiting: usize) {
        self.set(&self.admission_queue, tenant, waiting as u64);
    }

    fn set(&self, levels: &Family<labels::Tenant, Level>, tenant: &str, level: u64) {
        if let Some(labels) = self.only(tenant) {
            levels.get_or_create(&labels).set(level);
        }
    }

    pub fn management_call(&self, tenant: &str, call: &'static str, outcome: &'static str) {
        let tenant = self.label(tenant);
        self.management_calls
            .get_or_create(&labels::Management {
                tenant,
                call,
                outcome,
            })
            .inc();
    }

    /// A configuration was loaded anew.
    pub fn config_reload(&self, outcome: &'static str) {
        self.config_reloads
            .get_or_create(&labels::Outcome { outcome })
            .inc();
    }

    /// Positive where `SnapTrade`'s clock is ahead; unknown before the first reply.
    pub fn clock_skew_seconds(&self) -> Option<f64> {
        self.clock_skew.get(&labels::Process {}).map(|skew| skew.get())
    }

    /// Positive where `SnapTrade`'s clock is ahead.
    pub fn clock_skew(&self, seconds: f64) {
        self.clock_skew.get_or_create(&labels::Process {}).set(seconds);
    }

    /// Calls whose user could not be noted as active, since too many were.
    pub fn activity_dropped(&self, calls: u64) {
        self.activity_dropped.inc_by(calls);
    }

    /// Somebody sent the ops plane a wrong token.
    pub fn ops_token_failure(&self) {
        self.ops_token_failures.inc();
    }

    /// Spans that could not be exported; whoever exports them counts here.
    pub fn spans_lost(&self) -> Counter {
        self.spans_lost.clone()
    }

    /// The number of open connections of the data plane; whoever opens and closes them counts here.
    pub fn connections_open(&self) -> Arc<AtomicUsize> {
        self.connections_open.clone()
    }

    /// The number of calls that wait for SnapTrade; whoever sends them counts here.
    pub fn requests_in_flight(&self) -> Arc<AtomicUsize> {
        self.requests_in_flight.clone()
    }

    /// For whoever watches over a limit.
    pub fn limits_reached(&self) -> Arc<Reached> {
        self.limits_reached.clone()
    }

    /// A limit was reached, by nobody in particular.
    pub fn limit(&self, limit: Limit) {
        self.limits_reached.note(limit, None);
    }

    /// Everything, as text.
    pub fn encode(&self, format: Format) -> String {
        let mut openmetrics = String::new();
        // Writing to a string cannot fail, nor do the collectors; text that breaks off is refused by scrapers.
        let _ = text::encode(&mut openmetrics, &self.registry);
        match format {
            Format::OpenMetrics => openmetrics,
            Format::Prometheus => exposition::classic(&openmetrics),
        }
    }

    fn outcome(&self, tenant: &str, outcome: &'static str) -> labels::TenantOutcome {
        let tenant = self.label(tenant);
        labels::TenantOutcome { tenant, outcome }
    }
}

fn build() -> labels::Build {
    labels::Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: crate::COMMIT.unwrap_or(UNKNOWN),
    }
}

#[cfg(test)]
mod tests;

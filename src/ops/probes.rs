//! Health, readiness and metrics, for machines; and the summary, for people.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::header::{self, HeaderMap};
use serde::Serialize;

use super::Ops;
use super::problem::Problem;
use crate::admission::policy::Mode;
use crate::guard::Guard;
use crate::telemetry::health::{Health, Verdict};
use crate::telemetry::metrics::Format;
use crate::telemetry::panics;

const REGISTRY_DOWN: &str =
    "the registry cannot be relied on: registrations are forwarded, and nobody is evicted. The log says why.";

const UNCACHED: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

pub(super) async fn live(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    probe(&ops.health.live())
}

pub(super) async fn ready(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    probe(&ops.health.ready())
}

fn probe(verdict: &Verdict) -> impl IntoResponse + use<> {
    let json = (header::CONTENT_TYPE, "application/json");
    (verdict.status(), [json, UNCACHED], verdict.body())
}

pub(super) async fn metrics(State(ops): State<Arc<Ops>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::from_accept(&accept.join(","));
    let described = (header::CONTENT_TYPE, format.content_type());
    // The format depends on `Accept`, so a cache between must tell the two apart.
    ([described, (header::VARY, "Accept")], ops.metrics.encode(format))
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Summary<'o> {
    /// `ok`, `starting` or `draining`.
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    upstream: String,
    /// Where it remembers, without a password.
    registry: String,
    tenants: Vec<Tenant<'o>>,
    /// What an operator must look into, in words.
    problems: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Tenant<'o> {
    name: &'o str,
    mode: &'static str,
    /// By hand: its registrations are forwarded as they come.
    paused: bool,
    /// Unknown before the first look.
    users: Option<usize>,
    max_users: usize,
    pending_deletions: usize,
    queued: usize,
    registrations: u64,
    evictions: u64,
    unrecognised_accepted: u64,
    /// When an eviction is allowed again, if the fuse has blown.
    #[cfg_attr(test, schema(format = DateTime))]
    fuse_blown_until: Option<String>,
    #[serde(skip)]
    trouble: Option<String>,
}

/// What is known without asking anyone.
pub(super) async fn summary(State(ops): State<Arc<Ops>>, uri: Uri) -> Result<Response, Problem> {
    let in_force = ops.live.load();
    let guards = super::tenants(in_force.guards(), uri.query())?;
    let tenants: Vec<Tenant<'_>> = guards.iter().map(|guard| tenant(guard)).collect();
    let is_down = guards.iter().any(|guard| !guard.registry_is_up());
    let registry = is_down.then(|| REGISTRY_DOWN.to_owned());
    let summary = Summary {
        status: phase(&ops.health),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: ops.health.uptime().as_secs(),
        upstream: in_force.config.proxy.upstream.to_string(),
        registry: in_force.config.registry.home.to_string(),
        problems: registry
            .into_iter()
            .chain(panicked())
            .chain(ops.live.remarks())
            .chain(tenants.iter().flat_map(problems))
            .collect(),
        tenants,
    };
    Ok(([UNCACHED], Json(summary)).into_response())
}

fn panicked() -> Option<String> {
    let count = panics::count();
    (count > 0).then(|| {
        format!(
            "{count} panic(s) since the start, errors of the sidecar's own: what failed goes on. Please report what the log \
             says of them."
        )
    })
}

pub(super) fn phase(health: &Health) -> &'static str {
    if health.draining() {
        "draining"
    } else if health.ready().ok {
        "ok"
    } else {
        "starting"
    }
}

fn tenant(guard: &Guard) -> Tenant<'_> {
    let (status, terms) = (guard.status(), guard.terms());
    Tenant {
        name: guard.tenant(),
        mode: match terms.mode {
            Mode::Enforce => "enforce",
            Mode::OnLimitError => "on-limit-error",
            Mode::Observe => "observe",
            Mode::Off => "off",
        },
        paused: guard.is_paused(),
        users: status.users,
        max_users: terms.max_users,
        pending_deletions: status.pending_deletions,
        queued: status.queued,
        registrations: status.registrations,
        evictions: status.evictions,
        unrecognised_accepted: status.unrecognised_accepted,
        fuse_blown_until: status.fuse_blown_until.map(super::people::time),
        trouble: status.trouble,
    }
}

/// What an operator must look into of one tenant, and of the whole.
pub(super) fn problems_of(ops: &Ops, guard: &Guard) -> Vec<String> {
    let registry = (!guard.registry_is_up()).then(|| REGISTRY_DOWN.to_owned());
    let own = tenant(guard);
    registry
        .into_iter()
        .chain(panicked())
        .chain(ops.live.remarks())
        .chain(problems(&own))
        .collect()
}

fn problems(tenant: &Tenant<'_>) -> impl Iterator<Item = String> {
    let uncounted = tenant.trouble.as_ref().map(|why| {
        format!(
            "tenant {}: the users cannot be counted: {why}. Calls are forwarded, and nobody is evicted.",
            tenant.name
        )
    });
    let over = tenant.users.filter(|users| *users > tenant.max_users).map(|users| {
        format!(
            "tenant {}: {users} users are listed, and max_users is {}. Set max_users to what the plan allows.",
            tenant.name, tenant.max_users
        )
    });
    let blown = tenant.fuse_blown_until.as_ref().map(|until| {
        format!(
            "tenant {}: the fuse has blown until {until}: registrations are forwarded, and nobody is evicted. See the log for \
             who was; set eviction.fuse.evictions higher if that is usual.",
            tenant.name
        )
    });
    // R2: a signature that we do not know and SnapTrade does means that registrations go by unmanaged.
    let unrecognised = (tenant.unrecognised_accepted > 0).then(|| {
        format!(
            "tenant {}: SnapTrade accepted {} registration(s) whose signature the sidecar did not recognise, so no \
             room was made for them. Check that consumer_key is the key the application signs with; if it is, the \
             client signs in a way the sidecar does not know: please report it.",
            tenant.name, tenant.unrecognised_accepted
        )
    });
    [uncounted, over, blown, unrecognised].into_iter().flatten()
}

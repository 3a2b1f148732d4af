//! The ops plane: health, metrics, status, and registering by hand. It answers on a listener of its own, and nothing
//! of it is needed for the data plane to work.
//!
//! - `calls`: every call there is.
//! - `openapi`: what they are, for tools; only for the test that makes `openapi.json`.
//! - `access`: who may ask, from where, and by which name.
//! - `attempts`: what wrong tokens cost.
//! - `problem`: the ops plane's own errors.
//! - `probes`: health, readiness, metrics, and the summary.
//! - `status`: how full a key is.
//! - `register`: a registration by hand, through the same admission as any other.
//! - `people`: who a tenant's users are, who would go next, and what was done.
//! - `hand`: deleting, protecting and pausing by hand.
//! - `past`: what the journal says of a while, and the journal itself.
//! - `overview`: how a tenant stands, at a glance.
//! - `feed`: the same, live.
//! - `page`: the dashboard.
//! - `answers`: what those answer.
//! - `serve`: the listener.

mod access;
pub(crate) mod answers;
mod attempts;
mod calls;
mod feed;
mod hand;
mod hours;
#[cfg(test)]
mod openapi;
mod overview;
mod page;
mod past;
mod people;
mod probes;
mod problem;
mod register;
mod serve;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use http::{StatusCode, Uri};
use tokio::sync::Semaphore;

use crate::guard::{Guard, Live};
use crate::snaptrade::query;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use calls::CALLS;
use problem::Problem;
pub use serve::serve;

/// What the ops plane tells of.
#[derive(Clone, Debug)]
pub struct Ops {
    pub live: Live,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// Live feeds that may still be opened.
    pub feeds: Arc<Semaphore>,
}

impl Ops {
    pub fn new(live: Live, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        Self {
            live,
            health,
            metrics,
            feeds: Arc::new(Semaphore::new(feed::FEEDS_MAX)),
        }
    }
}

/// Tenants that an error names.
const NAMES_TOLD_MAX: usize = 20;

/// The ops plane as a service. Connections must carry their [`serve`]d addresses, or nobody counts as local.
pub fn router(ops: Ops) -> Router {
    let ops = Arc::new(ops);
    let gate = access::Gate::new(Arc::clone(&ops));
    let all = CALLS.iter().fold(Router::new(), |router, (_, path, answered)| {
        router.route(path, answered())
    });
    all.fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(access::cors(ops.live.clone()))
        // Outermost, so that nothing, preflights and unknown paths included, is answered without it.
        .layer(middleware::from_fn_with_state(gate, access::gate))
        .with_state(ops)
}

async fn unknown_path(uri: Uri) -> Problem {
    nothing_at(&uri)
}

fn nothing_at(uri: &Uri) -> Problem {
    let calls = CALLS.iter().map(|(method, path, _)| format!("{method} {path}"));
    let calls: Vec<String> = calls.collect();
    let detail = format!(
        "There is nothing at {}. This is the sidecar's ops plane; calls meant for SnapTrade go to the proxy's \
         address. What there is: {}.",
        uri.path(),
        calls.join(", ")
    );
    Problem::new(StatusCode::NOT_FOUND, "sidecar_unknown_path", detail)
}

/// The framework adds `Allow`.
async fn wrong_method(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    let known = CALLS.iter().find(|(_, known, _)| is_of(known, path));
    let instead = known.map_or("another method", |(method, ..)| method);
    let detail = format!("{method} {path} is not possible; use {instead}.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "sidecar_wrong_method", detail)
}

/// Whether a path is one of those that a route stands for.
fn is_of(route: &str, path: &str) -> bool {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    let fits = |(of, part): (&str, &str)| of == part || of.starts_with('{') && !part.is_empty();
    route.by_ref().zip(path.by_ref()).all(fits) && route.next().is_none() && path.next().is_none()
}

impl Ops {
    /// The tenant of this name, as a path gives it.
    fn tenant_called(&self, name: &str) -> Result<Arc<Guard>, Problem> {
        let in_force = self.live.load();
        let found = in_force.named(name).cloned();
        found.ok_or_else(|| no_such_tenant(&names(in_force.guards())))
    }

    /// The tenant that `?tenant=` names, or the only one.
    fn tenant(&self, query: Option<&str>) -> Result<Arc<Guard>, Problem> {
        let in_force = self.live.load();
        let names = names(in_force.guards());
        let place = match named(&names, query)? {
            Some(place) => place,
            None if names.len() == 1 => 0,
            None => {
                let detail = format!(
                    "There are several tenants; name one with ?tenant=. {}",
                    list(&names)
                );
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "sidecar_tenant_missing",
                    detail,
                ));
            }
        };
        Ok(Arc::clone(&in_force.guards()[place]))
    }
}

/// The tenant that `?tenant=` names, or all.
fn tenants<'g>(guards: &'g [Arc<Guard>], query: Option<&str>) -> Result<&'g [Arc<Guard>], Problem> {
    let place = named(&names(guards), query)?;
    Ok(place.map_or(guards, |place| &guards[place..=place]))
}

fn names(guards: &[Arc<Guard>]) -> Vec<&str> {
    guards.iter().map(|guard| guard.tenant()).collect()
}

/// The place of the tenant that a query names, if it names one.
fn named(names: &[&str], query: Option<&str>) -> Result<Option<usize>, Problem> {
    let asked = query::unique(query.unwrap_or_default(), "tenant").map_err(|_| {
        let detail = "The query names tenant more than once; name one.";
        Problem::new(StatusCode::BAD_REQUEST, "sidecar_bad_query", detail)
    })?;
    let Some(name) = asked.map(query::decode) else {
        return Ok(None);
    };
    let place = names.iter().position(|known| name.as_deref() == Some(known));
    place.map(Some).ok_or_else(|| no_such_tenant(names))
}

fn no_such_tenant(names: &[&str]) -> Problem {
    let detail = format!("There is no such tenant. {}", list(names));
    Problem::new(StatusCode::NOT_FOUND, "sidecar_tenant_unknown", detail)
}

fn list(names: &[&str]) -> String {
    let told = &names[..names.len().min(NAMES_TOLD_MAX)];
    let more = match names.len() - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("The tenants are: {}{more}.", told.join(", "))
}

#[cfg(test)]
mod tests;

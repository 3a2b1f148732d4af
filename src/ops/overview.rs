//! How a tenant stands, at a glance: what the dashboard shows first, and keeps up to date.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Ops;
use super::access::Standing;
use super::answers::Policy;
use super::people::{InPath, answer, readable, time};
use super::probes::{self, phase};
use super::problem::Problem;
use crate::guard::Guard;

/// Entries of the journal in which other replicas are looked for.
const ENTRIES: usize = 200;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Overview {
    tenant: String,
    /// `ok`, `starting` or `draining`.
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    mode: &'static str,
    paused: bool,
    /// As they were counted last; unknown before.
    users: Option<usize>,
    limit: usize,
    pending_deletions: usize,
    queued: usize,
    fuse: Fuse,
    budget: Budget,
    /// Positive where SnapTrade's clock is ahead.
    clock_skew_seconds: Option<f64>,
    registry: Registry,
    /// This one.
    replica: String,
    /// All that wrote to the journal lately, this one too.
    replicas: BTreeSet<String>,
    policy: Policy,
    /// What an operator must look into, in words.
    problems: Vec<String>,
    /// The newest entry of the journal.
    journal: Option<i64>,
    /// Whether who asks may change something.
    may_change: bool,
    token_configured: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Fuse {
    evictions: usize,
    window_seconds: u64,
    /// Deletions that it counts now; unknown while the registry is down.
    used: Option<usize>,
    #[cfg_attr(test, schema(format = DateTime))]
    blown_until: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Budget {
    /// Calls that SnapTrade still takes of this key, as it said last.
    remaining: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Registry {
    home: String,
    up: bool,
    durable: bool,
}

/// What the registry has to be asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) journal: Option<i64>,
    fuse_used: Option<usize>,
    replicas: BTreeSet<String>,
}

impl Asked {
    /// What cannot be read is not known.
    pub(super) async fn of(guard: &Guard) -> Self {
        let entries = guard.history(None, ENTRIES).await.unwrap_or_default();
        Self {
            journal: entries.first().map(|entry| entry.id.0),
            fuse_used: guard.fuse_used().await.ok(),
            replicas: entries
                .into_iter()
                .map(|recorded| recorded.entry.replica)
                .collect(),
        }
    }
}

pub(super) async fn overview(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
) -> Result<Response, Problem> {
    let guard = &readable(&ops, standing, path)?;
    guard.refresh().await;
    Ok(answer(of(&ops, guard, standing, Asked::of(guard).await)))
}

pub(super) fn of(ops: &Ops, guard: &Guard, standing: Standing, asked: Asked) -> Overview {
    let (status, terms) = (guard.status(), guard.terms());
    let in_force = ops.live.load();
    let mut replicas = asked.replicas;
    replicas.insert(guard.replica().to_owned());
    let policy = &terms.policy;
    Overview {
        tenant: guard.tenant().to_owned(),
        status: phase(&ops.health),
        version: env!("CARGO_PKG_VERSION"),
        // To the minute, so that it is no news in each second.
        uptime_seconds: ops.health.uptime().as_secs() / 60 * 60,
        mode: terms.mode.token(),
        paused: guard.is_paused(),
        users: status.users,
        limit: terms.max_users,
        pending_deletions: status.pending_deletions,
        queued: status.queued,
        fuse: Fuse {
            evictions: terms.fuse.evictions,
            window_seconds: terms.fuse.window.as_secs(),
            used: asked.fuse_used,
            blown_until: status.fuse_blown_until.map(time),
        },
        budget: Budget {
            remaining: guard.place().remaining(),
        },
        clock_skew_seconds: ops.metrics.clock_skew_seconds().map(f64::round),
        registry: Registry {
            home: in_force.config.registry.home.to_string(),
            up: guard.registry_is_up(),
            durable: guard.registry_is_durable(),
        },
        replica: guard.replica().to_owned(),
        replicas,
        policy: Policy {
            order: policy.order.iter().map(|key| key.token().to_owned()).collect(),
            unknown_age: policy.unknown_age.token().to_owned(),
            max_per_registration: terms.max_per_registration,
            min_age_seconds: policy.min_age.as_secs(),
            active_within_seconds: policy.active_within.as_secs(),
            protect: policy.protect.sources().to_vec(),
            evictable: policy.evictable.sources().to_vec(),
        },
        problems: probes::problems_of(ops, guard),
        journal: asked.journal,
        may_change: standing.changes().is_ok(),
        token_configured: in_force.config.ops.token.is_some(),
    }
}

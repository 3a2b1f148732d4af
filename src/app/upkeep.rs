//! What has to be done at the start and from time to time: look at the tenants, see whether the registry works and what
//! other replicas decided, and forget what is old.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::admission::policy::Mode;
use crate::guard::{Guard, Live};
use crate::registry::Registry;
use crate::telemetry::metrics::Metrics;
use crate::types::Millis;

/// How long another replica's pausing may go unnoticed, outside of its admissions.
const EVERY: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// First looks that are under way at a time.
const FIRST_LOOKS_MAX: usize = 8;

/// Looks at all tenants, a few at a time: of thousands, all at once would be a burst that SnapTrade may throttle.
pub(super) async fn first_looks(guards: Vec<Arc<Guard>>) {
    let mut looking = JoinSet::new();
    for guard in guards {
        if looking.len() == FIRST_LOOKS_MAX {
            looking.join_next().await;
        }
        looking.spawn(first_look(guard));
    }
    while looking.join_next().await.is_some() {}
}

/// Says early what a wrong key or an unreachable upstream would otherwise say at the first registration.
async fn first_look(guard: Arc<Guard>) {
    let (tenant, limit) = (guard.tenant(), guard.terms().max_users);
    guard.settle().await;
    if let Ok(seen) = guard.look(Duration::ZERO).await {
        let users = seen.users.len();
        tracing::info!(tenant, users, limit, "SnapTrade answers for this key");
        if users > limit && guard.terms().mode == Mode::Enforce {
            tracing::warn!(
                tenant,
                users,
                limit,
                "more users are listed than max_users allows. If the plan allows them, set max_users to what it allows: \
                 otherwise the next registration deletes users until it fits, unless that takes more than \
                 max_per_registration, or max_users is not set"
            );
        }
    }
}

pub(super) async fn run(registry: &Registry, live: &Live, metrics: &Metrics) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned: Option<Instant> = None;
    loop {
        every.tick().await;
        let paused = registry.paused().await;
        let in_force = live.load();
        let guards = in_force.guards();
        if let Ok(paused) = paused {
            for guard in guards {
                guard.set_paused(paused.iter().any(|tenant| tenant == guard.client_id()));
            }
        }
        registry.probe().await;
        metrics.registry_up(registry.is_up());
        for guard in guards {
            metrics.fuse_blown(guard.tenant(), guard.status().fuse_blown_until.is_some());
        }
        if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            // What the fuses count is not forgotten.
            let fuses = guards.iter().map(|guard| guard.terms().fuse.window);
            let kept = in_force.config.registry.journal_retention;
            let retention = fuses.max().unwrap_or_default().max(kept);
            let before = Millis::from(SystemTime::now()).minus(retention);
            match registry.prune(before).await {
                Ok(entries) => {
                    tracing::debug!(entries, "forgot what is older than registry.journal_retention");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not forget what is older than registry.journal_retention");
                }
            }
            pruned = Some(Instant::now());
        }
    }
}

//! What has to be done from time to time: see whether the registry works, what other replicas decided, and forget what is old.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::guard::Guard;
use crate::registry::Registry;
use crate::telemetry::metrics::Metrics;
use crate::types::Millis;

/// How long another replica's pausing may go unnoticed, outside of its admissions.
const EVERY: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_hours(1);

pub(super) async fn run(
    registry: Arc<Registry>,
    guards: Vec<Arc<Guard>>,
    metrics: Arc<Metrics>,
    retention: Duration,
) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned: Option<Instant> = None;
    loop {
        every.tick().await;
        if let Ok(paused) = registry.paused().await {
            for guard in &guards {
                guard.set_paused(paused.iter().any(|name| name == guard.tenant()));
            }
        }
        metrics.registry_up(registry.is_up());
        for guard in &guards {
            metrics.fuse_blown(guard.tenant(), guard.status().fuse_blown_until.is_some());
        }
        if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
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

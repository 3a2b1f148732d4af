//! How metrics of each kind are registered.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::super::limits::{Limit, Reached};
use super::labels::{self, ROUTES};
use super::{CALL_BUCKETS, Durations, process};

pub(super) fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Each with its own count, from the start.
pub(super) fn limits(registry: &mut Registry) -> Arc<Reached> {
    let reached: Family<labels::Limit, Counter> = register(registry, "limits", "Limits that were reached");
    let count = |limit: Limit| {
        let limit = limit.label();
        reached.get_or_create_owned(&labels::Limit { limit })
    };
    Arc::new(Reached::new(Limit::ALL.map(count)))
}

/// What others count while it is under way.
pub(super) fn under_way(registry: &mut Registry, name: &'static str, help: &'static str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let collected = Arc::clone(&count);
    registry.register_collector(Box::new(process::UnderWay {
        name,
        help,
        count: collected,
    }));
    count
}

pub(super) fn seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

pub(super) fn durations<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    new: fn() -> Histogram,
) -> Durations<L>
where
    Durations<L>: Metric + Clone,
    L: Clone + std::hash::Hash + Eq,
{
    seconds(registry, name, help, Family::new_with_constructor(new))
}

/// A histogram for each route, in the order of [`ROUTES`].
pub(super) fn by_route(registry: &mut Registry, name: &str, help: &str) -> [Histogram; ROUTES.len()] {
    let family = durations(registry, name, help, || Histogram::new(CALL_BUCKETS));
    ROUTES.map(|route| family.get_or_create_owned(&labels::ByRoute { route }))
}

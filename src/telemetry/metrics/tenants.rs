//! The tenants that have series of their own, which a reload changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::labels::{self, ROUTES};
use super::{
    EVICTION_OUTCOMES, Level, MANAGEMENT_CALLS, MANAGEMENT_OUTCOMES, Metrics, NOTICE_OUTCOMES,
    REGISTRATION_OUTCOMES, STATUSES,
};
use super::{UNKNOWN, WEBHOOK_OUTCOMES};
use crate::snaptrade::route::Route;

/// Where a tenant's requests are counted.
#[derive(Clone, Debug)]
pub struct Place(pub(super) Arc<Tenant>);

/// By name; `unknown` is none of them.
pub(super) type Tenants = HashMap<Arc<str>, Place>;

/// A tenant's name, and its request counters by route and common status, made when first needed.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) name: Arc<str>,
    requests: [[OnceLock<Counter>; STATUSES.len()]; ROUTES.len()],
    /// Calls that `SnapTrade` still allows, once a reply told of it.
    remaining: OnceLock<Level>,
    /// Series of other statuses, so that they can be removed.
    others: Mutex<BTreeSet<(usize, u16)>>,
    /// Its series were removed, and are not to come again.
    is_gone: AtomicBool,
}

impl Place {
    pub(super) fn of(name: Arc<str>) -> Self {
        Self(Arc::new(Tenant {
            name,
            requests: Default::default(),
            remaining: OnceLock::new(),
            others: Mutex::default(),
            is_gone: AtomicBool::new(false),
        }))
    }

    /// A reply told how many calls are left.
    pub fn set_remaining(&self, metrics: &Metrics, remaining: u64) {
        let Self(tenant) = self;
        let level = tenant.remaining.get_or_init(|| {
            if tenant.is_gone.load(Ordering::Relaxed) || &*tenant.name == UNKNOWN {
                return Level::default();
            }
            let tenant = Arc::clone(&tenant.name);
            metrics
                .rate_limit_remaining
                .get_or_create_owned(&labels::Tenant { tenant })
        });
        level.set(remaining);
    }

    /// How many calls are left, as was told last.
    pub fn remaining(&self) -> Option<u64> {
        self.0.remaining.get().map(Level::get)
    }
}

impl Tenant {
    fn labels(&self, route: Route, status: u16) -> labels::Request {
        let tenant = self.name.clone();
        labels::Request {
            tenant,
            route,
            status,
        }
    }

    fn others(&self) -> std::sync::MutexGuard<'_, BTreeSet<(usize, u16)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// Counts a request where its tenant's are counted.
    pub(super) fn count(&self, Place(tenant): &Place, route: Route, status: u16) {
        let series = || {
            // What is still under way for a tenant that is gone is counted nowhere.
            if tenant.is_gone.load(Ordering::Relaxed) {
                return Counter::default();
            }
            self.requests.get_or_create_owned(&tenant.labels(route, status))
        };
        if let Some(place) = STATUSES.iter().position(|common| *common == status) {
            tenant.requests[route as usize][place].get_or_init(series).inc();
        } else {
            tenant.others().insert((route as usize, status));
            series().inc();
        }
    }

    /// These tenants have series from now on, with their user limits, and no others.
    pub fn set_tenants<'n>(&self, tenants: impl IntoIterator<Item = (&'n str, usize)>) {
        let before = self.tenants.load();
        let mut after = Tenants::with_capacity(before.len());
        for (name, limit) in tenants {
            let known = before.get(name).cloned();
            let place = known.unwrap_or_else(|| Place::of(name.into()));
            let tenant = Arc::clone(&place.0.name);
            self.limits
                .get_or_create(&labels::Tenant {
                    tenant: Arc::clone(&tenant),
                })
                .set(limit as u64);
            after.insert(tenant, place);
        }
        let added = after.values().filter(|place| !before.contains_key(&place.0.name));
        let added: Vec<Place> = added.cloned().collect();
        let gone: Vec<Place> = before
            .values()
            .filter(|place| !after.contains_key(&place.0.name))
            .cloned()
            .collect();
        drop(before);
        self.tenants.store(Arc::new(after));
        for place in &added {
            self.start_at_zero(place);
        }
        for place in &gone {
            self.remove(place);
        }
    }

    /// Creates the series whose first increment an alert on a rate would otherwise miss. Levels that are not known
    /// before the first look, such as the number of users, stay absent instead of pretending to be zero.
    fn start_at_zero(&self, Place(tenant): &Place) {
        let name = &tenant.name;
        for level in [&self.pending_deletions, &self.fuse_blown, &self.admission_queue] {
            level
                .get_or_create(&labels::Tenant {
                    tenant: Arc::clone(name),
                })
                .set(0);
        }
        for (family, labels) in self.outcomes(name) {
            let _ = family.get_or_create(&labels);
        }
        for reason in labels::REFUSALS {
            let tenant = Arc::clone(name);
            let _ = self.refusals.get_or_create(&labels::Refusal { tenant, reason });
        }
        for labels in management(name) {
            let _ = self.management_calls.get_or_create(&labels);
        }
    }

    fn remove(&self, Place(tenant): &Place) {
        tenant.is_gone.store(true, Ordering::Relaxed);
        let only = labels::Tenant {
            tenant: Arc::clone(&tenant.name),
        };
        for level in [
            &self.limits,
            &self.users,
            &self.pending_deletions,
            &self.admission_queue,
            &self.fuse_blown,
            &self.key_refused,
            &self.rate_limit_remaining,
        ] {
            level.remove(&only);
        }
        for (family, labels) in self.outcomes(&tenant.name) {
            family.remove(&labels);
        }
        for reason in labels::REFUSALS {
            let tenant = Arc::clone(&tenant.name);
            self.refusals.remove(&labels::Refusal { tenant, reason });
        }
        for labels in management(&tenant.name) {
            self.management_calls.remove(&labels);
        }
        for route in ROUTES {
            let common = STATUSES.iter().copied();
            let others: Vec<u16> = tenant
                .others()
                .iter()
                .filter(|(of, _)| *of == route as usize)
                .map(|(_, status)| *status)
                .collect();
            for status in common.chain(others) {
                self.requests.remove(&tenant.labels(route, status));
            }
        }
    }

    fn outcomes(
        &self,
        tenant: &Arc<str>,
    ) -> impl Iterator<Item = (&super::ByOutcome, labels::TenantOutcome)> + use<'_> {
        let tenant = Arc::clone(tenant);
        let families = [
            (&self.registrations, &REGISTRATION_OUTCOMES[..]),
            (&self.evictions, &EVICTION_OUTCOMES),
            (&self.webhooks, &WEBHOOK_OUTCOMES),
            (&self.notices, &NOTICE_OUTCOMES),
        ];
        families.into_iter().flat_map(move |(family, outcomes)| {
            let tenant = Arc::clone(&tenant);
            outcomes.iter().map(move |outcome| {
                let tenant = Arc::clone(&tenant);
                (family, labels::TenantOutcome { tenant, outcome })
            })
        })
    }

    /// Where to count the requests of this tenant; one that is not configured, or none, is `unknown`.
    pub fn place(&self, tenant: &str) -> Place {
        let tenants = self.tenants.load();
        tenants.get(tenant).unwrap_or(&self.unknown).clone()
    }

    /// The label of this tenant.
    pub(super) fn label(&self, tenant: &str) -> Arc<str> {
        self.place(tenant).0.name.clone()
    }

    /// The labels of this tenant's level. None of one that is not configured, any more perhaps: then it has no level.
    pub(super) fn only(&self, tenant: &str) -> Option<labels::Tenant> {
        let tenant = self.label(tenant);
        (&*tenant != UNKNOWN).then_some(labels::Tenant { tenant })
    }
}

fn management(tenant: &Arc<str>) -> impl Iterator<Item = labels::Management> + use<> {
    let tenant = Arc::clone(tenant);
    MANAGEMENT_CALLS.into_iter().flat_map(move |call| {
        let tenant = Arc::clone(&tenant);
        MANAGEMENT_OUTCOMES
            .into_iter()
            .map(move |outcome| labels::Management {
                tenant: Arc::clone(&tenant),
                call,
                outcome,
            })
    })
}

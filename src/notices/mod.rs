//! What the application is told after an eviction: a signed POST to `eviction.notify_url`, tried until it is taken.
//!
//! Notices wait in memory, so that telling never holds up an admission; the eviction itself is in the journal, and so
//! is what became of its notice. Each has a schedule of its own: one that the application refuses delays no other.
//!
//! - `desk`: one tenant's notices that are not delivered yet.
//! - `post`: a notice on the wire.

mod desk;
mod post;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Tenant;
use crate::registry::{Entry, Event, Registry};
use crate::tasks::keep;
use crate::telemetry::metrics::Metrics;
use crate::types::{Millis, UserId};
use desk::{Desk, Pending};

/// No admission takes longer.
const ADMISSION_MAX: Duration = Duration::from_hours(3);

/// What notices are told with.
#[derive(Clone, Debug)]
pub struct Means {
    /// Must follow no redirects and use no proxy.
    pub http: reqwest::Client,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    /// Names this process in the journal.
    pub replica: Arc<str>,
}

/// When a notice that was not taken is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// After the first failure; each pause is twice the one before.
    pub first: Duration,
    pub longest: Duration,
    /// How long a notice is tried.
    pub patience: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(5),
            patience: Duration::from_hours(24),
        }
    }
}

impl Schedule {
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// How sure it is that the user is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no longer listed.
    Evicted,
    /// The deletion was sent and does not show; better taken as gone too.
    Unsettled,
}

impl Outcome {
    pub fn token(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Unsettled => "unsettled",
        }
    }
}

/// Tells the applications of all tenants that want to be told. Cheap to clone.
#[derive(Clone)]
pub struct Notices(Arc<Inner>);

struct Inner {
    desks: Mutex<Desks>,
    means: Means,
    schedule: Schedule,
    count: AtomicU64,
}

#[derive(Default)]
struct Desks {
    by_tenant: HashMap<Arc<str>, Arc<Desk>>,
    /// Of tenants that want no more notices, or are gone, and since when: what waits there is still told, and an admission
    /// may be under way that began before.
    leaving: HashMap<Arc<str>, (Arc<Desk>, Instant)>,
    /// `None` before the start and after the end.
    workers: Option<Workers>,
}

impl Desks {
    fn of(&self, tenant: &str) -> Option<Arc<Desk>> {
        let leaving = || self.leaving.get(tenant).map(|(desk, _)| desk);
        self.by_tenant.get(tenant).or_else(leaving).cloned()
    }
}

struct Workers {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

/// The secrets stay out of logs.
impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices")
            .field("schedule", &self.0.schedule)
            .finish_non_exhaustive()
    }
}

impl Notices {
    pub fn new(tenants: &[Arc<Tenant>], means: Means, schedule: Schedule) -> Self {
        let notices = Self(Arc::new(Inner {
            desks: Mutex::default(),
            means,
            schedule,
            count: AtomicU64::new(0),
        }));
        notices.set_tenants(tenants);
        notices
    }

    /// From now on these tenants are told, as they are configured.
    pub fn set_tenants(&self, tenants: &[Arc<Tenant>]) {
        let wanting = |tenant: &Arc<Tenant>| Some((Arc::clone(&tenant.name), tenant.notify.clone()?));
        let wanting: HashMap<_, _> = tenants.iter().filter_map(wanting).collect();
        let mut desks = self.0.desks();
        let now = Instant::now();
        let gone: Vec<_> = desks
            .by_tenant
            .extract_if(|tenant, _| !wanting.contains_key(tenant))
            .map(|(tenant, desk)| (tenant, (desk, now)))
            .collect();
        desks.leaving.extend(gone);
        for tenant in tenants {
            let Some(notify) = wanting.get(&tenant.name) else {
                continue;
            };
            let back = desks.leaving.remove(&tenant.name).map(|(desk, _)| desk);
            if let Some(desk) = desks.by_tenant.get(&tenant.name).cloned().or(back) {
                desk.aim(notify);
                desks.by_tenant.insert(Arc::clone(&tenant.name), desk);
                continue;
            }
            let desk = Arc::new(Desk::new(tenant, notify));
            if let Some(workers) = &mut desks.workers {
                workers.begin(&self.0, &desk);
            }
            desks.by_tenant.insert(Arc::clone(&tenant.name), desk);
        }
        let is_over = |since: Instant| now.saturating_duration_since(since) > ADMISSION_MAX;
        for (_, (desk, _)) in desks
            .leaving
            .extract_if(|_, (desk, since)| is_over(*since) && desk.len() == 0)
        {
            desk.end();
        }
    }

    /// A user was evicted. Returns at once; what [`Notices::start`] started delivers. Where the tenant wants no notices, this does
    /// nothing.
    pub fn tell(&self, tenant: &str, user: &UserId, newcomer: Option<&UserId>, outcome: Outcome) {
        let Some(desk) = self.0.desks().of(tenant) else {
            return;
        };
        let at = Millis::from(clock::wall());
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let id = post::id(&[&self.0.means.replica, tenant, user.as_str()], at, number);
        let body = post::body(&desk, &id, user, newcomer, outcome, at);
        let now = Instant::now();
        let dropped = desk.push(Pending {
            id,
            user: user.clone(),
            newcomer: newcomer.cloned(),
            body,
            told: now,
            due: now,
            failures: 0,
        });
        if let Some(dropped) = dropped {
            self.0.means.metrics.notice(tenant, "dropped");
            tracing::error!(
                tenant,
                victim = dropped.user.as_str(),
                notice = dropped.id,
                waiting = desk::NOTICES_MAX,
                "dropped the oldest notice of an eviction, because too many wait; the application was never told that \
                 this user is gone. See to it that eviction.notify_url answers"
            );
        }
    }

    /// Begins to deliver.
    pub fn start(&self) -> Telling {
        let mut workers = Workers {
            tasks: JoinSet::new(),
            closing: CancellationToken::new(),
        };
        let mut desks = self.0.desks();
        desks
            .by_tenant
            .values()
            .for_each(|desk| workers.begin(&self.0, desk));
        desks.workers = Some(workers);
        Telling(self.clone())
    }

    /// Notices that are not delivered.
    fn untold(&self) -> usize {
        let desks = self.0.desks();
        let leaving = desks.leaving.values().map(|(desk, _)| desk);
        desks
            .by_tenant
            .values()
            .chain(leaving)
            .map(|desk| desk.len())
            .sum()
    }
}

impl Workers {
    fn begin(&mut self, inner: &Arc<Inner>, desk: &Arc<Desk>) {
        // Those of tenants that are gone.
        while self.tasks.try_join_next().is_some() {}
        let state = (Arc::clone(inner), Arc::clone(desk), self.closing.clone());
        // What waits at the desk does so after a panic, too.
        self.tasks.spawn(keep("notices", state, |(inner, desk, closing)| {
            Box::pin(inner.work(desk, closing))
        }));
    }
}

/// Notices that are being delivered. Dropping it ends that.
#[derive(Debug)]
pub struct Telling(Notices);

impl Telling {
    /// Tries once more what is left, until `end` at the latest.
    pub async fn end(self, end: Instant) {
        let Some(mut workers) = self.0.0.desks().workers.take() else {
            return;
        };
        workers.closing.cancel();
        let ended = async { while workers.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(end, ended).await.is_err() {
            let count = self.0.untold();
            tracing::error!(
                count,
                "left notices of evictions undelivered; the log and the journal name the users"
            );
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        // With the tasks that are left.
        drop(self.0.0.desks().workers.take());
    }
}

impl Inner {
    /// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
    fn desks(&self) -> MutexGuard<'_, Desks> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, desk: &Desk, closing: &CancellationToken) {
        while !desk.is_over() {
            let next = desk.next();
            let due = async {
                match &next {
                    Some(pending) => tokio::time::sleep_until(pending.due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = desk.told() => {}
                () = due => if let Some(pending) = next {
                    self.attempt(desk, pending, false).await;
                },
            }
        }
        for pending in desk.all() {
            self.attempt(desk, pending, true).await;
        }
    }

    async fn attempt(&self, desk: &Desk, pending: Pending, is_last: bool) {
        let (tenant, victim, notice) = (&*desk.tenant, pending.user.as_str(), &pending.id);
        let target = desk.target();
        let host = target.host();
        match post::post(&self.means.http, target, &pending).await {
            Ok(status) => {
                let tries = pending.failures + 1;
                tracing::info!(
                    tenant,
                    victim,
                    notice,
                    status,
                    tries,
                    "told the application of an eviction"
                );
                self.settled(desk, &pending, "delivered", None).await;
            }
            Err(why) if is_last || pending.told.elapsed() >= self.schedule.patience => {
                let because = if is_last {
                    "the sidecar ends"
                } else {
                    "a day passed"
                };
                tracing::error!(
                    tenant,
                    victim,
                    notice,
                    host,
                    why,
                    "gave up telling the application of an eviction, because {because}; have it forget this user"
                );
                self.settled(desk, &pending, "given-up", Some(why)).await;
            }
            Err(why) => {
                let failures = pending.failures + 1;
                let pause = self.schedule.pause(failures);
                desk.put_off(&pending.id, Instant::now() + pause, failures);
                // The rest of a long series is for those who ask.
                if failures == 1 {
                    tracing::warn!(
                        tenant,
                        victim,
                        notice,
                        host,
                        why,
                        "the application did not take the notice of an eviction; it is tried again for a day. See to \
                         it that eviction.notify_url answers"
                    );
                } else {
                    tracing::debug!(
                        tenant,
                        victim,
                        notice,
                        why,
                        failures,
                        "a notice was not taken again"
                    );
                }
            }
        }
    }

    /// Forgets a notice, and records what became of it.
    async fn settled(&self, desk: &Desk, pending: &Pending, outcome: &'static str, why: Option<String>) {
        desk.remove(&pending.id);
        let tenant = &*desk.tenant;
        self.means.metrics.notice(tenant, outcome);
        let now = Millis::from(clock::wall());
        let entry = Entry {
            user: Some(pending.user.clone()),
            newcomer: pending.newcomer.clone(),
            outcome: Some(outcome.to_owned()),
            reason: why,
            ..Entry::new(now, desk.client_id.as_str(), Event::Notice, &self.means.replica)
        };
        if let Err(error) = self.means.registry.record(entry).await {
            tracing::warn!(tenant, notice = pending.id, %error, "what became of a notice is not in the journal");
        }
    }
}

#[cfg(test)]
mod tests;

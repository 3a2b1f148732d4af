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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Tenant;
use crate::registry::{Entry, Event, Registry};
use crate::telemetry::metrics::Metrics;
use crate::types::{Millis, UserId};
use desk::{Desk, Pending};

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
    desks: HashMap<Arc<str>, Desk>,
    means: Means,
    schedule: Schedule,
    count: AtomicU64,
}

/// The secrets stay out of logs.
impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices")
            .field("tenants", &self.0.desks.keys())
            .finish_non_exhaustive()
    }
}

impl Notices {
    pub fn new(tenants: &[Tenant], means: Means, schedule: Schedule) -> Self {
        let desks = tenants.iter().filter_map(|tenant| {
            let desk = Desk::new(tenant, tenant.notify.as_ref()?);
            Some((Arc::clone(&tenant.name), desk))
        });
        Self(Arc::new(Inner {
            desks: desks.collect(),
            means,
            schedule,
            count: AtomicU64::new(0),
        }))
    }

    /// A user was evicted. Returns at once; what [`Notices::start`] started delivers. Where the tenant wants no notices, this does
    /// nothing.
    pub fn tell(&self, tenant: &str, user: &UserId, newcomer: Option<&UserId>, outcome: Outcome) {
        let Some(desk) = self.0.desks.get(tenant) else {
            return;
        };
        let at = Millis::from(SystemTime::now());
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let id = post::id(&[&self.0.means.replica, tenant, user.as_str()], at, number);
        let body = post::body(desk, &id, user, newcomer, outcome, at);
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
        let (closing, mut workers) = (CancellationToken::new(), JoinSet::new());
        for tenant in self.0.desks.keys() {
            let (inner, tenant, closing) = (Arc::clone(&self.0), Arc::clone(tenant), closing.clone());
            workers.spawn(async move { inner.work(&tenant, &closing).await });
        }
        Telling {
            notices: self.clone(),
            closing,
            workers,
        }
    }

    /// Notices that are not delivered.
    fn untold(&self) -> usize {
        self.0.desks.values().map(Desk::len).sum()
    }
}

/// Notices that are being delivered. Dropping it ends that.
#[derive(Debug)]
pub struct Telling {
    notices: Notices,
    closing: CancellationToken,
    workers: JoinSet<()>,
}

impl Telling {
    /// Tries once more what is left, until `end` at the latest.
    pub async fn end(mut self, end: Instant) {
        self.closing.cancel();
        let ended = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout_at(end, ended).await.is_err() {
            let count = self.notices.untold();
            tracing::error!(
                count,
                "left notices of evictions undelivered; the log and the journal name the users"
            );
        }
    }
}

impl Inner {
    async fn work(&self, tenant: &str, closing: &CancellationToken) {
        let Some(desk) = self.desks.get(tenant) else {
            return;
        };
        loop {
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
        let host = desk.host();
        match post::post(&self.means.http, desk, &pending).await {
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
        let now = Millis::from(SystemTime::now());
        let entry = Entry {
            user: Some(pending.user.clone()),
            newcomer: pending.newcomer.clone(),
            outcome: Some(outcome.to_owned()),
            reason: why,
            ..Entry::new(now, tenant, Event::Notice, &self.means.replica)
        };
        if let Err(error) = self.means.registry.record(entry).await {
            tracing::warn!(tenant, notice = pending.id, %error, "what became of a notice is not in the journal");
        }
    }
}

#[cfg(test)]
mod tests;

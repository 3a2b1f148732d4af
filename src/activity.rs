//! Which users are active, as the calls tell that pass through.
//!
//! Each worker notes them in a map of its own, so that no call waits for another. A task on the control runtime gathers
//! what the workers noted and tells the registry every few seconds. A registry that fails costs activity, never a call
//! (R14).
//!
//! - [`Notes`]: what one of them notes.
//! - [`Tally`]: where they note, all of them.
//! - [`Teller`]: the task.

mod notes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admission::known::Source;
use crate::clock;
use crate::registry::{Activity, Entry, Event, Registry, RegistryError};
use crate::telemetry::metrics::Metrics;
use crate::types::{Millis, UserId};
pub use notes::Notes;
use notes::{Calls, Noted};

/// From one telling to the next.
const INTERVAL: Duration = Duration::from_secs(5);
/// A registration that is told within this time is believed by whichever clock.
const LATE: Duration = Duration::from_secs(2);
/// Users that the registry is told of in one call.
const BATCH_MAX: usize = 1_000;
/// Deletions by the application, and unmanaged registrations, that wait to be told. Of the deletions beyond, the next list of
/// users tells; of the registrations nobody would, see [`Tally::dropped`].
const CHANGES_MAX: usize = 1_024;

/// What became of a user past the admissions.
#[derive(Debug)]
struct Change {
    tenant: Arc<str>,
    user: UserId,
    at: Millis,
    kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChangeKind {
    Registered,
    Departed,
}

/// Where the workers note, all of them.
#[derive(Debug)]
pub struct Tally {
    workers: Mutex<Vec<Notes>>,
    changes: mpsc::Sender<Change>,
    /// When last there was no room for a user's calls, or for a registration, which nobody will ever know of.
    dropped: Mutex<Option<Instant>>,
    wanted: mpsc::Sender<oneshot::Sender<bool>>,
}

impl Tally {
    /// For one more worker to note in.
    pub fn notes(&self) -> Notes {
        let notes = Notes::default();
        self.workers().push(notes.clone());
        notes
    }

    /// The application deleted this user itself, and `SnapTrade` accepted it.
    pub fn departed(&self, tenant: &str, user: UserId) {
        self.changed(tenant, user, ChangeKind::Departed);
    }

    /// A registration of this user went by unmanaged, and `SnapTrade` accepted it. Not told, the youngest would be one of
    /// unknown age, and go first.
    pub fn registered(&self, tenant: &str, user: UserId) {
        self.changed(tenant, user, ChangeKind::Registered);
    }

    fn changed(&self, tenant: &str, user: UserId, kind: ChangeKind) {
        let (tenant, at) = (tenant.into(), Millis::from(clock::wall()));
        let change = Change {
            tenant,
            user,
            at,
            kind,
        };
        if self.changes.try_send(change).is_err() && kind == ChangeKind::Registered {
            self.has_dropped();
        }
    }

    fn has_dropped(&self) {
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
    }

    /// Has the registry told of all calls and registrations up to now, for a decision that rests on those of the last
    /// `active_within` (R5). Whether it was, and none of them had to be dropped.
    pub async fn tell_now(&self, active_within: Duration) -> bool {
        let (done, told) = oneshot::channel();
        let is_told = self.wanted.send(done).await.is_ok() && told.await.unwrap_or(false);
        let dropped = *self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        is_told && dropped.is_none_or(|at| clock::since(at) > active_within.max(INTERVAL))
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Notes>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the registry.
#[derive(Debug)]
pub struct Teller {
    tally: Arc<Tally>,
    changes: mpsc::Receiver<Change>,
    /// Registrations that the registry did not take yet.
    untold: VecDeque<Change>,
    wanted: mpsc::Receiver<oneshot::Sender<bool>>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    /// Who writes to the journal.
    replica: Arc<str>,
    /// What the registry is yet to be told.
    pending: Noted,
    is_failing: bool,
    has_told_of_dropped: bool,
}

impl Teller {
    pub fn new(registry: Arc<Registry>, metrics: Arc<Metrics>, replica: Arc<str>) -> Self {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let (want, wanted) = mpsc::channel(1);
        let tally = Tally {
            workers: Mutex::default(),
            changes: sender,
            dropped: Mutex::default(),
            wanted: want,
        };
        Self {
            tally: Arc::new(tally),
            changes,
            untold: VecDeque::new(),
            wanted,
            registry,
            metrics,
            replica,
            pending: Noted::default(),
            is_failing: false,
            has_told_of_dropped: false,
        }
    }

    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Tells until `stop`, and then what is left, once.
    pub async fn run(&mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // At once: told late, it might make a user be forgotten that was registered again meanwhile.
                Some(change) = self.changes.recv() => self.note_change(change).await,
                Some(done) = self.wanted.recv() => {
                    self.flush().await;
                    // What failed last may be of nobody any more, so that nothing is left to tell.
                    let _ = done.send(self.pending.users == 0 && self.untold.is_empty());
                }
                _ = ticks.tick() => self.flush().await,
            }
        }
        while let Ok(change) = self.changes.try_recv() {
            self.note_change(change).await;
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        // Whoever decides next has to know of them.
        while let Ok(change) = self.changes.try_recv() {
            self.note_change(change).await;
        }
        for change in std::mem::take(&mut self.untold) {
            let told = self.tell_arrival(&change).await;
            self.note_arrival(told, change).await;
        }
        self.gather().await;
        let registry = Arc::clone(&self.registry);
        let take = |batch: Vec<Activity>| {
            let registry = Arc::clone(&registry);
            async move { registry.active(&batch).await }
        };
        self.tell(take).await;
    }

    async fn gather(&mut self) {
        let workers = self.tally.workers().clone();
        for worker in workers {
            let noted = std::mem::take(&mut *worker.noted());
            self.pending.dropped += noted.dropped;
            for (place, (tenant, user, calls)) in noted.into_all().enumerate() {
                self.pending.note(&tenant, user.as_str(), calls);
                if place % BATCH_MAX == 0 {
                    // Others share this runtime.
                    tokio::task::yield_now().await;
                }
            }
        }
        let dropped = std::mem::take(&mut self.pending.dropped);
        self.metrics.activity_dropped(dropped);
        if dropped > 0 {
            self.tally.has_dropped();
        }
        if dropped > 0 && !std::mem::replace(&mut self.has_told_of_dropped, true) {
            tracing::warn!(
                calls = dropped,
                "more users are active than are noted at a time; some look less active than they are, so that nobody is evicted \
                 for as long as that may matter (eviction.active_within). The metric activity_dropped_total counts their \
                 calls. Said once"
            );
        }
    }

    /// What is not taken is kept for the next time.
    async fn tell<F>(&mut self, take: impl Fn(Vec<Activity>) -> F)
    where
        F: Future<Output = Result<(), RegistryError>>,
    {
        let mut untold: Vec<_> = std::mem::take(&mut self.pending).into_all().collect();
        while !untold.is_empty() {
            let rest = untold.len().saturating_sub(BATCH_MAX);
            let told = take(batch(&untold[rest..])).await;
            self.note_outcome(told.as_ref().err());
            if told.is_err() {
                break;
            }
            untold.truncate(rest);
            tokio::task::yield_now().await;
        }
        for (tenant, user, calls) in untold {
            self.pending.note(&tenant, user.as_str(), calls);
        }
    }

    fn note_outcome(&mut self, error: Option<&RegistryError>) {
        match error {
            Some(error) if !self.is_failing => {
                tracing::warn!(%error, "cannot record which users are active; it is kept in memory and tried again");
            }
            None if self.is_failing => tracing::info!("it is recorded again which users are active"),
            _ => {}
        }
        self.is_failing = error.is_some();
    }

    async fn note_change(&mut self, change: Change) {
        match change.kind {
            ChangeKind::Registered => {
                let told = self.tell_arrival(&change).await;
                self.note_arrival(told, change).await;
            }
            ChangeKind::Departed => self.part(&change).await,
        }
    }

    /// What waited, as while the registry fails, is late: somebody may have gone since.
    async fn tell_arrival(&self, change: &Change) -> Result<(), RegistryError> {
        let Change { tenant, user, at, .. } = change;
        if Millis::from(clock::wall()).since(*at) < LATE {
            self.registry.registered(tenant, user, *at, Source::Own).await
        } else {
            self.registry.registered_before(tenant, user, *at).await
        }
    }

    /// What is not taken is told again: late, it changes nothing of what came after it.
    async fn note_arrival(&mut self, told: Result<(), RegistryError>, change: Change) {
        let Change { tenant, user, .. } = &change;
        if let Err(error) = told {
            tracing::warn!(client_id = %tenant, %user, %error, "cannot record that a user was registered; tried again");
            if self.untold.len() < CHANGES_MAX {
                self.untold.push_back(change);
            } else {
                self.tally.has_dropped();
            }
        } else {
            let entry = Entry {
                newcomer: Some(user.clone()),
                outcome: Some("unmanaged".to_owned()),
                status: Some(200),
                ..self.entry(&change, Event::Registration)
            };
            self.journal(entry).await;
        }
    }

    fn entry(&self, change: &Change, event: Event) -> Entry {
        Entry::new(change.at, &change.tenant, event, &self.replica)
    }

    /// That it cannot be changes nothing.
    async fn journal(&self, entry: Entry) {
        let (client_id, event) = (entry.tenant.clone(), entry.event.token());
        if let Err(error) = self.registry.record(entry).await {
            tracing::warn!(client_id, event, %error, "the journal could not be written to");
        }
    }

    /// Its calls go with it, or one that is registered by the same id would inherit them.
    async fn part(&mut self, change: &Change) {
        let Change { tenant, user, at, .. } = change;
        for worker in &*self.tally.workers() {
            worker.noted().forget(tenant, user);
        }
        self.pending.forget(tenant, user);
        let gone = self.registry.gone(tenant, std::slice::from_ref(user), *at).await;
        if let Err(error) = gone {
            tracing::warn!(
                client_id = %tenant,
                %user,
                %error,
                "cannot record that the application deleted a user; the next list of users tells of it"
            );
            return;
        }
        let entry = Entry {
            user: Some(user.clone()),
            outcome: Some("deleted".to_owned()),
            ..self.entry(change, Event::Departure)
        };
        self.journal(entry).await;
    }
}

fn batch(noted: &[(Arc<str>, UserId, Calls)]) -> Vec<Activity> {
    let now = Millis::from(clock::wall());
    let activity = |(tenant, user, calls): &(Arc<str>, UserId, Calls)| Activity {
        tenant: tenant.to_string(),
        user: user.clone(),
        last: now.minus(clock::since(calls.last)),
        calls: calls.count,
    };
    noted.iter().map(activity).collect()
}

#[cfg(test)]
mod tests;

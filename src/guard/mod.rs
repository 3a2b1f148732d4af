//! One tenant's managed registrations: the queue, the lock, and the only place that deletes users.
//!
//! An admission is a task of its own on the control runtime, so that one past its first deletion finishes even if its
//! caller leaves; a caller leaves by dropping the future of [`Guard::admit`].

mod answer;
mod book;
mod by_hand;
mod changes;
mod in_force;
mod journal;
mod look;
mod own;
mod perform;
mod replay;
mod settle;
mod state;
mod story;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::Tally;
use crate::admission::Terms;
use crate::clock;
use crate::config::Tenant;
use crate::notices::Notices;
use crate::registry::Registry;
use crate::snaptrade::canonical::Canonical;
use crate::snaptrade::proof::{self, CallView, Proven, Unproven};
use crate::snaptrade::signature::SigningKey;
use crate::telemetry::metrics::{Metrics, Place};
use crate::types::{Millis, Timestamp, UserId};
use crate::upstream::forward::Forwarder;
use crate::upstream::manage::Manage;

pub use answer::{Admitted, Refusal, Registration};
use book::Held;
pub use by_hand::{ByHand, Unable};
pub use changes::{Deleting, Doubt};
pub use in_force::{InForce, Latest, Live};
use journal::now;
pub use look::{LookError, Seen};
use replay::Replays;
pub use state::Remains;
use state::State;

/// What a guard works with, beside its tenant's configuration.
#[derive(Clone, Debug)]
pub struct Means {
    pub forwarder: Forwarder,
    pub metrics: Arc<Metrics>,
    pub registry: Arc<Registry>,
    /// Knows of the latest calls.
    pub tally: Arc<Tally>,
    /// Names this process in the journal.
    pub replica: Arc<str>,
    /// Told of every eviction.
    pub notices: Notices,
    /// This machine's clock and `SnapTrade`'s are far apart, as was said once.
    pub clock_differs: Arc<AtomicBool>,
    /// Cancelled when the program is asked to stop.
    pub stopping: CancellationToken,
    /// The control runtime, so that an admission outlives the connection that brought it.
    pub runtime: Handle,
    /// Counts the admissions under way; the program waits for them before it ends.
    pub tasks: TaskTracker,
}

impl Means {
    /// Runs a task on the control runtime. The program waits for it before it ends.
    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        #[cfg(test)]
        let task = clock::machine::here(task);
        self.tasks.spawn_on(task, &self.runtime)
    }
}

/// What is known of a tenant without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Live users when they were last counted.
    pub users: Option<usize>,
    /// Deletions that were under way when the users were last counted: queued at `SnapTrade`, or sent and not seen to
    /// happen.
    pub pending_deletions: usize,
    /// Registrations that wait for their turn.
    pub queued: usize,
    pub registrations: u64,
    pub evictions: u64,
    /// Why the users could not be counted, and what to do about it, if that failed when it was last tried.
    pub trouble: Option<String>,
    /// Registrations that we could not verify and `SnapTrade` accepted: a way of signing that we do not know.
    pub unrecognised_accepted: u64,
    /// When an eviction is allowed again, if the fuse has blown.
    pub fuse_blown_until: Option<Millis>,
}

/// Guards one tenant: its configuration, which does not change, around what is known, which the next guard takes over.
#[derive(Debug)]
pub struct Guard {
    tenant: Arc<Tenant>,
    means: Means,
    key: SigningKey,
    manage: Manage,
    replays: Replays,
    /// Where its requests are counted.
    place: Place,
    state: Arc<State>,
}

impl Guard {
    /// Of a tenant that is new.
    pub fn new(tenant: Arc<Tenant>, means: Means) -> Self {
        Self::around(Arc::default(), tenant, means)
    }

    /// Of a tenant that is configured anew, and still has the same key at SnapTrade.
    #[must_use]
    pub fn following(&self, tenant: Arc<Tenant>, means: Means) -> Self {
        Self::around(Arc::clone(&self.state), tenant, means)
    }

    /// Of a tenant that is configured again.
    pub fn reviving(remains: &Remains, tenant: Arc<Tenant>, means: Means) -> Self {
        Self::around(remains.state().unwrap_or_default(), tenant, means)
    }

    fn around(state: Arc<State>, tenant: Arc<Tenant>, means: Means) -> Self {
        let key = SigningKey::new(&tenant.consumer_key);
        let manage = Manage::new(
            means.forwarder.clone(),
            tenant.client_id.clone(),
            key.clone(),
            tenant.manage_timeout,
            Arc::clone(&state.timestamps),
        );
        let replays = Replays::new(
            tenant.replay_window,
            means.runtime.clone(),
            Arc::clone(&state.kept),
        );
        let place = means.metrics.place(&tenant.name);
        Self {
            tenant,
            means,
            key,
            manage,
            replays,
            place,
            state,
        }
    }

    /// What it was made of.
    pub fn config(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Where its requests are counted.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether a webhook's body is signed with this tenant's key.
    pub fn signed(&self, body: &Canonical, signature: &[u8]) -> bool {
        self.key.signs_body(body, signature)
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.tenant.name
    }

    pub fn client_id(&self) -> &str {
        self.tenant.client_id.as_str()
    }

    pub fn terms(&self) -> &Terms {
        &self.tenant.terms
    }

    pub fn status(&self) -> Status {
        let seen = lock(&self.state.seen);
        Status {
            users: seen.as_ref().map(|seen| seen.users.len()),
            pending_deletions: seen.as_ref().map_or(0, |seen| seen.pending_deletions),
            trouble: lock(&self.state.trouble).clone(),
            queued: self.state.queued.load(Ordering::Relaxed),
            registrations: self.state.registrations.load(Ordering::Relaxed),
            evictions: self.state.evictions.load(Ordering::Relaxed),
            unrecognised_accepted: self.state.unrecognised_accepted.load(Ordering::Relaxed),
            fuse_blown_until: lock(&self.state.fuse_blown_until).filter(|until| *until > now()),
        }
    }

    /// This process among the replicas.
    pub fn replica(&self) -> &str {
        &self.means.replica
    }

    /// Whether its registrations are forwarded unmanaged, because somebody paused it.
    pub fn is_paused(&self) -> bool {
        self.state.paused.load(Ordering::Relaxed)
    }

    /// Whether what is remembered can be read and written.
    pub fn registry_is_up(&self) -> bool {
        self.means.registry.is_up()
    }

    /// Whether what is remembered survives a restart.
    pub fn registry_is_durable(&self) -> bool {
        self.means.registry.is_durable()
    }

    /// Takes in what the registry says.
    pub fn set_paused(&self, paused: bool) {
        if self.state.paused.swap(paused, Ordering::Relaxed) != paused {
            let tenant = self.tenant();
            tracing::info!(
                tenant,
                paused,
                "registrations are managed, or while paused forwarded as they come"
            );
        }
    }

    fn evicted(&self) {
        self.state.evictions.fetch_add(1, Ordering::Relaxed);
    }

    fn count_registration(&self) {
        self.state.registrations.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the call comes from the holder of this tenant's key, now.
    pub fn prove(&self, request: CallView<'_>, now: Timestamp) -> Result<Proven, Unproven> {
        let max_age = self.tenant.signature_max_age;
        proof::prove(&self.key, &self.tenant.client_id, request, now, max_age)
    }

    /// Admits a registration. Dropping the returned future is how a caller leaves.
    pub async fn admit(self: &Arc<Self>, registration: Registration) -> Admitted {
        let (caller, answer) = oneshot::channel();
        let mut waiting = Waiting {
            answer,
            user: registration.kept_for().cloned(),
            replays: &self.replays,
        };
        let guard = Arc::clone(self);
        let admission = async move { guard.queue(registration, caller).await };
        self.means.spawn(admission);
        (&mut waiting.answer)
            .await
            .unwrap_or_else(|_| Admitted::refused(Refusal::Failed))
    }

    async fn queue(&self, registration: Registration, mut caller: oneshot::Sender<Admitted>) {
        let waiting = registration.trace.step("wait_for_lock");
        let turn = self.take_turn(registration.arrived, &mut caller).await;
        waiting.ended(turn.as_ref().err().map(Refusal::token));
        match self.current() {
            Some(guard) => guard.run(registration, turn, caller).await,
            // The tenant is gone, and nobody is evicted for it; see `terms_now`.
            None => self.run(registration, turn, caller).await,
        }
    }

    async fn run(
        &self,
        registration: Registration,
        turn: Result<OwnedMutexGuard<Held>, Refusal>,
        mut caller: oneshot::Sender<Admitted>,
    ) {
        let newcomer = registration.proven.user_id.as_ref();
        let admitted = match turn {
            Ok(mut held) => {
                let admitted = self.perform(&registration, &mut caller, &mut held).await;
                held.hand_over(self.state.queued.load(Ordering::Acquire) > 0);
                admitted
            }
            Err(refusal) => self.refuse_unheard(&registration, refusal),
        };
        if let Err(admitted) = caller.send(admitted) {
            let tenant = self.tenant();
            let newcomer_id = newcomer.map(UserId::as_str);
            tracing::info!(
                tenant,
                newcomer = newcomer_id,
                "the caller left before its registration was answered"
            );
            if let Some(user) = registration.kept_for() {
                self.replays.keep(user, admitted);
            }
        }
    }

    /// Queues for the tenant's lock. A list comes with it only from the one who held it while this one waited.
    async fn take_turn(
        &self,
        arrived: Instant,
        caller: &mut oneshot::Sender<Admitted>,
    ) -> Result<OwnedMutexGuard<Held>, Refusal> {
        if let Ok(mut held) = Arc::clone(&self.state.held).try_lock_owned() {
            held.roster.forget_list();
            return Ok(held);
        }
        let _place = InQueue::take(self).ok_or(Refusal::QueueFull)?;
        let patience = self.tenant.terms.admission_timeout;
        let turn = tokio::time::timeout(
            patience.saturating_sub(clock::since(arrived)),
            Arc::clone(&self.state.held).lock_owned(),
        );
        tokio::select! {
            biased;
            turn = turn => turn.map_err(|_| Refusal::QueuedTooLong),
            () = caller.closed() => Err(Refusal::CallerGone),
        }
    }

    /// A registration went by unmanaged, because the mode is `off`.
    pub fn unmanaged(&self) {
        self.means.metrics.registration(self.tenant(), "unmanaged");
    }

    /// A registration that did not verify was answered by `SnapTrade`, and accepted or not.
    pub fn unproven(&self, why: Unproven, accepted: bool) {
        let (tenant, reason) = (self.tenant(), why.reason());
        if accepted {
            self.state.unrecognised_accepted.fetch_add(1, Ordering::Relaxed);
            self.means.metrics.registration(tenant, "unrecognised-accepted");
            tracing::error!(
                tenant,
                reason,
                "SnapTrade accepted a registration that this sidecar could not verify, so that no room was made for \
                 it; compare consumer_key and the clock, then report the client library that sent it"
            );
        } else {
            self.means.metrics.registration(tenant, "unmanaged");
            tracing::warn!(
                tenant,
                reason,
                "forwarded a registration unmanaged, because it could not be verified; most likely the backend and this \
                 sidecar have different consumer keys, or their clocks differ"
            );
        }
    }
}

/// A caller that waits for its reply. One that leaves just when the reply has come leaves it to the next (R12).
struct Waiting<'a> {
    answer: oneshot::Receiver<Admitted>,
    user: Option<UserId>,
    replays: &'a Replays,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answer.close();
        if let (Some(user), Ok(admitted)) = (&self.user, self.answer.try_recv()) {
            self.replays.keep(user, admitted);
        }
    }
}

/// A place in the queue; dropping it leaves the queue.
struct InQueue<'a>(&'a Guard);

impl<'a> InQueue<'a> {
    fn take(guard: &'a Guard) -> Option<Self> {
        let before = guard.state.queued.fetch_add(1, Ordering::AcqRel);
        let place = Self(guard);
        guard.means.metrics.admission_queue(guard.tenant(), before + 1);
        (before < guard.tenant.queue_max).then_some(place)
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let before = self.0.state.queued.fetch_sub(1, Ordering::AcqRel);
        self.0.means.metrics.admission_queue(self.0.tenant(), before - 1);
    }
}

/// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;

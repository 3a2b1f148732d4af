//! What is known of a tenant, and what is under way for it: all of a guard that a change of its configuration leaves as it
//! is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::book::Held;
use super::changes::Unanswered;
use super::look::LookError;
use super::replay::Kept;
use super::{Guard, Seen, lock};
use crate::snaptrade::budget::Budget;
use crate::types::{Millis, UserId};
use crate::upstream::timestamps::Timestamps;

/// Shared by the guards of one tenant that follow on each other. Who waits for the tenant's lock waits for it whatever is
/// configured meanwhile, and there is never more than one lock for a key.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The tenant's lock. It is fair, so that the queue is first come, first served.
    pub(super) held: Arc<tokio::sync::Mutex<Held>>,
    /// Replies that nobody took; see [`super::replay`].
    pub(super) kept: Kept,
    /// Of the sidecar's own calls; no two have the same.
    pub(super) timestamps: Arc<Timestamps>,
    /// As far as this process knows; another replica may know better.
    pub(super) paused: AtomicBool,
    pub(super) queued: AtomicUsize,
    pub(super) departures: Mutex<VecDeque<(UserId, Instant)>>,
    /// See [`Guard::deleting`].
    pub(super) unanswered: Mutex<Vec<Unanswered>>,
    /// See [`Guard::doubt`].
    pub(super) in_doubt: AtomicBool,
    pub(super) seen: Mutex<Option<Seen>>,
    pub(super) trouble: Mutex<Option<String>>,
    /// As a reply to a management call told of it last.
    pub(super) budget: Mutex<Option<Budget>>,
    /// One look at a time; holds when and why the last one failed.
    pub(super) looking: tokio::sync::Mutex<Option<(Instant, LookError)>>,
    pub(super) registrations: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) unrecognised_accepted: AtomicU64,
    pub(super) fuse_blown_until: Mutex<Option<Millis>>,
    /// The guard whose configuration is in force; none while the tenant is not configured.
    current: Mutex<Weak<Guard>>,
}

/// What is left of a guard for one that follows on it, for as long as anybody has use of it: after a tenant was taken out of
/// the configuration, its last admission may be under way.
#[derive(Clone, Debug)]
pub struct Remains(Weak<State>);

impl Remains {
    pub(super) fn state(&self) -> Option<Arc<State>> {
        self.0.upgrade()
    }

    /// Whether nobody has.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Guard {
    /// From now on this guard's configuration is in force for its tenant.
    pub fn enter(self: &Arc<Self>) {
        *lock(&self.state.current) = Arc::downgrade(self);
    }

    /// From now on the tenant is not configured, so that nobody is evicted any more but by the admission that has the lock.
    pub fn leave(&self) -> Remains {
        *lock(&self.state.current) = Weak::new();
        Remains(Arc::downgrade(&self.state))
    }

    /// The guard that is in force when a turn begins: whoever queued may have done so under an older configuration, and
    /// nobody is evicted by a policy that was taken back before the turn came.
    pub(super) fn current(&self) -> Option<Arc<Self>> {
        lock(&self.state.current).upgrade()
    }
}

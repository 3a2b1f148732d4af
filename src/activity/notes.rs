//! What a worker notes of users and their calls, bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::types::UserId;

/// Users that a worker notes between two gatherings; and those that wait while the registry fails.
pub(super) const USERS_MAX: usize = 100_000;
/// The bytes of their ids, since an id may be as long as a request's target.
pub(super) const ID_BYTES_MAX: usize = 16 << 20;

/// A user's calls since they were last gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    pub(super) last: Instant,
    pub(super) count: u64,
}

/// Users and their calls, bounded.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) tenants: HashMap<Arc<str>, HashMap<UserId, Calls>>,
    pub(super) users: usize,
    pub(super) id_bytes: usize,
    /// Calls of users for whom there was no room.
    pub(super) dropped: u64,
}

impl Noted {
    pub(super) fn note(&mut self, tenant: &str, user: &str, calls: Calls) {
        let users = self.tenants.get_mut(tenant);
        if let Some(known) = users.and_then(|users| users.get_mut(user)) {
            known.last = known.last.max(calls.last);
            known.count += calls.count;
        } else if self.users < USERS_MAX && self.id_bytes + user.len() <= ID_BYTES_MAX {
            self.users += 1;
            self.id_bytes += user.len();
            let users = self.tenants.entry(tenant.into()).or_default();
            users.insert(UserId::new(user), calls);
        } else {
            self.dropped += calls.count;
        }
    }

    pub(super) fn forget(&mut self, tenant: &str, user: &UserId) {
        let users = self.tenants.get_mut(tenant);
        if users.and_then(|users| users.remove(user)).is_some() {
            self.users -= 1;
            self.id_bytes -= user.as_str().len();
        }
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = (Arc<str>, UserId, Calls)> {
        self.tenants.into_iter().flat_map(|(tenant, users)| {
            let of_tenant = move |(user, calls)| (Arc::clone(&tenant), user, calls);
            users.into_iter().map(of_tenant)
        })
    }
}

/// What one worker notes. Only the [`Teller`](super::Teller) looks in from elsewhere, and briefly.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Noted>>);

impl Notes {
    /// A call for this user was answered with 2xx at `at`.
    pub fn called(&self, tenant: &str, user: &str, at: Instant) {
        let calls = Calls { last: at, count: 1 };
        self.noted().note(tenant, user, calls);
    }

    /// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

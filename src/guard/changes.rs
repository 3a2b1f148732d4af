//! What changes beside the admissions: the application deletes users itself.

use std::sync::atomic::Ordering;

use super::{Guard, lock};
use crate::admission::roster::Roster;
use crate::clock;
use crate::types::UserId;

/// Deletions by the application that wait to be noted. Past it the oldest are forgotten, since the next list tells of them.
const DEPARTURES_MAX: usize = 1024;

impl Guard {
    /// The application deleted this user itself, and `SnapTrade` accepted it.
    pub fn departed(&self, user: UserId) {
        self.replays.forget(&user);
        let mut departures = lock(&self.state.departures);
        if departures.len() == DEPARTURES_MAX {
            departures.pop_front();
        }
        departures.push_back((user, clock::now()));
    }

    /// The application is about to delete this user, or to have its secret replaced, so that what is kept for it may be worth
    /// nothing.
    pub fn outdating(&self, user: &UserId) -> Outdating<'_> {
        Outdating {
            guard: self,
            user: Some(user.clone()),
        }
    }

    /// A call is on its way that may change who is there. Until its outcome is known, no list is ground for an eviction
    /// that was asked for before.
    pub fn doubt(&self) -> Doubt<'_> {
        self.state.in_doubt.store(true, Ordering::Release);
        Doubt { guard: self }
    }

    /// Takes in what happened beside the admission. The list is then asked for anew before anybody is deleted.
    pub(super) fn note_changes(&self, roster: &mut Roster) {
        let now = clock::now();
        if self.state.in_doubt.swap(false, Ordering::AcqRel) {
            roster.doubt(now);
        }
        let departures = std::mem::take(&mut *lock(&self.state.departures));
        for (user, at) in &departures {
            // By now every list says so.
            if now.saturating_duration_since(*at) < self.tenant.terms.settle_timeout {
                roster.removed(user, *at);
                roster.doubt(now);
            }
        }
    }
}

/// A call that makes a user's secret worth nothing, from before it is sent. Dropping it, for whatever reason, also by the
/// caller's leaving, drops the reply that is kept for the user, or that comes yet to what was sent before (R12).
#[derive(Debug)]
pub struct Outdating<'a> {
    guard: &'a Guard,
    user: Option<UserId>,
}

impl Outdating<'_> {
    /// It was plainly refused.
    pub fn stands(mut self) {
        self.user = None;
    }
}

impl Drop for Outdating<'_> {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.guard.replays.outdate(user);
        }
    }
}

/// A call that may change who is there, from before it is sent until its outcome is known. Dropping it, for whatever
/// reason, casts doubt on the lists that were asked for meanwhile.
#[derive(Debug)]
pub struct Doubt<'a> {
    guard: &'a Guard,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.guard.state.in_doubt.store(true, Ordering::Release);
    }
}

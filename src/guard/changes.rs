//! What changes beside the admissions: the application deletes users itself.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Guard, lock};
use crate::admission::roster::Roster;
use crate::clock;
use crate::types::UserId;

/// Deletions by the application that wait to be noted. Past it the oldest are forgotten, since the next list tells of them.
const DEPARTURES_MAX: usize = 1024;

/// Deletions by the application that are under way, or had no answer lately. Past it no more are noted.
const UNANSWERED_MAX: usize = 1024;

/// A deletion by the application of which it is not known whether it happened.
#[derive(Debug)]
pub(super) struct Unanswered {
    user: UserId,
    sent: Instant,
    /// `None` while it is under way.
    ended: Option<Instant>,
}

impl Unanswered {
    /// Whether a list may still name the user although it is gone.
    fn matters(&self, now: Instant, settle: Duration) -> bool {
        self.ended
            .is_none_or(|ended| now.saturating_duration_since(ended) < settle)
    }
}

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

    /// The holder of the key is about to have this user deleted. Until it is known what came of it, and for the settle time where
    /// there is no answer, the user may be gone. It has to be proven, or whoever reaches the port could have nobody counted.
    pub fn deleting(&self, user: UserId) -> Deleting<'_> {
        let sent = clock::now();
        let mut calls = lock(&self.state.unanswered);
        calls.retain(|call| call.matters(sent, self.tenant.terms.settle_timeout));
        if calls.len() < UNANSWERED_MAX {
            calls.push(Unanswered {
                user: user.clone(),
                sent,
                ended: None,
            });
        }
        drop(calls);
        Deleting {
            guard: self,
            user,
            sent,
            is_answered: false,
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
        let mut calls = lock(&self.state.unanswered);
        calls.retain(|call| call.matters(now, self.tenant.terms.settle_timeout));
        let unanswered = calls.iter().map(|call| (call.user.clone(), call.sent)).collect();
        drop(calls);
        roster.note_unanswered(unanswered, now);
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

/// A deletion by the application, from before it is sent. Dropping it, also by the caller's leaving, is to get no answer.
#[derive(Debug)]
pub struct Deleting<'a> {
    guard: &'a Guard,
    user: UserId,
    sent: Instant,
    is_answered: bool,
}

impl Deleting<'_> {
    /// It is known what came of it.
    pub fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        let mut calls = lock(&self.guard.state.unanswered);
        let is_this =
            |call: &Unanswered| (&call.user, call.sent, call.ended) == (&self.user, self.sent, None);
        let Some(place) = calls.iter().position(is_this) else {
            return;
        };
        if self.is_answered {
            calls.swap_remove(place);
        } else {
            calls[place].ended = Some(clock::now());
        }
    }
}

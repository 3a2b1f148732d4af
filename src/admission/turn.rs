//! The transitions of an admission.

use std::time::{Duration, Instant};

use super::policy::{Mode, OnListError};
use super::roster::{Roster, Unresolved};
use super::{
    Admission, AfterLimit, Circumstances, Ending, Note, PAUSE_MIN, Reason, Reply, State, Step, Terms,
};
use crate::types::UserId;

/// The longest pause between two looks at a list that is to change.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// For how long SnapTrade may count a user that it no longer lists.
const FREED_WAIT: Duration = Duration::from_secs(5);

/// One call of [`Admission::on`]: the machine and all it may look at.
pub(super) struct Turn<'a> {
    pub(super) admission: &'a mut Admission,
    pub(super) now: Instant,
    pub(super) here: Circumstances,
    pub(super) terms: &'a Terms,
    pub(super) roster: &'a mut Roster,
}

impl Turn<'_> {
    pub(super) fn begin(&mut self) -> Step {
        if self.admission.newcomer.is_none() {
            self.give_up(Reason::NoUserId)
        } else if self.terms.mode == Mode::OnLimitError || self.terms.mode == Mode::Off {
            self.forward()
        } else if self.past_deadline() {
            self.give_up(Reason::TimedOut)
        } else if self.roster.is_fresh(self.now) {
            self.consider()
        } else {
            self.look()
        }
    }

    /// Asks who is there, once that is welcome.
    pub(super) fn look(&mut self) -> Step {
        if self.now < self.admission.welcome {
            return self.hold();
        }
        self.admission.state = State::Looking;
        self.admission.asked = self.now;
        // A reply that is no list leaves none; and of a million users, nobody has the room for two.
        self.roster.forget_list();
        Step::List
    }

    pub(super) fn listed(&mut self, entries: Option<Vec<UserId>>) -> Step {
        let settle = self.terms.settle_timeout;
        let asked = self.admission.asked;
        let taken = entries.is_some_and(|entries| {
            self.roster
                .take(entries, asked, self.now, self.here.clock, settle)
                .is_ok()
        });
        let gone = self.roster.take_gone();
        self.admission.notes.extend(gone.into_iter().map(Note::Evicted));
        if taken {
            self.consider()
        } else if self
            .own_deletion_since()
            .is_some_and(|since| self.now < since + self.terms.settle_timeout)
        {
            self.pause_or(Reason::DeletionUnsettled)
        } else {
            self.give_up(Reason::ListFailed)
        }
    }

    /// A list or a deletion was throttled. Of a deletion that makes the outcome an unclear one (R10), whatever is likely.
    pub(super) fn throttled(&mut self, wait: Duration) -> Step {
        if let State::Deleting(_) = self.admission.state {
            self.admission.pause = PAUSE_MIN;
        }
        // In case that it is told to come back at once, again and again.
        self.admission.welcome = self.now + wait.max(self.admission.pause);
        self.admission.pause = (self.admission.pause * 2).min(PAUSE_MAX);
        self.look()
    }

    /// Waits until a call is welcome. Gives up where that is not before the deadline: at once, unless a deletion of our own is
    /// under way, which needs all the time that there is.
    fn hold(&mut self) -> Step {
        let (welcome, deadline) = (self.admission.welcome, self.deadline());
        let is_settling = self.admission.unsettled.is_some();
        if self.past_deadline() || (welcome >= deadline && !is_settling) {
            return self.give_up(if is_settling {
                Reason::DeletionUnsettled
            } else {
                Reason::ListFailed
            });
        }
        if !self.admission.deletion_sent && self.here.caller_gone {
            return self.finish(Ending::Abandoned);
        }
        if !self.admission.deletion_sent && self.here.stopping {
            return self.give_up(Reason::Stopping);
        }
        self.admission.state = State::Pausing;
        Step::Pause(welcome.min(deadline) - self.now)
    }

    /// When the deletion that this admission sent left, while it is unresolved.
    fn own_deletion_since(&self) -> Option<Instant> {
        let unresolved = self.roster.unresolved.as_ref()?;
        (self.admission.state == State::Looking && self.admission.deletion_sent).then_some(unresolved.since)
    }

    /// Decides on a list that was just taken in, or handed on by the admission before.
    pub(super) fn consider(&mut self) -> Step {
        if let Some(step) = self.settle_deletion() {
            return step;
        }
        // An id that is only alike may be another user's: then SnapTrade says that there is no room, and room is made.
        let alike_counts = self.admission.limit.is_none();
        let newcomer_listed = self.admission.newcomer.as_ref().is_some_and(|id| {
            let roster = &self.roster;
            roster.is_there(id) || (alike_counts && roster.lists_alike(id))
        });
        if newcomer_listed {
            return self.give_up(Reason::AlreadyListed);
        }
        // The mode may have changed since it began.
        match (self.terms.mode, self.admission.limit.clone()) {
            (Mode::Off, Some(_)) => self.finish(Ending::Answered),
            (Mode::Off | Mode::OnLimitError, None) => self.forward(),
            (_, Some(limit)) => self.consider_after_limit(&limit),
            (_, None) => self.consider_ahead(),
        }
    }

    /// Sees whether the tenant's unresolved deletion happened. `None` when there is none any more and this
    /// admission may go on.
    fn settle_deletion(&mut self) -> Option<Step> {
        let Unresolved {
            victim,
            since,
            is_sent,
            ..
        } = self.roster.unresolved.clone()?;
        let own = self.admission.deletion_sent && !self.admission.evicted.contains(&victim);
        // Another replica may have deleted again whom this one had given up.
        if !self.roster.is_there(&victim) {
            self.roster.unresolved = None;
            self.roster.removed(&victim, self.now);
            self.admission.notes.push(Note::Evicted(victim.clone()));
            if own {
                self.admission.unsettled = None;
                self.admission.evicted.push(victim);
                if let Some(limit) = &mut self.admission.limit {
                    limit.evicted = true;
                }
            }
            return None;
        }
        if self.now < since + self.terms.settle_timeout {
            return Some(self.pause_or(Reason::DeletionUnsettled));
        }
        self.roster.doom();
        let note = if is_sent {
            Note::EvictionUnsettled
        } else {
            Note::EvictionUnknown
        };
        self.admission.notes.push(note(victim));
        own.then(|| self.give_up(Reason::DeletionUnsettled))
    }

    fn consider_ahead(&mut self) -> Step {
        let live = self.roster.bare().count();
        let buried = self.roster.fresh_tombstones(self.now, self.terms.settle_timeout);
        let wait = self.roster.tombstones_count && self.terms.mode == Mode::Enforce;
        if wait && buried > 0 && live + buried >= self.terms.max_users {
            return self.pause_or(Reason::TimedOut);
        }
        // Somebody else would go for a slot that is free, or a user be one too many: it is waited for what became of them.
        let unanswered = self.roster.listed_unanswered();
        if self.terms.mode == Mode::Enforce && unanswered > 0 && live + unanswered >= self.terms.max_users {
            return self.pause_or(Reason::TimedOut);
        }
        match (live + 1).saturating_sub(self.terms.max_users) {
            0 => self.forward(),
            needed => self.evict(needed),
        }
    }

    fn consider_after_limit(&mut self, limit: &AfterLimit) -> Step {
        let fresh = self.roster.fresh_tombstones(self.now, self.terms.settle_timeout);
        if fresh + self.roster.lingering() > 0 {
            if self.terms.mode == Mode::Observe {
                return self.give_up(Reason::Observed);
            }
            if let Some(limit) = &mut self.admission.limit {
                limit.awaited.get_or_insert_with(|| self.roster.going());
                limit.awaits_answer |= self.roster.listed_unanswered() > 0;
            }
            // The one retry must not be wasted, so that a tombstone of our own eviction is waited for as well.
            return self.pause_or(self.still_waiting());
        }
        // A tombstone that only grew old freed nothing.
        let vanished = limit
            .awaited
            .as_ref()
            .is_some_and(|awaited| self.roster.misses_any(awaited));
        // Nor is anybody evicted for a slot that was freed just after the error.
        let (fewer, was_freed) = limit.before.as_ref().map_or((false, false), |(live, going)| {
            (self.roster.bare().count() < *live, self.roster.misses_any(going))
        });
        if let Some(limit) = &mut self.admission.limit {
            limit.was_freed |= was_freed;
        }
        // To evict one of several for whom there is no room, and to retry then, would be in vain.
        let over = (self.roster.bare().count() + 1).saturating_sub(self.terms.max_users);
        if limit.evicted && over > 0 && self.terms.mode == Mode::Enforce {
            return self.evict(over);
        }
        if limit.evicted || vanished || fewer || was_freed {
            return self.retry();
        }
        // Whom the application did not delete after all is there, as SnapTrade said: then room is made as for anybody.
        if limit.awaited.is_some() && !limit.awaits_answer {
            return self.give_up(self.still_waiting());
        }
        if let Some(step) = self.await_freed_slot(limit.awaits_count) {
            return step;
        }
        let needed = match self.terms.mode {
            Mode::OnLimitError => 1,
            _ => over.max(1),
        };
        self.evict(needed)
    }

    /// Somebody went and nobody came since, and no list tells that there is no room: SnapTrade has not counted it yet. To evict
    /// one more would be one too many (R4); the retry is worth more a little later.
    fn await_freed_slot(&mut self, is_awaited: bool) -> Option<Step> {
        let freed = self.roster.freed_lately()?;
        let counts = self.terms.mode != Mode::OnLimitError;
        if counts && self.roster.bare().count() >= self.terms.max_users {
            return None;
        }
        if self.now >= freed + FREED_WAIT {
            // By then SnapTrade has counted.
            return is_awaited.then(|| self.retry());
        }
        if let Some(limit) = &mut self.admission.limit {
            limit.awaits_count = true;
        }
        Some(self.pause_or(self.still_waiting()))
    }

    /// Why there is no room in the end, after waiting for it.
    fn still_waiting(&self) -> Reason {
        match self.admission.unsettled {
            Some(_) => Reason::DeletionUnsettled,
            None => Reason::TimedOut,
        }
    }

    pub(super) fn replied(&mut self, reply: Reply) -> Step {
        match reply {
            Reply::Registered(id) => {
                let unresolved = self.roster.unresolved.as_ref();
                if unresolved.is_some_and(|unresolved| unresolved.victim == id) {
                    self.admission.notes.push(Note::EvictionOvertaken(id.clone()));
                }
                self.roster.registered(&id, self.now, self.here.clock);
                self.learn_whether_tombstones_count();
                // SnapTrade had room, and the key has more users than it was to have all the same.
                let unmade = self.admission.limit.as_ref().filter(|limit| !limit.evicted);
                if let Some(limit) = unmade.filter(|_| self.roster.bare().count() > self.terms.max_users) {
                    self.admission.reason = self.admission.reason.or(limit.forwarded_for);
                }
                self.finish(Ending::Answered)
            }
            Reply::Other => self.finish(Ending::Answered),
            Reply::Unclear => {
                self.roster.forget_list();
                self.finish(Ending::Answered)
            }
            Reply::LimitReached => {
                let before = self.roster.list().is_some();
                let before = before.then(|| (self.roster.bare().count(), self.roster.going()));
                self.roster.forget_list();
                let again = self.admission.limit.is_none() && self.admission.newcomer.is_some();
                // Another list would say the same.
                let settled = matches!(
                    self.admission.reason,
                    Some(Reason::Observed | Reason::NobodyEvictable | Reason::TooManyOver)
                );
                if !again || settled || self.terms.mode == Mode::Off {
                    if let Some(limit) = self.admission.limit.as_ref().filter(|limit| !limit.evicted) {
                        // The slot that it waited for went to somebody else: why no other was made matters after all.
                        self.admission.reason = self.admission.reason.or(limit.forwarded_for);
                    }
                    return self.finish(Ending::Answered);
                }
                self.admission.limit = Some(AfterLimit {
                    before,
                    forwarded_for: self.admission.reason,
                    ..AfterLimit::default()
                });
                self.admission.pause = PAUSE_MIN;
                // Why it was forwarded without room no longer matters where a retry succeeds, unless a deletion went wrong.
                self.admission
                    .reason
                    .take_if(|reason| !reason.is_failed_deletion());
                self.look()
            }
        }
    }

    /// A retry that succeeded, once nothing but the end of deletions had been waited for, shows that they took slots: unless
    /// they were only sent.
    fn learn_whether_tombstones_count(&mut self) {
        let only_waited = |limit: &AfterLimit| {
            (limit.awaited.is_some() || limit.was_freed) && !limit.evicted && !limit.awaits_answer
        };
        let waited = self.admission.limit.as_ref().is_some_and(only_waited);
        if self.admission.retried && waited && !self.roster.tombstones_count {
            self.roster.tombstones_count = true;
            self.admission.notes.push(Note::TombstonesCount);
        }
    }

    pub(super) fn past_deadline(&self) -> bool {
        self.now >= self.deadline()
    }

    fn deadline(&self) -> Instant {
        self.admission.arrived + self.terms.admission_timeout
    }

    /// Pauses before the next look, each time longer; at the deadline gives up instead.
    pub(super) fn pause_or(&mut self, reason: Reason) -> Step {
        if self.past_deadline() {
            return self.give_up(reason);
        }
        if self.here.caller_gone && !self.admission.deletion_sent {
            return self.finish(Ending::Abandoned);
        }
        let mut wake = self.now + self.admission.pause.max(self.here.pace);
        if let Some(Unresolved { since, .. }) = &self.roster.unresolved {
            // Whether it happened is decided then, so that a look at that time is worth its call.
            let settled = *since + self.terms.settle_timeout;
            wake = if settled > self.now {
                wake.min(settled)
            } else {
                wake
            };
        }
        self.admission.pause = (self.admission.pause * 2).min(PAUSE_MAX);
        self.admission.state = State::Pausing;
        Step::Pause(wake.min(self.deadline()) - self.now)
    }

    /// Makes no (more) room. The registration goes out as it is, unless it has already been answered.
    pub(super) fn give_up(&mut self, reason: Reason) -> Step {
        self.admission.reason = Some(reason);
        let refuse = reason == Reason::ListFailed && self.terms.on_list_error == OnListError::Reject;
        if self.admission.limit.is_some() {
            self.finish(Ending::Answered)
        } else if refuse && !self.admission.deletion_sent {
            self.finish(Ending::Refused)
        } else {
            self.forward()
        }
    }

    fn forward(&mut self) -> Step {
        self.send(false)
    }

    fn retry(&mut self) -> Step {
        self.send(true)
    }

    /// Sends the registration, unless its caller left and nobody was deleted for it.
    fn send(&mut self, retry: bool) -> Step {
        if self.here.caller_gone && !self.admission.deletion_sent {
            return self.finish(Ending::Abandoned);
        }
        self.admission.retried = retry;
        self.admission.state = State::Sending;
        Step::Forward { retry }
    }

    pub(super) fn finish(&mut self, ending: Ending) -> Step {
        self.admission.state = State::Finished;
        Step::Finish(ending)
    }
}

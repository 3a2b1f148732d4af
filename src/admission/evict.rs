//! The transitions of an eviction: whom, the intent, the deed.

use super::policy::Mode;
use super::turn::Turn;
use super::{Deletion, Ending, Note, PAUSE_MIN, Reason, State, Step};
use crate::types::UserId;

/// How many users that SnapTrade refuses to delete are passed over in one admission.
const REFUSALS_MAX: usize = 3;

impl Turn<'_> {
    /// Starts the eviction of the first of `needed` victims, or says why there is none.
    ///
    /// One deletion that went wrong is enough: it may still happen, and a second would then be one too many (R10).
    pub(super) fn evict(&mut self, needed: usize) -> Step {
        if let Some(reason) = self.admission.reason.filter(|reason| reason.is_failed_deletion()) {
            return self.give_up(reason);
        }
        if self.admission.evicted.len() + needed > self.terms.max_per_registration {
            return self.give_up(Reason::TooManyOver);
        }
        if !self.here.knows {
            return self.give_up(Reason::RegistryDown);
        }
        if self.admission.refused.len() >= REFUSALS_MAX {
            return self.give_up(Reason::NobodyEvictable);
        }
        let clock = self.here.clock;
        // Not started, unless the fuse lets all of it through: half of the room is none.
        if self
            .terms
            .fuse
            .room_for(needed, self.roster.deletions(), clock)
            .is_err()
        {
            return self.give_up(Reason::FuseBlown);
        }
        let (users, refused) = (self.roster.users(clock), &self.admission.refused);
        let mut order = self.terms.policy.first(users, needed, refused, clock);
        if order.len() < needed {
            let unlisted = self.roster.unlisted();
            return if order.len() + unlisted < needed {
                self.give_up(Reason::NobodyEvictable)
            } else if self.admission.state == State::Looking {
                self.pause_or(Reason::NobodyEvictable)
            } else {
                // Whom the admission before registered has to be listed before it can go.
                self.look()
            };
        }
        if self.terms.mode == Mode::Observe {
            let notes = order
                .into_iter()
                .map(|(victim, why)| Note::WouldEvict(victim, why));
            self.admission.notes.extend(notes);
            return self.give_up(Reason::Observed);
        }
        if !self.roster.is_fresh(self.now) {
            // It took too long to come: nothing irreversible may rest on it.
            return self.pause_or(Reason::TimedOut);
        }
        let (victim, why) = order.swap_remove(0);
        self.unless_in_vain().unwrap_or_else(|| {
            self.admission.state = State::Intending(victim.clone());
            Step::RecordIntent(victim, why)
        })
    }

    /// A way out if an eviction would now be in vain (R4): nobody waits for it, or nobody will see it through.
    fn unless_in_vain(&mut self) -> Option<Step> {
        if self.here.caller_gone {
            // Past its first deletion an admission sees itself through, but deletes nobody else.
            Some(if self.admission.deletion_sent {
                self.give_up(Reason::CallerGone)
            } else {
                self.finish(Ending::Abandoned)
            })
        } else if self.here.stopping {
            Some(self.give_up(Reason::Stopping))
        } else if self.past_deadline() {
            Some(self.give_up(Reason::TimedOut))
        } else {
            None
        }
    }

    pub(super) fn intent_recorded(&mut self, recorded: bool) -> Step {
        let State::Intending(victim) = self.admission.state.clone() else {
            // Out of turn: no intent was asked for, so that nothing may be deleted.
            return self.give_up(Reason::NotJournaled);
        };
        if !recorded {
            return self.give_up(Reason::NotJournaled);
        }
        let mut way_out = self.unless_in_vain();
        if way_out.is_none() && !self.here.knows {
            way_out = Some(self.give_up(Reason::RegistryDown));
        }
        let stale = !self.roster.is_fresh(self.now);
        if way_out.is_some() || stale {
            self.admission.notes.push(Note::EvictionWithdrawn(victim));
            return way_out.unwrap_or_else(|| self.look());
        }
        self.roster.count_deletion(self.terms.fuse, self.here.clock);
        self.admission.deletion_sent = true;
        self.admission.unsettled = Some(victim.clone());
        self.roster
            .await_deletion(victim.clone(), self.now, self.now, true);
        self.admission.state = State::Deleting(victim.clone());
        Step::Delete(victim)
    }

    pub(super) fn deleted(&mut self, deletion: Deletion) -> Step {
        let State::Deleting(victim) = self.admission.state.clone() else {
            return self.give_up(Reason::DeletionUnsettled);
        };
        if deletion == Deletion::Unsent {
            return self.unsent(victim);
        }
        self.admission.pause = PAUSE_MIN;
        if matches!(deletion, Deletion::Accepted | Deletion::Unclear) {
            return self.look();
        }
        self.roster.unresolved = None;
        self.roster.uncount_deletion();
        self.admission.unsettled = None;
        self.admission.notes.push(Note::EvictionRefused(victim.clone()));
        self.admission.refused.push(victim);
        match deletion {
            Deletion::Rejected => self.give_up(Reason::DeletionRejected),
            // The list named somebody who is not there. Its slot may be free, so that nobody else may have to go.
            Deletion::NotFound => {
                self.roster.forget_list();
                self.pause_or(Reason::TimedOut)
            }
            _ if self.roster.is_fresh(self.now) => self.consider(),
            _ => self.look(),
        }
    }

    /// Nothing left, so that nobody was asked to delete anybody: all is as before the intent, and is decided anew after a
    /// pause, each longer than the last.
    fn unsent(&mut self, victim: UserId) -> Step {
        self.roster.unresolved = None;
        self.roster.uncount_deletion();
        self.admission.unsettled = None;
        self.admission.deletion_sent =
            !self.admission.evicted.is_empty() || !self.admission.refused.is_empty();
        self.admission.notes.push(Note::EvictionWithdrawn(victim));
        self.pause_or(Reason::TimedOut)
    }
}

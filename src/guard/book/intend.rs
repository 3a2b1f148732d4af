//! Intents: recorded before a deletion is sent, and for how long it may be after.

use std::time::{Duration, Instant};

use super::super::journal::within;
use super::Book;
use crate::admission::Note;
use crate::admission::roster::Roster;
use crate::clock;
use crate::registry::{Event, Intended};
use crate::types::UserId;

/// A deletion leaves within this time after its intent was recorded, or not at all: until then, whoever takes the turn
/// next waits before it looks.
const INTENT_AGE_MAX: Duration = Duration::from_secs(1);

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Intention {
    Recorded,
    /// Whether it was recorded is not certain, or it took too long: nobody is deleted.
    Uncertain,
    /// Somebody just decided otherwise, by hand.
    Barred,
}

impl Book<'_> {
    /// Records that `victim` is about to be deleted (R7).
    pub(in crate::guard) async fn intend(
        &mut self,
        victim: &UserId,
        why: &str,
        roster: &Roster,
    ) -> Intention {
        // Whoever took the turn over would find two open otherwise (R10).
        if self.hold.is_some()
            && let Err(error) = within(self.write_owed()).await
        {
            self.guard.note_failure::<()>(Err(error));
            return Intention::Uncertain;
        }
        let mut entry = self.entry(Event::Intent);
        entry.user = Some(victim.clone());
        entry.reason = Some(why.to_owned());
        entry.users = roster
            .list()
            .and_then(|_| u32::try_from(roster.bare().count()).ok());
        let Some(hold) = self.hold.as_deref_mut() else {
            return Intention::Uncertain;
        };
        // From before it is written, whenever the answer comes.
        self.intended = Some(clock::now());
        let error = match within(self.guard.means.registry.intend(hold, entry.clone())).await {
            Ok(Intended::Recorded(id)) => {
                self.intents.insert(victim.clone(), id);
                if self.is_timely() {
                    return Intention::Recorded;
                }
                self.withdraw(victim).await;
                return Intention::Uncertain;
            }
            Ok(Intended::Barred) => {
                let (tenant, victim) = (self.guard.tenant(), victim.as_str());
                tracing::info!(
                    tenant,
                    victim,
                    "not evicted: the user was just protected, or the tenant paused, by hand"
                );
                return Intention::Barred;
            }
            Err(error) => error,
        };
        // The turn may be somebody else's by now.
        self.hold = None;
        self.unsent.push(entry);
        let (tenant, victim) = (self.guard.tenant(), victim.as_str());
        tracing::error!(
            tenant,
            victim,
            %error,
            "the intent could not be recorded, so that nobody is deleted"
        );
        Intention::Uncertain
    }

    /// Records that the deletion which was intended is not sent after all.
    pub(in crate::guard) async fn withdraw(&mut self, victim: &UserId) {
        let withdrawn = Note::EvictionWithdrawn(victim.clone());
        self.note(std::slice::from_ref(&withdrawn)).await;
        let newcomer = self.newcomer.as_ref().map_or("", UserId::as_str);
        self.guard.tell(&withdrawn, newcomer);
    }

    /// When the deletion that was intended last has to have left.
    pub(in crate::guard) fn leave_by(&self) -> Instant {
        self.intended.map_or_else(clock::now, |at| at + INTENT_AGE_MAX)
    }

    /// Whether the deletion may still be sent that was intended last: the program may have been stopped in between.
    pub(in crate::guard) fn is_timely(&self) -> bool {
        self.intended.is_some_and(|at| clock::since(at) < INTENT_AGE_MAX)
    }
}

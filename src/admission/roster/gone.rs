//! Who went.

use std::time::Instant;

use super::super::known::Known;
use super::{Roster, Unresolved};
use crate::types::{Millis, UserId};

/// Of a user that is gone, or on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) at: Instant,
    /// When it was registered, as far as was known then: by that, one that was registered anew is told from it.
    pub(super) registered: Option<Millis>,
}

impl Roster {
    pub(super) fn departure(&self, id: &UserId, at: Instant) -> Departure {
        let registered = self.people.get(id).and_then(|known| known.registered);
        Departure {
            at,
            registered: registered.map(|(at, _)| at),
        }
    }

    /// It is gone, and what was known of it is forgotten, but for protection by hand: that is of the id, whoever has it next.
    pub(super) fn depart(&mut self, id: &UserId, now: Instant) {
        let departure = self.departure(id, now);
        self.removed.insert(id.clone(), departure);
        self.clear(id, now);
        match self.people.get_mut(id) {
            Some(known) if known.protected => {
                *known = Known {
                    first_seen: known.first_seen,
                    protected: true,
                    ..Known::default()
                };
            }
            _ => self.people.remove(id),
        }
    }

    /// From now on a deletion is waited for, that was intended and, where `is_sent`, sent at `intended`.
    pub fn await_deletion(&mut self, victim: UserId, intended: Instant, since: Instant, is_sent: bool) {
        let Departure { registered, .. } = self.departure(&victim, intended);
        self.unresolved = Some(Unresolved {
            victim,
            since,
            intended,
            registered,
            is_sent,
        });
    }

    /// The unresolved deletion did not show in time. Whose it is.
    pub fn doom(&mut self) -> Option<UserId> {
        let Unresolved {
            victim: id,
            intended: at,
            registered,
            ..
        } = self.unresolved.take()?;
        self.doomed.insert(id.clone(), Departure { at, registered });
        if let Some((_, entries)) = &mut self.listed {
            self.lingering
                .extend(entries.extract_if(.., |entry| *entry == id));
        }
        Some(id)
    }

    /// Another replica settled the unresolved deletion. Where it gave it up, it may still happen.
    pub fn settled_elsewhere(&mut self) {
        let given_up = self.doom();
        self.settled_elsewhere.extend(given_up);
    }

    /// The doomed that a list no longer named.
    pub fn take_gone(&mut self) -> Vec<UserId> {
        std::mem::take(&mut self.gone)
    }

    /// When a user went last for whom nobody was registered here since, within the settle time: its slot may not be free yet,
    /// although no list names it.
    pub(in crate::admission) fn freed_lately(&self) -> Option<Instant> {
        let freed = self.removed.values().map(|gone| gone.at).max()?;
        let taken = self.registered.values().map(|user| user.at).max();
        taken.is_none_or(|taken| freed > taken).then_some(freed)
    }
}

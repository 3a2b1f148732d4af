//! What is remembered of the users, and how it follows the lists.

use std::collections::HashSet;
use std::time::Instant;

use super::super::known::Known;
use super::super::people::People;
use super::super::policy::{Candidate, User};
use super::gone::Departure;
use super::{Missing, Roster, known_from};
use crate::snaptrade::listing::is_tombstone;
use crate::types::{Millis, UserId};

impl Roster {
    /// Takes in what the registry knows, in the place of all that was remembered before, and when deletions were intended
    /// that the fuse may count.
    ///
    /// That we registered somebody is known here even if it could not be noted there: else the youngest would become one of
    /// unknown age, and go first.
    pub fn remember(&mut self, known: Vec<(UserId, Known)>, deletions: Vec<Millis>) {
        self.people = People::new(known);
        self.newly_seen = Vec::new();
        self.deletions = deletions;
        self.keep_own();
    }

    /// All is about to be remembered anew; of a million users, nobody has the room to have them twice meanwhile.
    pub fn forget(&mut self) {
        self.people = People::default();
        self.newly_seen = Vec::new();
    }

    /// As [`Self::remember`], where the registry tells what changed since: who is gone, and whom it knows differently or
    /// anew. What it does not name stays as it was. Who is gone, perhaps by way of another replica, may be listed for a while.
    pub fn update(
        &mut self,
        gone: &[UserId],
        changed: Vec<(UserId, Known)>,
        deletions: Vec<Millis>,
        now: Instant,
    ) {
        let anew = changed.iter().filter(|(_, known)| known.registered.is_some());
        let anew: HashSet<UserId> = anew
            .map(|(id, _)| id.clone())
            .take_while(|_| !gone.is_empty())
            .collect();
        for id in gone {
            if self.removed.contains_key(id) || anew.contains(id) {
                self.people.remove(id);
            } else {
                self.depart(id, now);
            }
        }
        for (id, known) in changed {
            *self.people.entry(&id, known).0 = known;
        }
        self.deletions = deletions;
        self.keep_own();
    }

    /// The registry has our registration of this user.
    pub fn written(&mut self, id: &UserId) {
        if let Some(user) = self.registered.get_mut(id) {
            user.is_written = true;
        }
    }

    /// What is known of a user, as far as the registry told.
    pub fn known(&self, id: &UserId) -> Option<&Known> {
        self.people.get(id)
    }

    /// Whom other replicas registered since we saw them go is there again. `clock` is `now` on the wall.
    pub fn welcome_back(&mut self, now: Instant, clock: Millis) {
        let people = &self.people;
        let is_back = |id: &UserId, gone: &Departure| {
            let registered = people.get(id).and_then(|known| known.registered);
            registered.is_some_and(|(at, _)| {
                gone.registered != Some(at) && clock.since(at) < now.saturating_duration_since(gone.at)
            })
        };
        self.removed.retain(|id, gone| !is_back(id, gone));
        self.doomed.retain(|id, gone| !is_back(id, gone));
        let unanswered = self.unanswered.iter().filter(|(id, gone)| is_back(id, gone));
        let back: Vec<UserId> = unanswered.map(|(id, _)| id.clone()).collect();
        for id in back {
            self.clear(&id, now);
        }
    }

    /// What we did and the registry was not told of. Whom it was told of and does not know any more, another replica
    /// deleted.
    fn keep_own(&mut self) {
        let people = &self.people;
        let is_known = |id: &UserId| people.get(id).is_some_and(|known| known.registered.is_some());
        self.registered
            .retain(|id, user| !user.is_written || is_known(id));
        for (id, user) in &self.registered {
            let own = known_from(user.clock);
            let (known, _) = self.people.entry(id, own);
            known.registered = known.registered.or(own.registered);
        }
    }

    /// Notes who is there for the first time, and who is not although it is remembered.
    pub(super) fn meet(&mut self, entries: &mut [UserId], asked: Instant, now: Instant, clock: Millis) {
        let mut met = vec![false; self.people.len()];
        for place in self.lingering.iter().filter_map(|id| self.people.place(id)) {
            met[place] = true;
        }
        // The next list is most likely the last one, but for a user that went.
        let hints = std::mem::take(&mut self.places);
        let mut expected = 0;
        self.places.reserve(entries.len());
        self.people.reserve(entries.len());
        for id in entries {
            let near = &hints[expected.min(hints.len())..(expected + 2).min(hints.len())];
            let place = self.people.place_near(id, near).inspect(|place| {
                // Past the end are those that were met just now.
                if let Some(met) = met.get_mut(*place) {
                    *met = true;
                }
            });
            if let Some(place) = place {
                // The same text once, not twice.
                *id = self.people.at(place).0.clone();
            } else if !is_tombstone(id) {
                self.first_sight(id, clock);
                self.newly_seen.push(id.clone());
            }
            let place = place.and_then(|place| u32::try_from(place).ok());
            let skipped = usize::from(place.is_some() && near.get(1).copied() == place);
            expected += 1 + skipped;
            // One that is new stands at the end.
            self.places.push(place.unwrap_or(u32::MAX));
        }
        let before = std::mem::take(&mut self.missing);
        let missing = met.iter().enumerate().filter(|(_, met)| !**met);
        self.missing = missing
            .map(|(place, _)| {
                let id = self.people.at(place).0.clone();
                let since = before.get(&id).map_or(now, |missing| missing.since);
                (id, Missing { since, until: asked })
            })
            .collect();
    }

    /// Remembers a user that was not known.
    fn first_sight(&mut self, id: &UserId, clock: Millis) {
        let first_seen = Known {
            first_seen: clock,
            ..Known::default()
        };
        self.people.add(id, first_seen);
    }

    /// Notes who was listed, perhaps somewhere else, and whether the registry knows. It counts for protections and proves
    /// nothing else: that list was fetched without the lock, and may be from before what is known here.
    pub fn note_seen(
        &mut self,
        users: &[UserId],
        tombstones: &[UserId],
        is_told: bool,
        now: Instant,
        clock: Millis,
    ) {
        for id in tombstones {
            self.tombstones.entry(id.clone()).or_insert(now);
        }
        if self.people.len() == 0 {
            self.people.reserve(users.len());
        }
        for id in users {
            if !self.is_on_its_way(id) && self.people.place(id).is_none() {
                self.first_sight(id, clock);
                self.newly_seen.extend((!is_told).then(|| id.clone()));
            }
        }
    }

    /// Those that were listed and not remembered, since this was last asked; tombstones left out.
    pub fn take_newly_seen(&mut self) -> Vec<UserId> {
        std::mem::take(&mut self.newly_seen)
    }

    /// Those remembered that every list has missed for at least the settle time, the last of them lately. They are
    /// remembered no more. One list that misses a user proves nothing, and whom we just registered counts as listed.
    pub fn take_vanished(&mut self, now: Instant) -> Vec<UserId> {
        let settle = self.settle;
        let has_vanished = |_: &UserId, missing: &mut Missing| {
            let is_recent = now.saturating_duration_since(missing.until) < settle;
            is_recent && missing.until.saturating_duration_since(missing.since) >= settle
        };
        let vanished = self.missing.extract_if(has_vanished);
        // Protected by hand is the id, whoever has it, or will.
        let people = &self.people;
        let is_protected = |id: &UserId| people.get(id).is_some_and(|known| known.protected);
        let vanished: Vec<UserId> = vanished
            .map(|(id, _)| id)
            .filter(|id| !is_protected(id))
            .collect();
        for id in &vanished {
            self.people.remove(id);
        }
        vanished
    }

    /// The live users and what is known of each, in the list's order: for [`Policy::ranking`](crate::admission::policy::Policy::ranking).
    pub fn candidates(&self, now: Millis) -> Vec<Candidate> {
        let candidate = |user: User<'_>| Candidate {
            id: user.id.clone(),
            known: user.known,
            is_listed: user.is_listed,
        };
        self.users(now).map(candidate).collect()
    }

    /// The same as the policy sees them. One of whom nothing is remembered counts as seen for the first time.
    pub(in crate::admission) fn users(&self, now: Millis) -> impl Iterator<Item = User<'_>> + Clone {
        let unknown = Known {
            first_seen: now,
            ..Known::default()
        };
        let entries = self.entries().iter().enumerate();
        entries.filter(|(_, id)| !is_tombstone(id)).map(move |(at, id)| {
            let hint = self.places.get(at).map_or(&[][..], std::slice::from_ref);
            let place = self.people.place_near(id, hint);
            User {
                id,
                known: place.map_or(unknown, |place| self.people.at(place).1),
                is_listed: !self.is_unlisted(id),
            }
        })
    }
}

//! Other policies over what happened: whom they would have evicted, and who of them came back. Pure.
//!
//! What is replayed is who wanted to be there, and when: registrations, calls, and departures of the application's own. A user
//! that is there stays; one that is not has to be registered, for which room is made by the policy. That is paging with users
//! for pages, so that the best that could have been done is known: Belady's rule evicts whoever is wanted last again.
//! (L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2), 1966.)

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::admission::known::{Known, Source};
use crate::admission::policy::{Candidate, Policy};
use crate::types::{Millis, UserId};

/// What a user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// The application deleted it: its next registration is nobody's fault.
    Left,
    /// It was evicted in fact, so that it was there until then. By another policy it may have stayed.
    Evicted,
    /// The application wanted it registered.
    Registered,
    /// So many calls were answered for it.
    Called(u32),
}

/// A call that is answered so soon after its user left was under way, or told of by another clock: it is no wish to be there.
const CROSSING_MAX: Duration = Duration::from_mins(1);

/// Who did what, in order of time, and who was there before.
#[derive(Clone, Debug, Default)]
pub struct History {
    deeds: Vec<(Millis, UserId, Deed)>,
    there: Vec<Candidate>,
    /// By hand, as of now: that is of the id.
    protected: HashSet<UserId>,
}

/// What would have come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub evictions: u64,
    /// Evicted users who were wanted again: regret.
    pub returned: u64,
    /// How long half of these had been gone at most.
    pub gone: Option<Duration>,
    /// Users who were wanted and for whom nobody could be evicted.
    pub refused: u64,
}

impl History {
    /// Of deeds in any order, and of who is remembered now. Who called or was evicted without having been registered before
    /// was there all the time, as was who is remembered from before and did nothing.
    pub fn new(mut deeds: Vec<(Millis, UserId, Deed)>, remembered: Vec<(UserId, Known)>) -> Self {
        deeds.sort_by(|(at, _, deed), (other, _, before)| (at, deed).cmp(&(other, before)));
        let mut left: HashMap<UserId, Millis> = HashMap::new();
        deeds.retain(|(at, user, deed)| {
            match deed {
                Deed::Left => drop(left.insert(user.clone(), *at)),
                Deed::Registered => drop(left.remove(user)),
                Deed::Evicted | Deed::Called(_) => {}
            }
            let since_it_left = left.get(user).map(|since| at.since(*since));
            !matches!(deed, Deed::Called(_)) || since_it_left.is_none_or(|time| time > CROSSING_MAX)
        });
        let begin = deeds.first().map_or(Millis(i64::MAX), |(at, ..)| *at);
        let protected = remembered.iter().filter(|(_, known)| known.protected);
        let protected = protected.map(|(id, _)| id.clone()).collect();
        let mut known: HashMap<UserId, Known> = remembered.into_iter().collect();
        let registered = deeds.iter().filter(|(_, _, deed)| *deed == Deed::Registered);
        let registered: HashSet<&UserId> = registered.map(|(_, user, _)| user).collect();
        let mut met = HashSet::new();
        let mut there = Vec::new();
        for (_, user, deed) in &deeds {
            if met.insert(user) {
                let known = known.remove(user);
                // What is remembered of who was registered since is of another life.
                let known = known.filter(|_| !registered.contains(user));
                let came_later = known.is_some_and(|known| known.first_seen > begin);
                if *deed != Deed::Registered && !came_later {
                    there.push((user.clone(), known.unwrap_or_default()));
                }
            }
        }
        there.extend(known.into_iter().filter(|(_, known)| known.first_seen <= begin));
        let mut there: Vec<Candidate> = there
            .into_iter()
            .map(|(id, known)| as_of(begin, id, &known))
            .collect();
        there.sort_by(|one, other| (one.known.first_seen, &one.id).cmp(&(other.known.first_seen, &other.id)));
        Self {
            deeds,
            there,
            protected,
        }
    }

    /// When the first and the last of it happened.
    pub fn span(&self) -> Option<(Millis, Millis)> {
        Some((self.deeds.first()?.0, self.deeds.last()?.0))
    }

    /// By this policy, with so many slots.
    pub fn by_policy(&self, policy: &Policy, slots: usize) -> Outcome {
        self.play(slots, |there, now, _| policy.next(there, now))
    }

    /// By who is wanted last again, of those who will be wanted at all. Nobody is protected from it.
    pub fn by_foresight(&self, slots: usize) -> Outcome {
        let mut of_each: HashMap<&UserId, Vec<(usize, Deed)>> = HashMap::new();
        let deeds = self.deeds.iter().enumerate();
        for (place, (_, user, deed)) in deeds.filter(|(_, (_, _, deed))| *deed != Deed::Evicted) {
            of_each.entry(user).or_default().push((place, *deed));
        }
        // Whoever is not wanted again before it leaves of its own accord, or never, is no pity. Rather who never leaves: nobody
        // else would free its slot.
        let next = |id: &UserId, at: usize| {
            let deeds = of_each.get(id).map_or(&[][..], Vec::as_slice);
            let after = deeds.partition_point(|(place, _)| *place <= at);
            match deeds.get(after) {
                Some((_, Deed::Left)) => (1, 0),
                Some((place, _)) => (0, *place),
                None => (2, 0),
            }
        };
        self.play(slots, |there, _, at| {
            let last = there.iter().max_by_key(|user| next(&user.id, at))?;
            Some(last.id.clone())
        })
    }

    /// `choose` says whom of those who are there to evict, at this time and place in the deeds; `None` if nobody may go.
    fn play(&self, slots: usize, choose: impl Fn(&[Candidate], Millis, usize) -> Option<UserId>) -> Outcome {
        let mut room = Room::new(self);
        let mut evicted: HashMap<UserId, Millis> = HashMap::new();
        let mut waiting = HashSet::new();
        let (mut evictions, mut refused, mut gone) = (0, 0, Vec::new());
        for (place, (at, user, deed)) in self.deeds.iter().enumerate() {
            match deed {
                Deed::Left => {
                    room.remove(user);
                    evicted.remove(user);
                    waiting.remove(user);
                    continue;
                }
                Deed::Evicted => continue,
                Deed::Registered | Deed::Called(_) => {}
            }
            if !room.has(user) {
                gone.extend(evicted.remove(user).map(|since| at.since(since)));
                while room.there.len() >= slots
                    && let Some(victim) = choose(&room.there, *at, place)
                {
                    room.remove(&victim);
                    evicted.insert(victim, *at);
                    evictions += 1;
                }
                if room.there.len() >= slots {
                    refused += u64::from(waiting.insert(user));
                    continue;
                }
                waiting.remove(user);
                room.add(user, *at);
            }
            if let Deed::Called(calls) = deed {
                room.called(user, *at, *calls);
            }
        }
        gone.sort_unstable();
        Outcome {
            evictions,
            returned: gone.len() as u64,
            gone: gone.get(gone.len().saturating_sub(1) / 2).copied(),
            refused,
        }
    }
}

/// Who is there, in the order of `listUsers`, where newcomers come last.
struct Room<'a> {
    history: &'a History,
    there: Vec<Candidate>,
    places: HashMap<UserId, usize>,
}

impl<'a> Room<'a> {
    fn new(history: &'a History) -> Self {
        let mut room = Self {
            history,
            there: history.there.clone(),
            places: HashMap::new(),
        };
        room.count_from(0);
        room
    }

    fn count_from(&mut self, start: usize) {
        let moved = self.there.iter().enumerate().skip(start);
        self.places
            .extend(moved.map(|(place, user)| (user.id.clone(), place)));
    }

    fn has(&self, user: &UserId) -> bool {
        self.places.contains_key(user)
    }

    fn add(&mut self, user: &UserId, at: Millis) {
        self.places.insert(user.clone(), self.there.len());
        self.there.push(Candidate {
            id: user.clone(),
            known: Known {
                first_seen: at,
                registered: Some((at, Source::Own)),
                protected: self.history.protected.contains(user),
                ..Known::default()
            },
            is_listed: true,
        });
    }

    fn remove(&mut self, user: &UserId) {
        if let Some(place) = self.places.remove(user) {
            self.there.remove(place);
            self.count_from(place);
        }
    }

    fn called(&mut self, user: &UserId, at: Millis, calls: u32) {
        if let Some(place) = self.places.get(user) {
            let known = &mut self.there[*place].known;
            known.last_active = Some(at);
            known.calls = known.calls.saturating_add(calls);
        }
    }
}

/// A user as it was at that time, as far as it can be told: neither its calls by then nor its connections are recorded.
fn as_of(begin: Millis, id: UserId, known: &Known) -> Candidate {
    let known = Known {
        first_seen: known.first_seen.min(begin),
        registered: known.registered.filter(|(at, _)| *at <= begin),
        last_active: known.last_active.filter(|at| *at <= begin),
        calls: 0,
        connections: None,
        protected: known.protected,
    };
    Candidate {
        id,
        known,
        is_listed: true,
    }
}

#[cfg(test)]
mod tests;

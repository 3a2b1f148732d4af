//! A model of SnapTrade, of the application's callers and of other hands, driven by one seed.

use std::time::{Duration, Instant};

use crate::admission::{Deletion, Reply};
pub(super) use crate::clock::dice::Dice;
use crate::types::UserId;

/// How this seed's SnapTrade behaves.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    pub(super) limit: usize,
    pub(super) tombstones_count: bool,
    /// How long a deleted id stays as it is, and then as a tombstone.
    pub(super) delete_lag: Duration,
    pub(super) settle: Duration,
    /// How long a new user is missing from the list.
    pub(super) list_lag: Duration,
    /// Percent of calls that go wrong.
    pub(super) faults: u64,
    /// Percent of management calls that are refused with 429.
    pub(super) throttling: u64,
    /// Percent of moments at which another hand adds or removes a user.
    pub(super) other_hands: u64,
}

#[derive(Debug)]
struct User {
    id: UserId,
    listed_from: Instant,
    deleted_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) nature: Nature,
    users: Vec<User>,
    pub(super) now: Instant,
    pub(super) most_live: usize,
    strangers: usize,
}

impl World {
    pub(super) fn new(nature: Nature, now: Instant, ids: impl Iterator<Item = UserId>) -> Self {
        let users = ids
            .map(|id| User {
                id,
                listed_from: now,
                deleted_at: None,
            })
            .collect();
        Self {
            nature,
            users,
            now,
            most_live: 0,
            strangers: 0,
        }
    }

    /// Lets time pass, in which another hand may add or remove a user. Tells of a removal by the application, which the
    /// sidecar sees.
    pub(super) fn pass(&mut self, time: Duration, dice: &mut Dice) -> Option<UserId> {
        self.now += time;
        let gone = self.nature.delete_lag + self.nature.settle;
        let now = self.now;
        self.users
            .retain(|user| user.deleted_at.is_none_or(|at| now < at + gone));
        if !dice.percent(self.nature.other_hands) {
            return None;
        }
        if dice.percent(50) && self.live() < self.nature.limit {
            self.strangers += 1;
            self.add(UserId::new(format!("stranger-{}", self.strangers)));
            return None;
        }
        let user = self.users.iter_mut().find(|user| user.deleted_at.is_none())?;
        user.deleted_at = Some(now);
        dice.percent(50).then(|| user.id.clone())
    }

    fn add(&mut self, id: UserId) {
        self.users.push(User {
            id,
            listed_from: self.now + self.nature.list_lag,
            deleted_at: None,
        });
        self.most_live = self.most_live.max(self.live());
    }

    pub(super) fn live(&self) -> usize {
        self.users.iter().filter(|user| user.deleted_at.is_none()).count()
    }

    pub(super) fn is_live(&self, id: &UserId) -> bool {
        self.users
            .iter()
            .any(|user| user.id == *id && user.deleted_at.is_none())
    }

    /// Whether this call is refused with 429, and when the next is welcome.
    pub(super) fn throttles(&self, dice: &mut Dice) -> Option<Duration> {
        let longest = dice.pick([1, 3_000, 40_000]);
        dice.percent(self.nature.throttling).then(|| dice.millis(longest))
    }

    pub(super) fn list(&self, dice: &mut Dice) -> Option<Vec<UserId>> {
        if dice.percent(self.nature.faults) {
            return dice.percent(20).then(Vec::new);
        }
        let entry = |user: &User| match user.deleted_at {
            Some(at) if self.now >= at + self.nature.delete_lag => {
                UserId::new(format!("{}_deleted", user.id))
            }
            _ => user.id.clone(),
        };
        Some(
            self.users
                .iter()
                .filter(|user| self.now >= user.listed_from)
                .map(entry)
                .collect(),
        )
    }

    pub(super) fn delete(&mut self, id: &UserId, dice: &mut Dice) -> Deletion {
        let fault = dice.percent(self.nature.faults);
        if fault && dice.percent(50) {
            return dice.pick([
                Deletion::Refused,
                Deletion::NotFound,
                Deletion::Rejected,
                Deletion::Unsent,
                Deletion::Unclear,
            ]);
        }
        let now = self.now;
        match self
            .users
            .iter_mut()
            .find(|user| user.id == *id && user.deleted_at.is_none())
        {
            Some(user) => user.deleted_at = Some(now),
            None => return Deletion::NotFound,
        }
        if fault {
            Deletion::Unclear
        } else {
            Deletion::Accepted
        }
    }

    pub(super) fn register(&mut self, id: &UserId, dice: &mut Dice) -> Reply {
        let fault = dice.percent(self.nature.faults);
        if fault && dice.percent(50) {
            return if dice.percent(50) {
                Reply::Other
            } else {
                Reply::Unclear
            };
        }
        let occupied = if self.nature.tombstones_count {
            self.users.len()
        } else {
            self.live()
        };
        if self.is_live(id) {
            return Reply::Other;
        }
        if occupied >= self.nature.limit {
            return Reply::LimitReached;
        }
        self.add(id.clone());
        if fault {
            Reply::Unclear
        } else {
            Reply::Registered(id.clone())
        }
    }
}

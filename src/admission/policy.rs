//! Who may be evicted, and who goes first.

use std::fmt;
use std::time::Duration;

use super::known::Known;
pub use super::order::{Decided, Key, Standing, UnknownAge, Why};
use super::patterns::Patterns;
use crate::types::{Millis, UserId};

/// What the sidecar does with a registration that it could manage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Counts ahead, makes room, and retries once after a limit error.
    Enforce,
    /// Never counts ahead and ignores `max_users`; makes room only after SnapTrade itself refused.
    OnLimitError,
    /// Decides and records as `Enforce` would, and deletes nobody.
    Observe,
    /// Registrations are forwarded unmanaged.
    Off,
}

impl Mode {
    /// As it is written in the configuration.
    pub fn token(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::OnLimitError => "on-limit-error",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// What becomes of a registration when the users could not be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnListError {
    /// Forward it as it is; SnapTrade decides.
    Forward,
    /// Refuse it with 503.
    Reject,
}

/// One live user, as people are shown it. The slice that holds it is in the order of `listUsers`.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub id: UserId,
    pub known: Known,
    /// False for one that was just registered and that no list has named yet.
    pub is_listed: bool,
}

/// One live user, as the policy sees it; very many are looked at, so that no id is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct User<'a> {
    pub(super) id: &'a UserId,
    pub(super) known: Known,
    pub(super) is_listed: bool,
}

impl Candidate {
    fn user(&self) -> User<'_> {
        User {
            id: &self.id,
            known: self.known,
            is_listed: self.is_listed,
        }
    }
}

/// Why a user may not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// No list names it yet, or its id is empty: its deletion could not be confirmed, or not even asked for.
    Unlisted,
    /// No `evictable` pattern matches its id.
    NotEvictable,
    /// A `protect` pattern matches its id.
    Pattern,
    /// By hand.
    Hand,
    /// Its age is not known, and `unknown_age` is `protect`.
    UnknownAge,
    /// It is, or may be, younger than `min_age`.
    Young,
    /// It was, or may have been, active within `active_within`.
    Active,
}

impl Protection {
    /// As it is told.
    pub fn token(self) -> &'static str {
        match self {
            Self::Unlisted => "not-listed-yet",
            Self::NotEvictable => "not-evictable",
            Self::Pattern => "protect",
            Self::Hand => "by-hand",
            Self::UnknownAge => "unknown-age",
            Self::Young => "min-age",
            Self::Active => "active-within",
        }
    }
}

impl Protection {
    /// Whether it also keeps an operator from deleting the user by hand, rather than only the policy from choosing it.
    pub fn binds_operators(self) -> bool {
        matches!(
            self,
            Self::Unlisted | Self::NotEvictable | Self::Pattern | Self::Hand
        )
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// Whether a user may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Evictable(Why),
    Protected(Protection),
}

/// A user at its place in the order of eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    pub user: UserId,
    pub known: Known,
    pub verdict: Verdict,
}

/// Where a user stands: by each key, then by its place, which no two users share.
type Score = ([i64; Key::ALL.len()], usize);

/// The eviction policy of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Compared in turn; where all are equal, and where there are none, the list's order decides.
    pub order: Vec<Key>,
    pub unknown_age: UnknownAge,
    pub evictable: Patterns,
    pub protect: Patterns,
    pub min_age: Duration,
    pub active_within: Duration,
}

impl Policy {
    /// Why this user may not go, or `None` if it may.
    ///
    /// An unknown age or activity counts from when the user was first seen, so that what is not known protects too many
    /// rather than too few (R5).
    pub(super) fn protection(&self, user: &User<'_>, now: Millis) -> Option<Protection> {
        let (id, known) = (user.id.as_str(), user.known);
        let registered = known.registered.map(|(at, _)| at);
        let within = |since: Option<Millis>, time| now.since(since.unwrap_or(known.first_seen)) < time;
        if !user.is_listed || id.is_empty() {
            Some(Protection::Unlisted)
        } else if !self.evictable.matches(id) {
            Some(Protection::NotEvictable)
        } else if self.protect.matches(id) {
            Some(Protection::Pattern)
        } else if known.protected {
            Some(Protection::Hand)
        } else if registered.is_none() && self.unknown_age == UnknownAge::Protect {
            Some(Protection::UnknownAge)
        } else if within(registered, self.min_age) {
            Some(Protection::Young)
        } else if within(known.last_active, self.active_within) {
            Some(Protection::Active)
        } else {
            None
        }
    }

    /// Everybody: those who may go, first to go first, then the protected in the list's order. The first is who goes next.
    pub fn ranking(&self, users: &[Candidate], now: Millis) -> Vec<Ranked> {
        let by_place = self.is_by_place(users.iter().map(Candidate::user), now);
        let (mut order, mut protected) = (Vec::new(), Vec::new());
        for (place, candidate) in users.iter().enumerate() {
            match self.protection(&candidate.user(), now) {
                None => order.push(self.score(&candidate.user(), place, by_place)),
                Some(protection) => protected.push((place, protection)),
            }
        }
        order.sort_unstable();
        let ranked = |place: usize, verdict| Ranked {
            user: users[place].id.clone(),
            known: users[place].known,
            verdict,
        };
        let evictable = order.iter().enumerate().map(|(at, score)| {
            let why = self.why(score, order.get(at + 1), &users[score.1].user(), by_place);
            ranked(score.1, Verdict::Evictable(why))
        });
        let protected = protected
            .iter()
            .map(|(place, protection)| ranked(*place, Verdict::Protected(*protection)));
        evictable.chain(protected).collect()
    }

    /// Who goes next of these; `None` if nobody may.
    pub fn next(&self, users: &[Candidate], now: Millis) -> Option<UserId> {
        let first = self.first(users.iter().map(Candidate::user), 1, &[], now);
        first.into_iter().next().map(|(id, _)| id)
    }

    /// The first `count` to go but for those in `except`, in order, without sorting the rest: of very many users, one is
    /// wanted. They are the first of [`Policy::ranking`].
    pub(super) fn first<'a>(
        &self,
        users: impl Iterator<Item = User<'a>> + Clone,
        count: usize,
        except: &[UserId],
        now: Millis,
    ) -> Vec<(UserId, Why)> {
        let by_place = self.is_by_place(users.clone(), now);
        // One more, which the last of those wanted is compared with.
        let kept = count + 1;
        let mut first: Vec<(Score, User<'a>)> = Vec::new();
        for (place, user) in users.enumerate() {
            let score = self.score(&user, place, by_place);
            let is_among = first.len() < kept || first.last().is_some_and(|(last, _)| score < *last);
            // In this order, because to match patterns takes longer.
            if is_among && !except.contains(user.id) && self.protection(&user, now).is_none() {
                let at = first.partition_point(|(other, _)| *other < score);
                first.insert(at, (score, user));
                first.truncate(kept);
            }
        }
        let chosen = first.iter().take(count).enumerate().map(|(at, (score, user))| {
            let next = first.get(at + 1).map(|(score, _)| score);
            (user.id.clone(), self.why(score, next, user, by_place))
        });
        chosen.collect()
    }

    /// Whether `oldest` compares places instead of ages.
    fn is_by_place<'a>(&self, mut users: impl Iterator<Item = User<'a>>, now: Millis) -> bool {
        self.unknown_age == UnknownAge::ListOrder
            && self.order.contains(&Key::Oldest)
            && users.any(|user| user.known.registered.is_none() && self.protection(&user, now).is_none())
    }

    fn score(&self, user: &User<'_>, place: usize, by_place: bool) -> Score {
        let mut ranks = [0; Key::ALL.len()];
        for (rank, key) in ranks.iter_mut().zip(&self.order) {
            *rank = Standing::of(*key, user, place + 1, by_place).rank();
        }
        (ranks, place)
    }

    /// What put a user before the next.
    fn why(&self, score: &Score, next: Option<&Score>, user: &User<'_>, by_place: bool) -> Why {
        let place = score.1 + 1;
        let Some(next) = next else {
            return Why {
                decided: Decided::Last,
                tied: Vec::new(),
            };
        };
        let alike = score
            .0
            .iter()
            .zip(&next.0)
            .take_while(|(own, other)| own == other);
        let alike = alike.count().min(self.order.len());
        let decided = self.order.get(alike).map_or(Decided::ListOrder { place }, |key| {
            Decided::Key(*key, Standing::of(*key, user, place, by_place))
        });
        Why {
            decided,
            tied: self.order[..alike].to_vec(),
        }
    }
}

//! Who may be evicted, and who goes first.

use std::fmt;
use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::types::UserId;

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

/// A set of glob patterns over user ids.
#[derive(Clone)]
pub struct Patterns {
    sources: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// Compiles the patterns; `*` matches any run of characters, `/` included, since ids are not paths.
    ///
    /// Fails with the first pattern that is not a glob, and why.
    pub fn new(sources: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for source in sources {
            set.add(Glob::new(source)?);
        }
        Ok(Self {
            sources: sources.to_vec(),
            set: set.build()?,
        })
    }

    /// An id also matches a pattern that is written exactly as it is, such as `team[1]`.
    pub fn matches(&self, id: &str) -> bool {
        self.set.is_match(id) || self.sources.iter().any(|source| source == id)
    }

    /// The patterns as they were written.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt(f)
    }
}

/// One listed user, as the policy sees it. The slice that holds it is in the order of `listUsers`.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub id: UserId,
    /// How long ago it was registered, where that is known.
    pub age: Option<Duration>,
    /// How long ago it was first seen on the roster: a lower bound of its age.
    pub seen_for: Duration,
}

/// Why a user may not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No `evictable` pattern matches its id.
    NotEvictable,
    /// A `protect` pattern matches its id.
    Pattern,
    /// It is, or may be, younger than `min_age`.
    Young,
}

/// The eviction policy of one tenant.
#[derive(Clone, Debug)]
pub struct Policy {
    pub evictable: Patterns,
    pub protect: Patterns,
    pub min_age: Duration,
}

impl Policy {
    /// Why this user may not go, or `None` if it may.
    ///
    /// An unknown age counts from when the user was first seen, so that a restart protects too many rather than
    /// too few (R5).
    pub fn protection(&self, user: &Candidate) -> Option<Protection> {
        if !self.evictable.matches(user.id.as_str()) {
            Some(Protection::NotEvictable)
        } else if self.protect.matches(user.id.as_str()) {
            Some(Protection::Pattern)
        } else if user.age.unwrap_or(user.seen_for) < self.min_age {
            Some(Protection::Young)
        } else {
            None
        }
    }

    /// Those who may go, first to go first: users of unknown age by their place in `listUsers`, then the
    /// known ones from the oldest.
    pub fn order(&self, users: &[Candidate]) -> Vec<UserId> {
        let mut ranked: Vec<&Candidate> = users
            .iter()
            .filter(|user| self.protection(user).is_none())
            .collect();
        // A stable sort, so that equals keep the list's order; `None` before `Some`, older before younger.
        ranked.sort_by_key(|user| user.age.map(std::cmp::Reverse));
        ranked.into_iter().map(|user| user.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(evictable: &[&str], protect: &[&str], min_age: u64) -> Policy {
        let patterns = |sources: &[&str]| {
            Patterns::new(&sources.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
        };
        Policy {
            evictable: patterns(evictable),
            protect: patterns(protect),
            min_age: Duration::from_secs(min_age),
        }
    }

    fn user(id: &str, age: Option<u64>, seen_for: u64) -> Candidate {
        Candidate {
            id: UserId::new(id),
            age: age.map(Duration::from_secs),
            seen_for: Duration::from_secs(seen_for),
        }
    }

    fn order(policy: &Policy, users: &[Candidate]) -> Vec<String> {
        policy.order(users).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_ages_go_first_in_list_order_then_the_oldest() {
        let users = [
            user("young", Some(1), 9),
            user("b", None, 9),
            user("old", Some(8), 9),
            user("a", None, 9),
        ];
        assert_eq!(order(&policy(&["*"], &[], 0), &users), ["b", "a", "old", "young"]);
    }

    #[test]
    fn r5_patterns_and_age_protect() {
        let users = [
            user("vip-1", None, 99),
            user("demo/1", None, 99),
            user("new", Some(3), 99),
        ];
        assert_eq!(order(&policy(&["*"], &["vip-*"], 10), &users), ["demo/1"]);
        assert_eq!(order(&policy(&["demo*"], &[], 0), &users), ["demo/1"]);
    }

    #[test]
    fn r5_an_unknown_age_counts_from_when_the_user_was_first_seen() {
        let strict = policy(&["*"], &[], 10);
        assert_eq!(strict.protection(&user("u", None, 9)), Some(Protection::Young));
        assert_eq!(strict.protection(&user("u", None, 10)), None);
    }
}

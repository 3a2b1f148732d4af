//! The keys by which users are compared to find who goes first, and how a place in that order is explained.
//!
//! A user has a [`Standing`] by each key. It is both what is compared and what is told, so that an explanation cannot
//! differ from the choice.

use std::fmt;

use super::known::Connections;
use super::policy::User;
use crate::types::Millis;

/// What users are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The earliest registration first. See [`UnknownAge`] for those whose registration is not known.
    Oldest,
    /// Whose last call is longest ago first. A user without one counts from when it was registered, or else first seen:
    /// a newcomer that has not called yet is not idle.
    LeastRecentlyActive,
    /// Those who never called, as far as is known, before those who did.
    NeverActive,
    /// The fewest calls first; none that are known is none.
    LeastActive,
    /// Those who are known to have no connection, then those of whom nothing is known, then those who have one.
    NoConnections,
    /// Those whose connections are all broken before everybody else, be it that nothing is known of theirs.
    BrokenConnections,
}

impl Key {
    pub const ALL: [Self; 6] = [
        Self::Oldest,
        Self::LeastRecentlyActive,
        Self::NeverActive,
        Self::LeastActive,
        Self::NoConnections,
        Self::BrokenConnections,
    ];

    /// As it is written in the configuration and told.
    pub fn token(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::LeastRecentlyActive => "least-recently-active",
            Self::NeverActive => "never-active",
            Self::LeastActive => "least-active",
            Self::NoConnections => "no-connections",
            Self::BrokenConnections => "broken-connections",
        }
    }

    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.token() == token)
    }
}

/// How users go whose registration is not known, where ages are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownAge {
    /// Before every known age, among themselves by their place in `listUsers`.
    Oldest,
    /// As soon as the age of one who may go is unknown, `oldest` compares places in `listUsers` instead of ages: ages and
    /// places cannot be mixed into one order.
    ListOrder,
    /// They never go.
    Protect,
}

impl UnknownAge {
    pub const ALL: [Self; 3] = [Self::Oldest, Self::ListOrder, Self::Protect];

    /// As it is written in the configuration.
    pub fn token(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::ListOrder => "list-order",
            Self::Protect => "protect",
        }
    }

    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.token() == token)
    }
}

/// How a user stands by one key. Places in `listUsers` count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Registered(Millis),
    AgeUnknown {
        place: usize,
    },
    /// Under [`UnknownAge::ListOrder`], where an age is unknown.
    Place(usize),
    LastCall(Millis),
    NoCallSince(Millis),
    NeverCalled,
    HasCalled,
    Calls(u64),
    Unconnected,
    ConnectionsUnknown,
    Connected,
    OnlyBroken,
    NotOnlyBroken,
}

impl Standing {
    /// Of the user at `place` by this key; `by_place` where ages are not compared.
    pub(super) fn of(key: Key, user: &User<'_>, place: usize, by_place: bool) -> Self {
        let known = user.known;
        match key {
            Key::Oldest if by_place => Self::Place(place),
            Key::Oldest => known
                .registered
                .map_or(Self::AgeUnknown { place }, |(at, _)| Self::Registered(at)),
            Key::LeastRecentlyActive => known.last_active.map_or_else(
                || Self::NoCallSince(known.registered.map_or(known.first_seen, |(at, _)| at)),
                Self::LastCall,
            ),
            Key::NeverActive if known.last_active.is_none() && known.calls == 0 => Self::NeverCalled,
            Key::NeverActive => Self::HasCalled,
            Key::LeastActive => Self::Calls(known.calls.into()),
            Key::NoConnections => match known.connections {
                None => Self::ConnectionsUnknown,
                Some(Connections {
                    working: 0,
                    broken: 0,
                }) => Self::Unconnected,
                Some(_) => Self::Connected,
            },
            Key::BrokenConnections => match known.connections {
                Some(Connections { working: 0, broken }) if broken > 0 => Self::OnlyBroken,
                _ => Self::NotOnlyBroken,
            },
        }
    }

    /// Two standings by one key compare as these do; the lower goes first.
    pub(super) fn rank(self) -> i64 {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        match self {
            Self::Registered(at) | Self::LastCall(at) | Self::NoCallSince(at) => at.0,
            // Before any time that a clock could show.
            Self::AgeUnknown { place } => i64::MIN.saturating_add(count(place as u64)),
            Self::Place(place) => count(place as u64),
            Self::Calls(calls) => count(calls),
            Self::NeverCalled | Self::Unconnected | Self::OnlyBroken => 0,
            Self::HasCalled | Self::ConnectionsUnknown | Self::NotOnlyBroken => 1,
            Self::Connected => 2,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(at) => write!(f, "registered {}", Shown(*at)),
            Self::AgeUnknown { place } => write!(f, "age unknown, place {place} in listUsers"),
            Self::Place(place) => write!(f, "place {place} in listUsers, since an age is unknown"),
            Self::LastCall(at) => write!(f, "last call {}", Shown(*at)),
            Self::NoCallSince(at) => write!(f, "no call since {}", Shown(*at)),
            Self::NeverCalled => f.write_str("no calls"),
            Self::HasCalled => f.write_str("has called"),
            Self::Calls(calls) => write!(f, "{calls} calls"),
            Self::Unconnected => f.write_str("no connections"),
            Self::ConnectionsUnknown => f.write_str("connections unknown"),
            Self::Connected => f.write_str("has connections"),
            Self::OnlyBroken => f.write_str("only broken connections"),
            Self::NotOnlyBroken => f.write_str("not known to have only broken connections"),
        }
    }
}

/// A time as people read it.
struct Shown(Millis);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.0) {
            Ok(at) => at.fmt(f),
            // Before or after any calendar.
            Err(_) => write!(f, "{} ms", self.0.0),
        }
    }
}

/// What put a user before the next in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The first key by which the two differ, and how this one stands by it.
    Key(Key, Standing),
    /// They are alike by every key; this one's place in `listUsers` is the earlier.
    ListOrder { place: usize },
    /// There is no next.
    Last,
}

/// Why a user goes when it does: what decided between it and the next in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub decided: Decided,
    /// The keys before, by which the two are alike.
    pub tied: Vec<Key>,
}

impl Why {
    /// The policy keys that decided: those that were compared, the deciding one last.
    pub fn keys(&self) -> Vec<Key> {
        let decided = match self.decided {
            Decided::Key(key, _) => Some(key),
            Decided::ListOrder { .. } | Decided::Last => None,
        };
        self.tied.iter().copied().chain(decided).collect()
    }
}

impl fmt::Display for Why {
    /// `oldest (registered 2026-01-31T09:00:00Z), tied by never-active`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decided {
            Decided::Key(key, standing) => write!(f, "{} ({standing})", key.token())?,
            Decided::ListOrder { place } => write!(f, "list order (place {place} in listUsers)")?,
            Decided::Last => f.write_str("nobody else may go")?,
        }
        let tied: Vec<&str> = self.tied.iter().map(|key| key.token()).collect();
        if tied.is_empty() {
            Ok(())
        } else {
            write!(f, ", tied by {}", tied.join(", "))
        }
    }
}

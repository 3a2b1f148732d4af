//! The journal's entries.

use std::fmt;

use crate::types::{Millis, UserId};

/// The number of an entry in its registry, growing with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub i64);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A registration was answered; `outcome` says how. One that went by `unmanaged` is recorded if SnapTrade accepted it.
    Registration,
    /// `observe` would have evicted this user.
    WouldEvict,
    /// A user is about to be deleted (R7). Open until an `Outcome` names it.
    Intent,
    /// What became of an intent: `evicted`, `refused`, `unsettled` or `withdrawn`.
    Outcome,
    /// Room was wanted and not made; `reason` says why.
    Refusal,
    /// Somebody did something by hand; `outcome` says what: `evict`, `protect`, `unprotect`, `pause`, `resume`.
    Manual,
    /// A configuration was loaded anew, or not.
    Reload,
    /// The application was told of an eviction, or could not be.
    Notice,
    /// A user is gone that nobody evicted; `outcome` says how that is known: `deleted` by the application, by way of the
    /// sidecar, or `vanished` from the lists.
    Departure,
}

impl Event {
    pub const ALL: [Self; 9] = [
        Self::Registration,
        Self::WouldEvict,
        Self::Intent,
        Self::Outcome,
        Self::Refusal,
        Self::Manual,
        Self::Reload,
        Self::Notice,
        Self::Departure,
    ];

    /// As it is stored and told.
    pub fn token(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::WouldEvict => "would-evict",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Manual => "manual",
            Self::Reload => "reload",
            Self::Notice => "notice",
            Self::Departure => "departure",
        }
    }

    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.token() == token)
    }
}

/// One line of the journal. Nothing in it is secret (R13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Millis,
    pub tenant: String,
    pub event: Event,
    /// The user that it is about: the victim, or who was protected.
    pub user: Option<UserId>,
    /// For whom room was wanted.
    pub newcomer: Option<UserId>,
    pub outcome: Option<String>,
    /// Why: a reason's token, or the policy keys that decided for this user.
    pub reason: Option<String>,
    /// Live users when it was decided.
    pub users: Option<u32>,
    pub limit: Option<u32>,
    /// `SnapTrade`'s, of the call that it tells of.
    pub request_id: Option<String>,
    /// Of an `Outcome`: its intent.
    pub intent: Option<EntryId>,
    /// Which replica wrote it.
    pub replica: String,
    /// Of a registration: the status of its reply, if there was one.
    pub status: Option<u16>,
    /// Of a registration: milliseconds from its arrival to its reply.
    pub took_ms: Option<u32>,
}

impl Entry {
    /// An entry that says nothing more yet.
    pub fn new(at: Millis, tenant: &str, event: Event, replica: &str) -> Self {
        Self {
            at,
            tenant: tenant.to_owned(),
            event,
            user: None,
            newcomer: None,
            outcome: None,
            reason: None,
            users: None,
            limit: None,
            request_id: None,
            intent: None,
            replica: replica.to_owned(),
            status: None,
            took_ms: None,
        }
    }
}

/// An entry as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub id: EntryId,
    pub entry: Entry,
}

/// An intent without an outcome: its deletion may or may not have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    pub id: EntryId,
    pub victim: UserId,
    pub at: Millis,
    /// Which one intended it.
    pub replica: String,
}

/// What became of the recording of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intended {
    /// It is durable.
    Recorded(EntryId),
    /// An operator protected its user, or paused the tenant, before it could be: nothing was recorded, and nobody may be deleted.
    Barred,
}

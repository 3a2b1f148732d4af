//! One managed registration as a pure state machine.
//!
//! [`Admission::on`] takes an event and the time, and returns the next [`Step`]. It does no IO, reads no clock and
//! draws no randomness: whoever drives it (the guard in production, a simulation in the tests) performs the step and
//! reports what happened as the next event. The [`Roster`] is what the tenant's lock protects, and is passed in by
//! the lock's holder.

mod evict;
pub mod fuse;
pub mod known;
mod order;
pub mod patterns;
pub(crate) mod people;
pub mod policy;
pub mod roster;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turn;

use std::time::{Duration, Instant};

pub use crate::snaptrade::answer::Deletion;
use crate::types::{Millis, UserId};
use fuse::Fuse;
use policy::{Mode, OnListError, Policy, Why};
use roster::Roster;
use turn::Turn;

/// The first pause between two looks at a list that is to change.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// What a tenant's owner laid down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub mode: Mode,
    pub max_users: usize,
    pub on_list_error: OnListError,
    pub policy: Policy,
    pub max_per_registration: usize,
    pub fuse: Fuse,
    /// How long a deletion is awaited, and a tombstone stays fresh.
    pub settle_timeout: Duration,
    /// From arrival; past it nothing more is waited for.
    pub admission_timeout: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tenant's lock is held.
    Begun,
    /// `listUsers` answered with these entries, or not usefully.
    Listed(Option<Vec<UserId>>),
    /// The intent to delete is journaled, or could not be.
    IntentRecorded(bool),
    Deleted(Deletion),
    /// Instead of one of these two: the call was refused with 429, and another is welcome after this long.
    Throttled(Duration),
    Replied(Reply),
    /// A pause is over.
    Woken,
}

/// What `registerUser` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// With the id as SnapTrade names it, which is how its lists will.
    Registered(UserId),
    LimitReached,
    /// Any other clear answer; it is the caller's.
    Other,
    /// Timeout, reset, 5xx: the user may or may not exist now.
    Unclear,
}

/// What holds at the moment of an event, whatever the event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    pub caller_gone: bool,
    /// The program is shutting down.
    pub stopping: bool,
    /// The time on the wall, by which ages, activity and the fuse go.
    pub clock: Millis,
    /// False if what is remembered could not be read: then nobody is evicted (R14).
    pub knows: bool,
    /// The least pause between two looks, while few calls are left for the application.
    pub pace: Duration,
}

impl Default for Circumstances {
    /// Nothing is in the way.
    fn default() -> Self {
        Self {
            caller_gone: false,
            stopping: false,
            clock: Millis::default(),
            knows: true,
            pace: Duration::ZERO,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    List,
    Pause(Duration),
    /// With what decided for this user.
    RecordIntent(UserId, Why),
    Delete(UserId),
    /// Send the registration; `retry` is its second and last time.
    Forward {
        retry: bool,
    },
    Finish(Ending),
}

/// How an admission ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The caller gets the last answer to its registration.
    Answered,
    /// The users could not be counted, and the tenant's owner wants a refusal then.
    Refused,
    /// The caller left before anything irreversible was done; nothing was.
    Abandoned,
}

/// Why the sidecar did not (or no longer) make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    AlreadyListed,
    NoUserId,
    ListFailed,
    TooManyOver,
    NobodyEvictable,
    DeletionUnsettled,
    DeletionRejected,
    NotJournaled,
    /// What is remembered could not be read.
    RegistryDown,
    /// There were too many evictions lately (R6).
    FuseBlown,
    TimedOut,
    CallerGone,
    Stopping,
    Observed,
}

impl Reason {
    /// Somebody should look into it: a setting or a policy keeps room from being made, or a deletion went wrong.
    pub fn wants_attention(self) -> bool {
        matches!(
            self,
            Self::TooManyOver
                | Self::NobodyEvictable
                | Self::DeletionUnsettled
                | Self::DeletionRejected
                | Self::RegistryDown
                | Self::FuseBlown
        )
    }

    /// A deletion went wrong, and may still happen: then nobody else is deleted for this registration.
    fn is_failed_deletion(self) -> bool {
        matches!(self, Self::DeletionUnsettled | Self::DeletionRejected)
    }

    /// As it stands in headers and logs.
    pub fn token(self) -> &'static str {
        match self {
            Self::AlreadyListed => "already-listed",
            Self::NoUserId => "no-user-id",
            Self::ListFailed => "list-failed",
            Self::TooManyOver => "too-many-over-limit",
            Self::NobodyEvictable => "nobody-evictable",
            Self::DeletionUnsettled => "deletion-unsettled",
            Self::DeletionRejected => "deletion-rejected",
            Self::NotJournaled => "not-journaled",
            Self::RegistryDown => "registry-down",
            Self::FuseBlown => "fuse-blown",
            Self::TimedOut => "timed-out",
            Self::CallerGone => "caller-gone",
            Self::Stopping => "shutting-down",
            Self::Observed => "observe",
        }
    }
}

/// Something worth recording that an event brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Evicted(UserId),
    EvictionRefused(UserId),
    /// Still listed after the settle time; it may still go.
    EvictionUnsettled(UserId),
    /// The same of a deletion that another process intended, which may never have been sent.
    EvictionUnknown(UserId),
    /// The user was there no more, or it could not have been registered anew just now.
    EvictionOvertaken(UserId),
    /// The intent was recorded, but its deletion was not sent.
    EvictionWithdrawn(UserId),
    /// What `observe` would have deleted.
    WouldEvict(UserId, Why),
    TombstonesCount,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Looking,
    Pausing,
    Intending(UserId),
    Deleting(UserId),
    Sending,
    Finished,
}

/// What a limit error left behind.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
struct AfterLimit {
    /// What the list said before the error: how many live users there were, and who was on the way out.
    before: Option<(usize, Vec<UserId>)>,
    /// Of the latter somebody was gone in the list after it.
    was_freed: bool,
    /// Whose end is awaited: those that were on their way out when waiting began.
    awaited: Option<Vec<UserId>>,
    /// Some of them were users whose deletion by the application was not answered, and who may prove to be there.
    awaits_answer: bool,
    /// Somebody had just gone whom SnapTrade may have counted yet: that is waited for.
    awaits_count: bool,
    /// Somebody was evicted since.
    evicted: bool,
    /// Why it was forwarded without room.
    forwarded_for: Option<Reason>,
}

/// One registration on its way.
#[derive(Debug)]
pub struct Admission {
    newcomer: Option<UserId>,
    arrived: Instant,
    state: State,
    /// When the last list was asked for.
    asked: Instant,
    /// When SnapTrade takes the next call, as far as it said.
    welcome: Instant,
    pause: Duration,
    evicted: Vec<UserId>,
    refused: Vec<UserId>,
    unsettled: Option<UserId>,
    deletion_sent: bool,
    limit: Option<AfterLimit>,
    retried: bool,
    reason: Option<Reason>,
    notes: Vec<Note>,
}

impl Admission {
    /// `newcomer` is the id to be registered, if the body had a usable one.
    pub fn new(newcomer: Option<UserId>, arrived: Instant) -> Self {
        Self {
            newcomer,
            arrived,
            state: State::Queued,
            asked: arrived,
            welcome: arrived,
            pause: PAUSE_MIN,
            evicted: Vec::new(),
            refused: Vec::new(),
            unsettled: None,
            deletion_sent: false,
            limit: None,
            retried: false,
            reason: None,
            notes: Vec::new(),
        }
    }

    /// Those whose deletion is confirmed, in order.
    pub fn evicted(&self) -> &[UserId] {
        &self.evicted
    }

    /// The one whose deletion was sent and has not been seen to happen.
    pub fn unsettled(&self) -> Option<&UserId> {
        self.unsettled.as_ref()
    }

    pub fn retried(&self) -> bool {
        self.retried
    }

    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What is worth recording since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Takes in an event. `now` never goes backwards.
    pub fn on(
        &mut self,
        event: Event,
        now: Instant,
        here: Circumstances,
        terms: &Terms,
        roster: &mut Roster,
    ) -> Step {
        let mut turn = Turn {
            admission: self,
            now,
            here,
            terms,
            roster,
        };
        match event {
            Event::Begun => turn.begin(),
            Event::Listed(entries) => turn.listed(entries),
            Event::IntentRecorded(recorded) => turn.intent_recorded(recorded),
            Event::Deleted(deletion) => turn.deleted(deletion),
            Event::Throttled(wait) => turn.throttled(wait),
            Event::Replied(reply) => turn.replied(reply),
            Event::Woken => turn.look(),
        }
    }
}

//! What the sidecar remembers: the users of each tenant, the journal, and among replicas whose turn it is.
//!
//! One contract with three homes, chosen by `registry.url`. Everything may fail, and says why; what a failure costs is the
//! caller's to decide (R14). A tenant is known here by its client id, so
//! that what is known of one key's users is never taken for another's, whatever the two are called in the configuration.
//!
//! - [`Entry`]: a line of the journal.
//! - [`Hold`]: a tenant's turn.
//! - [`Hour`]: in which a user called.
//! - `memory`: nothing on disk, gone with the process.
//! - `sqlite`: a file that one process owns.
//! - `postgres`: a database that replicas share. It may be down at any time, also at the start.
//! - `rows`: what the two store, as they store it.

mod entry;
mod hours;
mod memory;
mod postgres;
mod rows;
#[cfg(test)]
pub(crate) mod simulated;
mod sqlite;

pub use entry::{Entry, EntryId, Event, Intended, OpenIntent, Recorded};
pub use hours::Hour;

use std::fmt;
use std::time::Duration;

use crate::admission::known::{Known, Source};
use crate::config::home::Home;
use crate::types::{Millis, UserId};
use memory::Memory;
use postgres::{Postgres, Turn};
use sqlite::Sqlite;

/// Users that are written at once; further ones follow in a step of their own, so that none takes long.
const SEEN_AT_ONCE: usize = 10_000;
/// Users that are read at once: all of a million would take longer than a statement may.
const READ_AT_ONCE: usize = 20_000;
/// Entries that are forgotten at once, for the same reason.
const PRUNED_AT_ONCE: u64 = 10_000;
/// So many changes ago, who is gone is forgotten for good.
const DEPARTED_MAX: i64 = 10_000;

/// Remembers.
#[derive(Debug)]
pub enum Registry {
    Memory(Memory),
    Sqlite(Sqlite),
    Postgres(Postgres),
    #[cfg(test)]
    Simulated(simulated::Simulated),
}

/// What is wrong with the registry, in words for its operator: what failed, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError(pub String);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegistryError {}

type Result<T> = std::result::Result<T, RegistryError>;

/// Asks the registry, whichever it is.
macro_rules! ask {
    ($registry:expr, $call:ident($($argument:expr),*)) => {
        match $registry {
            Self::Memory(memory) => Ok(memory.$call($($argument),*)),
            Self::Sqlite(sqlite) => sqlite.$call($($argument),*).await,
            Self::Postgres(postgres) => postgres.$call($($argument),*).await,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.$call($($argument),*).await,
        }
    };
}

/// Where a tenant's users stand: it grows with each change to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i64);

/// What changed of a tenant's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Whether `users` are all that there are, and what was known before is to be forgotten.
    pub is_whole: bool,
    /// Those that changed. Some may have changed before, too: to take them over once more does no harm.
    pub users: Vec<(UserId, Known)>,
    /// Those that are gone, unless they are among `users` as well.
    pub gone: Vec<UserId>,
    /// What to ask with next time.
    pub version: Version,
}

/// A user's calls since they were last noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub tenant: String,
    pub user: UserId,
    /// When the last of them was answered.
    pub last: Millis,
    pub calls: u64,
}

/// What became of a brokerage connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    Added,
    Broken,
    Fixed,
    Deleted,
}

/// A tenant's turn (R8), over all replicas that share the registry. Dropping it gives it up.
#[derive(Debug)]
pub enum Hold {
    /// This process is the only one.
    Local,
    /// By a lock in PostgreSQL.
    Shared(Turn),
    #[cfg(test)]
    Simulated(simulated::Turn),
}

impl Hold {
    /// Whether the turn is still ours. Over a shared registry it may have been lost, and then nothing may be deleted.
    pub async fn is_held(&mut self) -> bool {
        match self {
            Self::Local => true,
            Self::Shared(turn) => turn.is_held().await,
            #[cfg(test)]
            Self::Simulated(turn) => turn.is_held().await,
        }
    }
}

impl Registry {
    /// Nothing on disk.
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Opens the registry at its home. Must be called on the runtime that uses it.
    ///
    /// Fails where a file cannot be used: nobody else will set that right. A server that cannot be reached is no failure:
    /// until it is there, every call fails at once and says so.
    pub async fn open(home: &Home) -> Result<Self> {
        Ok(match home {
            Home::Memory => Self::memory(),
            Home::Sqlite(path) => Self::Sqlite(Sqlite::open(path).await?),
            Home::Postgres(url) => Self::Postgres(Postgres::open(url)?),
        })
    }

    /// What would keep this process from opening a registry there, as far as that shows without creating anything or asking a
    /// server.
    pub fn obstacle(home: &Home) -> Option<RegistryError> {
        match home {
            Home::Sqlite(path) => sqlite::obstacle(path),
            Home::Memory | Home::Postgres(_) => None,
        }
    }

    /// Finds out whether a file that could not be changed can be again; a shared registry is looked at every second anyhow.
    pub async fn probe(&self) {
        if let Self::Sqlite(sqlite) = self {
            sqlite.probe().await;
        }
    }

    /// Whether what was read and what was written last worked; a shared registry is asked every second whether it takes changes.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Sqlite(sqlite) => sqlite.is_up(),
            Self::Postgres(postgres) => postgres.is_up(),
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.is_up(),
        }
    }

    /// Writes out what is not in its place yet. Without it nothing is lost, but the next start has to do it.
    pub async fn close(&self) {
        if let Self::Sqlite(sqlite) = self {
            sqlite.close().await;
        }
    }

    /// Whether what is recorded survives this process.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory(_))
    }

    /// Waits for the tenant's turn among the replicas, for `patience` at most. Within the process, the caller has queued
    /// already.
    pub async fn turn(&self, tenant: &str, patience: Duration) -> Result<Hold> {
        match self {
            Self::Memory(_) | Self::Sqlite(_) => Ok(Hold::Local),
            Self::Postgres(postgres) => Ok(Hold::Shared(postgres.turn(tenant, patience).await?)),
            #[cfg(test)]
            Self::Simulated(simulated) => Ok(Hold::Simulated(simulated.turn(tenant, patience).await?)),
        }
    }

    /// Every user of the tenant that is remembered.
    pub async fn users(&self, tenant: &str) -> Result<Vec<(UserId, Known)>> {
        ask!(self, users(tenant))
    }

    /// What changed of the tenant's users since `since`, or all of them: what costs less than `users` where there are many.
    pub async fn changes(&self, tenant: &str, since: Option<Version>) -> Result<Changes> {
        ask!(self, changes(tenant, since))
    }

    /// What is remembered of one user.
    pub async fn user(&self, tenant: &str, user: &UserId) -> Result<Option<Known>> {
        ask!(self, user(tenant, user))
    }

    /// These are listed; of those that were not known, the first sight is noted.
    pub async fn seen(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        ask!(self, seen(tenant, users, at))
    }

    /// A user was registered: a new one, whatever was known by that id before. One that was registered later stays as it is.
    pub async fn registered(&self, tenant: &str, user: &UserId, at: Millis, source: Source) -> Result<()> {
        ask!(self, registered(tenant, user, at, source, false))
    }

    /// As [`Self::registered`], of a registration by us that could not be told when it was. Who is gone since then, perhaps by
    /// way of another replica, is not brought back: it would count, and somebody go for it.
    pub async fn registered_before(&self, tenant: &str, user: &UserId, at: Millis) -> Result<()> {
        ask!(self, registered(tenant, user, at, Source::Own, true))
    }

    /// Users were gone at `at`, and what was known of them is forgotten, but for protection by hand: that is of the id. Those
    /// that were registered later stay.
    pub async fn gone(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        ask!(self, gone(tenant, users, at))
    }

    /// Adds to what is known of these users' calls, and of the hours in which there were some. Those that are not remembered
    /// are left out.
    pub async fn active(&self, batch: &[Activity]) -> Result<()> {
        ask!(self, active(batch))
    }

    /// Something happened to a user's connection `connection`. Of a user that is not remembered it is left out.
    pub async fn connection(
        &self,
        tenant: &str,
        user: &UserId,
        connection: &str,
        event: ConnectionEvent,
        at: Millis,
    ) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.connection(tenant, user, connection, event, at);
                Ok(())
            }
            Self::Sqlite(sqlite) => sqlite.connection(tenant, user, connection, event).await,
            Self::Postgres(postgres) => postgres.connection(tenant, user, connection, event).await,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.connection(tenant, user, connection, event).await,
        }
    }

    /// Protects a user by hand, or no longer. One that is not remembered is from now on.
    pub async fn protect(&self, tenant: &str, user: &UserId, protected: bool, at: Millis) -> Result<()> {
        ask!(self, protect(tenant, user, protected, at))
    }

    /// Pauses a tenant, or no longer: its registrations are forwarded unmanaged.
    pub async fn pause(&self, tenant: &str, paused: bool) -> Result<()> {
        ask!(self, pause(tenant, paused))
    }

    pub async fn is_paused(&self, tenant: &str) -> Result<bool> {
        ask!(self, is_paused(tenant))
    }

    /// The tenants that are paused.
    pub async fn paused(&self) -> Result<Vec<String>> {
        ask!(self, paused())
    }

    /// Appends to the journal. An `Outcome` closes the intent that it names. Of several the first counts, and the others are
    /// not recorded: they are said again, or by a replica that did not know what became of it meanwhile. What is returned
    /// then is the intent's id.
    pub async fn record(&self, entry: Entry) -> Result<EntryId> {
        match self {
            Self::Memory(memory) => Ok(memory.record(entry)),
            Self::Sqlite(sqlite) => sqlite.record(&entry).await,
            Self::Postgres(postgres) => postgres.record(&entry).await,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.record(&entry).await,
        }
    }

    /// Appends an `Intent`, by the session that holds the turn: once this returns, it is durable, and the turn was held. It is
    /// not, if its user is protected by hand, or if it is for a newcomer of a tenant that is paused.
    pub async fn intend(&self, hold: &mut Hold, entry: Entry) -> Result<Intended> {
        match (self, hold) {
            (Self::Postgres(_), Hold::Shared(turn)) => turn.intend(&entry).await,
            #[cfg(test)]
            (Self::Simulated(_), Hold::Simulated(turn)) => turn.intend(&entry).await,
            (Self::Memory(memory), Hold::Local) => Ok(memory.intend(entry)),
            (Self::Sqlite(sqlite), Hold::Local) => sqlite.intend(&entry).await,
            // A turn of another registry is none.
            _ => {
                let what = "the turn is of another registry than the journal; please report this";
                Err(RegistryError(what.to_owned()))
            }
        }
    }

    /// The tenant's intents without an outcome, oldest first.
    pub async fn open_intents(&self, tenant: &str) -> Result<Vec<OpenIntent>> {
        ask!(self, open_intents(tenant))
    }

    /// When the tenant's deletions since `since` were intended, oldest first, without those that were withdrawn or refused:
    /// what the fuse counts (R6).
    pub async fn deletions(&self, tenant: &str, since: Millis) -> Result<Vec<Millis>> {
        ask!(self, deletions(tenant, since))
    }

    /// The tenant's journal, newest first: at most `limit` entries, before `before` if that is given.
    pub async fn journal(
        &self,
        tenant: &str,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        ask!(self, journal(tenant, before, limit))
    }

    /// In which hours the tenant's users called, newest first, and within an hour by id: at most `limit`, before `before` if
    /// that is given.
    pub async fn hours(&self, tenant: &str, before: Option<&Hour>, limit: usize) -> Result<Vec<Hour>> {
        ask!(self, hours(tenant, before, limit))
    }

    /// Forgets entries from before `before`, but no open intent, hours and webhook ids. Returns how many entries.
    pub async fn prune(&self, before: Millis) -> Result<u64> {
        ask!(self, prune(before))
    }

    /// Notes that this webhook arrived. Whether it is the first time.
    pub async fn is_new_webhook(&self, webhook: &str, at: Millis) -> Result<bool> {
        ask!(self, is_new_webhook(webhook, at))
    }
}

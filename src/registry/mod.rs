//! What the sidecar remembers: the users of each tenant, the journal, and among replicas whose turn it is.
//!
//! One contract with three homes, chosen by `registry.url`. Everything may fail, and says why; what a failure costs is the
//! caller's to decide (R14). A tenant is named as in the configuration.
//!
//! - [`Entry`]: a line of the journal.
//! - [`Hold`]: a tenant's turn.
//! - `memory`: nothing on disk, gone with the process.

#![expect(clippy::unused_async, reason = "the homes on disk wait, memory does not")]

mod entry;
mod memory;

pub use entry::{Entry, EntryId, Event, OpenIntent, Recorded};

use std::fmt;
use std::time::Duration;

use crate::admission::known::{Known, Source};
use crate::types::{Millis, UserId};
use memory::Memory;

/// Remembers.
#[derive(Debug)]
pub enum Registry {
    Memory(Memory),
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
}

impl Hold {
    /// Whether the turn is still ours. Over a shared registry it may have been lost, and then nothing may be deleted.
    pub async fn is_held(&mut self) -> bool {
        match self {
            Self::Local => true,
        }
    }
}

impl Registry {
    /// Nothing on disk.
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Whether what is recorded survives this process.
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Memory(_) => false,
        }
    }

    /// Waits for the tenant's turn among the replicas, for `patience` at most. Within the process, the caller has queued
    /// already.
    pub async fn turn(&self, _tenant: &str, _patience: Duration) -> Result<Hold> {
        match self {
            Self::Memory(_) => Ok(Hold::Local),
        }
    }

    /// Every user of the tenant that is remembered.
    pub async fn users(&self, tenant: &str) -> Result<Vec<(UserId, Known)>> {
        match self {
            Self::Memory(memory) => Ok(memory.users(tenant)),
        }
    }

    /// What is remembered of one user.
    pub async fn user(&self, tenant: &str, user: &UserId) -> Result<Option<Known>> {
        let users = self.users(tenant).await?;
        let found = users.into_iter().find(|(id, _)| id == user);
        Ok(found.map(|(_, known)| known))
    }

    /// These are listed; of those that were not known, the first sight is noted.
    pub async fn seen(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.seen(tenant, users, at),
        }
        Ok(())
    }

    /// A user was registered: a new one, whatever was known by that id before.
    pub async fn registered(&self, tenant: &str, user: &UserId, at: Millis, source: Source) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.registered(tenant, user, at, source),
        }
        Ok(())
    }

    /// Users are gone, and what was known of them is forgotten.
    pub async fn gone(&self, tenant: &str, users: &[UserId]) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.gone(tenant, users),
        }
        Ok(())
    }

    /// Adds to what is known of these users' calls. Those that are not remembered are left out.
    pub async fn active(&self, batch: &[Activity]) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.active(batch),
        }
        Ok(())
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
            Self::Memory(memory) => memory.connection(tenant, user, connection, event, at),
        }
        Ok(())
    }

    /// Protects a user by hand, or no longer. One that is not remembered is from now on.
    pub async fn protect(&self, tenant: &str, user: &UserId, protected: bool, at: Millis) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.protect(tenant, user, protected, at),
        }
        Ok(())
    }

    /// Pauses a tenant, or no longer: its registrations are forwarded unmanaged.
    pub async fn pause(&self, tenant: &str, paused: bool) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.pause(tenant, paused),
        }
        Ok(())
    }

    pub async fn is_paused(&self, tenant: &str) -> Result<bool> {
        match self {
            Self::Memory(memory) => Ok(memory.is_paused(tenant)),
        }
    }

    /// Appends to the journal. An `Outcome` closes the intent that it names.
    pub async fn record(&self, entry: Entry) -> Result<EntryId> {
        match self {
            Self::Memory(memory) => Ok(memory.record(entry)),
        }
    }

    /// Appends an `Intent`, by the session that holds the turn: once this returns, it is durable, and the turn was held.
    pub async fn intend(&self, hold: &mut Hold, entry: Entry) -> Result<EntryId> {
        match (self, hold) {
            (Self::Memory(memory), Hold::Local) => Ok(memory.record(entry)),
        }
    }

    /// The tenant's intents without an outcome, oldest first.
    pub async fn open_intents(&self, tenant: &str) -> Result<Vec<OpenIntent>> {
        match self {
            Self::Memory(memory) => Ok(memory.open_intents(tenant)),
        }
    }

    /// When the tenant's deletions since `since` were intended, oldest first, without those that were withdrawn or refused:
    /// what the fuse counts (R6).
    pub async fn deletions(&self, tenant: &str, since: Millis) -> Result<Vec<Millis>> {
        match self {
            Self::Memory(memory) => Ok(memory.deletions(tenant, since)),
        }
    }

    /// The tenant's journal, newest first: at most `limit` entries, before `before` if that is given.
    pub async fn journal(
        &self,
        tenant: &str,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        match self {
            Self::Memory(memory) => Ok(memory.journal(tenant, before, limit)),
        }
    }

    /// Forgets entries from before `before`, but no open intent, and webhook ids. Returns how many.
    pub async fn prune(&self, before: Millis) -> Result<u64> {
        match self {
            Self::Memory(memory) => Ok(memory.prune(before)),
        }
    }

    /// Notes that this webhook arrived. Whether it is the first time.
    pub async fn is_new_webhook(&self, webhook: &str, at: Millis) -> Result<bool> {
        match self {
            Self::Memory(memory) => Ok(memory.is_new_webhook(webhook, at)),
        }
    }
}

//! What PostgreSQL promises, for simulations: a database that several machines reach over ways that delay, lose and are cut.
//!
//! A statement is a message to the server and one back. It takes effect when it gets there, whether or not anybody still waits
//! for the answer. A turn belongs to a session, which the server ends when it has not heard of it for 4 s.

mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::memory::Memory;
use super::{
    Activity, Changes, ConnectionEvent, Entry, EntryId, Hour, Intended, OpenIntent, Recorded, RegistryError,
    Result, Version,
};
use crate::admission::known::{Known, Source};
use crate::clock::link::{Fate, Link};
use crate::types::{Millis, UserId};
pub(crate) use turn::Turn;

/// As in `postgres`.
const LIMIT: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(1);
const SESSION_IDLE_MAX: Duration = Duration::from_secs(4);
/// How often the server looks whether a lock is free.
const LOOK: Duration = Duration::from_millis(50);

/// Told of every entry of the journal, the moment it is committed.
pub(crate) type Tap = Arc<dyn Fn(EntryId, &Entry) + Send + Sync>;

/// The database.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    memory: Memory,
    sessions: Lock<Sessions>,
    tap: Tap,
}

#[derive(Default)]
struct Sessions {
    is_down: bool,
    last: u64,
    alive: BTreeMap<u64, Session>,
    /// By tenant; the first has the lock.
    queues: BTreeMap<String, VecDeque<u64>>,
}

#[derive(Clone)]
struct Session {
    machine: String,
    tenant: String,
    /// When it got the lock, and when it was last heard of since.
    granted: Option<Instant>,
    heard: Option<Instant>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub(crate) fn new(tap: Tap) -> Self {
        Self(Arc::new(Inner {
            memory: Memory::default(),
            sessions: Lock::default(),
            tap,
        }))
    }

    /// What is committed, asked without any way between.
    pub(crate) fn journal(&self, tenant: &str) -> Vec<Recorded> {
        self.0.memory.journal(tenant, None, usize::MAX)
    }

    /// As somebody with a way of their own.
    pub(crate) fn set_paused(&self, tenant: &str, paused: bool) {
        self.0.memory.pause(tenant, paused);
    }

    pub(crate) fn is_paused(&self, tenant: &str) -> bool {
        self.0.memory.is_paused(tenant)
    }

    /// The server ends, with all of its sessions, or is there again.
    pub(crate) fn set_down(&self, is_down: bool) {
        let mut sessions = self.sessions();
        sessions.is_down = is_down;
        if is_down {
            sessions.alive.clear();
            sessions.queues.clear();
        }
    }

    /// Since when the machine has the tenant's lock, if it has.
    pub(crate) fn granted(&self, tenant: &str, machine: &str) -> Option<Instant> {
        let mut sessions = self.sessions();
        sessions.prune();
        let first = *sessions.queues.get(tenant)?.front()?;
        let holder = sessions.alive.get(&first)?;
        holder.granted.filter(|_| holder.machine == machine)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intend(&self, entry: &Entry) -> Intended {
        let intended = self.0.memory.intend(entry.clone());
        if let Intended::Recorded(id) = intended {
            (self.0.tap)(id, entry);
        }
        intended
    }

    fn record(&self, entry: &Entry) -> EntryId {
        let id = self.0.memory.record(entry.clone());
        // Of an outcome that is not recorded, it is the intent's.
        if entry.intent != Some(id) {
            (self.0.tap)(id, entry);
        }
        id
    }
}

impl Sessions {
    /// Ends those that the server has not heard of.
    fn prune(&mut self) {
        let is_lost = |session: &Session| session.heard.is_some_and(|at| at.elapsed() > SESSION_IDLE_MAX);
        self.alive.retain(|_, session| !is_lost(session));
        let alive = &self.alive;
        for queue in self.queues.values_mut() {
            queue.retain(|number| alive.contains_key(number));
        }
        // The first gets the lock, whether or not anybody is there to hear of it.
        let firsts: Vec<u64> = self
            .queues
            .values()
            .filter_map(|queue| queue.front().copied())
            .collect();
        for number in firsts {
            if let Some(first) = self.alive.get_mut(&number) {
                first.granted.get_or_insert_with(Instant::now);
                first.heard.get_or_insert_with(Instant::now);
            }
        }
    }

    fn open(&mut self, machine: String, tenant: &str) -> u64 {
        self.last += 1;
        let session = Session {
            machine,
            tenant: tenant.to_owned(),
            granted: None,
            heard: None,
        };
        self.alive.insert(self.last, session);
        self.queues
            .entry(tenant.to_owned())
            .or_default()
            .push_back(self.last);
        self.last
    }

    /// Whether the session has its lock, which it does at the latest now that it is heard of.
    fn has_lock(&mut self, number: u64) -> bool {
        self.prune();
        let Some(session) = self.alive.get_mut(&number) else {
            return false;
        };
        let queue = self.queues.get(&session.tenant);
        let has_lock = queue.and_then(VecDeque::front) == Some(&number);
        if has_lock {
            session.heard = Some(Instant::now());
        }
        has_lock
    }

    fn close(&mut self, number: u64) {
        self.alive.remove(&number);
        self.prune();
    }
}

/// A machine's way to the database.
#[derive(Clone, Debug)]
pub struct Simulated {
    server: Server,
    link: Link,
    read: Arc<Lock<Option<Instant>>>,
}

impl Simulated {
    pub(crate) fn new(server: Server, link: Link) -> Self {
        Self {
            server,
            link,
            read: Arc::default(),
        }
    }

    /// When the machine was last told of the deletions that were made, which is the last thing that is read before somebody is
    /// chosen.
    pub(crate) fn last_read(&self) -> Option<Instant> {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn is_up(&self) -> bool {
        !self.link.is_cut()
    }

    /// Has the server do something, and waits for the answer.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&Server) -> T + Send + 'static) -> Result<T> {
        let (there, back) = (self.link.fate(), self.link.fate());
        let (answer, answered) = oneshot::channel();
        let (server, link) = (self.server.clone(), self.link.clone());
        // The server's own, which goes on whatever becomes of the machine that asked.
        tokio::spawn(async move {
            let (Fate::Arrives(time) | Fate::ArrivesAndBreaks(time)) = there else {
                return;
            };
            link.travel(time).await;
            if server.sessions().is_down {
                return;
            }
            let done = work(&server);
            if let (Fate::Arrives(_), Fate::Arrives(time)) = (there, back) {
                link.travel(time).await;
                let _ = answer.send(done);
            }
        });
        match timeout(LIMIT, answered).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(RegistryError("the connection to the database broke".to_owned())),
            Err(_) => Err(RegistryError("the database did not answer".to_owned())),
        }
    }

    async fn remembers<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Memory) -> T + Send + 'static,
    ) -> Result<T> {
        self.ask(move |server| work(&server.0.memory)).await
    }

    pub(super) async fn users(&self, tenant: &str) -> Result<Vec<(UserId, Known)>> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.users(&tenant)).await
    }

    pub(super) async fn changes(&self, tenant: &str, since: Option<Version>) -> Result<Changes> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.changes(&tenant, since)).await
    }

    pub(super) async fn user(&self, tenant: &str, user: &UserId) -> Result<Option<Known>> {
        let (tenant, user) = (tenant.to_owned(), user.clone());
        self.remembers(move |memory| memory.user(&tenant, &user)).await
    }

    pub(super) async fn seen(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        let (tenant, users) = (tenant.to_owned(), users.to_vec());
        self.remembers(move |memory| memory.seen(&tenant, &users, at))
            .await
    }

    pub(super) async fn registered(
        &self,
        tenant: &str,
        user: &UserId,
        at: Millis,
        source: Source,
        is_late: bool,
    ) -> Result<()> {
        let (tenant, user) = (tenant.to_owned(), user.clone());
        self.remembers(move |memory| memory.registered(&tenant, &user, at, source, is_late))
            .await
    }

    pub(super) async fn gone(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        let (tenant, users) = (tenant.to_owned(), users.to_vec());
        self.remembers(move |memory| memory.gone(&tenant, &users, at))
            .await
    }

    pub(super) async fn active(&self, batch: &[Activity]) -> Result<()> {
        let batch = batch.to_vec();
        self.remembers(move |memory| memory.active(&batch)).await
    }

    pub(super) async fn connection(
        &self,
        tenant: &str,
        user: &UserId,
        connection: &str,
        event: ConnectionEvent,
    ) -> Result<()> {
        let (tenant, user, connection) = (tenant.to_owned(), user.clone(), connection.to_owned());
        self.remembers(move |memory| memory.connection(&tenant, &user, &connection, event, Millis::default()))
            .await
    }

    pub(super) async fn protect(
        &self,
        tenant: &str,
        user: &UserId,
        protected: bool,
        at: Millis,
    ) -> Result<()> {
        let (tenant, user) = (tenant.to_owned(), user.clone());
        self.remembers(move |memory| memory.protect(&tenant, &user, protected, at))
            .await
    }

    pub(super) async fn pause(&self, tenant: &str, paused: bool) -> Result<()> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.pause(&tenant, paused)).await
    }

    pub(super) async fn is_paused(&self, tenant: &str) -> Result<bool> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.is_paused(&tenant)).await
    }

    pub(super) async fn paused(&self) -> Result<Vec<String>> {
        self.remembers(Memory::paused).await
    }

    pub(super) async fn record(&self, entry: &Entry) -> Result<EntryId> {
        let entry = entry.clone();
        self.ask(move |server| server.record(&entry)).await
    }

    pub(super) async fn open_intents(&self, tenant: &str) -> Result<Vec<OpenIntent>> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.open_intents(&tenant)).await
    }

    pub(super) async fn deletions(&self, tenant: &str, since: Millis) -> Result<Vec<Millis>> {
        let tenant = tenant.to_owned();
        let deletions = self
            .remembers(move |memory| memory.deletions(&tenant, since))
            .await?;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(deletions)
    }

    pub(super) async fn journal(
        &self,
        tenant: &str,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        let tenant = tenant.to_owned();
        self.remembers(move |memory| memory.journal(&tenant, before, limit))
            .await
    }

    pub(super) async fn hours(&self, tenant: &str, before: Option<&Hour>, limit: usize) -> Result<Vec<Hour>> {
        let (tenant, before) = (tenant.to_owned(), before.cloned());
        self.remembers(move |memory| memory.hours(&tenant, before.as_ref(), limit))
            .await
    }

    pub(super) async fn prune(&self, before: Millis) -> Result<u64> {
        self.remembers(move |memory| memory.prune(before)).await
    }

    pub(super) async fn is_new_webhook(&self, webhook: &str, at: Millis) -> Result<bool> {
        let webhook = webhook.to_owned();
        self.remembers(move |memory| memory.is_new_webhook(&webhook, at))
            .await
    }
}

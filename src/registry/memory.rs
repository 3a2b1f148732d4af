//! Nothing on disk.

mod hours;
mod log;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Activity, Changes, ConnectionEvent, Entry, EntryId, Event, Hour, Intended, OpenIntent, Recorded, Version,
};
use crate::admission::known::{Connections, Known, Source};
use crate::admission::people::People;
use crate::types::{Millis, UserId};
use hours::Hours;
use log::Log;

/// Entries that are kept; beyond them the oldest that are no open intents go.
const ENTRIES_MAX: usize = 10_000;
/// Deletions of a tenant that are kept for the fuse, which counts no more.
const DELETIONS_MAX: usize = 100_000;
/// Webhook ids that are kept.
const WEBHOOKS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<String, Tenant>,
    journal: VecDeque<Recorded>,
    last: i64,
    /// With the tenants' names.
    open: BTreeMap<EntryId, (String, OpenIntent)>,
    webhooks: HashMap<String, Millis>,
}

#[derive(Debug, Default)]
struct Tenant {
    users: People,
    log: Log,
    /// Whether each works.
    connections: HashMap<UserId, HashMap<String, bool>>,
    paused: bool,
    /// When deletions were intended that were neither withdrawn nor refused. Apart from the journal, which forgets sooner
    /// than the fuse may.
    deletions: BTreeMap<EntryId, Millis>,
    hours: Hours,
}

impl Memory {
    /// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn users(&self, tenant: &str) -> Vec<(UserId, Known)> {
        let state = self.state();
        let Some(tenant) = state.tenants.get(tenant) else {
            return Vec::new();
        };
        tenant.users.all().to_vec()
    }

    pub(super) fn user(&self, tenant: &str, user: &UserId) -> Option<Known> {
        self.state().tenants.get(tenant)?.users.get(user).copied()
    }

    pub(super) fn changes(&self, tenant: &str, since: Option<Version>) -> Changes {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        let version = tenant.log.version();
        let Some((changed, gone)) = since.and_then(|since| tenant.log.since(since)) else {
            return Changes {
                is_whole: true,
                users: tenant.users.all().to_vec(),
                gone: Vec::new(),
                version,
            };
        };
        let known = |user: &UserId| Some((user.clone(), *tenant.users.get(user)?));
        Changes {
            is_whole: false,
            users: changed.into_iter().filter_map(known).collect(),
            gone: gone.into_iter().cloned().collect(),
            version,
        }
    }

    pub(super) fn seen(&self, tenant: &str, users: &[UserId], at: Millis) {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        // Nothing is moved time and again while a first list comes in.
        if tenant.users.len() == 0 {
            tenant.users.reserve(users.len());
        }
        for user in users {
            if tenant.users.place(user).is_none() {
                tenant.users.add(user, first_seen(at));
                tenant.log.changed(user);
            }
        }
    }

    pub(super) fn registered(&self, tenant: &str, user: &UserId, at: Millis, source: Source, is_late: bool) {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        if is_late && tenant.log.was_gone_after(user, at) {
            return;
        }
        let (known, _) = tenant.users.entry(user, Known::default());
        if is_since(known, at) {
            return;
        }
        *known = Known {
            registered: Some((at, source)),
            // Protected by hand is the id, which may be registered anew.
            protected: known.protected,
            ..first_seen(at)
        };
        tenant.connections.remove(user);
        tenant.log.changed(user);
    }

    pub(super) fn gone(&self, tenant: &str, users: &[UserId], at: Millis) {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        for user in users {
            match tenant.users.get_mut(user) {
                Some(known) if is_since(known, at) => continue,
                Some(known) if known.protected => {
                    *known = Known {
                        protected: true,
                        ..first_seen(known.first_seen)
                    };
                }
                Some(_) => tenant.users.remove(user),
                None => {}
            }
            tenant.connections.remove(user);
            tenant.log.gone(user, at);
        }
    }

    pub(super) fn active(&self, batch: &[Activity]) {
        let mut state = self.state();
        for activity in batch {
            let tenant = state.tenant(&activity.tenant);
            if let Some(known) = tenant.users.get_mut(&activity.user) {
                let more = u32::try_from(activity.calls).unwrap_or(u32::MAX);
                known.calls = known.calls.saturating_add(more);
                known.last_active = known.last_active.max(Some(activity.last));
                tenant.log.changed(&activity.user);
                tenant.hours.add(activity);
            }
        }
    }

    pub(super) fn connection(
        &self,
        tenant: &str,
        user: &UserId,
        connection: &str,
        event: ConnectionEvent,
        _at: Millis,
    ) {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        let Some(known) = tenant.users.get_mut(user) else {
            return;
        };
        let connections = tenant.connections.entry(user.clone()).or_default();
        match event {
            ConnectionEvent::Deleted => connections.remove(connection),
            ConnectionEvent::Broken => connections.insert(connection.to_owned(), false),
            ConnectionEvent::Added | ConnectionEvent::Fixed => {
                connections.insert(connection.to_owned(), true)
            }
        };
        let count = |works| connections.values().filter(|is| **is == works).count();
        let count = |works| u16::try_from(count(works)).unwrap_or(u16::MAX);
        known.connections = Some(Connections {
            working: count(true),
            broken: count(false),
        });
        tenant.log.changed(user);
    }

    pub(super) fn protect(&self, tenant: &str, user: &UserId, protected: bool, at: Millis) {
        let mut state = self.state();
        let tenant = state.tenant(tenant);
        tenant.users.entry(user, first_seen(at)).0.protected = protected;
        tenant.log.changed(user);
    }

    pub(super) fn pause(&self, tenant: &str, paused: bool) {
        self.state().tenant(tenant).paused = paused;
    }

    pub(super) fn is_paused(&self, tenant: &str) -> bool {
        self.state()
            .tenants
            .get(tenant)
            .is_some_and(|tenant| tenant.paused)
    }

    pub(super) fn paused(&self) -> Vec<String> {
        let state = self.state();
        let paused = state.tenants.iter().filter(|(_, tenant)| tenant.paused);
        paused.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn record(&self, entry: Entry) -> EntryId {
        let mut state = self.state();
        if let Some(intent) = state.decided(&entry) {
            return intent;
        }
        state.last += 1;
        let id = EntryId(state.last);
        match (entry.event, &entry.user) {
            (Event::Intent, Some(victim)) => {
                let intent = OpenIntent {
                    id,
                    victim: victim.clone(),
                    at: entry.at,
                    replica: entry.replica.clone(),
                };
                state.open.insert(id, (entry.tenant.clone(), intent));
                let deletions = &mut state.tenant(&entry.tenant).deletions;
                deletions.insert(id, entry.at);
                if deletions.len() > DELETIONS_MAX {
                    deletions.pop_first();
                }
            }
            (Event::Outcome, _) => {
                if let Some(intent) = entry.intent {
                    state.open.remove(&intent);
                    if matches!(entry.outcome.as_deref(), Some("withdrawn" | "refused")) {
                        state.tenant(&entry.tenant).deletions.remove(&intent);
                    }
                }
            }
            _ => {}
        }
        state.journal.push_back(Recorded { id, entry });
        if state.journal.len() > ENTRIES_MAX {
            let State { journal, open, .. } = &mut *state;
            if let Some(place) = journal
                .iter()
                .position(|recorded| !open.contains_key(&recorded.id))
            {
                journal.remove(place);
            }
        }
        id
    }

    pub(super) fn intend(&self, entry: Entry) -> Intended {
        let is_barred = {
            let mut state = self.state();
            let tenant = state.tenant(&entry.tenant);
            let known = entry.user.as_ref().and_then(|user| tenant.users.get(user));
            known.is_some_and(|known| known.protected) || (tenant.paused && entry.newcomer.is_some())
        };
        if is_barred {
            return Intended::Barred;
        }
        Intended::Recorded(self.record(entry))
    }

    pub(super) fn open_intents(&self, tenant: &str) -> Vec<OpenIntent> {
        let state = self.state();
        let of_tenant = state.open.values().filter(|(name, _)| name == tenant);
        of_tenant.map(|(_, intent)| intent.clone()).collect()
    }

    pub(super) fn deletions(&self, tenant: &str, since: Millis) -> Vec<Millis> {
        let state = self.state();
        let made = state.tenants.get(tenant).map(|tenant| tenant.deletions.values());
        made.into_iter()
            .flatten()
            .copied()
            .filter(|at| *at >= since)
            .collect()
    }

    pub(super) fn journal(&self, tenant: &str, before: Option<EntryId>, limit: usize) -> Vec<Recorded> {
        let state = self.state();
        let wanted = state.journal.iter().rev().filter(|recorded| {
            recorded.entry.tenant == tenant && before.is_none_or(|before| recorded.id < before)
        });
        wanted.take(limit).cloned().collect()
    }

    pub(super) fn hours(&self, tenant: &str, before: Option<&Hour>, limit: usize) -> Vec<Hour> {
        let state = self.state();
        let tenant = state.tenants.get(tenant);
        tenant.map_or_else(Vec::new, |tenant| tenant.hours.list(before, limit))
    }

    pub(super) fn prune(&self, before: Millis) -> u64 {
        let mut state = self.state();
        let State {
            tenants,
            journal,
            open,
            webhooks,
            ..
        } = &mut *state;
        let count = journal.len();
        for tenant in tenants.values_mut() {
            tenant.hours.prune(before);
        }
        journal.retain(|recorded| recorded.entry.at >= before || open.contains_key(&recorded.id));
        webhooks.retain(|_, at| *at >= before);
        (count - journal.len()) as u64
    }

    pub(super) fn is_new_webhook(&self, webhook: &str, at: Millis) -> bool {
        let mut state = self.state();
        if state.webhooks.len() >= WEBHOOKS_MAX
            && let Some(oldest) = state.webhooks.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            state.webhooks.remove(&oldest);
        }
        state.webhooks.insert(webhook.to_owned(), at).is_none()
    }
}

impl State {
    /// The intent that an outcome is of, if it has one already.
    fn decided(&self, entry: &Entry) -> Option<EntryId> {
        let intent = entry.intent.filter(|_| entry.event == Event::Outcome)?;
        let place = self
            .journal
            .binary_search_by_key(&intent, |recorded| recorded.id)
            .ok()?;
        let is_intent = self.journal[place].entry.event == Event::Intent;
        (is_intent && !self.open.contains_key(&intent)).then_some(intent)
    }

    fn tenant(&mut self, name: &str) -> &mut Tenant {
        self.tenants.entry(name.to_owned()).or_default()
    }
}

/// Whether this user was registered after `at`.
fn is_since(known: &Known, at: Millis) -> bool {
    known.registered.is_some_and(|(registered, _)| registered > at)
}

fn first_seen(at: Millis) -> Known {
    Known {
        first_seen: at,
        ..Known::default()
    }
}

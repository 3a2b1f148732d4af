//! Counting a tenant's users for those who only want to know.

use std::fmt;
use std::time::{Duration, Instant};

use super::journal::now;
use super::{Guard, lock};
use crate::admission::roster::Roster;
use crate::snaptrade::listing::is_tombstone_shaped;
use crate::types::UserId;

/// The users of a tenant at some moment.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Live ones, in the order of `listUsers`.
    pub users: Vec<UserId>,
    /// Deletions that are under way: entries whose deletion is queued, and what was sent and not seen to happen.
    pub pending_deletions: usize,
    pub at: Instant,
}

impl Seen {
    fn of(entries: &[UserId], under_way: usize, at: Instant) -> Self {
        let (tombstones, users): (Vec<_>, Vec<_>) = entries
            .iter()
            .cloned()
            .partition(|id| is_tombstone_shaped(id.as_str()).is_some());
        Self {
            users,
            pending_deletions: tombstones.len() + under_way,
            at,
        }
    }
}

/// `listUsers` did not answer with a list.
#[derive(Clone, Debug)]
pub struct LookError {
    /// `SnapTrade`'s status, if it answered at all.
    pub status: Option<u16>,
    why: String,
}

impl LookError {
    pub(super) fn new(status: Option<u16>, why: String) -> Self {
        Self { status, why }
    }
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for LookError {}

impl Guard {
    /// The users as they are, or were at most `age_max` ago. All who ask at once share one `listUsers`, and a list
    /// that an admission fetched serves as well. A failure is an answer too: it is not tried again sooner.
    pub async fn look(&self, age_max: Duration) -> Result<Seen, LookError> {
        if let Some(seen) = self.recent(age_max) {
            return Ok(seen);
        }
        let mut last_failure = self.looking.lock().await;
        if let Some(seen) = self.recent(age_max) {
            return Ok(seen);
        }
        if let Some((at, error)) = &*last_failure
            && at.elapsed() <= age_max
        {
            return Err(error.clone());
        }
        let began = Instant::now();
        let called = self.manage.list().await;
        self.measure("list_users", &called);
        let Some(entries) = called.outcome else {
            let error = LookError::new(called.status, called.failure.unwrap_or_default());
            self.log_failed_look(&error);
            self.note_trouble(Some(&error.why));
            *last_failure = Some((Instant::now(), error.clone()));
            return Err(error);
        };
        self.note_trouble(None);
        let under_way = self.held.try_lock().map_or(0, |mut held| {
            held.roster.note_seen(&entries, Instant::now(), now());
            held.roster.under_way()
        });
        let seen = Seen::of(&entries, under_way, began);
        let noted = self.means.registry.seen(self.tenant(), &seen.users, now()).await;
        self.note_failure(noted);
        self.remember(seen.clone());
        Ok(seen)
    }

    /// What keeps the users from being counted, or that nothing does.
    pub(super) fn note_trouble(&self, why: Option<&str>) {
        *lock(&self.trouble) = why.map(str::to_owned);
    }

    fn log_failed_look(&self, error: &LookError) {
        let tenant = self.tenant();
        if let Some(401 | 403) = error.status {
            let remedy = "check client_id and consumer_key";
            tracing::error!(tenant, %error, "SnapTrade does not accept this key; {remedy}");
        } else {
            let remedy = "Check proxy.upstream, upstream_ca_file, DNS and the way out";
            tracing::warn!(tenant, %error, "cannot count the users; calls are forwarded all the same. {remedy}");
        }
    }

    fn recent(&self, age_max: Duration) -> Option<Seen> {
        let seen = lock(&self.seen);
        seen.clone().filter(|seen| seen.at.elapsed() <= age_max)
    }

    /// Remembers what an admission saw, if its list still holds.
    pub(super) fn see(&self, roster: &Roster) {
        if let Some((at, entries)) = roster.list() {
            self.remember(Seen::of(entries, roster.under_way(), at));
        }
    }

    fn remember(&self, seen: Seen) {
        let metrics = &self.means.metrics;
        metrics.users(self.tenant(), seen.users.len());
        metrics.pending_deletions(self.tenant(), seen.pending_deletions);
        *lock(&self.seen) = Some(seen);
    }
}

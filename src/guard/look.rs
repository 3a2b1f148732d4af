//! Counting a tenant's users for those who only want to know.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::now;
use super::{Guard, lock};
use crate::admission::roster::Roster;
use crate::clock;
use crate::snaptrade::listing::is_tombstone;
use crate::types::UserId;
use crate::upstream::manage::Called;

/// The users of a tenant at some moment.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Live ones, in the order of `listUsers`.
    pub users: Arc<Vec<UserId>>,
    /// Deletions that are under way: entries whose deletion is queued, and what was sent and not seen to happen.
    pub pending_deletions: usize,
    pub at: Instant,
}

/// `listUsers` did not answer with a list.
#[derive(Clone, Debug)]
pub struct LookError {
    /// `SnapTrade`'s status, if it answered at all.
    pub status: Option<u16>,
    why: String,
    remedy: &'static str,
    /// When the next call is welcome, if this one was throttled.
    pub retry_after: Option<Duration>,
}

impl LookError {
    /// Of a call that brought no list.
    pub(super) fn of<T>(called: Called<T>) -> Self {
        Self {
            status: called.status,
            remedy: called.remedy(),
            retry_after: called.retry_after(),
            why: called.failure.unwrap_or_default(),
        }
    }

    /// Of a list that cannot be right.
    pub(super) fn doubtful(status: Option<u16>, why: &str) -> Self {
        Self {
            status,
            why: why.to_owned(),
            remedy: "look whether the users are still there",
            retry_after: None,
        }
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
    /// that an admission fetched serves as well. A failure is an answer too: it is not tried again sooner. While few calls
    /// are left for the application, a list serves for longer, unless the latest is wanted (zero).
    pub async fn look(&self, age_max: Duration) -> Result<Seen, LookError> {
        let age_max = if age_max.is_zero() {
            age_max
        } else {
            age_max.max(self.thrift())
        };
        if let Some(seen) = self.recent(age_max) {
            return Ok(seen);
        }
        let mut last_failure = self.state.looking.lock().await;
        if let Some(seen) = self.recent(age_max) {
            return Ok(seen);
        }
        if let Some((at, error)) = &*last_failure
            && clock::since(*at) <= age_max.max(error.retry_after.unwrap_or_default())
        {
            return Err(error.clone());
        }
        let began = clock::now();
        let called = self.list().await;
        self.measure("list_users", &called);
        let Some(mut users) = called.outcome else {
            let error = LookError::of(called);
            self.log_failed_look(&error);
            self.note_trouble(Some((&error.why, error.remedy)));
            *last_failure = Some((clock::now(), error.clone()));
            return Err(error);
        };
        self.note_trouble(None);
        let tombstones: Vec<UserId> = users.extract_if(.., |id| is_tombstone(id)).collect();
        let told = self.means.registry.seen(self.client_id(), &users, now()).await;
        let under_way = self.state.held.try_lock().map_or(0, |mut held| {
            let roster = &mut held.roster;
            roster.note_seen(&users, &tombstones, told.is_ok(), clock::now(), now());
            roster.under_way()
        });
        self.note_failure(told);
        let seen = Seen {
            users: Arc::new(users),
            pending_deletions: tombstones.len() + under_way,
            at: began,
        };
        self.tell_users(seen.users.len(), seen.pending_deletions);
        *lock(&self.state.seen) = Some(seen.clone());
        Ok(seen)
    }

    /// Asks who is there.
    pub(super) async fn list(&self) -> Called<Option<Vec<UserId>>> {
        let before = lock(&self.state.seen)
            .as_ref()
            .map(|seen| Arc::clone(&seen.users));
        let mut before = before.as_deref().map_or(&[][..], Vec::as_slice);
        // Of very many users nearly all stand where they stood, but for some that went. Their ids are not had twice.
        let id = |text: &str| match before.iter().take(3).position(|id| id.as_str() == text) {
            Some(skipped) => {
                let id = before[skipped].clone();
                before = &before[skipped + 1..];
                id
            }
            None => UserId::new(text),
        };
        self.manage.list(id).await
    }

    /// What keeps the users from being counted, or that nothing does.
    pub(super) fn note_trouble(&self, why_and_remedy: Option<(&str, &str)>) {
        *lock(&self.state.trouble) = why_and_remedy.map(|(why, remedy)| format!("{why}; {remedy}"));
    }

    fn log_failed_look(&self, error: &LookError) {
        let (tenant, remedy) = (self.tenant(), error.remedy);
        if let Some(401 | 403) = error.status {
            tracing::error!(tenant, %error, "SnapTrade does not accept this key: {remedy}");
        } else {
            tracing::warn!(tenant, %error, remedy, "cannot count the users; calls are forwarded all the same");
        }
    }

    fn recent(&self, age_max: Duration) -> Option<Seen> {
        let seen = lock(&self.state.seen);
        seen.clone().filter(|seen| clock::since(seen.at) <= age_max)
    }

    /// Remembers what an admission saw, if its list still holds.
    pub(super) fn see(&self, roster: &Roster) {
        let Some((at, entries)) = roster.list() else {
            return;
        };
        let mut seen = lock(&self.state.seen);
        // What nobody else looks at is written over: of a million users, three lists would be one too many.
        let before = seen.take().and_then(|seen| Arc::into_inner(seen.users));
        let mut users = before.unwrap_or_default();
        users.clear();
        users.extend(entries.iter().filter(|id| !is_tombstone(id)).cloned());
        let pending_deletions = entries.len() - users.len() + roster.under_way();
        self.tell_users(users.len(), pending_deletions);
        *seen = Some(Seen {
            users: Arc::new(users),
            pending_deletions,
            at,
        });
    }

    fn tell_users(&self, users: usize, pending_deletions: usize) {
        let metrics = &self.means.metrics;
        metrics.users(self.tenant(), users);
        metrics.pending_deletions(self.tenant(), pending_deletions);
    }
}

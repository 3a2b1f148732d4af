//! What an operator does by hand, and wants to see before. All of it is in the journal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Guard;
use super::book::{Book, Held, Intention};
use super::journal::now;
use super::look::LookError;
use crate::admission::policy::{Protection, Ranked, Verdict};
use crate::admission::roster::{LIST_AGE_MAX, Roster};
use crate::admission::{Deletion, Note};
use crate::clock;
use crate::registry::{EntryId, Event, Hour, Recorded, RegistryError};
use crate::types::{Millis, UserId};

/// What became of a deletion by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// The user is no longer listed.
    Evicted,
    /// It was sent, and the user is still listed after `settle_timeout`.
    Unsettled,
}

/// Why something was not done.
#[derive(Clone, Debug)]
pub enum Unable {
    /// The users could not be listed.
    Look(LookError),
    Registry(RegistryError),
    NotListed,
    /// By pattern, and by which, or by hand; being young or active does not keep an operator from it.
    Protected(Protection, Option<String>),
    /// Registrations or another deletion of this tenant are in the way.
    Busy,
    /// SnapTrade refused the deletion.
    Refused,
    /// The deletion did not leave: SnapTrade could not be reached, or not in time.
    Unsent,
    /// The tenant was taken out of the configuration meanwhile.
    Gone,
    /// The list took longer to come and be read than it may be old.
    Slow,
    /// The program is ending.
    Stopping,
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Look(error) => write!(f, "the users cannot be listed: {error}"),
            Self::Registry(error) => write!(f, "{error}"),
            Self::NotListed => f.write_str("SnapTrade does not list this user"),
            Self::Protected(protection, pattern) => protected(f, *protection, pattern.as_deref()),
            Self::Busy => f.write_str(
                "registrations or another deletion for this key are in the way: try again in a moment",
            ),
            Self::Refused => {
                f.write_str("SnapTrade refused to delete this user; the log says with what status")
            }
            Self::Unsent => f.write_str(
                "the deletion could not be sent to SnapTrade; the log says why: try again in a moment",
            ),
            Self::Gone => f.write_str("its tenant was just taken out of the configuration"),
            Self::Slow => write!(
                f,
                "the list of users is too old when it has come and been read: over {} s, so that no deletion may rest on it. On \
                 a key with very many users this lasts: delete the user by SnapTrade's own API",
                LIST_AGE_MAX.as_secs()
            ),
            Self::Stopping => f.write_str("the sidecar is shutting down"),
        }
    }
}

/// By what a user is protected, and how that is lifted.
fn protected(f: &mut fmt::Formatter<'_>, by: Protection, pattern: Option<&str>) -> fmt::Result {
    match (by, pattern) {
        (Protection::Hand, _) => f.write_str("this user is protected by hand: unprotect it first"),
        (Protection::Pattern, Some(pattern)) => write!(
            f,
            "this user is protected by {pattern:?} of eviction.protect: take that pattern out first"
        ),
        (Protection::NotEvictable, _) => f.write_str(
            "this user is protected, since no pattern of eviction.evictable matches it: add one first",
        ),
        (Protection::Unlisted, _) => {
            f.write_str("SnapTrade does not list this user yet: try again in a moment")
        }
        _ => write!(f, "this user is protected ({by}): lift the protection first"),
    }
}

impl std::error::Error for Unable {}

impl From<LookError> for Unable {
    fn from(error: LookError) -> Self {
        Self::Look(error)
    }
}

impl From<RegistryError> for Unable {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl Guard {
    /// Everybody, in the order in which they would go, each with the reason for its place, and when they were listed: `age_max`
    /// ago at most.
    ///
    /// # Errors
    /// If the users cannot be listed, or the registry cannot be read.
    pub async fn ranking(&self, age_max: Duration) -> Result<(Vec<Ranked>, Millis), Unable> {
        let seen = self.look(age_max).await?;
        let known = self.means.registry.users(self.client_id()).await?;
        let mut roster = Roster::default();
        roster.remember(known, Vec::new());
        let settle = self.terms().settle_timeout;
        // It cannot be empty against what this roster knows, which is nothing.
        let _ = roster.take(seen.users.to_vec(), seen.at, clock::now(), now(), settle);
        let ranking = self.terms().policy.ranking(&roster.candidates(now()), now());
        Ok((ranking, now().minus(clock::since(seen.at))))
    }

    /// How many deletions the fuse counts now.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub async fn fuse_used(&self) -> Result<usize, RegistryError> {
        let since = now().minus(self.terms().fuse.window);
        let deletions = self.means.registry.deletions(self.client_id(), since).await?;
        Ok(deletions.len())
    }

    /// This tenant's journal, newest first; see [`crate::registry::Registry::journal`].
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub async fn history(
        &self,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>, RegistryError> {
        self.means.registry.journal(self.client_id(), before, limit).await
    }

    /// In which hours the tenant's users called, newest first, before `before` if that is given.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub async fn hours(&self, before: Option<&Hour>, limit: usize) -> Result<Vec<Hour>, RegistryError> {
        self.means.registry.hours(self.client_id(), before, limit).await
    }

    /// Protects a user, or no longer. It need not be registered yet.
    ///
    /// # Errors
    /// If the registry cannot be written to.
    pub async fn protect(&self, user: &UserId, protected: bool) -> Result<(), RegistryError> {
        let registry = &self.means.registry;
        registry.protect(self.client_id(), user, protected, now()).await?;
        self.did(if protected { "protect" } else { "unprotect" }, Some(user))
            .await;
        Ok(())
    }

    /// Pauses the tenant, or no longer: while paused, registrations are forwarded as they come.
    ///
    /// # Errors
    /// If the registry cannot be written to.
    pub async fn pause(&self, paused: bool) -> Result<(), RegistryError> {
        self.means.registry.pause(self.client_id(), paused).await?;
        self.set_paused(paused);
        self.did(if paused { "pause" } else { "resume" }, None).await;
        Ok(())
    }

    /// What another replica may have decided meanwhile.
    pub async fn refresh(&self) {
        if let Ok(paused) = self.means.registry.is_paused(self.client_id()).await {
            self.set_paused(paused);
        }
    }

    /// Deletes a user now, as an admission would: under the tenant's lock, journaled first, awaited until it is gone. Sees
    /// itself through even if its caller leaves. The fuse counts it, and does not keep an operator from it.
    ///
    /// # Errors
    /// If it was not sent, or refused.
    pub async fn evict(self: &Arc<Self>, user: UserId) -> Result<ByHand, Unable> {
        let guard = Arc::clone(self);
        let eviction = async move { guard.evict_in_turn(&user).await };
        let spawned = self.means.spawn(eviction);
        spawned.await.unwrap_or(Err(Unable::Stopping))
    }

    async fn evict_in_turn(&self, user: &UserId) -> Result<ByHand, Unable> {
        let patience = self.terms().admission_timeout;
        // Whoever asked has given up by then, and must not have somebody deleted later on.
        let Ok(mut held) = tokio::time::timeout(patience, self.state.held.lock()).await else {
            return Err(Unable::Busy);
        };
        // By what is configured now.
        let guard = self.current().ok_or(Unable::Gone)?;
        guard.evict_under_lock(user, &mut held).await
    }

    pub(super) async fn evict_under_lock(&self, user: &UserId, held: &mut Held) -> Result<ByHand, Unable> {
        let patience = self.terms().admission_timeout;
        held.roster.forget_list();
        let (mut book, roster) = Book::open(self, None, held, patience).await;
        let done = self.evict_under(user, &mut book, roster).await;
        drop(book);
        held.hand_over(false);
        done
    }

    /// Whoever ends has told the registry the last already.
    fn relies_on(&self, book: &Book<'_>) -> Result<(), Unable> {
        let why = || RegistryError("the registry cannot be relied on; the log says why".to_owned());
        match book.is_open() {
            true => Ok(()),
            false if self.means.stopping.is_cancelled() => Err(Unable::Stopping),
            false => Err(why().into()),
        }
    }

    async fn evict_under(
        &self,
        user: &UserId,
        book: &mut Book<'_>,
        roster: &mut Roster,
    ) -> Result<ByHand, Unable> {
        self.relies_on(book)?;
        if roster.unresolved.is_some() && self.settle_one(book, roster).await.is_none() {
            return Err(Unable::Busy);
        }
        self.note_changes(roster);
        self.list_into(roster).await?;
        book.learn(roster).await;
        self.relies_on(book)?;
        // The application just deleted somebody, perhaps this one, or is about to.
        if roster.list().is_none() || roster.is_unanswered(user) {
            return Err(Unable::Busy);
        }
        // By what is configured now.
        self.current().ok_or(Unable::Gone)?.may_go(user, roster)?;
        let tenant = self.tenant();
        tracing::info!(
            tenant,
            victim = user.as_str(),
            "evicting by hand: about to delete this user"
        );
        match book.intend(user, "by hand", roster).await {
            Intention::Recorded => {}
            Intention::Barred => return Err(Unable::Protected(Protection::Hand, None)),
            Intention::Uncertain => {
                let why =
                    "the intent could not be recorded in time, so that nobody is deleted; the log says why";
                return Err(RegistryError(why.to_owned()).into());
            }
        }
        // Nothing is waited for from here to the deletion. By that id there may be another user now.
        let age = roster.list().map(|(asked, _)| clock::since(asked));
        self.note_changes(roster);
        let why_not = if self.means.stopping.is_cancelled() {
            Some(Unable::Stopping)
        } else if age.is_some_and(|age| age > LIST_AGE_MAX) {
            Some(Unable::Slow)
        } else {
            (!roster.is_fresh(clock::now())).then_some(Unable::Busy)
        };
        if let Some(why_not) = why_not {
            book.withdraw(user).await;
            return Err(why_not);
        }
        self.delete_now(user, book, roster).await
    }

    async fn delete_now(
        &self,
        user: &UserId,
        book: &mut Book<'_>,
        roster: &mut Roster,
    ) -> Result<ByHand, Unable> {
        let since = clock::now();
        let called = self.manage.delete(user, book.leave_by()).await;
        self.told("delete_user", &called);
        if matches!(called.outcome, Deletion::Accepted | Deletion::Unclear) {
            roster.await_deletion(user.clone(), since, since, true);
            self.note_by_hand("evict", Some(user)).await;
            return Ok(match self.settle_one(book, roster).await {
                Some(Note::Evicted(_)) => ByHand::Evicted,
                _ => ByHand::Unsettled,
            });
        }
        if called.outcome == Deletion::Unsent {
            book.withdraw(user).await;
            return Err(Unable::Unsent);
        }
        let refused = Note::EvictionRefused(user.clone());
        book.note(std::slice::from_ref(&refused)).await;
        self.tell(&refused, "");
        Err(Unable::Refused)
    }

    /// Whether an operator may have this user deleted.
    fn may_go(&self, user: &UserId, roster: &Roster) -> Result<(), Unable> {
        let ranking = self.terms().policy.ranking(&roster.candidates(now()), now());
        let Some(ranked) = ranking.iter().find(|ranked| ranked.user == *user) else {
            return Err(Unable::NotListed);
        };
        if let Verdict::Protected(protection) = ranked.verdict
            && protection.binds_operators()
        {
            let pattern = (protection == Protection::Pattern)
                .then(|| self.terms().policy.protect.matching(user.as_str()))
                .flatten();
            return Err(Unable::Protected(protection, pattern.map(str::to_owned)));
        }
        Ok(())
    }

    /// Asks who is there.
    pub(super) async fn list_into(&self, roster: &mut Roster) -> Result<(), LookError> {
        let asked = clock::now();
        let called = self.list().await;
        self.told("list_users", &called);
        let status = called.status;
        let Some(entries) = called.outcome else {
            return Err(LookError::of(called));
        };
        let settle = self.terms().settle_timeout;
        roster
            .take(entries, asked, clock::now(), now(), settle)
            .map_err(|_| LookError::doubtful(status, "the list is empty although users were known"))?;
        self.see(roster);
        Ok(())
    }

    async fn did(&self, what: &str, user: Option<&UserId>) {
        let tenant = self.tenant();
        tracing::info!(tenant, what, user = user.map(UserId::as_str), "done by hand");
        self.note_by_hand(what, user).await;
    }

    async fn note_by_hand(&self, what: &str, user: Option<&UserId>) {
        let mut entry = self.entry(Event::Manual);
        entry.outcome = Some(what.to_owned());
        entry.user = user.cloned();
        self.journal(entry).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_why_nothing_was_done_and_what_to_do() {
        let pattern = || Some("vip-*".to_owned());
        for (unable, said) in [
            (
                LookError::doubtful(Some(500), "no list").into(),
                "the users cannot be listed: no list",
            ),
            (RegistryError("it is full".to_owned()).into(), "it is full"),
            (Unable::Protected(Protection::Hand, None), "unprotect it first"),
            (
                Unable::Protected(Protection::Pattern, pattern()),
                "by \"vip-*\" of eviction.protect",
            ),
            (
                Unable::Protected(Protection::NotEvictable, None),
                "eviction.evictable",
            ),
            (
                Unable::Protected(Protection::Unlisted, None),
                "does not list this user yet",
            ),
            (
                Unable::Protected(Protection::Young, None),
                "lift the protection first",
            ),
            (Unable::NotListed, "does not list this user"),
            (Unable::Busy, "try again in a moment"),
            (Unable::Refused, "with what status"),
            (Unable::Unsent, "could not be sent"),
            (Unable::Gone, "taken out of the configuration"),
            (Unable::Slow, "over 2 s, so that no deletion"),
            (Unable::Stopping, "is shutting down"),
        ] {
            let told = unable.to_string();
            assert!(told.contains(said), "{told}");
        }
    }
}

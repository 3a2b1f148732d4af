//! What a guard writes to the registry, beside the steps of an admission.

use std::time::Duration;

use super::{Guard, lock};
use crate::admission::roster::Roster;
use crate::clock;
use crate::registry::{Entry, Event, RegistryError};
use crate::types::{Millis, UserId};

/// For the registry to answer, where a registration waits for it.
const ANSWER_MAX: Duration = Duration::from_secs(3);

impl Guard {
    /// An entry of this tenant and replica.
    pub(super) fn entry(&self, event: Event) -> Entry {
        let mut entry = Entry::new(now(), self.client_id(), event, &self.means.replica);
        entry.limit = u32::try_from(self.terms().max_users).ok();
        entry
    }

    /// Records what is no intent: that it cannot be is said, and changes nothing.
    pub(super) async fn journal(&self, entry: Entry) {
        self.note_failure(within(self.means.registry.record(entry)).await);
    }

    /// Remembers whether the fuse has blown, and says so once.
    pub(super) fn see_fuse(&self, roster: &Roster) {
        let until = roster.blown_until(self.terms().fuse, now());
        let before = std::mem::replace(&mut *lock(&self.state.fuse_blown_until), until);
        if let Some(until) = until
            && before.is_none_or(|before| before <= now())
        {
            let (tenant, fuse) = (self.tenant(), self.terms().fuse);
            let (evictions, window_s) = (fuse.evictions, fuse.window.as_secs());
            let closes_in_s = until.since(now()).as_secs();
            tracing::error!(
                tenant,
                evictions,
                window_s,
                closes_in_s,
                "the fuse has blown: so many evictions in so long are allowed (eviction.fuse), and no more. Registrations are \
                 forwarded as they come until it closes again"
            );
        }
        self.means.metrics.fuse_blown(self.tenant(), until.is_some());
    }

    /// These users are gone.
    pub(super) async fn forget(&self, users: &[UserId]) {
        for user in users {
            self.replays.forget(user);
        }
        self.note_failure(within(self.means.registry.gone(self.client_id(), users, now())).await);
    }

    pub(super) fn note_failure<T>(&self, result: Result<T, RegistryError>) {
        if let Err(error) = result {
            let tenant = self.tenant();
            tracing::warn!(tenant, %error, "the registry could not be written to");
        }
    }
}

/// What the registry says in time: somebody waits for a registration.
pub(super) async fn within<T>(
    answer: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let answered = tokio::time::timeout(ANSWER_MAX, answer).await;
    answered.unwrap_or_else(|_| {
        Err(RegistryError(format!(
            "the registry did not answer within {} s",
            ANSWER_MAX.as_secs()
        )))
    })
}

pub(super) fn now() -> Millis {
    Millis::from(clock::wall())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn r14_a_registry_that_does_not_answer_is_not_waited_for() {
        let never = std::future::pending::<Result<(), RegistryError>>();
        let error = within(never).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within"), "{error}");
        assert!(within(async { Ok(()) }).await.is_ok());
    }
}

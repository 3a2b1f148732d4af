//! Replies to registrations whose callers left before they got them (R12). SnapTrade tells a user secret only once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Admitted;
use crate::clock;
use crate::types::UserId;

/// Each is small, and each needs a slot of the key.
const KEPT_MAX: usize = 1024;

/// By user, and since when. The guards of a tenant that follow on each other share them.
pub(super) type Kept = Arc<Mutex<HashMap<UserId, (Instant, Admitted)>>>;

/// Kept in this process only, and for a short while.
#[derive(Clone, Debug)]
pub(super) struct Replays {
    window: Duration,
    runtime: Handle,
    kept: Kept,
}

impl Replays {
    pub(super) fn new(window: Duration, runtime: Handle, kept: Kept) -> Self {
        Self {
            window,
            runtime,
            kept,
        }
    }

    /// Keeps a reply that nobody took, if it tells a secret, for the window.
    pub(super) fn keep(&self, user: &UserId, admitted: Admitted) {
        if self.window.is_zero()
            || !admitted
                .answer
                .as_ref()
                .is_ok_and(|reply| reply.status().is_success())
        {
            return;
        }
        let kept_at = clock::now();
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            drop(kept);
            let user = user.as_str();
            tracing::warn!(
                user,
                "too many replies are kept already, so that this user's secret is lost"
            );
            return;
        }
        kept.insert(user.clone(), (kept_at, admitted));
        drop(kept);
        let (replays, user) = (self.clone(), user.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(replays.window).await;
            let mut kept = replays.kept();
            if kept.get(&user).is_some_and(|(at, _)| *at == kept_at) {
                kept.remove(&user);
            }
        });
    }

    /// Gives the reply out, once.
    pub(super) fn take(&self, user: &UserId) -> Option<Admitted> {
        let (at, admitted) = self.kept().remove(user)?;
        (clock::since(at) < self.window).then_some(admitted)
    }

    /// The user is gone, or has another secret.
    pub(super) fn forget(&self, user: &UserId) {
        self.kept().remove(user);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<UserId, (Instant, Admitted)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Replies to registrations whose callers left before they got them (R12). SnapTrade tells a user secret only once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::journal::now;
use super::{Admitted, Guard};
use crate::clock;
use crate::snaptrade::proof::Proven;
use crate::types::{Millis, UserId};

/// Each is small, and each needs a slot of the key.
const KEPT_MAX: usize = 1024;

/// Calls of which it is remembered whose secrets they made worthless. Past it the oldest is forgotten: it matters only to a
/// registration that was sent before it and is not answered yet.
const OUTDATED_MAX: usize = 1024;

/// The guards of a tenant that follow on each other share it.
pub(super) type Kept = Arc<Mutex<Memory>>;

/// What is kept, by user, and which secrets are worth nothing.
#[derive(Debug, Default)]
pub(super) struct Memory {
    replies: HashMap<UserId, Reply>,
    /// Those of these users that were told before this, whenever their replies come.
    outdated: VecDeque<(UserId, Instant)>,
}

/// A reply that nobody took, and since when it is kept.
#[derive(Debug)]
struct Reply {
    at: Instant,
    clock: Millis,
    admitted: Admitted,
}

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

    /// Keeps a reply that nobody took, if it tells a secret that may be worth something, for the window.
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
        let sent = admitted.sent.unwrap_or(kept_at);
        if kept.outdated.iter().any(|(of, at)| of == user && sent < *at) {
            return;
        }
        if kept.replies.len() >= KEPT_MAX {
            drop(kept);
            let user = user.as_str();
            tracing::warn!(
                user,
                "too many replies are kept already, so that this user's secret is lost"
            );
            return;
        }
        let reply = Reply {
            at: kept_at,
            clock: now(),
            admitted,
        };
        kept.replies.insert(user.clone(), reply);
        drop(kept);
        let (replays, user) = (self.clone(), user.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(replays.window).await;
            let mut kept = replays.kept();
            if kept.replies.get(&user).is_some_and(|reply| reply.at == kept_at) {
                kept.replies.remove(&user);
            }
        });
    }

    /// Gives the reply out, once, if it still holds by when it was kept.
    pub(super) fn take(&self, user: &UserId, holds: impl FnOnce(Millis) -> bool) -> Option<Admitted> {
        let reply = self.kept().replies.remove(user)?;
        (clock::since(reply.at) < self.window && holds(reply.clock)).then_some(reply.admitted)
    }

    /// The user is gone, or has another secret.
    pub(super) fn forget(&self, user: &UserId) {
        self.kept().replies.remove(user);
    }

    /// A call ends that may have deleted the user, or had its secret replaced. The reply to a registration that was sent before
    /// is worth nothing, also if it comes only later: `SnapTrade` may have answered that call first.
    pub(super) fn outdate(&self, user: &UserId) {
        // Under one lock, or a reply could be kept between the two.
        let mut kept = self.kept();
        kept.replies.remove(user);
        if kept.outdated.len() == OUTDATED_MAX {
            kept.outdated.pop_front();
        }
        kept.outdated.push_back((user.clone(), clock::now()));
    }

    fn kept(&self) -> MutexGuard<'_, Memory> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Whether one is kept for the user of this registration.
    pub fn keeps_reply_to(&self, proven: &Proven) -> bool {
        let user = proven.user_id.as_ref();
        user.is_some_and(|user| self.replays.kept().replies.contains_key(user))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;

    use super::*;

    const WINDOW: Duration = Duration::from_mins(2);

    fn replays() -> Replays {
        Replays::new(WINDOW, Handle::current(), Kept::default())
    }

    fn reply(status: u16) -> Admitted {
        let mut response = Response::new(Bytes::from_static(b"{\"userSecret\":\"s3cr3t\"}"));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        Admitted {
            answer: Ok(response),
            sent: Some(clock::now()),
            evicted: Vec::new(),
            unsettled: None,
            retried: false,
            replayed: false,
            reason: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r12_a_reply_is_gone_from_memory_when_its_window_is_over() {
        let (replays, user) = (replays(), UserId::new("new"));
        replays.keep(&user, reply(200));
        tokio::time::advance(WINDOW / 2).await;
        // A second one of the same user has a window of its own.
        replays.keep(&user, reply(200));
        tokio::task::yield_now().await;
        tokio::time::advance(WINDOW / 2 + Duration::from_millis(2)).await;
        tokio::task::yield_now().await;
        assert!(replays.kept().replies.contains_key(&user));
        tokio::time::advance(WINDOW).await;
        tokio::task::yield_now().await;
        assert!(replays.kept().replies.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn r12_so_many_replies_are_kept_and_none_without_a_secret() {
        let replays = replays();
        replays.keep(&UserId::new("refused"), reply(400));
        assert!(replays.kept().replies.is_empty());
        for user in 0..=KEPT_MAX {
            replays.keep(&UserId::new(user.to_string()), reply(200));
        }
        assert_eq!(replays.kept().replies.len(), KEPT_MAX);
        let take = |user: &str| replays.take(&UserId::new(user), |_| true);
        assert!(take(&KEPT_MAX.to_string()).is_none());
        assert!(take("0").is_some());
        assert!(take("0").is_none());
        // What no longer holds is not there for a second try either.
        assert!(replays.take(&UserId::new("1"), |_| false).is_none());
        assert!(take("1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn r12_a_reply_goes_with_the_user_that_it_tells_of() {
        let (replays, user) = (replays(), UserId::new("new"));
        replays.keep(&user, reply(200));
        replays.forget(&user);
        assert!(replays.take(&user, |_| true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn r12_a_reply_that_comes_after_its_user_was_deleted_is_not_kept() {
        let (replays, user, moment) = (replays(), UserId::new("new"), Duration::from_millis(1));
        let sent_before = reply(200);
        tokio::time::advance(moment).await;
        replays.outdate(&user);
        // The application registers the user anew as soon as it is gone.
        let sent_after = reply(200);
        tokio::time::advance(moment).await;
        let others = reply(200);
        replays.keep(&user, sent_before);
        assert!(replays.take(&user, |_| true).is_none());
        replays.keep(&user, sent_after);
        assert!(replays.take(&user, |_| true).is_some());
        replays.keep(&UserId::new("other"), others);
        assert!(replays.take(&UserId::new("other"), |_| true).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn r12_of_so_many_deletions_it_is_remembered_when_they_were() {
        let (replays, sent_before) = (replays(), reply(200));
        tokio::time::advance(Duration::from_millis(1)).await;
        for user in 0..=OUTDATED_MAX {
            replays.outdate(&UserId::new(user.to_string()));
        }
        assert_eq!(replays.kept().outdated.len(), OUTDATED_MAX);
        let last = UserId::new(OUTDATED_MAX.to_string());
        replays.keep(&last, sent_before);
        assert!(replays.take(&last, |_| true).is_none());
    }
}

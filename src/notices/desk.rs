//! One tenant's notices that are not delivered yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _};
use reqwest::Url;
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{self, Tenant};
use crate::types::{ClientId, UserId};

/// Notices that wait at once; past it the oldest goes.
pub(super) const NOTICES_MAX: usize = 1_000;

pub(super) struct Desk {
    pub(super) tenant: Arc<str>,
    pub(super) client_id: ClientId,
    target: Mutex<Target>,
    is_over: AtomicBool,
    /// In the order of the evictions.
    queue: Mutex<VecDeque<Pending>>,
    news: Notify,
}

/// Where notices go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    /// Keyed with the secret.
    pub(super) mac: Hmac<Sha256>,
}

impl Target {
    #[expect(
        clippy::expect_used,
        reason = "HMAC takes a key of any length (RFC 2104, section 3)"
    )]
    fn of(notify: &config::Notify) -> Self {
        let secret = notify.secret.expose().as_bytes();
        Self {
            url: notify.url.clone(),
            mac: Hmac::new_from_slice(secret).expect("a key of any length"),
        }
    }

    /// Without what may be a secret: the URL's path and query (R13).
    pub(super) fn host(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}"));
        self.url.host_str().unwrap_or_default().to_owned() + &port.unwrap_or_default()
    }
}

/// A notice, and how often it was tried.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) id: String,
    pub(super) user: UserId,
    pub(super) newcomer: Option<UserId>,
    pub(super) body: Bytes,
    pub(super) told: Instant,
    pub(super) due: Instant,
    pub(super) failures: u32,
}

impl Desk {
    pub(super) fn new(tenant: &Tenant, notify: &config::Notify) -> Self {
        Self {
            tenant: Arc::clone(&tenant.name),
            client_id: tenant.client_id.clone(),
            target: Mutex::new(Target::of(notify)),
            is_over: AtomicBool::new(false),
            queue: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// From now on notices go there, those that wait too: where they went may be what was wrong.
    pub(super) fn aim(&self, notify: &config::Notify) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Target::of(notify);
    }

    pub(super) fn target(&self) -> Target {
        self.target.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// No more notices come, and none is left.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.news.notify_one();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in, and returns the one that had to go for it.
    pub(super) fn push(&self, pending: Pending) -> Option<Pending> {
        let mut queue = self.queue();
        let dropped = if queue.len() < NOTICES_MAX {
            None
        } else {
            queue.pop_front()
        };
        queue.push_back(pending);
        self.news.notify_one();
        dropped
    }

    /// Until one more was taken in.
    pub(super) async fn told(&self) {
        self.news.notified().await;
    }

    /// The one that is due first; of several, the oldest.
    pub(super) fn next(&self) -> Option<Pending> {
        self.queue().iter().min_by_key(|pending| pending.due).cloned()
    }

    /// Those that were never tried first, since the others may fail again.
    pub(super) fn all(&self) -> Vec<Pending> {
        let mut all: Vec<Pending> = self.queue().iter().cloned().collect();
        all.sort_by_key(|pending| pending.failures > 0);
        all
    }

    pub(super) fn put_off(&self, id: &str, due: Instant, failures: u32) {
        if let Some(pending) = self.queue().iter_mut().find(|pending| pending.id == id) {
            pending.due = due;
            pending.failures = failures;
        }
    }

    pub(super) fn remove(&self, id: &str) {
        self.queue().retain(|pending| pending.id != id);
    }

    pub(super) fn len(&self) -> usize {
        self.queue().len()
    }
}

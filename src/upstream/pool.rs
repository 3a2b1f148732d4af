//! The connections to the upstream that are kept for the next request.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Connected, Connector, Multiplexed};
use super::error::UpstreamError;
use super::wire::Wire;

/// Less than the 60 s after which common load balancers close an idle connection, so that a request seldom meets a
/// connection that is just being closed: one that may have been sent is lost, never sent again.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Between looks for connections that have become useless.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Connections that may be opened at once.
const CONNECTING_MAX: u32 = 64;

/// What a request is sent by.
pub(super) enum Way {
    Http1(Box<Wire>),
    Http2(Multiplexed),
}

pub(super) struct Pool {
    connector: Connector,
    /// Idle, the one used last at the end.
    #[expect(
        clippy::vec_box,
        reason = "a connection moves in its box between here and the requests"
    )]
    wires: Mutex<Vec<Box<Wire>>>,
    multiplexed: Mutex<Option<Multiplexed>>,
    /// The upstream spoke HTTP/2 when last asked, so that one connection is enough.
    is_http2: AtomicBool,
    /// Also keeps those who want the one HTTP/2 connection behind the first of them.
    connecting: Semaphore,
    swept: AtomicBool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Arc<Self> {
        Arc::new(Self {
            connector,
            wires: Mutex::default(),
            multiplexed: Mutex::default(),
            is_http2: AtomicBool::new(false),
            connecting: Semaphore::new(CONNECTING_MAX as usize),
            swept: AtomicBool::new(false),
        })
    }

    /// A new connection, or one that was given back while this one was waited for.
    pub(super) async fn way(self: &Arc<Self>) -> Result<Way, UpstreamError> {
        let permits = if self.is_http2.load(Ordering::Relaxed) {
            CONNECTING_MAX
        } else {
            1
        };
        // Those before it may all be waiting for an upstream that does not answer. The semaphore is never closed.
        let limit = self.connector.timeout;
        let _turn = timeout(limit, self.connecting.acquire_many(permits))
            .await
            .map_err(|_| UpstreamError::no_connection(limit))?;
        // What others gave back, or opened, meanwhile.
        if let Some(way) = self.kept(Instant::now()) {
            return Ok(way);
        }
        self.fresh().await
    }

    /// A new connection, whatever there is.
    pub(super) async fn fresh(self: &Arc<Self>) -> Result<Way, UpstreamError> {
        self.start_sweeping();
        Ok(match self.connector.connect().await? {
            Connected::Http1(wire) => {
                self.is_http2.store(false, Ordering::Relaxed);
                Way::Http1(wire)
            }
            Connected::Http2(sender) => {
                self.is_http2.store(true, Ordering::Relaxed);
                *lock(&self.multiplexed) = Some(sender.clone());
                Way::Http2(sender)
            }
        })
    }

    /// One that is there already.
    pub(super) fn kept(&self, now: Instant) -> Option<Way> {
        if let Some(way) = self.idle(now) {
            return Some(way);
        }
        if !self.is_http2.load(Ordering::Relaxed) {
            return None;
        }
        let mut multiplexed = lock(&self.multiplexed);
        multiplexed.take_if(|sender| sender.is_closed());
        multiplexed.clone().map(Way::Http2)
    }

    fn idle(&self, now: Instant) -> Option<Way> {
        let mut wires = lock(&self.wires);
        // The last is the one used last: if it has been idle for too long, they all have.
        wires.last().filter(|wire| now - wire.used < IDLE_MAX)?;
        wires.pop().map(Way::Http1)
    }

    /// Keeps a connection whose reply is through, if it takes another request.
    pub(super) fn keep(&self, mut wire: Box<Wire>) {
        if wire.is_ready() || wire.is_alive() {
            lock(&self.wires).push(wire);
        }
    }

    fn start_sweeping(self: &Arc<Self>) {
        if !self.swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes what the upstream closed, and what was not used for long.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        lock(&pool.wires).retain_mut(|wire| wire.used.elapsed() < IDLE_MAX && wire.is_alive());
    }
}

/// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

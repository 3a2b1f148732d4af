//! The connections to the upstream that are kept for the next request.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::connect::{Connected, Connector, Multiplexed};
use super::error::UpstreamError;
use super::wire::Wire;
use crate::telemetry::chain;

/// How long a connection may be idle and then take a request that can be repeated. Most servers close it sooner, and it is
/// gone then; with those that do not, the next request after a quiet while need not wait for TLS.
pub(super) const IDLE_MAX: Duration = Duration::from_mins(5);
/// How long one may be idle and then take a request that cannot be repeated: less than the 60 s after which common load
/// balancers close it, since a request that meets a connection that is just being closed is lost.
pub(super) const IDLE_MAX_UNREPEATABLE: Duration = Duration::from_secs(50);
/// Between looks for connections that have become useless.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Connections that may be opened at once.
const CONNECTING_MAX: u32 = 64;

/// What a request is sent by.
pub(super) enum Way {
    Http1(Box<Wire>),
    Http2 { sender: Multiplexed, is_new: bool },
}

pub(super) struct Pool {
    connector: Connector,
    /// Replies that began and did not end.
    cut_short: Counter,
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
    pub(super) fn new(connector: Connector, cut_short: Counter) -> Arc<Self> {
        Arc::new(Self {
            connector,
            cut_short,
            wires: Mutex::default(),
            multiplexed: Mutex::default(),
            is_http2: AtomicBool::new(false),
            connecting: Semaphore::new(CONNECTING_MAX as usize),
            swept: AtomicBool::new(false),
        })
    }

    /// A new connection, or one that was given back while this one waited, and idle for less than `idle_max`.
    pub(super) async fn way(self: &Arc<Self>, idle_max: Duration) -> Result<Way, UpstreamError> {
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
        if let Some(way) = self.kept(Instant::now(), idle_max) {
            return Ok(way);
        }
        self.start_sweeping();
        Ok(match self.connector.connect().await? {
            Connected::Http1(wire) => {
                self.is_http2.store(false, Ordering::Relaxed);
                Way::Http1(wire)
            }
            Connected::Http2(sender) => {
                self.is_http2.store(true, Ordering::Relaxed);
                *lock(&self.multiplexed) = Some(sender.clone());
                Way::Http2 { sender, is_new: true }
            }
        })
    }

    /// One that is there already, and has been idle for less than `idle_max`.
    pub(super) fn kept(&self, now: Instant, idle_max: Duration) -> Option<Way> {
        if let Some(way) = self.idle(now, idle_max) {
            return Some(way);
        }
        if !self.is_http2.load(Ordering::Relaxed) {
            return None;
        }
        let mut multiplexed = lock(&self.multiplexed);
        multiplexed.take_if(|sender| sender.is_closed());
        let sender = multiplexed.clone()?;
        Some(Way::Http2 {
            sender,
            is_new: false,
        })
    }

    fn idle(&self, now: Instant, idle_max: Duration) -> Option<Way> {
        let mut wires = lock(&self.wires);
        // The last is the one used last: if it has been idle for too long, they all have.
        wires.last().filter(|wire| now - wire.used < idle_max)?;
        wires.pop().map(Way::Http1)
    }

    /// Keeps a connection whose reply is through, if it takes another request.
    pub(super) fn keep(&self, mut wire: Box<Wire>) {
        if wire.is_ready() || wire.is_alive() {
            wire.was_idle = true;
            lock(&self.wires).push(wire);
        }
    }

    /// Counts and logs a reply that began and did not end.
    pub(super) fn note_cut_short(&self, error: &UpstreamError) {
        self.cut_short.inc();
        warn!(error = %chain(error), "a reply was cut short; its caller's connection is closed");
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

#[cfg(test)]
mod tests {
    use http::Uri;
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::own::Own;
    use crate::upstream::tls;

    #[tokio::test]
    async fn a_connection_that_was_idle_for_long_takes_only_what_can_be_repeated() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin: Uri = format!("http://{}/", upstream.local_addr().unwrap())
            .parse()
            .unwrap();
        let tls = tls::client_config(None).unwrap();
        let connector = Connector::new(tls, origin, Duration::from_secs(10), Own::default());
        let pool = Pool::new(connector, Counter::default());
        let now = Instant::now();
        let Way::Http1(wire) = pool.way(IDLE_MAX).await.unwrap() else {
            panic!("without TLS there is only HTTP/1.1");
        };
        assert!(!wire.was_idle);
        pool.keep(wire);

        for (idle_secs, idle_max, is_kept) in [
            (51, IDLE_MAX_UNREPEATABLE, false),
            (49, IDLE_MAX_UNREPEATABLE, true),
            (299, IDLE_MAX, true),
            (302, IDLE_MAX, false),
            (0, Duration::ZERO, false),
        ] {
            let way = pool.kept(now + Duration::from_secs(idle_secs), idle_max);
            assert_eq!(way.is_some(), is_kept, "{idle_secs} {idle_max:?}");
            if let Some(Way::Http1(wire)) = way {
                assert!(wire.was_idle);
                pool.keep(wire);
            }
        }
    }
}

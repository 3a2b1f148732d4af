//! What answers on the ports. A process in which one of these has ended is half dead: it looks alive, and does not do what
//! it is there for.

use std::future::pending;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::guard::Means;
use crate::notices::Telling;
use crate::server::Workers;
use crate::telemetry::spans::export::Exporting;

/// For the calls to the ops plane that are still open when all else is done; the least that notices get, too.
const OPS_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// For the registry to be told of the last calls, once all are answered.
const LAST_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// For the last spans: a collector that does not answer holds up nobody's end.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(2);

/// What answers, and what has to be told when it no longer does.
pub(super) struct Parts {
    pub(super) workers: Workers,
    /// `None` once it has ended.
    pub(super) ops: Option<JoinHandle<()>>,
    /// `None` also where there are no webhooks.
    pub(super) webhooks: Option<JoinHandle<()>>,
    /// Tells the registry who is active, until `last_call`.
    pub(super) teller: JoinHandle<()>,
    pub(super) last_call: CancellationToken,
    pub(super) telling: Telling,
    /// `None` where there are no spans.
    pub(super) exporting: Option<Exporting>,
    pub(super) ops_closing: CancellationToken,
    pub(super) means: Means,
}

impl Parts {
    /// Waits until one of them ends, and names it.
    pub(super) async fn ended(&mut self) -> &'static str {
        tokio::select! {
            () = self.workers.ended() => "a worker of the proxy",
            () = end_of(&mut self.ops) => "the listener of the ops plane",
            () = end_of(&mut self.webhooks) => "the listener of the webhooks",
        }
    }

    /// Waits for what is under way, for `timeout`, and then for what follows from it. The proxy and the webhooks were told
    /// to stop.
    pub(super) async fn finish(self, timeout: Duration) {
        let end = Instant::now() + timeout;
        let tasks = &self.means.tasks;
        tasks.close();
        let (cut, admissions, ()) = tokio::join!(
            self.workers.drained(timeout),
            tokio::time::timeout(timeout, tasks.wait()),
            ended(self.webhooks, timeout, "webhooks")
        );
        tell_of_rest(cut, admissions.is_err().then(|| tasks.len()));
        self.last_call.cancel();
        if tokio::time::timeout(LAST_CALL_TIMEOUT, self.teller)
            .await
            .is_err()
        {
            tracing::warn!("the registry did not take in time which users were active last; that is lost");
        }
        self.ops_closing.cancel();
        // Nobody is evicted any more, so that the notices there are now are the last.
        tokio::join!(
            ended(self.ops, OPS_DRAIN_TIMEOUT, "calls to the ops plane"),
            self.telling.end(end.max(Instant::now() + OPS_DRAIN_TIMEOUT)),
            async {
                if let Some(exporting) = self.exporting {
                    exporting.end(LAST_SPANS_TIMEOUT).await;
                }
            }
        );
        self.means.registry.close().await;
    }
}

async fn end_of(part: &mut Option<JoinHandle<()>>) {
    match part {
        Some(running) => {
            // Why it ended is in the log.
            let _ = running.await;
            *part = None;
        }
        None => pending().await,
    }
}

/// What was still under way after the drain timeout: connections that were cut, and admissions.
fn tell_of_rest(cut: usize, admissions: Option<usize>) {
    if cut > 0 {
        tracing::warn!(
            connections = cut,
            "cut connections that were still open after drain_timeout"
        );
    }
    if let Some(count) = admissions {
        tracing::error!(count, "left registrations unfinished after drain_timeout");
    }
}

/// Waits for a listener that was told to stop, and cuts what takes longer.
async fn ended(listener: Option<JoinHandle<()>>, timeout: Duration, what: &str) {
    let Some(mut listener) = listener else { return };
    if tokio::time::timeout(timeout, &mut listener).await.is_err() {
        listener.abort();
        tracing::warn!("cut {what} that were still open");
    }
}

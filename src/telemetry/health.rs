//! Liveness and readiness. Neither asks the upstream: restarting the sidecar would not mend SnapTrade, and
//! pass-through fails open without help.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;
use tokio::sync::Notify;

/// The state that probes ask for; the data plane and the ops plane answer from the same one.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    ready: AtomicBool,
    draining: AtomicBool,
    /// Tells those who wait for one of the two.
    changed: Notify,
}

/// The answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Verdict {
    pub ok: bool,
    /// Why not; empty if `ok`.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// 200 or 503.
    pub fn status(&self) -> StatusCode {
        if self.ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// As the probe gets it, in JSON.
    pub fn body(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

impl Health {
    /// A process that just started and is not ready.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Every listener is open.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// The process was told to stop. There is no way back.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Completes when the process is ready, or draining already.
    pub async fn until_ready(&self) {
        self.until(|health| health.ready.load(Ordering::Relaxed) || health.draining())
            .await;
    }

    /// Completes when the process drains.
    pub async fn until_draining(&self) {
        self.until(Self::draining).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            // Before the look, so that no change after it is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Whether the process should go on living: always, while it can answer.
    pub fn live(&self) -> Verdict {
        verdict(Vec::new())
    }

    /// Whether new traffic should come here.
    pub fn ready(&self) -> Verdict {
        if self.draining() {
            verdict(vec![
                "draining: the process was told to stop and finishes what it has".to_owned(),
            ])
        } else if self.ready.load(Ordering::Relaxed) {
            verdict(Vec::new())
        } else {
            verdict(vec!["starting: not every listener is open yet".to_owned()])
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

fn verdict(reasons: Vec<String>) -> Verdict {
    Verdict {
        ok: reasons.is_empty(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_comes_and_goes_and_liveness_stays() {
        let health = Health::new();
        assert_eq!(health.ready().status(), 503);
        assert!(health.ready().reasons[0].starts_with("starting"));
        health.set_ready();
        assert_eq!(health.ready().body(), r#"{"ok":true,"reasons":[]}"#);
        health.start_draining();
        health.set_ready();
        assert!(health.ready().reasons[0].starts_with("draining"));
        assert_eq!(health.live().status(), 200);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let health = Health::new();
        let told = async {
            health.until_ready().await;
            assert!(health.ready().ok);
            health.start_draining();
        };
        let patience = Duration::from_secs(20);
        let both = async { tokio::join!(told, health.until_draining(), async { health.set_ready() }) };
        assert!(tokio::time::timeout(patience, both).await.is_ok());
        // Of one that never became ready nobody waits for that.
        let health = Health::new();
        health.start_draining();
        assert!(tokio::time::timeout(patience, health.until_ready()).await.is_ok());
    }
}

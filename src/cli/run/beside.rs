//! The sidecar, beside the application.

use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::app::{App, BuildError};
use crate::cli::serve::Ended;
use crate::telemetry::health::Health;

pub(super) struct Beside {
    running: JoinHandle<Result<(), BuildError>>,
    /// How it ended, once it has.
    end: Option<Result<(), Ended>>,
    health: Arc<Health>,
    /// It evicts nobody any more.
    told: CancellationToken,
    /// Nobody calls it any more.
    quiet: CancellationToken,
}

impl Beside {
    /// Once it is ready.
    pub(super) async fn start(app: App) -> Result<Self, Ended> {
        let (told, quiet) = (CancellationToken::new(), CancellationToken::new());
        let health = app.health();
        let run = app.run_until(told.clone().cancelled_owned(), quiet.clone().cancelled_owned());
        let mut sidecar = Self {
            running: tokio::spawn(run),
            end: None,
            health: Arc::clone(&health),
            told,
            quiet,
        };
        tokio::select! {
            () = health.until_ready() => Ok(sidecar),
            // Nobody told it to end, so that it did not end well.
            () = sidecar.failed() => sidecar.drained().await.and(Err(Ended::panicked())),
        }
    }

    /// One that is running, and that nobody tells anything.
    #[cfg(test)]
    pub(super) fn of(running: JoinHandle<Result<(), BuildError>>) -> Self {
        Self {
            running,
            end: None,
            health: Arc::default(),
            told: CancellationToken::new(),
            quiet: CancellationToken::new(),
        }
    }

    /// Tells it that the end has begun. It forwards what comes, as long as the application may call it.
    pub(super) fn tell(&self) {
        self.told.cancel();
    }

    /// Completes when it ends, or begins to, though nobody told it to.
    pub(super) async fn failed(&mut self) {
        let begins = async {
            self.health.until_draining().await;
            if self.told.is_cancelled() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = begins => {}
            end = &mut self.running, if self.end.is_none() => self.end = Some(ended(end)),
        }
    }

    /// Tells it that nobody calls it any more, and waits for its end.
    pub(super) async fn drained(self) -> Result<(), Ended> {
        self.told.cancel();
        self.quiet.cancel();
        match self.end {
            Some(end) => end,
            None => ended(self.running.await),
        }
    }
}

fn ended(end: Result<Result<(), BuildError>, JoinError>) -> Result<(), Ended> {
    match end {
        Ok(end) => Ok(end?),
        Err(_) => Err(Ended::panicked()),
    }
}

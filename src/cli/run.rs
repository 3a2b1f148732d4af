//! `run`: the sidecar and the application that it is for, as one program.

mod application;
mod arriving;
mod beside;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Signal, getrlimit};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::serve::{Ended, Prepared, to_its_end};
use super::signals::{ECHO_MAX, STOPPED};
use super::{Settings, talk};
use crate::config::{OPS_URL, Sources};
use application::{Application, Status};
use arriving::{Arrived, Signals};
use beside::Beside;

/// Where the application reaches the sidecar.
const API_HOST: &str = "SNAPTRADE_API_HOST";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Run {
    #[command(flatten)]
    settings: Settings,
    /// The application and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
The application finds the sidecar's URL in SNAPTRADE_API_HOST, and that of the ops port in SNAPTRADE_SIDECAR_OPS_URL. All else
of its environment is as it was, but for SNAPTRADE_SIDECAR__OPS__TOKEN and SNAPTRADE_SIDECAR__REGISTRY__URL, which it does not get.

  snaptrade-sidecar run -- uvicorn app:app --host 0.0.0.0 --port $PORT";

pub(super) fn run(run: &Run) -> Result<ExitCode, Ended> {
    let sources = Sources {
        starts_application: true,
        ..run.settings.sources()
    };
    // Before the sidecar raises it, for itself alone.
    let files = getrlimit(Resource::Nofile).current;
    let (prepared, _log) = Prepared::by(sources)?;
    let config = prepared.config();
    let grace = config.proxy.drain_timeout;
    let (proxy_tls, ops_tls) = (config.proxy.tls.is_some(), config.ops.tls.is_some());
    to_its_end(async {
        let mut signals = Signals::listen()?;
        let asked = Arc::new(Notify::new());
        let app = tokio::select! {
            app = prepared.build(Arc::clone(&asked)) => app?,
            arrived = signals.ending() => return Ok(Status::ended_by(arrived.signal).code()),
        };
        let places = [
            (API_HOST, talk::base_of(near(app.proxy_addr()), proxy_tls)),
            (OPS_URL, talk::base_of(near(app.ops_addr()), ops_tls)),
        ];
        let mut sidecar = Beside::start(app).await?;
        let application = Application::start(&run.command, files, &places)?;
        let mut supervisor = Supervisor {
            signals,
            asked,
            grace,
        };
        let status = supervisor.run(application, &mut sidecar).await;
        supervisor.drain(sidecar).await?;
        Ok(status.code())
    })
}

/// Passes on what arrives, until the application has ended.
struct Supervisor {
    signals: Signals,
    /// The configuration is to be loaded anew.
    asked: Arc<Notify>,
    /// For the application to end in, where the sidecar has failed.
    grace: Duration,
}

impl Supervisor {
    async fn run(&mut self, mut application: Application, sidecar: &mut Beside) -> Status {
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                status = application.ended() => return status,
                arrived = self.signals.next() => self.pass_on(arrived, &application, sidecar),
                () = sidecar.failed(), if kill_at.is_none() => {
                    tracing::error!(
                        grace_s = self.grace.as_secs(),
                        "the sidecar failed, and the application cannot do without it; it is told to end (SIGTERM)"
                    );
                    application.send(Signal::TERM);
                    kill_at = Some(Instant::now() + self.grace);
                }
                () = until(kill_at) => {
                    tracing::error!("the application did not end in time; it is killed (SIGKILL)");
                    application.send(Signal::KILL);
                    // It cannot refuse; what is left is to hear of it.
                    return application.ended().await;
                }
            }
        }
    }

    fn pass_on(&self, arrived: Arrived, application: &Application, sidecar: &Beside) {
        // The terminal signals every process of its foreground group, the application too. One that hangs up may
        // signal its session's leader alone.
        if arrived.by_terminal && arrived.signal != Signal::HUP {
            return;
        }
        match arrived.signal {
            Signal::HUP => self.asked.notify_one(),
            // Whoever is told to end may be killed soon, so that nobody is evicted any more (R4).
            signal if arriving::ENDING.contains(&signal) => sidecar.tell(),
            _ => {}
        }
        application.send(arrived.signal);
    }

    /// Waits until the sidecar has finished what it has, now that nobody calls it any more. That can be cut short.
    async fn drain(&mut self, sidecar: Beside) -> Result<(), Ended> {
        // One that comes together with the application's end is most likely what ended it.
        let echo_until = Instant::now() + ECHO_MAX;
        let impatient = async {
            loop {
                self.signals.ending().await;
                if Instant::now() > echo_until {
                    return;
                }
            }
        };
        tokio::select! {
            drained = sidecar.drained() => drained,
            () = impatient => {
                tracing::warn!("{STOPPED}");
                Ok(())
            }
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// One that listens on all addresses, of IPv6 too, is reached by the address that every SDK takes.
fn near(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port())
    } else {
        listen
    }
}

#[cfg(test)]
mod tests;

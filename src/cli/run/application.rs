//! The application: a child process, and what is known of it.

use std::ffi::OsString;
use std::process::{Child, Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{self, SignalKind};

use crate::cli::Failure;
use crate::cli::serve::Ended;
use crate::config::is_for_application;

pub(super) struct Application {
    pid: Pid,
    /// Tells that a child has ended, this one or another.
    children: unix::Signal,
    /// Not waited for by itself, since that would not reap others.
    _child: Child,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Code(u8),
    Signal(i32),
}

impl Application {
    /// `files` is the limit of open files that it is to have, if there is one, and `places` are variables that it gets.
    pub(super) fn start(
        command: &[OsString],
        files: Option<u64>,
        places: &[(&str, String)],
    ) -> Result<Self, Ended> {
        let failed = |what: &str, error| Failure(format!("cannot start the application: {what}: {error}"));
        // Before there is a child to miss.
        let children = unix::signal(SignalKind::child()).map_err(|error| failed("no signals", error))?;
        // By way of this program again, which becomes the application once it has seen to what a child inherits.
        let own = std::env::current_exe().map_err(|error| failed("this program is not found", error))?;
        let mut launch = Command::new(&own);
        launch
            .arg("launch")
            .arg(format!("--parent={}", std::process::id()));
        launch.args(files.map(|files| format!("--files={files}")));
        launch.arg("--").args(command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| !is_for_application(name)) {
            launch.env_remove(name);
        }
        launch.envs(places.iter().map(|(name, place)| (name, place)));
        let child = launch
            .spawn()
            .map_err(|error| failed(&own.display().to_string(), error))?;
        // Its arguments may hold secrets.
        let program = command.first().map(|program| program.display().to_string());
        tracing::info!(program, pid = child.id(), "starting the application");
        Ok(Self::of(child, children))
    }

    /// `children` was listened to before there was the child.
    pub(super) fn of(child: Child, children: unix::Signal) -> Self {
        Self {
            pid: Pid::from_child(&child),
            children,
            _child: child,
        }
    }

    /// Its process is there until [`Application::ended`] has completed, so that nobody else gets the signal.
    pub(super) fn send(&self, signal: Signal) {
        if let Err(error) = kill_process(self.pid, signal) {
            tracing::warn!(?signal, %error, "cannot signal the application");
        }
    }

    /// Waits for its end, and meanwhile reaps what else ends: the first process of a container inherits all whose parents are gone.
    pub(super) async fn ended(&mut self) -> Status {
        loop {
            // Of several that ended, the system may tell once. Where there is nobody to wait for, it says so by an error.
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == self.pid {
                    let (code, signal) = (status.exit_status(), status.terminating_signal());
                    tracing::info!(code, signal, "the application has ended");
                    return Status::of(code, signal);
                }
            }
            self.children.recv().await;
        }
    }
}

impl Status {
    fn of(code: Option<i32>, signal: Option<i32>) -> Self {
        // A code has 8 bits.
        let code = code.and_then(|code| u8::try_from(code).ok());
        signal.map_or(Self::Code(code.unwrap_or(u8::MAX)), Self::Signal)
    }

    pub(super) fn ended_by(signal: Signal) -> Self {
        Self::Signal(signal.as_raw())
    }

    /// As a shell would tell it.
    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        })
    }
}

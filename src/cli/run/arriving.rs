//! The signals that arrive, and whether a terminal sent them.

use std::io;
use std::thread;

use rustix::process::Signal;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use tokio::sync::mpsc;

use crate::cli::Failure;
use crate::cli::signals::is_ignored;

/// What is passed on. Of the others some cannot be caught, and the rest is either about this process alone or stops and continues
/// a whole group, as the terminal does it.
const PASSED_ON: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Those that tell a program to end.
pub(super) const ENDING: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::TERM];

/// Signals that wait; the system itself keeps no more than one of a kind for a process that does not look.
const WAITING_MAX: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct Arrived {
    pub(super) signal: Signal,
    /// By Ctrl-C and the like; a process that sends the same signal has meant this process alone.
    pub(super) by_terminal: bool,
}

pub(super) struct Signals(mpsc::Receiver<Arrived>);

impl Signals {
    /// From the call on, none of them ends the program by itself. Under `nohup` SIGHUP stays ignored, by the application too.
    /// SIGINT and SIGQUIT do not, without which a script starts what it leaves in the background: servers listen to them there, too.
    pub(super) fn listen() -> Result<Self, Failure> {
        let wanted = PASSED_ON.map(Signal::as_raw);
        let wanted = wanted
            .into_iter()
            .filter(|signal| *signal != Signal::HUP.as_raw() || !is_ignored(*signal));
        let failed = |error: io::Error| Failure(format!("cannot listen for signals: {error}"));
        let mut arriving = SignalsInfo::<WithOrigin>::new(wanted).map_err(failed)?;
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let told = move || {
            for origin in &mut arriving {
                let arrived = Signal::from_named_raw(origin.signal).map(|signal| Arrived {
                    signal,
                    // The system tells of a process that sent it, if one did.
                    by_terminal: origin.process.is_none(),
                });
                if arrived.is_some_and(|arrived| sender.blocking_send(arrived).is_err()) {
                    break;
                }
            }
        };
        // Tokio's own signals do not tell who sent them.
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(told).map_err(failed)?;
        Ok(Self(receiver))
    }

    #[cfg(test)]
    pub(super) fn of(receiver: mpsc::Receiver<Arrived>) -> Self {
        Self(receiver)
    }

    pub(super) async fn next(&mut self) -> Arrived {
        match self.0.recv().await {
            Some(arrived) => arrived,
            // The thread that tells of them does not end before this.
            None => std::future::pending().await,
        }
    }

    /// The next of those that tell a program to end.
    pub(super) async fn ending(&mut self) -> Arrived {
        loop {
            let arrived = self.next().await;
            if ENDING.contains(&arrived.signal) {
                return arrived;
            }
        }
    }
}

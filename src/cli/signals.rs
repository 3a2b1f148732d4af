//! The signals that end the program, or have it load its configuration anew.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Failure;

/// `timeout` and process managers signal a process and then its group, a closing terminal and its shell both hang up:
/// that is one wish, said twice.
pub(super) const ECHO_MAX: Duration = Duration::from_secs(1);

/// How long after a SIGHUP the terminal may be lost that it tells of, and how often that is looked for meanwhile.
const HANGUP_MAX: Duration = Duration::from_millis(200);
const HANGUP_PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// SIGTERM, as programs send it; or SIGHUP, where that ends the program.
    Told,
    /// SIGINT, by somebody's own hand.
    Interrupted,
    /// SIGHUP, where that reloads the configuration.
    Asked,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangup {
    Ends,
    /// Unless the terminal is gone that the program was started from: the system and shells send it then.
    Reloads {
        has_terminal: bool,
    },
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` under `nohup`, which is to outlive its terminal.
    hangup: Option<Signal>,
    meaning: Hangup,
}

impl Signals {
    fn listen(meaning: Hangup) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: if is_ignored(SignalKind::hangup().as_raw_value()) {
                None
            } else {
                Some(listen(SignalKind::hangup())?)
            },
            meaning,
        })
    }

    async fn next(&mut self) -> Kind {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Kind::Told,
            _ = self.interrupt.recv() => Kind::Interrupted,
            _ = hangup => match self.meaning {
                Hangup::Reloads { has_terminal } if !(has_terminal && is_terminal_lost().await) => Kind::Asked,
                Hangup::Ends | Hangup::Reloads { .. } => Kind::Told,
            },
        }
    }
}

/// Completes on the first SIGTERM, SIGINT or SIGHUP; the second ends the program at once, after `last_words`. From the
/// call on, none of them ends it by itself.
pub(super) fn shutdown_signal(
    last_words: impl FnOnce() + Send + 'static,
) -> Result<impl Future<Output = ()>, Failure> {
    Ok(shutdown(
        Signals::listen(Hangup::Ends)?,
        last_words,
        Arc::default(),
    ))
}

/// The same, but that a SIGHUP asks for a reload, unless it says that the program's terminal is gone.
pub(super) fn shutdown_or_reload(
    last_words: impl FnOnce() + Send + 'static,
    asked: Arc<Notify>,
) -> Result<impl Future<Output = ()>, Failure> {
    let has_terminal = has_terminal();
    let signals = Signals::listen(Hangup::Reloads { has_terminal })?;
    Ok(shutdown(signals, last_words, asked))
}

async fn shutdown(mut signals: Signals, last_words: impl FnOnce() + Send + 'static, asked: Arc<Notify>) {
    let first = loop {
        match signals.next().await {
            Kind::Asked => asked.notify_one(),
            kind => break kind,
        }
    };
    let since = Instant::now();
    tokio::spawn(async move {
        // Nothing is reloaded any more.
        loop {
            let next = signals.next().await;
            if next != Kind::Asked && !is_echo(first, next, since.elapsed()) {
                break;
            }
        }
        last_words();
        std::process::exit(130);
    });
}

/// Whether the program has a terminal, by which it can be hung up.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether it has none any more. The signal may come a moment before.
async fn is_terminal_lost() -> bool {
    let end = Instant::now() + HANGUP_MAX;
    while has_terminal() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(HANGUP_PAUSE).await;
    }
    true
}

/// For a program that keeps no log. Not with `eprintln!`, which panics where nobody reads.
pub(super) fn say_stopped() {
    let _ = writeln!(io::stderr(), "{STOPPED}");
}

pub(super) const STOPPED: &str = "stopped at once, because a second signal came";

/// Whether a signal so long after the first is the first one, said again. Of two that come together, either may be
/// seen first.
fn is_echo(first: Kind, next: Kind, since_first: Duration) -> bool {
    (first, next) == (Kind::Told, Kind::Told) && since_first < ECHO_MAX
}

/// Whether the program was started with this signal ignored, which listening for it would undo. Where the system does not
/// tell, it was not.
pub(super) fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// Reads the mask `SigIgn` of proc_pid_status(5), whose lowest bit is signal 1.
fn ignores(status: &str, signal: i32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_repeats_itself_within_a_second() {
        let (soon, late) = (Duration::from_millis(999), Duration::from_secs(1));
        assert!(is_echo(Kind::Told, Kind::Told, soon));
        assert!(!is_echo(Kind::Told, Kind::Told, late));
        assert!(!is_echo(Kind::Told, Kind::Interrupted, soon));
        assert!(!is_echo(Kind::Interrupted, Kind::Told, soon));
        assert!(!is_echo(Kind::Interrupted, Kind::Interrupted, soon));
    }

    #[test]
    fn nohup_is_seen() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        for (signal, is_ignored) in [(1, true), (2, false), (12, false), (13, true)] {
            assert_eq!(ignores(status, signal), is_ignored, "{signal}");
        }
        assert!(!ignores(
            "SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n",
            1
        ));
        assert!(!ignores("", 1));
    }
}

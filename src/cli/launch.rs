//! `launch`: what `run` starts in the application's place, and what becomes the application.
//!
//! Some of what a process inherits can be changed by itself only, and between the fork and the program's start nothing may be
//! called that is safe elsewhere. So the program itself is started first.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;
use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit};

use super::Failure;

/// As shells and env(1) say it.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

#[derive(Debug, Args)]
pub(super) struct Launch {
    /// The process that supervises it
    #[arg(long, value_name = "PID")]
    parent: i32,
    /// How many files it may have open
    #[arg(long, value_name = "FILES")]
    files: Option<u64>,
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(launch: &Launch) -> ExitCode {
    let Some((program, arguments)) = launch.command.split_first() else {
        return ExitCode::from(NOT_STARTED);
    };
    let failed =
        |what: String, code| Failure(format!("cannot start {}: {what}", program.display())).told(code);
    if let Err(error) = end_with_parent() {
        return failed(
            format!("it could not be ended with its sidecar: {error}"),
            NOT_STARTED,
        );
    }
    // One that ended before is not told of.
    if getppid().is_none_or(|parent| parent.as_raw_pid() != launch.parent) {
        return failed("the sidecar has ended".to_owned(), NOT_STARTED);
    }
    restore(launch.files);
    let error = Command::new(program).args(arguments).exec();
    if error.kind() == io::ErrorKind::NotFound {
        failed(missing(program), NOT_FOUND)
    } else {
        failed(error.to_string(), NOT_STARTED)
    }
}

/// Asks the system for SIGTERM when the sidecar is gone, be it by SIGKILL, since nobody else would tell. It holds for the program
/// that this one becomes, unless that gets other privileges by its start.
#[cfg(target_os = "linux")]
fn end_with_parent() -> io::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};

    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// Other systems have nothing of the kind.
#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> io::Result<()> {
    Ok(())
}

/// Gives back the limit of open files that the sidecar raised: programs that use select(2) do not work beyond 1024, and others
/// walk through all there could be.
fn restore(files: Option<u64>) {
    let limit = Rlimit {
        current: files,
        ..getrlimit(Resource::Nofile)
    };
    // It was lower than what may be set, or is not set.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What is not there: the system says the same of the program and of the interpreter that a script names.
fn missing(program: &OsStr) -> String {
    let path = Path::new(program);
    let what = if path.components().count() > 1 || path.is_absolute() {
        if path.exists() {
            return "the interpreter that its first line names is not there".to_owned();
        }
        "there is no such file"
    } else {
        let places = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&places).any(|place| place.join(path).exists()) {
            return "it is in PATH, but the interpreter that its first line names is not there".to_owned();
        }
        "there is no such program in PATH"
    };
    let is_several_words = program.to_string_lossy().contains(char::is_whitespace);
    let tip = if is_several_words {
        "; it has a space in its name: leave out the quotes around a command and its arguments"
    } else {
        ""
    };
    format!("{what}{tip}")
}

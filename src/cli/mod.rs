//! The command line.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are the text of --help, where backticks would stand as they are"
)]

mod check;
mod demo;
mod descriptors;
mod health;
mod launch;
mod operate;
mod replay;
mod run;
mod running;
mod serve;
mod signals;
mod simulate;
mod table;
mod talk;
mod trust;
mod views;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, Parser, Subcommand};
use rustls::pki_types::CertificateDer;

use crate::COMMIT;
use crate::config::{self, Loaded, Sources};
use crate::telemetry::chain;

/// A sidecar for backends that use SnapTrade on an API key with a user limit.
///
/// Point the backend's SnapTrade base URL at it. Every call passes through untouched; when the backend registers a user
/// and the key is full, the sidecar first deletes the user that the policy says can go.
#[derive(Debug, Parser)]
#[command(version = version(), after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

const AFTER_HELP: &str = "\
Nothing but these two is needed; without a subcommand, `serve` runs:
  SNAPTRADE_CLIENT_ID=… SNAPTRADE_CONSUMER_KEY=… snaptrade-sidecar

See it work without a SnapTrade account:
  snaptrade-sidecar demo";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar (the default)
    ///
    /// SIGTERM and SIGINT drain: what is under way may finish, for drain_timeout. A second signal ends it at once; a SIGTERM
    /// that follows another within a second is its echo.
    ///
    /// SIGHUP loads the configuration anew, as a change of its files does (unless started with nohup, or the terminal is
    /// gone, which ends it).
    Serve(Settings),
    /// Run the sidecar and, once it is ready, the application that it is for
    ///
    /// The sidecar listens on loopback, on ports that the system chooses unless configured otherwise; PORT is the application's.
    /// Signals are passed on to the application. The sidecar serves until the application has ended, then drains, and exits with
    /// the application's status: 128 + N if a signal ended it, 127 if it was not found, 126 if it could not be started. Should the
    /// sidecar fail, the application gets SIGTERM, after drain_timeout SIGKILL, and the status is 70.
    Run(run::Run),
    /// Become the application, as the child of `run`
    #[command(hide = true)]
    Launch(launch::Launch),
    /// Watch it work: a simulated SnapTrade, the sidecar, and six registrations against a limit of five
    Demo(demo::Demo),
    /// Run a simulated SnapTrade alone, for tests of your own
    Simulate(simulate::Simulate),
    /// Validate the configuration, say every fault at once, and print what is in effect, secrets redacted
    ///
    /// Nobody is asked for it: whether SnapTrade takes the key, and a database is there, shows in `serve`. Whether a SQLite file could
    /// be opened is looked at, as the user who runs this, and nothing is created.
    Check(check::Check),
    /// Ask a running sidecar for its health: exits 0 if it is well, 1 if not (for container health checks)
    Health(health::Health),
    /// Ask a running sidecar how it and its tenants stand
    Status(operate::Status),
    /// List a tenant's users in the order in which they would be evicted, and why
    Users(operate::ListUsers),
    /// Show what a running sidecar has decided and done, newest first
    Evictions(operate::ListEvictions),
    /// Tell what other policies would have done with what happened: how many evictions, and how many of the evicted came back
    Replay(replay::Replay),
    /// Delete a user at SnapTrade by hand, now
    Evict(operate::Evict),
    /// Keep a user from being evicted
    Protect(operate::OneUser),
    /// Let a user be evicted again
    Unprotect(operate::OneUser),
    /// Forward a tenant's registrations as they come, and evict nobody, until resumed
    Pause(operate::OneTenant),
    /// Manage a tenant's registrations again
    Resume(operate::OneTenant),
}

/// `0.1.0 (0a999f1c2b3d)`.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        COMMIT.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
    });
    &VERSION
}

/// Where the configuration comes from. A file, then the environment, then flags; the later wins.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file in TOML (or SNAPTRADE_SIDECAR_CONFIG); config/sidecar.toml shows every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read further environment variables from a .env file; those that are really set win
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Set any key of the configuration: --set tenants.default.max_users=20 (can be given more than once)
    #[arg(long, value_name = "KEY=VALUE", value_parser = Assignment)]
    set: Vec<(String, String)>,
    /// Where the backend reaches the sidecar: --set proxy.listen=…
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where health, metrics and status are: --set ops.listen=…
    #[arg(long, value_name = "IP:PORT")]
    ops_listen: Option<String>,
    /// SnapTrade's origin: --set proxy.upstream=…
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

/// Not a function as value parser, of which clap would quote what it does not understand, secret or not.
#[derive(Clone)]
struct Assignment;

impl TypedValueParser for Assignment {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, argument, value)?;
        let Some((key, value)) = text.split_once('=') else {
            let why = "a --set has no \"=\"; write --set KEY=VALUE, such as --set log.level=debug\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, why).with_cmd(command));
        };
        Ok((key.trim().to_owned(), value.to_owned()))
    }
}

/// What went wrong, for whoever ran the command: printed once, with its causes.
struct Failure(String);

impl Failure {
    fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(chain(error).to_string())
    }

    fn told(&self, code: u8) -> ExitCode {
        // In one piece: the log of the process that started this one may go to the same place.
        let _ = io::stderr().write_all(format!("error: {self}\n").as_bytes());
        ExitCode::from(code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the program. The arguments and the environment are read here and nowhere else.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_a_tip(error).exit());
    let result = match cli.command.unwrap_or(Command::Serve(cli.settings)) {
        Command::Serve(settings) => match serve::run(&settings) {
            Ok(()) => Ok(()),
            Err(ended) => return ended.failure.told(ended.code),
        },
        Command::Run(run) => match run::run(&run) {
            Ok(code) => return code,
            Err(ended) => return ended.failure.told(ended.code),
        },
        Command::Launch(launch) => return launch::run(&launch),
        Command::Demo(demo) => demo::run(&demo),
        Command::Simulate(simulate) => simulate::run(simulate),
        Command::Check(check) => check::run(&check),
        Command::Health(health) => health::run(&health),
        Command::Status(status) => operate::status(status),
        Command::Users(users) => operate::users(users),
        Command::Evictions(evictions) => operate::evictions(evictions),
        Command::Replay(replay) => replay::run(replay),
        Command::Evict(evict) => operate::evict(evict),
        Command::Protect(user) => operate::protect(user, true),
        Command::Unprotect(user) => operate::protect(user, false),
        Command::Pause(tenant) => operate::pause(tenant, true),
        Command::Resume(tenant) => operate::pause(tenant, false),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.told(1),
    }
}

/// Adds where options belong, where that is all that is wrong.
fn with_a_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::ArgumentConflict {
        let tip = "options stand after the command: snaptrade-sidecar COMMAND --config FILE";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

impl Settings {
    fn load(&self) -> Result<Loaded, Failure> {
        config::load(self.sources()).map_err(|faults| Failure(faults.to_string()))
    }

    /// Where the ops plane listens, whatever else is configured, or is not.
    fn ops_listen(&self) -> Result<SocketAddr, Failure> {
        config::ops_listen(self.sources()).map_err(|faults| Failure(faults.to_string()))
    }

    /// What the ops plane shows in TLS; empty where it speaks none.
    fn ops_certificates(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        config::ops_certificates(self.sources()).map_err(|faults| Failure(faults.to_string()))
    }

    /// The ops plane's settings, token included, whatever else is configured, or is not. `flags` win over all.
    fn ops(&self, flags: impl Iterator<Item = (&'static str, String)>) -> Result<config::Ops, Failure> {
        let mut sources = self.sources();
        let flags = flags.map(|(key, value)| (key.to_owned(), value));
        sources.flags.extend(flags);
        config::ops(sources).map_err(|faults| Failure(faults.to_string()))
    }

    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            env_file: self.env_file.clone(),
            env: std::env::vars_os().collect(),
            flags: self.flags(),
            starts_application: false,
        }
    }

    /// The short forms stand before `--set`, so that the one that names the key wins.
    fn flags(&self) -> Vec<(String, String)> {
        let short = [
            ("proxy.listen", &self.listen),
            ("ops.listen", &self.ops_listen),
            ("proxy.upstream", &self.upstream),
        ];
        short
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
            .chain(self.set.iter().cloned())
            .collect()
    }
}

/// The runtime that everything but the traffic runs on.
fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(&error))
}

/// Writes a line to standard output. That its reader has left, as `head` does, is no failure.
fn say(line: impl fmt::Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

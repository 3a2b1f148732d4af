//! `simulate`: the stand-in for `SnapTrade`, for anybody's tests.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::signals::{say_stopped, shutdown_signal};
use super::{Failure, control_runtime, say};
use crate::simulator::{Key, LimitField, ListOrder, Options, Simulator};

/// The groups of --help: what is plain, and then one for each thing that nobody knows of `SnapTrade`.
const DELETION: &str = "Deletion (how long it takes, and what it blocks meanwhile)";
const LIMIT_ERROR: &str = "Limit error (how SnapTrade words it)";
const LISTING: &str = "listUsers (its order, and how far it lags)";
const SIGNATURES: &str = "Signatures (how fresh, and how often)";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent unknown of the vendor, switched by itself"
)]
pub(super) struct Simulate {
    /// Where it answers; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The client id it knows; one that begins with PERS- is a personal key, which cannot register
    #[arg(long, value_name = "ID", default_value = "SIMULATOR")]
    client_id: String,
    /// The consumer key that signs for it
    #[arg(long, value_name = "KEY", default_value = "simulator-consumer-key")]
    consumer_key: String,
    /// How many client ids it knows: with 3, <ID>-2 and <ID>-3 too, each with users of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    tenants: usize,
    /// How many users it allows
    #[arg(long, value_name = "USERS", default_value_t = 5)]
    limit: usize,
    /// How long each call takes, such as 50ms
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    round_trip: Duration,
    /// Where it sends a webhook when a user was registered or is gone, http://…; nowhere, if not given
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true, value_parser = webhook_url)]
    webhook_url: String,
    /// Calls allowed in any 60 seconds; 0 allows any number
    #[arg(long, value_name = "CALLS", default_value_t = 250)]
    rate_limit: u32,
    /// How long a deleted user stays as it was: listed, counted and usable
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration, help_heading = DELETION)]
    delete_lag: Duration,
    /// How long it then stays listed as <id>_deleted
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration, help_heading = DELETION)]
    settle_time: Duration,
    /// While listed as <id>_deleted, it still takes a slot
    #[arg(long, help_heading = DELETION)]
    tombstones_count: bool,
    /// While listed as <id>_deleted, its id cannot be registered again
    #[arg(long, help_heading = DELETION)]
    tombstones_reserve_id: bool,
    /// The status of the limit error
    #[arg(long, value_name = "STATUS", default_value_t = 400, value_parser = clap::value_parser!(u16).range(200..=999),
          help_heading = LIMIT_ERROR)]
    limit_status: u16,
    /// The code of the limit error
    #[arg(long, value_name = "CODE", default_value = "1012", help_heading = LIMIT_ERROR)]
    limit_code: String,
    /// The words of the limit error
    #[arg(long, value_name = "TEXT", default_value = "Connection Limit Reached", help_heading = LIMIT_ERROR)]
    limit_detail: String,
    /// Say it in default_detail and default_code instead of detail and code
    #[arg(long, help_heading = LIMIT_ERROR)]
    limit_in_default_fields: bool,
    /// Compress it for callers that accept gzip
    #[arg(long, help_heading = LIMIT_ERROR)]
    gzip_errors: bool,
    /// How long a new user is missing from the list
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration, help_heading = LISTING)]
    list_lag: Duration,
    /// The order of the users
    #[arg(long, value_name = "ORDER", value_enum, default_value = "oldest-first", help_heading = LISTING)]
    list_order: Order,
    /// How old or early a timestamp may be; any, if not given
    #[arg(long, value_name = "SECONDS", help_heading = SIGNATURES)]
    timestamp_freshness: Option<u64>,
    /// Refuse a signature that was accepted once before
    #[arg(long, help_heading = SIGNATURES)]
    reject_replayed_signatures: bool,
    /// Write what arrives, what struck it and what it did to this new file, a line of JSON each
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    record: String,
}

const AFTER_HELP: &str = "\
While it runs, GET /_simulator shows its users, calls and options. Users, options and faults (a call that fails, hangs, \
loses its reply …) are set over /_simulator too; docs/simulator.md has examples. It ends on Ctrl-C, SIGTERM or SIGHUP.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    OldestFirst,
    NewestFirst,
    Alphabetical,
    Shuffled,
}

impl From<Order> for ListOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::OldestFirst => Self::OldestFirst,
            Order::NewestFirst => Self::NewestFirst,
            Order::Alphabetical => Self::Alphabetical,
            Order::Shuffled => Self::Shuffled(1),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_span(text)
}

/// Plain HTTP only: a stand-in needs no trust.
fn webhook_url(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with("http://") && text.parse::<http::Uri>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("it is not a URL that begins with http://".to_owned())
}

impl From<Simulate> for Options {
    fn from(args: Simulate) -> Self {
        Self {
            client_id: args.client_id,
            tenants: args.tenants,
            consumer_key: Key::from(args.consumer_key),
            user_limit: args.limit,
            round_trip: args.round_trip,
            settle_time: args.settle_time,
            delete_lag: args.delete_lag,
            list_lag: args.list_lag,
            tombstones_count: args.tombstones_count,
            tombstones_reserve_id: args.tombstones_reserve_id,
            limit_status: args.limit_status,
            limit_code: args.limit_code,
            limit_detail: args.limit_detail,
            limit_field: if args.limit_in_default_fields {
                LimitField::DefaultDetail
            } else {
                LimitField::Detail
            },
            gzip_errors: args.gzip_errors,
            list_order: args.list_order.into(),
            timestamp_freshness: args.timestamp_freshness,
            reject_replayed_signatures: args.reject_replayed_signatures,
            rate_limit: args.rate_limit,
            webhook_url: args.webhook_url,
            ..Self::default()
        }
    }
}

pub(super) fn run(args: Simulate) -> Result<(), Failure> {
    let listen = args.listen;
    let record = recording(&args.record)?;
    control_runtime()?.block_on(async {
        let shutdown = shutdown_signal(say_stopped)?;
        let simulator = Simulator::start(Options::from(args), listen)
            .await
            .map_err(|error| cannot_listen(listen, &error))?;
        if let Some(record) = record {
            simulator.record_to(record);
        }
        let url = simulator.url();
        say(format_args!("simulator listening on {url}"))?;
        say(format_args!("its state, and faults on demand: {url}/_simulator"))?;
        shutdown.await;
        Ok(())
    })
}

fn recording(path: &str) -> Result<Option<File>, Failure> {
    let create = || File::create_new(path).map_err(|error| Failure(format!("cannot create {path}: {error}")));
    (!path.is_empty()).then(create).transpose()
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let remedy = if error.kind() == io::ErrorKind::AddrInUse {
        "; another program has this port: stop it, or choose another with --listen"
    } else {
        ""
    };
    Failure(format!("cannot listen on {address}{remedy}: {error}"))
}

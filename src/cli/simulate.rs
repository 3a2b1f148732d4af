//! `simulate`: the stand-in for `SnapTrade`, for anybody's tests.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Failure, control_runtime, shutdown_signal};
use crate::simulator::{Key, LimitField, ListOrder, Options, Simulator};

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent unknown of the vendor, switched by itself"
)]
pub(super) struct Simulate {
    /// Where it answers; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The client id it knows; one that begins with PERS- is a personal key, which cannot register
    #[arg(long, default_value = "SIMULATOR")]
    client_id: String,
    /// The consumer key that signs for it
    #[arg(long, default_value = "simulator-consumer-key")]
    consumer_key: String,
    /// How many users it allows
    #[arg(long, value_name = "USERS", default_value_t = 5)]
    limit: usize,
    /// How long each call takes
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    round_trip: Duration,
    /// How long a deleted user stays listed as <id>_deleted
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    settle_time: Duration,
    /// How long a deleted user stays listed as it was, before that
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    delete_lag: Duration,
    /// How long a new user is missing from the list
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    list_lag: Duration,
    /// A user that is being deleted still takes a slot
    #[arg(long)]
    tombstones_count: bool,
    /// An id can be registered again only when its deletion is over
    #[arg(long)]
    tombstones_reserve_id: bool,
    /// The status of the limit error
    #[arg(long, value_name = "STATUS", default_value_t = 400)]
    limit_status: u16,
    /// The code of the limit error
    #[arg(long, value_name = "CODE", default_value = "1012")]
    limit_code: String,
    /// The words of the limit error
    #[arg(long, value_name = "TEXT", default_value = "Connection Limit Reached")]
    limit_detail: String,
    /// Say the limit error in `default_detail` and `default_code`
    #[arg(long)]
    limit_in_default_fields: bool,
    /// Compress error replies for callers that accept gzip
    #[arg(long)]
    gzip_errors: bool,
    /// The order of listUsers
    #[arg(long, value_enum, default_value = "oldest-first")]
    list_order: Order,
    /// How old or early a timestamp may be; any, if not given
    #[arg(long, value_name = "SECONDS")]
    timestamp_freshness: Option<u64>,
    /// Refuse a signature that was accepted once before
    #[arg(long)]
    reject_replayed_signatures: bool,
    /// Calls allowed in any 60 seconds
    #[arg(long, value_name = "CALLS", default_value_t = 250)]
    rate_limit: u32,
}

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

impl From<Simulate> for Options {
    fn from(args: Simulate) -> Self {
        Self {
            client_id: args.client_id,
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
            ..Self::default()
        }
    }
}

pub(super) fn run(args: Simulate) -> Result<(), Failure> {
    let listen = args.listen;
    control_runtime()?.block_on(async {
        let simulator = Simulator::start(Options::from(args), listen)
            .await
            .map_err(|error| Failure(format!("cannot listen on {listen}: {error}")))?;
        println!("simulator listening on {}", simulator.url());
        println!("its state and faults on demand: {}/_simulator", simulator.url());
        shutdown_signal().await;
        Ok(())
    })
}

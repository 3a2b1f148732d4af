//! The whole sidecar over real sockets, against the simulated `SnapTrade`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail like tests; clippy exempts only what is marked #[test] itself"
)]

mod activity;
mod application;
mod between;
mod by_hand;
mod commands;
mod connections;
mod crashes;
mod departures;
mod economy;
mod evictions;
mod framing;
mod harness;
mod headers;
mod limit_errors;
mod logs;
mod metrics;
mod notices;
mod operate;
mod ops;
mod ops_access;
mod probes;
mod program;
mod proof;
mod raw;
mod registry;
mod reload;
mod reload_traffic;
mod replays;
mod replicas;
mod replies;
mod secure;
mod serve;
mod simulate;
mod streaming;
mod targets;
mod tenants;
mod tls;
mod watched;
mod webhooks;

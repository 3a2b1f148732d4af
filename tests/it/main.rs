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
mod conformance;
mod connections;
mod crashes;
mod dashboard;
mod departures;
mod economy;
mod elsewhere;
mod evictions;
mod framing;
mod greedy;
mod hardening;
mod harness;
mod headers;
mod lifecycle;
mod limit_errors;
mod limits;
mod listeners;
mod logs;
mod loops;
mod metrics;
mod notices;
mod operate;
mod ops;
mod ops_access;
mod overload;
mod probes;
mod program;
mod proof;
mod raw;
mod registry;
mod reload;
mod reload_traffic;
mod replay;
mod replays;
mod replicas;
mod replies;
mod run_application;
mod run_signals;
mod secrets;
mod secure;
mod serve;
mod simulate;
mod streaming;
mod targets;
mod tenants;
mod throttled;
mod tls;
mod traces;
mod trouble;
mod watched;
mod webhooks;

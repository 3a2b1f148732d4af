//! The whole sidecar over real sockets, against the simulated `SnapTrade`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail like tests; clippy exempts only what is marked #[test] itself"
)]

mod commands;
mod economy;
mod evictions;
mod harness;
mod limit_errors;
mod logs;
mod metrics;
mod ops;
mod ops_access;
mod program;
mod proof;
mod serve;
mod simulate;

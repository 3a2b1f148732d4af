//! The whole sidecar over real sockets, against the simulated `SnapTrade`.

mod economy;
mod evictions;
mod harness;
mod limit_errors;
mod proof;

//! Towards `SnapTrade`: the calls that are forwarded, and the sidecar's own.

pub mod body;
pub mod error;
pub mod forward;
pub mod manage;
pub mod tls;

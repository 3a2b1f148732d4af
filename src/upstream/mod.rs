//! The way to `SnapTrade`: what leaves here is what the caller sent, byte for byte where HTTP lets it.
//!
//! - [`tls`]: whom to trust.
//! - [`error`]: what can go wrong on the way, whose fault it is, and whether anything was sent.
//! - [`body`]: bodies that stream in both directions, each bounded in how long it may stand still.
//! - [`forward`]: one request to the upstream and its reply, over pooled connections. Sends nothing twice.
//! - [`manage`]: the sidecar's own calls.

pub mod body;
pub mod error;
pub mod forward;
pub mod manage;
pub mod tls;

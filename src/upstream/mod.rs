//! The way to `SnapTrade`: what leaves here is what the caller sent, byte for byte where HTTP lets it.
//!
//! - [`tls`]: whom to trust.
//! - [`error`]: what can go wrong on the way, whose fault it is, and whether anything was sent.
//! - [`body`]: bodies that stream in both directions, each bounded in how long it may stand still.
//! - `line`, `connect`, `wire`, `pool`: the bytes of a connection, new connections, one of HTTP/1.1, and those that are kept.
//! - [`forward`]: one request to the upstream and its reply, over pooled connections. Sends twice only what is safe.
//! - [`manage`]: the sidecar's own calls.
//! - [`outbound`]: the client for what goes elsewhere.

pub mod body;
mod connect;
pub mod error;
pub mod forward;
mod line;
pub mod manage;
pub mod outbound;
mod pool;
#[cfg(test)]
pub(crate) mod simulated;
pub mod tls;
mod wire;

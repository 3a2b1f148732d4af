//! The way to `SnapTrade`: what leaves here is what the caller sent, byte for byte where HTTP lets it.
//!
//! - [`tls`]: whom to trust, and what to show.
//! - [`error`]: what can go wrong on the way, whose fault it is, and whether anything was sent; `remedy`: what to do then.
//! - [`body`]: bodies that stream in both directions, each bounded in how long it may stand still.
//! - `line`, `resolve`, `connect`, `wire`, `pool`: the bytes of a connection, names, new connections, one of HTTP/1.1, and
//!   those that are kept.
//! - [`forward`]: one request to the upstream and its reply, over pooled connections. Sends twice only what is safe.
//! - [`manage`]: the sidecar's own calls; [`timestamps`]: what they are signed with, so that no two are alike.
//! - [`own`]: the sidecar's own listeners, which no connection to the upstream may lead to.
//! - [`outbound`]: the client for what goes elsewhere.

pub mod body;
mod connect;
pub mod error;
pub mod forward;
mod line;
pub mod manage;
pub mod outbound;
pub mod own;
mod pool;
mod remedy;
mod resolve;
#[cfg(test)]
pub(crate) mod simulated;
pub mod timestamps;
pub mod tls;
mod wire;

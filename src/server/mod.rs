//! The listeners of the data plane and the threads that serve them.
//!
//! Every worker is a thread with a runtime of its own, a socket of its own on the one address (`SO_REUSEPORT`), and a
//! handler of its own, so that nothing is shared on the way of a request.
//!
//! - [`Listeners`]: the sockets, and how to start the workers.
//! - [`Workers`]: the threads, and how to end them.

mod activity;
mod connection;
mod listen;
mod stage;
mod worker;

pub use listen::Listeners;
pub use worker::{Means, Workers};

use std::time::Duration;

use crate::config;

/// What a caller may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Over all workers; beyond them, callers wait in the operating system's queue.
    pub max_connections: usize,
    /// Lines of a request's head.
    pub max_headers: usize,
    /// For a request's head, its target included.
    pub max_header_bytes: usize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// How long a caller may leave a reply unread.
    pub body_idle_timeout: Duration,
}

impl From<&config::Proxy> for Limits {
    fn from(proxy: &config::Proxy) -> Self {
        Self {
            max_connections: proxy.max_connections,
            max_headers: proxy.max_headers,
            max_header_bytes: proxy.max_header_bytes,
            header_timeout: proxy.header_timeout,
            body_idle_timeout: proxy.body_idle_timeout,
        }
    }
}

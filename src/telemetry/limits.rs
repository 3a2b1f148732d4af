//! What others may take up, and what is said when they would take more: each limit has a count, and a line of the log at
//! most once a minute, whatever is thrown at the ports.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Between two lines of the log about one limit.
const PAUSE: Duration = Duration::from_mins(1);

/// A limit that somebody came up against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A caller waits to be served.
    Connections,
    /// A quiet connection was closed, to make room for others.
    IdleConnections,
    /// The system has none left to accept a caller with.
    Descriptors,
    HeadBytes,
    HeadTime,
    /// Not a limit of size: the head is not HTTP, or could be read in two ways.
    HeadMalformed,
    Requests,
    RequestBodyTime,
    ReplyUnread,
    ReplyBodyTime,
    ResponseTime,
    ConnectTime,
    RegistrationBytes,
    Queue,
    QueueTime,
}

impl Limit {
    /// In the order of their declaration, so that `limit as usize` is a place here.
    pub(super) const ALL: [Self; 15] = [
        Self::Connections,
        Self::IdleConnections,
        Self::Descriptors,
        Self::HeadBytes,
        Self::HeadTime,
        Self::HeadMalformed,
        Self::Requests,
        Self::RequestBodyTime,
        Self::ReplyUnread,
        Self::ReplyBodyTime,
        Self::ResponseTime,
        Self::ConnectTime,
        Self::RegistrationBytes,
        Self::Queue,
        Self::QueueTime,
    ];

    /// As the metric and the log name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::IdleConnections => "idle_connections",
            Self::Descriptors => "descriptors",
            Self::HeadBytes => "head_bytes",
            Self::HeadTime => "head_time",
            Self::HeadMalformed => "head_malformed",
            Self::Requests => "requests",
            Self::RequestBodyTime => "request_body_time",
            Self::ReplyUnread => "reply_unread",
            Self::ReplyBodyTime => "reply_body_time",
            Self::ResponseTime => "response_time",
            Self::ConnectTime => "connect_time",
            Self::RegistrationBytes => "registration_bytes",
            Self::Queue => "queue",
            Self::QueueTime => "queue_time",
        }
    }

    /// What happens, and what an operator can do.
    fn said(self) -> &'static str {
        match self {
            Self::Connections => {
                "callers wait, because as many connections are open as proxy.max_connections allows; quiet ones are closed \
                 to make room. If the callers are yours, raise it"
            }
            Self::IdleConnections => {
                "closed quiet connections, because as many are open as proxy.max_connections allows"
            }
            Self::Descriptors => "connections cannot be accepted for want of descriptors or memory",
            Self::HeadBytes => {
                "refused a request whose head is larger than proxy.max_header_bytes, proxy.max_headers or 65,534 bytes of \
                 target allow"
            }
            Self::HeadTime => "closed a connection whose request did not come within proxy.header_timeout",
            Self::HeadMalformed => {
                "refused what is not an HTTP/1 request, or could be read in two ways; if it is your client's, correct it"
            }
            Self::Requests => {
                "refused calls, because as many wait for SnapTrade to answer as proxy.max_requests allows; see \
                 upstream_duration_seconds, and raise it if SnapTrade is well"
            }
            Self::RequestBodyTime => {
                "gave up a request whose body stood still for proxy.body_idle_timeout on its caller's side"
            }
            Self::ReplyUnread => {
                "closed a connection whose caller did not read its reply for proxy.body_idle_timeout"
            }
            Self::ReplyBodyTime => {
                "gave up a reply whose body stood still for proxy.body_idle_timeout on SnapTrade's side"
            }
            Self::ResponseTime => "SnapTrade did not answer a call within proxy.response_timeout",
            Self::ConnectTime => "SnapTrade could not be reached within proxy.connect_timeout",
            Self::RegistrationBytes => {
                "refused a registration whose body is larger than proxy.max_registration_bytes"
            }
            Self::Queue => {
                "refused a registration, because as many wait under its key as queue_max allows; raise it, or register \
                 more slowly"
            }
            Self::QueueTime => {
                "refused a registration that had waited for admission_timeout; raise it, or register more slowly"
            }
        }
    }
}

/// How often each limit was reached; shared by all who watch over one.
#[derive(Debug)]
pub struct Reached {
    counts: [Counter; Limit::ALL.len()],
    said: Mutex<[Said; Limit::ALL.len()]>,
}

/// What was said of a limit.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Said {
    /// Once more: how often that makes since it was last said, if it is to be said again.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Reached {
    /// `counts` are in the order of [`Limit::ALL`].
    pub(super) fn new(counts: [Counter; Limit::ALL.len()]) -> Self {
        Self {
            counts,
            said: Mutex::default(),
        }
    }

    /// A limit was reached, and whoever counts it says so.
    pub fn count(&self, limit: Limit) {
        self.counts[limit as usize].inc();
    }

    /// A limit was reached, by this caller if it is known.
    pub fn note(&self, limit: Limit, peer: Option<SocketAddr>) {
        let place = limit as usize;
        self.count(limit);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let count = said[place].add(Instant::now());
        drop(said);
        if let Some(count) = count {
            tracing::warn!(
                limit = limit.label(),
                peer = peer.map(tracing::field::display),
                count,
                "{}. This is said once a minute",
                limit.said()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_at_its_own_place() {
        for (place, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, place);
        }
    }

    #[test]
    fn a_flood_is_one_line_a_minute_that_says_how_many() {
        let (mut said, start) = (Said::default(), Instant::now());
        assert_eq!(said.add(start), Some(1));
        for _ in 0..1_000 {
            assert_eq!(said.add(start + PAUSE / 2), None);
        }
        assert_eq!(said.add(start + PAUSE), Some(1_001));
    }
}

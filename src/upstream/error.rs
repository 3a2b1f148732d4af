//! What can go wrong between the sidecar and the upstream.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::own::Loop;
use super::remedy;
use super::resolve::Unresolved;

type Cause = Box<dyn Error + Send + Sync>;

/// Whose fault it is, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No connection: its name has no address.
    Dns,
    /// No connection: nothing listens there, or no way leads there.
    Connect,
    /// A connection, but no trust, or no TLS.
    Tls,
    /// The upstream is the sidecar itself.
    Loop,
    /// No connection, or no answer, in time.
    Timeout,
    /// The upstream closed or reset the connection before its reply was complete.
    BrokeOff,
    /// What came back is not HTTP, or more of it than fits.
    Protocol,
    /// The caller's own body ended early or stood still; the upstream is not to blame.
    CallerBody,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Loop => "loop",
            Self::Timeout => "timeout",
            Self::BrokeOff => "broke_off",
            Self::Protocol => "protocol",
            Self::CallerBody => "caller_body",
        }
    }
}

/// A request that got no reply, or only part of one. Says nothing of what was in it.
#[derive(Debug)]
pub struct UpstreamError {
    kind: Kind,
    sent: bool,
    cause: Option<Cause>,
}

impl UpstreamError {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As the metrics name it.
    pub fn label(&self) -> &'static str {
        match self.kind {
            Kind::Timeout if !self.sent => "connect_timeout",
            kind => kind.label(),
        }
    }

    /// What an operator can do about it, in a clause.
    pub fn remedy(&self) -> &'static str {
        remedy::remedy(self)
    }

    /// Whether any byte of the request may have left. If so, the upstream may have acted on it, and it must not be sent
    /// again (R9).
    pub fn sent(&self) -> bool {
        self.sent
    }

    /// Whether a limit of the configuration passed, rather than something broke.
    pub fn timed_out(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if error.is::<Elapsed>() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// A reply that began and did not end.
    pub fn broke_off(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::BrokeOff, true, cause)
    }

    /// The caller's own body, which did not arrive.
    pub fn caller_body(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::CallerBody, true, cause)
    }

    pub(super) fn protocol(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::Protocol, true, cause)
    }

    /// A target that cannot be written; nothing was sent.
    pub(super) fn unsendable(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::Protocol, false, cause)
    }

    /// No connection within the limit; nothing was sent.
    pub(super) fn no_connection(limit: Duration) -> Self {
        Self::new(Kind::Timeout, false, Elapsed("no connection", limit))
    }

    /// No response head within the limit.
    pub(super) fn no_answer(limit: Duration) -> Self {
        Self::new(Kind::Timeout, true, Elapsed("no answer", limit))
    }

    pub(super) fn stalled(limit: Duration) -> Elapsed {
        Elapsed("no further piece of the body", limit)
    }

    /// No connection; nothing was sent.
    pub(super) fn connect(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self::new(connect_kind(&*cause), false, cause)
    }

    /// What the connection reports instead of a reply.
    pub(super) fn from_hyper(error: hyper::Error) -> Self {
        // Handed back unsent by a connection that was closing.
        let (kind, sent) = if error.is_canceled() {
            (Kind::Connect, false)
        } else if is_refusal(&error) {
            (Kind::Tls, true)
        } else if error.is_parse() {
            (Kind::Protocol, true)
        } else if error.is_timeout() {
            (Kind::Timeout, true)
        } else if error.is_user() {
            (Kind::CallerBody, true)
        } else {
            (Kind::BrokeOff, true)
        };
        Self::new(kind, sent, error)
    }

    fn new(kind: Kind, sent: bool, cause: impl Into<Cause>) -> Self {
        Self {
            kind,
            sent,
            cause: Some(cause.into()),
        }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Dns => "could not find the upstream",
            Kind::Connect => "could not connect to the upstream",
            Kind::Tls => "could not agree on TLS with the upstream",
            Kind::Loop => "the upstream is this sidecar itself",
            Kind::Timeout => "the upstream took too long",
            Kind::BrokeOff => "the upstream broke off",
            Kind::Protocol => "the upstream's reply could not be understood",
            Kind::CallerBody => "the caller's body did not arrive in full",
        })
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// A limit of the configuration that passed.
#[derive(Debug)]
pub(super) struct Elapsed(&'static str, Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {:?}", self.0, self.1)
    }
}

impl Error for Elapsed {}

fn connect_kind(error: &(dyn Error + 'static)) -> Kind {
    if find::<Unresolved>(error).is_some() {
        return Kind::Dns;
    }
    if find::<rustls::Error>(error).is_some() {
        return Kind::Tls;
    }
    if find::<Loop>(error).is_some() {
        return Kind::Loop;
    }
    let kinds = || causes(error).filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    if kinds().any(|kind| kind == io::ErrorKind::TimedOut) {
        Kind::Timeout
    } else if kinds().any(is_end) {
        // There was a connection, and it ended while TLS was agreed on.
        Kind::Tls
    } else {
        Kind::Connect
    }
}

fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// Whether the upstream refused this client in TLS, which in TLS 1.3 it says after the first request was written.
fn is_refusal(error: &hyper::Error) -> bool {
    let tls = find::<rustls::Error>(error);
    tls.is_some_and(
        |tls| matches!(tls, rustls::Error::AlertReceived(alert) if remedy::is_about_the_client(*alert)),
    )
}

/// The first of an error and its causes that is a `T`.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error, and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error that wraps another is not its source: it prints as that other one.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

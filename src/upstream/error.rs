//! What can go wrong between the sidecar and the upstream.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::own::Loop;

type Cause = Box<dyn Error + Send + Sync>;

/// Whose fault it is, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No connection: the name did not resolve, or nothing listens there.
    Connect,
    /// A connection, but no trust.
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
    /// As the metrics name it.
    pub fn label(self) -> &'static str {
        match self {
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

    pub fn label(&self) -> &'static str {
        self.kind.label()
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
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return Kind::Tls;
        }
        if error.is::<Loop>() {
            return Kind::Loop;
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Kind::Timeout;
        }
        // An I/O error that wraps another is not its source: it prints as that other one.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Kind::Connect
}

//! Why the upstream gave no answer.

use std::error::Error;
use std::fmt;

type Cause = Box<dyn Error + Send + Sync>;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection: DNS, TCP or TLS.
    Connect,
    /// No connection, or no response head, in time.
    Timeout,
    /// The connection ended before the reply did.
    BrokeOff,
    /// The reply was not HTTP.
    Protocol,
    /// The caller's own body broke off or stalled.
    CallerBody,
}

/// A call that got no answer, or not the whole of one.
#[derive(Debug)]
pub struct UpstreamError {
    kind: Kind,
    sent: bool,
    cause: Cause,
}

impl UpstreamError {
    pub(crate) fn new(kind: Kind, sent: bool, cause: impl Into<Cause>) -> Self {
        Self {
            kind,
            sent,
            cause: cause.into(),
        }
    }

    /// The reply's body ended before its end.
    pub fn broke_off(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::BrokeOff, true, cause)
    }

    /// The caller's body ended before its end.
    pub fn caller_body(cause: impl Into<Cause>) -> Self {
        Self::new(Kind::CallerBody, false, cause)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether any of the request may have reached the upstream.
    pub fn sent(&self) -> bool {
        self.sent
    }

    /// For logs and metrics.
    pub fn label(&self) -> &'static str {
        match self.kind {
            Kind::Connect => "connect",
            Kind::Timeout => "timeout",
            Kind::BrokeOff => "broke-off",
            Kind::Protocol => "protocol",
            Kind::CallerBody => "caller-body",
        }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Connect => "cannot connect to the upstream",
            Kind::Timeout => "the upstream did not answer in time",
            Kind::BrokeOff => "the upstream broke off",
            Kind::Protocol => "the upstream's answer is not HTTP",
            Kind::CallerBody => "the request's body did not arrive whole",
        })
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

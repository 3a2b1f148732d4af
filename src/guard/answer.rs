//! A registration on its way in, and what becomes of it.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::admission::Reason;
use crate::snaptrade::proof::Proven;
use crate::telemetry::spans::Trace;
use crate::types::UserId;
use crate::upstream::error::UpstreamError;

/// A registration that proved itself, as the caller sent it.
pub struct Registration {
    /// The path on the wire.
    pub path: String,
    /// Raw, without the `?`.
    pub query: String,
    /// End-to-end headers only.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub proven: Proven,
    pub arrived: Instant,
    /// An operator's, who neither gets what is kept for the application nor leaves anything for it (R12).
    pub by_hand: bool,
    /// What the steps of its admission become a part of.
    pub trace: Trace,
}

impl Registration {
    /// Whose reply is kept where nobody takes it, and whom a kept one is for.
    pub(super) fn kept_for(&self) -> Option<&UserId> {
        self.proven.user_id.as_ref().filter(|_| !self.by_hand)
    }
}

/// Query, headers and body stay out of logs.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("path", &self.path)
            .field("user_id", &self.proven.user_id)
            .finish_non_exhaustive()
    }
}

/// What became of a registration.
pub struct Admitted {
    pub answer: Result<Response<Bytes>, Refusal>,
    /// When the registration that this is the answer to left, if one did.
    pub sent: Option<Instant>,
    /// Those whose deletion is confirmed; the application may drop what it stored for them.
    pub evicted: Vec<UserId>,
    /// The one whose deletion was sent and has not been seen to happen; better taken as gone too.
    pub unsettled: Option<UserId>,
    pub retried: bool,
    /// It was kept for a caller that had left, and is given to this one.
    pub replayed: bool,
    pub reason: Option<Reason>,
}

/// The reply may hold a user secret, and stays out of logs.
impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}

impl Admitted {
    /// What became of it in a word: as the caller is told, and as it is counted.
    pub fn outcome(&self) -> &'static str {
        match &self.answer {
            _ if !self.evicted.is_empty() => "evicted",
            // What never left was not forwarded.
            Err(Refusal::Upstream(error)) if !error.sent() => "refused",
            Ok(_) | Err(Refusal::Upstream(_) | Refusal::ReplyTooLong) => "forwarded",
            Err(_) => "refused",
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            answer: Err(refusal),
            sent: None,
            evicted: Vec::new(),
            unsettled: None,
            retried: false,
            replayed: false,
            reason: None,
        }
    }
}

/// Why the caller gets an answer of the sidecar's own.
#[derive(Debug)]
pub enum Refusal {
    /// The upstream could not be reached, broke off or was too slow.
    Upstream(UpstreamError),
    /// Its reply was longer than one to a registration can be.
    ReplyTooLong,
    QueueFull,
    /// It waited in the queue for as long as an admission may take.
    QueuedTooLong,
    /// The users could not be counted, and the tenant's owner wants a refusal then.
    ListFailed,
    /// The caller left, so that nobody reads this.
    CallerGone,
    /// The admission ended without an answer: an error of the sidecar's own.
    Failed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

impl Refusal {
    pub(super) fn token(&self) -> &'static str {
        match self {
            Self::Upstream(error) => error.label(),
            Self::ReplyTooLong => "reply-too-long",
            Self::QueueFull => "queue-full",
            Self::QueuedTooLong => "queued-too-long",
            Self::ListFailed => "list-failed",
            Self::CallerGone => "caller-gone",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snaptrade::canonical::Canonical;
    use crate::snaptrade::signature::Form;
    use crate::types::Timestamp;

    #[test]
    fn r13_neither_a_registration_nor_its_answer_prints_what_is_secret() {
        let registration = Registration {
            path: "/snapTrade/registerUser".to_owned(),
            query: "s3cr3t".to_owned(),
            headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, "s3cr3t".parse().unwrap())]),
            body: Bytes::from_static(b"{\"x\":\"s3cr3t\"}"),
            proven: Proven {
                form: Form::OURS,
                timestamp: Timestamp(1),
                user_id: Some(UserId::new("new")),
                body: Canonical::read(b"{\"x\":\"s3cr3t\"}").unwrap(),
            },
            arrived: Instant::now(),
            by_hand: false,
            trace: Trace::default(),
        };
        assert_eq!(
            format!("{registration:?}"),
            "Registration { path: \"/snapTrade/registerUser\", user_id: Some(\"new\"), .. }"
        );
        assert!(!format!("{:?}", registration.proven).contains("s3cr3t"));
        let admitted = Admitted {
            answer: Ok(Response::new(Bytes::from_static(b"s3cr3t"))),
            ..Admitted::refused(Refusal::Failed)
        };
        assert_eq!(format!("{admitted:?}"), "Admitted { outcome: \"forwarded\", .. }");
    }

    #[test]
    fn each_refusal_is_told_by_a_word_of_its_own() {
        let said = [
            Refusal::ReplyTooLong,
            Refusal::QueueFull,
            Refusal::QueuedTooLong,
            Refusal::ListFailed,
            Refusal::CallerGone,
            Refusal::Failed,
        ]
        .map(|refusal| refusal.to_string());
        assert_eq!(
            said,
            [
                "reply-too-long",
                "queue-full",
                "queued-too-long",
                "list-failed",
                "caller-gone",
                "failed",
            ]
        );
    }
}

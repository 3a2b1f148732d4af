//! The sidecar's own replies to callers, in `SnapTrade`'s shape. What the operator is told is in the log.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::telemetry::health::Verdict;
use crate::upstream::body::ReplyBody;
use crate::upstream::error::{Kind, UpstreamError};

/// What the caller has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    UpstreamUnreachable,
    UpstreamBrokeOff,
    UpstreamTimeout,
    UpstreamProtocol,
    CallerBody,
    ReplyTooLong,
    ShuttingDown,
    QueueFull,
    QueuedTooLong,
    ListFailed,
    CallerGone,
    BodyTooLarge { limit: usize },
    Connect,
}

impl From<&UpstreamError> for Problem {
    fn from(error: &UpstreamError) -> Self {
        match error.kind() {
            Kind::Connect => Self::UpstreamUnreachable,
            Kind::Timeout => Self::UpstreamTimeout,
            Kind::BrokeOff => Self::UpstreamBrokeOff,
            Kind::Protocol => Self::UpstreamProtocol,
            Kind::CallerBody => Self::CallerBody,
        }
    }
}

impl Problem {
    fn parts(self) -> (StatusCode, &'static str, String) {
        let (status, code, detail) = match self {
            Self::UpstreamUnreachable => (
                502,
                "upstream_unreachable",
                "cannot connect to SnapTrade".to_owned(),
            ),
            Self::UpstreamBrokeOff => (
                502,
                "upstream_broke_off",
                "SnapTrade closed the connection".to_owned(),
            ),
            Self::UpstreamTimeout => (
                504,
                "upstream_timeout",
                "SnapTrade did not answer in time".to_owned(),
            ),
            Self::UpstreamProtocol => (502, "upstream_protocol", "not HTTP".to_owned()),
            Self::CallerBody => (400, "request_body", "body".to_owned()),
            Self::ReplyTooLong => (502, "reply_too_long", "too long".to_owned()),
            Self::ShuttingDown => (503, "shutting_down", "down".to_owned()),
            Self::QueueFull => (503, "queue_full", "queue".to_owned()),
            Self::QueuedTooLong => (503, "queued_too_long", "queue".to_owned()),
            Self::ListFailed => (503, "list_failed", "list".to_owned()),
            Self::CallerGone => (503, "unfinished", "gone".to_owned()),
            Self::BodyTooLarge { limit } => (413, "body_too_large", format!("over {limit} bytes")),
            Self::Connect => (405, "connect", "connect".to_owned()),
        };
        (StatusCode::from_u16(status).unwrap_or_default(), code, detail)
    }

    pub fn reply(self) -> Response<ReplyBody> {
        let (status, code, detail) = self.parts();
        let body = serde_json::json!({"detail": detail, "status_code": status.as_u16(), "code": format!("sidecar_{code}")});
        let mut reply = json(status, body.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

/// The answer to a probe.
pub(super) fn verdict(verdict: &Verdict) -> Response<ReplyBody> {
    json(verdict.status(), verdict.body())
}

fn json(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::full(Bytes::from(body)));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

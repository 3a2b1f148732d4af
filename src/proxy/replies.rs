//! What the caller is told when the sidecar itself has to answer: one table, in the shape of `SnapTrade`'s own errors. What
//! the operator is told is another matter, and is in the log.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::telemetry::health::Verdict;
use crate::telemetry::limits::Limit;
use crate::upstream::body::ReplyBody;
use crate::upstream::error::{Kind, UpstreamError};

/// Why there is no reply from `SnapTrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nothing was sent: the upstream's name has no address.
    UpstreamUnresolved,
    /// Nothing was sent.
    UpstreamUnreachable,
    /// Nothing was acted upon: there was no trust, or no TLS.
    UpstreamTls,
    /// Nothing was sent: it would have come back.
    Loop,
    /// Nothing was sent.
    ConnectTimeout,
    /// The request may have taken effect.
    UpstreamBrokeOff,
    /// The request may have taken effect.
    UpstreamTimeout,
    /// The request may have taken effect.
    UpstreamProtocol,
    /// As many calls wait for the upstream as may. Nothing was sent.
    Overloaded,
    /// The head of a request did not arrive in time.
    HeadTooSlow,
    /// The caller's own body stopped arriving.
    CallerTooSlow,
    /// The caller's own body is broken.
    CallerBody,
    /// Too many registrations wait for this key already.
    QueueFull,
    /// A registration waited too long for its turn.
    QueuedTooLong,
    /// The caller left, and its registration was given up. For those who read the log: nobody gets this reply.
    CallerGone,
    /// With `on_list_error = "reject"`: it is not known whether there is room.
    ListFailed,
    /// A registration over `limit` bytes.
    BodyTooLarge { limit: usize },
    /// The reply to a registration is too long to be read.
    ReplyTooLong,
    /// A body in a transfer coding other than `chunked`.
    TransferCoding,
    /// A request target that cannot be sent on.
    BadTarget,
    /// More than one `Host`, or one that is none.
    Host,
    /// The method CONNECT.
    Connect,
    /// An error of the sidecar's own.
    Internal,
}

impl From<&UpstreamError> for Problem {
    fn from(error: &UpstreamError) -> Self {
        match error.kind() {
            Kind::Dns => Self::UpstreamUnresolved,
            Kind::Connect => Self::UpstreamUnreachable,
            Kind::Tls => Self::UpstreamTls,
            Kind::Loop => Self::Loop,
            Kind::Timeout if error.sent() => Self::UpstreamTimeout,
            Kind::Timeout => Self::ConnectTimeout,
            Kind::BrokeOff => Self::UpstreamBrokeOff,
            Kind::Protocol if error.sent() => Self::UpstreamProtocol,
            Kind::Protocol => Self::BadTarget,
            Kind::CallerBody if error.timed_out() => Self::CallerTooSlow,
            Kind::CallerBody => Self::CallerBody,
        }
    }
}

impl Problem {
    /// The whole reply, to be sent as it is. It says by an extension that it is no reply of `SnapTrade`'s.
    pub fn reply(&self) -> Response<ReplyBody> {
        let mut reply = json(self.status(), self.body());
        reply.extensions_mut().insert(*self);
        let headers = reply.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if *self == Self::Connect {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        reply
    }

    /// Whether `SnapTrade` may have acted on the request.
    pub(super) fn may_have_taken_effect(&self) -> bool {
        matches!(
            self,
            Self::UpstreamBrokeOff | Self::UpstreamTimeout | Self::UpstreamProtocol
        )
    }

    fn body(&self) -> String {
        let body = serde_json::json!({
            "detail": self.detail(),
            "status_code": self.status().as_u16(),
            "code": self.code(),
        });
        body.to_string()
    }

    /// The same as bytes, for a connection that is closed after it.
    pub fn as_bytes(&self) -> Vec<u8> {
        let (status, body) = (self.status(), self.body());
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The limit that was reached, if it was one.
    pub fn limit(self) -> Option<Limit> {
        Some(match self {
            Self::ConnectTimeout => Limit::ConnectTime,
            Self::UpstreamTimeout => Limit::ResponseTime,
            Self::Overloaded => Limit::Requests,
            Self::HeadTooSlow => Limit::HeadTime,
            Self::CallerTooSlow => Limit::RequestBodyTime,
            Self::BodyTooLarge { .. } => Limit::RegistrationBytes,
            Self::QueueFull => Limit::Queue,
            Self::QueuedTooLong => Limit::QueueTime,
            _ => return None,
        })
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::UpstreamUnresolved
            | Self::UpstreamUnreachable
            | Self::UpstreamTls
            | Self::UpstreamBrokeOff
            | Self::UpstreamProtocol
            | Self::ReplyTooLong => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout | Self::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded
            | Self::QueueFull
            | Self::QueuedTooLong
            | Self::CallerGone
            | Self::ListFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeadTooSlow | Self::CallerTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::CallerBody | Self::BadTarget | Self::Host => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::UpstreamUnresolved => "sidecar_upstream_unresolved",
            Self::UpstreamUnreachable => "sidecar_upstream_unreachable",
            Self::UpstreamTls => "sidecar_upstream_tls",
            Self::Loop => "sidecar_loop",
            Self::ConnectTimeout => "sidecar_connect_timeout",
            Self::UpstreamBrokeOff => "sidecar_upstream_broke_off",
            Self::UpstreamTimeout => "sidecar_upstream_timeout",
            Self::UpstreamProtocol => "sidecar_upstream_protocol",
            Self::Overloaded => "sidecar_overloaded",
            Self::HeadTooSlow => "sidecar_head_timeout",
            Self::CallerTooSlow => "sidecar_request_timeout",
            Self::CallerBody => "sidecar_request_body",
            Self::QueueFull => "sidecar_queue_full",
            Self::QueuedTooLong => "sidecar_queued_too_long",
            Self::CallerGone => "sidecar_caller_gone",
            Self::ListFailed => "sidecar_list_failed",
            Self::BodyTooLarge { .. } => "sidecar_body_too_large",
            Self::ReplyTooLong => "sidecar_reply_too_long",
            Self::TransferCoding => "sidecar_transfer_coding",
            Self::BadTarget => "sidecar_bad_target",
            Self::Host => "sidecar_bad_host",
            Self::Connect => "sidecar_connect_refused",
            Self::Internal => "sidecar_internal_error",
        }
    }

    /// In seconds. Only where the same request, sent again, may well succeed and cannot do harm.
    fn retry_after(self) -> Option<u16> {
        match self {
            Self::Overloaded => Some(1),
            // About one registration with an eviction.
            Self::QueueFull | Self::QueuedTooLong | Self::CallerGone => Some(2),
            Self::ListFailed => Some(5),
            _ => None,
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::UpstreamUnresolved => Cow::Borrowed(
                "The sidecar found no address of SnapTrade's name. The request was not sent; it is safe to send it again. If \
                 this lasts, check the host in the sidecar's proxy.upstream and its DNS; the cause is in its log.",
            ),
            Self::UpstreamUnreachable => Cow::Borrowed(
                "The sidecar could not connect to SnapTrade. The request was not sent; it is safe to send it again. If \
                 this lasts, check the sidecar's proxy.upstream and its network; the cause is in its log.",
            ),
            Self::UpstreamTls => Cow::Borrowed(
                "The sidecar and its upstream could not agree on TLS: one does not trust the other's certificate, or the \
                 upstream does not speak TLS. The request had no effect. A private CA goes into the sidecar's proxy.upstream_ca_file, and an upstream without TLS is \
                 http://; the cause is in its log.",
            ),
            Self::Loop => Cow::Borrowed(
                "The sidecar's proxy.upstream leads to the sidecar itself, so that the request would have gone round in \
                 circles. It was not sent. Set proxy.upstream to SnapTrade's origin.",
            ),
            Self::ConnectTimeout => Cow::Borrowed(
                "The sidecar could not connect to SnapTrade in time (proxy.connect_timeout). The request was not sent; it \
                 is safe to send it again.",
            ),
            Self::UpstreamBrokeOff => Cow::Borrowed(
                "SnapTrade closed the connection before its reply was complete. The request may have taken effect; look \
                 before sending one again that changes anything.",
            ),
            Self::UpstreamTimeout => Cow::Borrowed(
                "SnapTrade did not answer in time (proxy.response_timeout). The request may have taken effect; look before \
                 sending one again that changes anything.",
            ),
            Self::UpstreamProtocol => Cow::Borrowed(
                "The sidecar could not understand SnapTrade's reply. The request may have taken effect; look before \
                 sending one again that changes anything. The cause is in the sidecar's log.",
            ),
            Self::ReplyTooLong => Cow::Borrowed(
                "SnapTrade's reply to this registration is longer than the sidecar reads. The user may exist now; look \
                 (listUsers) before registering again.",
            ),
            Self::Overloaded => Cow::Borrowed(
                "As many calls wait for SnapTrade to answer as the sidecar allows (proxy.max_requests). This one was not \
                 sent; send it again later.",
            ),
            Self::HeadTooSlow => Cow::Borrowed(
                "The head of the request did not arrive at the sidecar in time (proxy.header_timeout). Nothing was sent; \
                 send the whole request again.",
            ),
            Self::CallerTooSlow => Cow::Borrowed(
                "The body of the request stopped arriving at the sidecar (proxy.body_idle_timeout). SnapTrade got \
                 part of it at most. Send the whole request again.",
            ),
            Self::CallerBody => Cow::Borrowed(
                "The body of the request broke off or is not in valid chunks. SnapTrade got part of it at \
                 most. Send the whole request again.",
            ),
            Self::QueueFull => Cow::Borrowed(
                "Too many registrations are waiting for room under this SnapTrade key already. This one was not sent; \
                 send it again later.",
            ),
            Self::QueuedTooLong => Cow::Borrowed(
                "This registration waited too long for those before it under the same SnapTrade key. It was not sent; \
                 send it again later.",
            ),
            Self::CallerGone => Cow::Borrowed(
                "The caller of this registration left before it was sent. It was given up; send it again.",
            ),
            Self::ListFailed => Cow::Borrowed(
                "The sidecar could not find out whether there is room under this SnapTrade key, because listUsers failed, \
                 and its on_list_error is \"reject\". The registration was not sent; send it again later.",
            ),
            Self::TransferCoding => Cow::Borrowed(
                "The sidecar can send a body on only as it is or chunked. It was not sent; send it without another \
                 Transfer-Encoding (Content-Encoding is none of the sidecar's business).",
            ),
            Self::BadTarget => Cow::Borrowed(
                "The sidecar cannot send a request with this target on. Ask for a path, beginning with /.",
            ),
            Self::Host => Cow::Borrowed(
                "The request has more than one Host, or one that is no name or address with or without a port. It was not \
                 sent; send it with one, such as that of the sidecar's URL.",
            ),
            Self::Connect => Cow::Borrowed(
                "The sidecar forwards requests to SnapTrade only and opens no tunnels. Set it as the base URL of the \
                 SnapTrade client, not as a proxy.",
            ),
            Self::Internal => Cow::Borrowed(
                "The sidecar failed while it handled this registration; the cause is in its log. It may have taken effect; \
                 look (listUsers) before registering again, and please report this.",
            ),
            Self::BodyTooLarge { limit } => Cow::Owned(format!(
                "The body of a registration may have at most {limit} bytes (proxy.max_registration_bytes). It was not sent; \
                 send only the userId."
            )),
        }
    }
}

/// The answer to a probe.
pub(super) fn verdict(verdict: &Verdict) -> Response<ReplyBody> {
    let mut reply = json(verdict.status(), verdict.body());
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn json(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::full(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const ALL: [Problem; 23] = [
        Problem::UpstreamUnresolved,
        Problem::UpstreamUnreachable,
        Problem::UpstreamTls,
        Problem::Loop,
        Problem::ConnectTimeout,
        Problem::UpstreamBrokeOff,
        Problem::UpstreamTimeout,
        Problem::UpstreamProtocol,
        Problem::Overloaded,
        Problem::HeadTooSlow,
        Problem::CallerTooSlow,
        Problem::CallerBody,
        Problem::QueueFull,
        Problem::QueuedTooLong,
        Problem::CallerGone,
        Problem::ListFailed,
        Problem::BodyTooLarge { limit: 65_536 },
        Problem::ReplyTooLong,
        Problem::TransferCoding,
        Problem::BadTarget,
        Problem::Host,
        Problem::Connect,
        Problem::Internal,
    ];

    #[tokio::test]
    async fn every_problem_has_the_shape_of_the_vendors_errors() {
        let mut codes = std::collections::HashSet::new();
        for problem in ALL {
            let (head, body) = problem.reply().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["status_code"], head.status.as_u16());
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.ends_with('.') && !detail.contains("  "), "{detail}");
            let code = body["code"].as_str().unwrap().to_owned();
            assert!(code.starts_with("sidecar_"));
            assert!(codes.insert(code));
            assert_eq!(head.headers[CONTENT_TYPE], "application/json");
            assert_eq!(head.headers.contains_key(RETRY_AFTER), head.status == 503);
        }
    }

    #[test]
    fn every_code_that_a_caller_can_get_is_in_the_readme() {
        let readme = include_str!("../../README.md");
        for problem in ALL.iter().filter(|problem| **problem != Problem::CallerGone) {
            assert!(readme.contains(problem.code()), "{}", problem.code());
        }
    }

    #[test]
    fn a_limit_is_told() {
        let problem = Problem::BodyTooLarge { limit: 65_536 };
        assert!(problem.detail().contains("65536 bytes"));
    }
}

//! The errors of the webhooks' listener, in the shape of `SnapTrade`'s, each with what to do about it.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

/// An answer that is neither the application's nor an acknowledgement.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
}

const fn problem(status: StatusCode, code: &'static str, detail: &'static str) -> Problem {
    Problem {
        status,
        code,
        detail: Cow::Borrowed(detail),
    }
}

impl Problem {
    /// The same whatever failed, so that nobody learns which client ids there are.
    pub(super) const UNVERIFIED: Self = problem(
        StatusCode::UNAUTHORIZED,
        "sidecar_webhook_unverified",
        "The webhook is not signed with the consumer key of a known clientId; it was not passed on. The sidecar's log says \
         what is wrong with it.",
    );
    pub(super) const NOT_JSON: Self = problem(
        StatusCode::BAD_REQUEST,
        "sidecar_webhook_body",
        "The body is not a JSON object, or repeats a key; send the webhook as SnapTrade does.",
    );
    pub(super) const NOT_JSON_TYPE: Self = problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "sidecar_webhook_type",
        "The Content-Type is not application/json; send the webhook as SnapTrade does.",
    );
    pub(super) const TOO_LARGE: Self = problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "sidecar_body_too_large",
        "The body is larger than 64 KiB, which no webhook of SnapTrade's is; it was not read.",
    );
    pub(super) const TOO_SLOW: Self = problem(
        StatusCode::REQUEST_TIMEOUT,
        "sidecar_request_timeout",
        "The body did not arrive within 10 seconds; send it again.",
    );
    pub(super) const BROKEN: Self = problem(
        StatusCode::BAD_REQUEST,
        "sidecar_request_body",
        "The body broke off; send it again.",
    );
    pub(super) const WRONG_METHOD: Self = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "sidecar_wrong_method",
        "Webhooks are sent with POST.",
    );
    pub(super) const UNRECORDED: Self = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "sidecar_webhook_unrecorded",
        "The sidecar's registry did not take what the webhook says; send it again. The sidecar's log says why.",
    );
    pub(super) const UNREACHABLE: Self = problem(
        StatusCode::BAD_GATEWAY,
        "sidecar_webhook_unforwarded",
        "The application at webhooks.forward_url cannot be reached or broke off; send the webhook again.",
    );
    pub(super) const APPLICATION_TIMEOUT: Self = problem(
        StatusCode::GATEWAY_TIMEOUT,
        "sidecar_webhook_timeout",
        "The application at webhooks.forward_url did not answer in time; send the webhook again.",
    );
    pub(super) const INTERNAL: Self = problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "sidecar_internal_error",
        "The sidecar failed while it handled the webhook; send it again, and report it.",
    );

    pub(super) fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        Self {
            status,
            code,
            detail: Cow::Owned(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({
            "detail": self.detail,
            "status_code": self.status.as_u16(),
            "code": self.code,
        }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return (self.status, [(RETRY_AFTER, "60")], body).into_response();
        }
        (self.status, body).into_response()
    }
}

//! What the caller of a registration is told, beside `SnapTrade`'s own answer.

use http::Response;
use http::header::{HeaderName, HeaderValue};

use super::headers::strip_hop_by_hop;
use super::replies::Problem;
use crate::guard::{Admitted, Refusal};
use crate::snaptrade::query;
use crate::telemetry::spans::{RequestSpan, attributes};
use crate::types::UserId;
use crate::upstream::body::ReplyBody;

/// `forwarded`, `unmanaged`, `evicted` or `refused`, with parameters.
pub const ADMISSION: HeaderName = HeaderName::from_static("snaptrade-sidecar-admission");

/// The percent-encoded ids of the users that were deleted to make room.
pub const EVICTED: HeaderName = HeaderName::from_static("snaptrade-sidecar-evicted");

/// The percent-encoded id of a user whose deletion was sent and has not been seen to happen.
pub const UNSETTLED: HeaderName = HeaderName::from_static("snaptrade-sidecar-unsettled");

/// The reply to a managed registration.
pub(super) fn reply(admitted: Admitted, span: Option<&mut RequestSpan>) -> Response<ReplyBody> {
    let word = admitted.outcome();
    if let Some(span) = span {
        trace(span, &admitted);
    }
    let mut reply = match admitted.answer {
        Ok(answer) => {
            let mut reply = answer.map(ReplyBody::full);
            strip_hop_by_hop(reply.headers_mut());
            reply
        }
        Err(refusal) => Problem::from(&refusal).reply(),
    };
    let retried = if admitted.retried { "; retried" } else { "" };
    let replayed = if admitted.replayed { "; replayed" } else { "" };
    let reason = admitted
        .reason
        .map(|reason| format!("; reason={}", reason.token()))
        .unwrap_or_default();
    if word != "forwarded" || !is_told(&reply) {
        set(
            &mut reply,
            ADMISSION,
            &format!("{word}{retried}{replayed}{reason}"),
        );
    }
    if !admitted.evicted.is_empty() {
        // Another sidecar on the way to SnapTrade may have evicted somebody too.
        let before = reply.headers_mut().remove(EVICTED);
        let before = before.as_ref().and_then(|value| value.to_str().ok());
        let all: Vec<String> = before
            .map(str::to_owned)
            .into_iter()
            .chain([encoded(&admitted.evicted)])
            .collect();
        set(&mut reply, EVICTED, &all.join(", "));
    }
    if let Some(user) = &admitted.unsettled {
        set(&mut reply, UNSETTLED, &query::encode(user.as_str()));
    }
    reply
}

/// Marks the reply to a registration that was forwarded as it came.
pub(super) fn unmanaged(
    mut reply: Response<ReplyBody>,
    reason: &str,
    span: Option<&mut RequestSpan>,
) -> Response<ReplyBody> {
    if let Some(span) = span {
        span.text(attributes::OUTCOME, "unmanaged");
        span.text(attributes::REASON, reason);
    }
    if !is_told(&reply) {
        set(&mut reply, ADMISSION, &format!("unmanaged; reason={reason}"));
    }
    reply
}

fn trace(span: &mut RequestSpan, admitted: &Admitted) {
    span.text(attributes::OUTCOME, admitted.outcome());
    if let Some(reason) = admitted.reason {
        span.text(attributes::REASON, reason.token());
    }
    span.flag(attributes::RETRIED, admitted.retried);
    span.flag(attributes::REPLAYED, admitted.replayed);
    if !admitted.evicted.is_empty() {
        span.texts(attributes::EVICTED, admitted.evicted.iter().map(UserId::as_str));
    }
}

/// Whether another sidecar, on the way to `SnapTrade`, says what became of the registration. That this one made no room is then
/// nothing that the application has to know.
fn is_told(reply: &Response<ReplyBody>) -> bool {
    reply.headers().contains_key(ADMISSION)
}

fn encoded(users: &[UserId]) -> String {
    let ids: Vec<String> = users.iter().map(|id| query::encode(id.as_str())).collect();
    ids.join(", ")
}

/// The values are made of tokens and percent-encoded ids, which every header can hold.
fn set(reply: &mut Response<ReplyBody>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Upstream(error) => Self::from(error),
            Refusal::ReplyTooLong => Self::ReplyTooLong,
            Refusal::QueueFull => Self::QueueFull,
            Refusal::QueuedTooLong => Self::QueuedTooLong,
            Refusal::ListFailed => Self::ListFailed,
            Refusal::CallerGone => Self::CallerGone,
            Refusal::Failed => Self::Internal,
        }
    }
}

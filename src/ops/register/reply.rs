//! What the caller is told of an admission.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use serde::Serialize;

use super::super::problem::Body;
use super::RETRY_AFTER;
use crate::admission::Reason;
use crate::guard::{Admitted, Refusal};
use crate::snaptrade::answer::{Answer, ErrorBody, classify_registration};
use crate::types::UserId;

/// What else of `SnapTrade`'s reply helps: its support asks for the id, and throttling says how long.
const PASSED_ON: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), header::RETRY_AFTER];
/// A registration is never sent twice, since the first may have worked; so the caller must look.
const LOOK_FIRST: &str =
    "Whether the user exists now is not known: look at /api/snaptrade/status before another try.";

const NOT_UNDERSTOOD: &str = "sidecar_reply_not_understood";

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Registered<'a> {
    success: bool,
    user_id: &'a str,
    user_secret: &'a str,
    /// Those who went for it.
    evicted: Vec<&'a str>,
}

/// A refusal, whoever's.
struct No {
    status: StatusCode,
    code: String,
    detail: String,
    headers: HeaderMap,
}

/// Nothing may store the reply: it holds a secret.
pub(super) fn reply(id: &UserId, admitted: &Admitted) -> Response {
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    let evicted = admitted.evicted.iter().map(UserId::as_str).collect();
    let no = match &admitted.answer {
        Err(refusal) => ours(refusal),
        Ok(answer) => {
            let (status, body) = (answer.status().as_u16(), answer.body());
            match classify_registration(status, body, &[], Some(id)) {
                Answer::Registered { user_id, secret } => {
                    let registered = Registered {
                        success: true,
                        user_id: user_id.as_str(),
                        user_secret: secret.expose(),
                        evicted,
                    };
                    return (uncached, Json(registered)).into_response();
                }
                Answer::Unclear => unclear(answer),
                _ => theirs(answer),
            }
        }
    };
    let refused = Body {
        success: false,
        detail: &no.detail,
        status_code: no.status.as_u16(),
        code: &no.code,
        reason: admitted.reason.map(Reason::token),
        evicted: Some(evicted),
    };
    (no.status, uncached, no.headers, Json(refused)).into_response()
}

/// `SnapTrade`'s own refusal, with its status, words and code.
fn theirs(answer: &http::Response<Bytes>) -> No {
    let status = answer.status();
    let error = ErrorBody::parse(answer.body());
    let passed_on = PASSED_ON.into_iter().filter_map(|name| {
        let value = answer.headers().get(&name)?.clone();
        Some((name, value))
    });
    No {
        status,
        code: error
            .codes
            .into_iter()
            .next()
            .unwrap_or_else(|| "sidecar_upstream_refused".to_owned()),
        detail: error
            .details
            .into_iter()
            .next()
            .unwrap_or_else(|| format!("SnapTrade answered {status} without a word.")),
        headers: passed_on.collect(),
    }
}

/// An answer that does not say what became of the registration: an error of the server's, or no known form.
fn unclear(answer: &http::Response<Bytes>) -> No {
    let status = answer.status();
    let theirs = theirs(answer);
    if status.is_client_error() || status.is_server_error() {
        let detail = format!("{} {LOOK_FIRST}", theirs.detail);
        return No { detail, ..theirs };
    }
    No {
        status: StatusCode::BAD_GATEWAY,
        code: NOT_UNDERSTOOD.to_owned(),
        detail: format!("SnapTrade answered {status} in no known form. {LOOK_FIRST}"),
        headers: theirs.headers,
    }
}

fn ours(refusal: &Refusal) -> No {
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    let (status, code, detail) = match refusal {
        Refusal::Upstream(_) => (
            StatusCode::BAD_GATEWAY,
            "sidecar_upstream_failed",
            format!("SnapTrade did not answer the registration. {LOOK_FIRST}"),
        ),
        Refusal::ReplyTooLong => (
            StatusCode::BAD_GATEWAY,
            NOT_UNDERSTOOD,
            format!("The registration could not be carried through: {refusal}. {LOOK_FIRST}"),
        ),
        Refusal::QueueFull => (
            busy,
            "sidecar_queue_full",
            "Too many registrations wait for their turn; nobody was registered. Try again later, or raise queue_max."
                .to_owned(),
        ),
        Refusal::QueuedTooLong => (
            busy,
            "sidecar_queued_too_long",
            "The turn did not come within admission_timeout; nobody was registered. Try again later.".to_owned(),
        ),
        Refusal::ListFailed => (
            busy,
            "sidecar_list_failed",
            "The users could not be counted, and on_list_error is \"reject\"; nobody was registered. Try again later."
                .to_owned(),
        ),
        Refusal::Failed => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "sidecar_internal_error",
            format!("The sidecar failed while it registered; the cause is in its log. {LOOK_FIRST}"),
        ),
        Refusal::CallerGone => (
            busy,
            "sidecar_abandoned",
            "The registration was given up before it was sent; nobody was registered. Try again.".to_owned(),
        ),
    };
    let again = (status == busy).then(|| (header::RETRY_AFTER, RETRY_AFTER.into()));
    No {
        status,
        code: code.to_owned(),
        detail,
        headers: again.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    fn admitted(answer: Result<(u16, &str), Refusal>, evicted: &[&str]) -> Admitted {
        let answer = answer.map(|(status, body)| {
            http::Response::builder()
                .status(status)
                .header("X-Request-ID", "r1")
                .header("Set-Cookie", "a=b")
                .body(Bytes::copy_from_slice(body.as_bytes()))
                .unwrap()
        });
        Admitted {
            answer,
            sent: None,
            evicted: evicted.iter().map(UserId::new).collect(),
            unsettled: None,
            retried: false,
            replayed: false,
            reason: None,
        }
    }

    async fn told(admitted: &Admitted) -> (u16, HeaderMap, Value) {
        let (parts, body) = reply(&UserId::new("new"), admitted).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status.as_u16(),
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_registered_user_comes_with_its_secret_and_who_went() {
        let answer = (200, r#"{"userId":"new","userSecret":"s3cret"}"#);
        let (status, headers, body) = told(&admitted(Ok(answer), &["old"])).await;
        assert_eq!(status, 200);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        let expected =
            json!({"success": true, "user_id": "new", "user_secret": "s3cret", "evicted": ["old"]});
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_status_words_and_code() {
        let answer = (400, r#"{"detail":"taken","status_code":400,"code":"1010"}"#);
        let mut admitted = admitted(Ok(answer), &["old"]);
        admitted.reason = Some(Reason::NobodyEvictable);
        let (status, headers, body) = told(&admitted).await;
        assert_eq!(status, 400);
        assert_eq!(headers["x-request-id"], "r1");
        assert!(!headers.contains_key("set-cookie"));
        assert_eq!(
            body,
            json!({
                "success": false, "detail": "taken", "status_code": 400, "code": "1010",
                "reason": "nobody-evictable", "evicted": ["old"],
            })
        );
    }

    #[tokio::test]
    async fn an_unclear_answer_says_to_look_first() {
        for (answer, status) in [
            ((500, r#"{"detail":"limit reached"}"#), 500),
            ((200, "{}"), 502),
            ((302, ""), 502),
        ] {
            let (got, _, body) = told(&admitted(Ok(answer), &[])).await;
            assert_eq!(got, status);
            assert_eq!(body["status_code"], status);
            assert!(body["detail"].as_str().unwrap().ends_with(LOOK_FIRST), "{body}");
        }
    }

    #[tokio::test]
    async fn our_own_refusals_say_when_to_come_back() {
        for refusal in [Refusal::QueueFull, Refusal::QueuedTooLong, Refusal::ListFailed] {
            let (status, headers, body) = told(&admitted(Err(refusal), &[])).await;
            assert_eq!(status, 503);
            assert_eq!(headers[header::RETRY_AFTER], "5");
            assert_eq!(body["success"], false);
            assert!(body["code"].as_str().unwrap().starts_with("sidecar_"));
        }
    }
}

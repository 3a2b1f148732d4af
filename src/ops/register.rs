//! A registration by hand, through the same admission as any other.

mod reply;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use rustls::crypto::ring;
use serde::Deserialize;

use super::Ops;
use super::access::Standing;
use super::problem::Problem;
use crate::types::UserId;
#[cfg(test)]
pub(super) use reply::Registered;

const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds until a queue that is full now has probably moved.
const RETRY_AFTER: u32 = 5;
const INSTEAD: &str = "send {\"user_id\": \"…\"}, or no body for a random id.";

/// Unknown keys are errors: `userId` instead of `user_id` would register somebody else.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, schema(as = Registration))]
pub(super) struct Wanted {
    /// A random one, if there is none.
    #[serde(default)]
    #[cfg_attr(test, schema(min_length = 1))]
    user_id: Option<String>,
}

pub(super) async fn register(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    request: Request,
) -> Result<Response, Problem> {
    standing.changes()?;
    if ops.health.draining() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "sidecar_shutting_down",
            "The sidecar was told to stop and registers nobody any more; try again when it is back.",
        )
        .retry_after(RETRY_AFTER));
    }
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let id = wanted(&parts.headers, &body)?.map_or_else(random_id, Ok)?;
    let guard = ops.tenant(parts.uri.query())?;
    Ok(reply::reply(&id, &guard.register(id.clone()).await))
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, body::to_bytes(body, BODY_BYTES_MAX)).await;
    let problem = match read {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(error)) if is_too_long(&error) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "sidecar_body_too_long",
            "The body is over 64 KiB; send {\"user_id\": \"…\"} and nothing else.",
        ),
        Ok(Err(_)) | Err(_) => Problem::new(
            StatusCode::BAD_REQUEST,
            "sidecar_body_incomplete",
            "The body broke off or took over 10 s to arrive; send it again.",
        ),
    };
    Err(problem)
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// The id that the body asks for, if it asks for one.
fn wanted(headers: &HeaderMap, body: &[u8]) -> Result<Option<UserId>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    });
    if !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "sidecar_not_json",
            "The body must be JSON; send it with \"Content-Type: application/json\".",
        ));
    }
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "sidecar_bad_body", detail);
    // An array would do for the deserialiser, as a struct without names.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(bad(format!("The body is not a JSON object; {INSTEAD}")));
    }
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| bad(format!("The body is not what is expected ({error}); {INSTEAD}")))?;
    match wanted.user_id {
        Some(id) if id.is_empty() => Err(bad(
            "The user_id is empty; give one, or leave it out for a random one.".to_owned(),
        )),
        id => Ok(id.map(UserId::new)),
    }
}

/// 128 random bits in hexadecimal.
fn random_id() -> Result<UserId, Problem> {
    let mut bits = [0; 16];
    ring::default_provider()
        .secure_random
        .fill(&mut bits)
        .map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "sidecar_no_randomness",
                "The operating system gave no random bits for an id; give a user_id yourself.",
            )
        })?;
    Ok(UserId::new(format!("{:032x}", u128::from_be_bytes(bits))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())])
    }

    #[test]
    fn an_id_is_asked_for_or_not() {
        let id = |body: &[u8]| wanted(&json("Application/JSON; charset=utf-8"), body).unwrap();
        assert_eq!(id(br#"{"user_id":"a b/\u00e9"}"#), Some(UserId::new("a b/é")));
        assert_eq!(id(b"{}"), None);
        assert_eq!(id(br#"{"user_id":null}"#), None);
        assert_eq!(id(b""), None);
        assert_eq!(wanted(&HeaderMap::new(), b"").unwrap(), None);
    }

    #[test]
    fn other_bodies_are_refused_with_what_to_send() {
        for body in [
            &br#"{"userId":"a"}"#[..],
            br#"{"user_id":"a","user_id":"b"}"#,
            br#"{"user_id":7}"#,
            br#"{"user_id":""}"#,
            b"[]",
            b"{",
        ] {
            let problem = wanted(&json("application/json"), body).unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.code), (400, "sidecar_bad_body"));
            assert!(problem.detail.contains("user_id"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_page_cannot_post_without_a_preflight() {
        for headers in [
            HeaderMap::new(),
            json("text/plain"),
            json("application/x-www-form-urlencoded"),
        ] {
            let problem = wanted(&headers, b"{}").unwrap_err();
            assert_eq!(problem.status, 415);
        }
    }

    #[test]
    fn random_ids_are_128_bits_in_hexadecimal_and_differ() {
        let [one, two] = [random_id().unwrap(), random_id().unwrap()];
        assert_eq!(one.as_str().len(), 32);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
    }
}

//! Replies as `SnapTrade` writes them: the error shape, the headers that are always there.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use super::gzip::gzip;
use super::options::{LimitField, Options};
use super::throttle::Standing;

pub(super) type Reply = Response<Body>;

/// What the vendor's framework puts on every reply.
const USUAL_HEADERS: [(&str, &str); 6] = [
    ("vary", "Accept, Cookie, Origin"),
    ("allow", "GET, POST, DELETE, HEAD, OPTIONS"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

#[derive(Serialize)]
struct ErrorBody<'a> {
    detail: &'a str,
    status_code: u16,
    code: &'a str,
}

#[derive(Serialize)]
struct DefaultErrorBody<'a> {
    default_detail: &'a str,
    status_code: u16,
    default_code: &'a str,
}

/// A status that no reply can have becomes 500.
pub(super) fn with_type(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Full(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    reply
}

pub(super) fn json(status: u16, content: &impl Serialize) -> Reply {
    // What is passed here has text keys only, so it cannot fail.
    with_type(
        status,
        "application/json",
        serde_json::to_vec(content).unwrap_or_default(),
    )
}

pub(super) fn error(status: u16, code: &str, detail: &str) -> Reply {
    json(
        status,
        &ErrorBody {
            detail,
            status_code: status,
            code,
        },
    )
}

/// The reply that says that the key has as many users as it may have.
pub(super) fn limit_reached(options: &Options, accepts_gzip: bool) -> Reply {
    let (status_code, code) = (options.limit_status, options.limit_code.as_str());
    let detail = options.limit_detail.as_str();
    let reply = match options.limit_field {
        LimitField::Detail => error(status_code, code, detail),
        LimitField::DefaultDetail => json(
            status_code,
            &DefaultErrorBody {
                default_detail: detail,
                status_code,
                default_code: code,
            },
        ),
    };
    if options.gzip_errors && accepts_gzip {
        compressed(reply)
    } else {
        reply
    }
}

fn compressed(mut reply: Reply) -> Reply {
    if let Body::Full(plain) = reply.body() {
        *reply.body_mut() = Body::Full(gzip(plain).into());
        reply
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

/// A call too many, to be made again in so many seconds.
pub(super) fn throttled(seconds: u64) -> Reply {
    let plural = if seconds == 1 { "" } else { "s" };
    let detail = format!("Request was throttled. Expected available in {seconds} second{plural}.");
    let mut reply = error(429, "0000", &detail);
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    reply
}

pub(super) fn note_standing(reply: &mut Reply, standing: Standing) {
    let headers = reply.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(standing.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(standing.reset_seconds));
}

/// Adds what every reply carries, without replacing what this one brought along.
pub(super) fn finish(reply: &mut Reply, deprecated_path: bool, request_id: &str) {
    for (name, value) in USUAL_HEADERS {
        add(reply.headers_mut(), HeaderName::from_static(name), value);
    }
    add(
        reply.headers_mut(),
        HeaderName::from_static("x-request-id"),
        request_id,
    );
    if deprecated_path {
        add(
            reply.headers_mut(),
            HeaderName::from_static("deprecation"),
            "@1781222400",
        );
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.entry(name).or_insert(value);
    }
}

/// Announces the whole body and then breaks off in its middle.
pub(super) fn cut(reply: Reply) -> Reply {
    let length = http_body::Body::size_hint(reply.body()).exact();
    let mut reply = reply.map(Body::cut);
    if let Some(length) = length {
        reply
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply
}

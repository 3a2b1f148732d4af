//! Calls that are not acted upon: the reply tells the caller what arrived.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONTENT_TYPE, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use serde::Serialize;

use super::arrived::{Arrived, bare_path, parameter, target};
use super::body::Body;
use super::replies::{Reply, error, json, with_type};

/// Paths under this one stream the body back instead of describing it.
const STREAM_PATH: &str = "/_echo/";
const STATUS_PATH: &str = "/_status/";
const BYTES_PATH: &str = "/_bytes/";

/// A header of this prefix is repeated on the reply without it.
const REPLY_PREFIX: &str = "x-reply-";

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    target: String,
    path: &'a str,
    query: Option<&'a str>,
    version: String,
    headers: Vec<(&'a str, String)>,
    trailers: Vec<(&'a str, String)>,
    body_length: u64,
    body_sha256: &'a str,
    body: String,
}

pub(super) fn wants_stream(parts: &Parts) -> bool {
    bare_path(parts.uri.path()).starts_with(STREAM_PATH)
}

/// The body as it arrives. `Trailer` comes along, since without it no trailers may follow over HTTP/1.1.
pub(super) fn stream(parts: &Parts, incoming: Incoming) -> Reply {
    let mut reply = Response::new(Body::Echo(incoming));
    for name in [CONTENT_TYPE, TRAILER] {
        for value in parts.headers.get_all(&name) {
            reply.headers_mut().append(&name, value.clone());
        }
    }
    with_asked_headers(reply, &parts.headers)
}

pub(super) fn echo(arrived: &Arrived) -> Reply {
    let path = bare_path(arrived.parts.uri.path());
    let reply = if arrived.parts.method == Method::CONNECT {
        error(405, "simulator_connect", "CONNECT is not offered here.")
    } else if let Some(code) = path.strip_prefix(STATUS_PATH) {
        with_status(arrived, code)
    } else if let Some(length) = path.strip_prefix(BYTES_PATH) {
        filler(length)
    } else {
        described(arrived)
    };
    with_asked_headers(reply, &arrived.parts.headers)
}

fn described(arrived: &Arrived) -> Reply {
    let Arrived { parts, body, .. } = arrived;
    json(
        200,
        &Echo {
            method: parts.method.as_str(),
            target: target(parts),
            path: parts.uri.path(),
            query: parts.uri.query(),
            version: format!("{:?}", parts.version),
            headers: readable(&parts.headers),
            trailers: readable(&body.trailers),
            body_length: body.length,
            body_sha256: &body.sha256,
            body: BASE64.encode(&body.kept),
        },
    )
}

/// Each byte of a value as the character of that number, so that none is lost.
fn readable(headers: &HeaderMap) -> Vec<(&str, String)> {
    let text = |value: &[u8]| value.iter().copied().map(char::from).collect();
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value.as_bytes())))
        .collect()
}

fn with_status(arrived: &Arrived, code: &str) -> Reply {
    let Some(code) = code.parse().ok().filter(|code| (200..=999).contains(code)) else {
        return error(
            400,
            "simulator_status",
            "The path must be /_status/ and a number from 200 to 999.",
        );
    };
    let content_type = arrived
        .header(CONTENT_TYPE.as_str())
        .unwrap_or("application/json");
    let mut reply = with_type(code, content_type, arrived.body.kept.clone());
    let reason = parameter(arrived.query(), "reason");
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason.into_bytes()).ok()) {
        reply.extensions_mut().insert(reason);
    }
    reply
}

fn filler(length: &str) -> Reply {
    match length.parse() {
        Ok(length) => with_type(200, "application/octet-stream", "").map(|_| Body::Filler(length)),
        Err(_) => error(400, "simulator_bytes", "The path must be /_bytes/ and a number."),
    }
}

fn with_asked_headers(mut reply: Reply, asked: &HeaderMap) -> Reply {
    for (name, value) in asked {
        let name = name.as_str().strip_prefix(REPLY_PREFIX);
        if let Some(name) = name.and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
            reply.headers_mut().append(name, value.clone());
        }
    }
    reply
}

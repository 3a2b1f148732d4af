//! The ops plane's own errors, in the shape of SnapTrade's, each with what to do about it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// `sidecar_…`: for programs.
    pub(super) code: &'static str,
    /// What happened, to what, and what to do: for people.
    pub(super) detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

/// What every refusal says.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Problem))]
pub(super) struct Body<'p> {
    /// False.
    pub(super) success: bool,
    /// What happened, to what, and what to do: for people.
    pub(super) detail: &'p str,
    pub(super) status_code: u16,
    /// `sidecar_…`, or SnapTrade's own: for programs.
    pub(super) code: &'p str,
    /// Of a registration: why the sidecar made no, or no more, room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(super) reason: Option<&'static str>,
    /// Of a registration: those who are gone all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(super) evicted: Option<Vec<&'p str>>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
        }
    }

    /// Says when it may work.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        self.with(header::RETRY_AFTER, seconds.into())
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            success: false,
            detail: &self.detail,
            status_code: self.status.as_u16(),
            code: self.code,
            reason: None,
            evicted: None,
        };
        let uncached = [(header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status, uncached, Json(body)).into_response();
        response.headers_mut().extend(self.header);
        response
    }
}

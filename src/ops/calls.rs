//! Every call there is, and what answers it. `openapi.json` says what they are; a test fails where it does not.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header;

use super::{Ops, feed, hand, hours, overview, page, past, people, probes, register, status};

/// Method, path, and what answers.
pub(super) type Call = (&'static str, &'static str, fn() -> MethodRouter<Arc<Ops>>);

pub(super) const CALLS: [Call; 24] = [
    ("GET", "/", || get(probes::summary)),
    ("GET", "/healthz", || get(probes::live)),
    ("GET", "/readyz", || get(probes::ready)),
    ("GET", "/metrics", || get(probes::metrics)),
    ("GET", "/api/openapi.json", || get(description)),
    ("GET", "/api/snaptrade/status", || get(status::status)),
    ("POST", "/api/snaptrade/register", || post(register::register)),
    ("POST", "/api/snaptrade/register-user", || {
        post(register::register)
    }),
    ("GET", "/dashboard", || get(page::page)),
    ("GET", "/dashboard/", || get(page::moved)),
    ("GET", "/dashboard/{file}", || get(page::file)),
    ("GET", "/api/events", || get(feed::events)),
    ("GET", "/api/tenants/{tenant}/overview", || {
        get(overview::overview)
    }),
    ("GET", "/api/tenants/{tenant}/analytics", || get(past::analytics)),
    ("GET", "/api/tenants/{tenant}/journal", || get(past::journal)),
    ("GET", "/api/tenants/{tenant}/activity", || get(hours::activity)),
    ("GET", "/api/tenants/{tenant}/users", || get(people::users)),
    ("GET", "/api/tenants/{tenant}/next", || get(people::next)),
    ("GET", "/api/tenants/{tenant}/evictions", || {
        get(people::evictions)
    }),
    ("POST", "/api/tenants/{tenant}/users/{id}/evict", || {
        post(hand::evict)
    }),
    ("POST", "/api/tenants/{tenant}/users/{id}/protect", || {
        post(hand::protect)
    }),
    ("POST", "/api/tenants/{tenant}/users/{id}/unprotect", || {
        post(hand::unprotect)
    }),
    ("POST", "/api/tenants/{tenant}/pause", || post(hand::pause)),
    ("POST", "/api/tenants/{tenant}/resume", || post(hand::resume)),
];

/// Made of the code by its test, so that nothing of that is in the program.
async fn description() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        // Another version may answer next time.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("openapi.json")).into_response()
}

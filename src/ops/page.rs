//! The dashboard's page and what it is made of, all in the program: it needs no other host.

use axum::Router;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use http::header::{self, HeaderName, HeaderValue};

/// Nothing from elsewhere, nothing within the page's text, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($kind:expr, $name:literal) => {
        ($name, $kind, include_str!(concat!("dashboard/", $name)))
    };
}

/// `dashboard/uplot.*` is uPlot 1.6.32 as it is published (MIT; `dashboard/uplot-LICENSE.txt`).
const FILES: [(&str, &str, &str); 12] = [
    file!("text/html; charset=utf-8", "index.html"),
    file!("image/svg+xml", "icon.svg"),
    file!(STYLE, "dashboard.css"),
    file!(STYLE, "uplot.css"),
    file!(SCRIPT, "uplot.js"),
    file!(SCRIPT, "main.js"),
    file!(SCRIPT, "api.js"),
    file!(SCRIPT, "charts.js"),
    file!(SCRIPT, "dom.js"),
    file!(SCRIPT, "feed.js"),
    file!(SCRIPT, "panels.js"),
    file!(SCRIPT, "roster.js"),
];

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = FILES[0];
    let mut routes = Router::new()
        .route("/dashboard", get(move || async move { serve(page) }))
        // The page's own links are relative to the path without it.
        .route(
            "/dashboard/",
            get(|| async { Redirect::permanent("../dashboard") }),
        );
    for file in FILES.into_iter().skip(1) {
        routes = routes.route(
            &format!("/dashboard/{}", file.0),
            get(move || async move { serve(file) }),
        );
    }
    routes
}

fn serve((_, kind, content): (&str, &'static str, &'static str)) -> impl IntoResponse {
    let of = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    let headers = [
        of(header::CONTENT_TYPE, kind),
        of(header::CONTENT_SECURITY_POLICY, POLICY),
        of(header::REFERRER_POLICY, "no-referrer"),
        // Another version may answer next time.
        of(header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}

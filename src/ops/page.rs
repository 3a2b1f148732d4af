//! The dashboard's page and what it is made of, all in the program: it needs no other host.

use axum::response::{IntoResponse, Redirect};
use http::Uri;
use http::header::{self, HeaderName, HeaderValue};

use super::people::{InPath, in_path};
use super::problem::Problem;

/// Nothing from elsewhere, nothing within the page's text, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = "text/html; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($kind:expr, $name:literal) => {
        ($name, $kind, include_str!(concat!("dashboard/", $name)))
    };
}

/// `dashboard/uplot.*` is uPlot 1.6.32 as it is published (MIT; `dashboard/uplot-LICENSE.txt`).
const FILES: [(&str, &str, &str); 12] = [
    file!(PAGE, "index.html"),
    file!(IMAGE, "icon.svg"),
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

/// What those are.
#[cfg(test)]
pub(super) const KINDS: [&str; 4] = [PAGE, IMAGE, STYLE, SCRIPT];

pub(super) async fn page() -> impl IntoResponse {
    serve(FILES[0])
}

pub(super) async fn moved() -> Redirect {
    Redirect::permanent("../dashboard")
}

pub(super) async fn file(path: InPath<String>, uri: Uri) -> Result<impl IntoResponse, Problem> {
    let name = in_path(path)?;
    let of_page = FILES.into_iter().skip(1).find(|file| file.0 == name);
    of_page.map(serve).ok_or_else(|| super::nothing_at(&uri))
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

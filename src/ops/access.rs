//! Who may ask, from where, and by which name.
//!
//! The ops plane is often bound to loopback with no token. There its enemies are web pages in the operator's browser:
//! the check of `Host` stops those that point a name of their own at 127.0.0.1 (DNS rebinding), the check of `Origin`
//! stops the others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, sleep};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Ops;
use super::attempts::Attempts;
use super::problem::Problem;
use crate::config;
use crate::guard::Live;

/// Probes and scrapers reach these by any name, and anyone may read them.
const BY_ANY_NAME: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// The two ends of a connection: the caller's address, and the one that the listener is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) listener: SocketAddr,
}

/// What a request may see and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It carries the token: everything.
    Token,
    /// No token is configured, and it comes from this machine: it may read.
    Local,
    /// No token is configured, and it does not, or not surely.
    Remote,
    TokenMissing,
    TokenWrong,
}

impl Standing {
    fn of(config: &config::Ops, headers: &HeaderMap, ends: Option<&Ends>) -> Self {
        let Some(token) = &config.token else {
            let local = ends.is_some_and(|ends| loopback(ends.peer) && loopback(ends.listener));
            return if local && !forwarded(headers) {
                Self::Local
            } else {
                Self::Remote
            };
        };
        match bearer(headers) {
            None => Self::TokenMissing,
            Some(given) if given.ct_eq(token.expose().as_bytes()).into() => Self::Token,
            Some(_) => Self::TokenWrong,
        }
    }

    /// How a request that may not read could; `Ok` if it may.
    pub(super) fn reads(self) -> Result<(), &'static str> {
        match self {
            Self::Token | Self::Local => Ok(()),
            Self::TokenMissing => Err("Send \"Authorization: Bearer <ops.token>\" to see who they are."),
            Self::TokenWrong => Err("The token sent is not ops.token, so who they are is not shown."),
            Self::Remote => Err(
                "Who they are is shown over loopback, without a proxy between, if the ops listener is bound to \
                 loopback; from elsewhere, set ops.token and send it as \"Authorization: Bearer\".",
            ),
        }
    }

    /// Whether this request may see who the users are, of a call that tells nothing else; why not, if not.
    pub(super) fn sees(self) -> Result<(), Problem> {
        let Err(how) = self.reads() else { return Ok(()) };
        Err(match self {
            Self::TokenWrong => token_wrong(how),
            Self::Token | Self::TokenMissing => token_missing(how),
            Self::Local | Self::Remote => Problem::new(StatusCode::FORBIDDEN, "sidecar_readers_only", how),
        })
    }

    /// Whether this request may change something; why not, if not.
    pub(super) fn changes(self) -> Result<(), Problem> {
        match self {
            Self::Token => Ok(()),
            Self::TokenMissing => Err(token_missing(
                "This call changes something; send \"Authorization: Bearer <ops.token>\".",
            )),
            Self::TokenWrong => Err(token_wrong(
                "The token sent is not the configured ops.token; check for a stale or cut-off value.",
            )),
            Self::Local | Self::Remote => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "sidecar_token_not_configured",
                "This call changes something, and without a token nothing can be changed; set ops.token (or \
                 SNAPTRADE_SIDECAR__OPS__TOKEN and restart), and send it as \"Authorization: Bearer\".",
            )),
        }
    }
}

fn token_missing(detail: &str) -> Problem {
    unauthorized("sidecar_token_missing", detail, "Bearer")
}

fn token_wrong(detail: &str) -> Problem {
    unauthorized("sidecar_token_wrong", detail, "Bearer error=\"invalid_token\"")
}

fn unauthorized(code: &'static str, detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// What stands before every call.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    ops: Arc<Ops>,
    attempts: Arc<Attempts>,
}

impl Gate {
    pub(super) fn new(ops: Arc<Ops>) -> Self {
        Self {
            ops,
            attempts: Arc::default(),
        }
    }

    /// How long the answer has to wait, after wrong tokens. Where no token matters, not at all.
    fn wait(&self, standing: Standing, request: &Request) -> Duration {
        let is_tried = matches!(standing, Standing::Token | Standing::TokenWrong);
        if !is_tried || BY_ANY_NAME.contains(&request.uri().path()) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let wait = self.attempts.wait(now);
        if standing == Standing::TokenWrong {
            self.ops.metrics.ops_token_failure();
            if let Some(count) = self.attempts.wrong(now) {
                let peer = request.extensions().get::<Ends>().map(|ends| ends.peer.ip());
                tracing::warn!(
                    peer = peer.map(tracing::field::display),
                    count,
                    "a request to the ops plane came with a wrong token (count: since this was last said); if it is nobody's \
                     mistake, see to it that only those reach ops.listen who should"
                );
            }
        }
        wait
    }
}

/// Stands before every call: checks `Host` and `Origin`, and settles the request's [`Standing`].
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let in_force = gate.ops.live.load();
    let config = &in_force.config.ops;
    let mut response = match check(config, &request) {
        Ok(()) => {
            let ends = request.extensions().get::<Ends>();
            let standing = Standing::of(config, request.headers(), ends);
            let wait = gate.wait(standing, &request);
            if !wait.is_zero() {
                sleep(wait).await;
            }
            request.extensions_mut().insert(standing);
            next.run(request).await
        }
        Err(problem) => {
            let origin = HeaderValue::from_name(header::ORIGIN);
            problem.with(header::VARY, origin).into_response()
        }
    };
    // JSON must not be run as a script, whatever a page embeds it as.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Lets pages of the allowed origins read the answers, and use the token.
pub(super) fn cors(live: Live) -> CorsLayer {
    let allowed = move |origin: &HeaderValue, _: &http::request::Parts| {
        let patterns = &live.load().config.ops.allowed_origins;
        origin
            .to_str()
            .is_ok_and(|origin| patterns.iter().any(|pattern| pattern.matches(origin)))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
        .allow_private_network(true)
        .max_age(PREFLIGHT_MAX_AGE)
}

fn check(config: &config::Ops, request: &Request) -> Result<(), Problem> {
    let host = host(request);
    if !BY_ANY_NAME.contains(&request.uri().path()) && !host.is_some_and(|host| own_name(config, host)) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "sidecar_unknown_host",
            "The ops plane does not answer to this Host, so that no web page can reach it under a name of its own; \
             use an IP address or localhost, or add the name to ops.hosts.",
        ));
    }
    let own = |origin: &str| {
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority
            .zip(host)
            .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    let welcome = |origin: &HeaderValue| {
        origin.to_str().is_ok_and(|origin| {
            own(origin)
                || config
                    .allowed_origins
                    .iter()
                    .any(|pattern| pattern.matches(origin))
        })
    };
    if request.headers().get_all(header::ORIGIN).iter().all(welcome) {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "sidecar_foreign_origin",
            "The ops plane does not answer pages of this Origin; add it to ops.allowed_origins, or set FRONTEND_URL.",
        ))
    }
}

/// The name under which the request reached us, port included: of the target, or of the one `Host`.
fn host(request: &Request) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// An IP address, `localhost`, or one of `ops.hosts`. No page can make a browser send those but from there.
fn own_name(config: &config::Ops, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host().to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.');
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || config.hosts.iter().any(|known| known == name)
}

/// The token of the one `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
        .filter(|token| !token.is_empty())
}

fn loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether a proxy says that it stands between. The peer is then the proxy, and tells nothing of the caller.
fn forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
    })
}

#[cfg(test)]
mod tests;

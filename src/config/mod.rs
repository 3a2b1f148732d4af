//! What the program is told: a TOML file, then the environment, then flags; the later wins.
//!
//! `keys` is the table of every key, which all sources and print-outs follow; `file` and `env` read what was written
//! into `layers`, each value with its place; the rest turns the layers into a [`Config`] and collects every fault on
//! the way (R15). Whatever is in a [`Config`] can be acted upon; `reload` tells what of another one can be put in force
//! without a restart. Nothing here reads the process's environment.

mod beside;
mod dotenv;
mod effective;
mod env;
mod fault;
mod file;
mod files;
pub mod home;
mod hooks;
mod identity;
mod keys;
mod layers;
mod load;
pub mod origin;
mod otel;
mod reader;
#[cfg(test)]
mod reference;
pub mod reload;
mod sections;
mod span;
mod strays;
mod tenants;
#[cfg(test)]
mod tests;
mod value;

pub use beside::is_for_application;
pub use effective::{Effective, reference};
pub use env::OPS_URL;
pub use fault::{Fault, Faults, Place};
pub use files::{Files, Watch};
pub use identity::Identity;
pub use load::{Loaded, Sources, load, ops, ops_certificates, ops_listen};
pub use span::parse_span;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::uri::{Authority, Scheme};
use reqwest::Url;
use rustls::pki_types::CertificateDer;

use crate::admission::Terms;
use crate::types::{ClientId, ConsumerKey, NoticeSecret, Token};
use home::Home;
use origin::OriginPattern;

/// Everything that the program can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub proxy: Proxy,
    pub ops: Ops,
    pub webhooks: Webhooks,
    pub log: Log,
    pub registry: Registry,
    /// `None`: no spans are made.
    pub tracing: Option<Tracing>,
    /// In the order of their names, no two with the same client id; a file that loads names at least one.
    pub tenants: Vec<Arc<Tenant>>,
}

/// `[proxy]`: the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub listen: SocketAddr,
    pub upstream: Upstream,
    pub upstream_ca: Option<CaFile>,
    /// What the upstream is shown, if it asks.
    pub upstream_identity: Option<Identity>,
    /// What callers are shown, who then speak TLS.
    pub tls: Option<Identity>,
    pub connect_timeout: Duration,
    /// Until the response head.
    pub response_timeout: Duration,
    pub max_connections: usize,
    /// Calls that wait for the upstream at once.
    pub max_requests: usize,
    /// Lines of a request's head.
    pub max_headers: usize,
    /// For a request's head.
    pub max_header_bytes: usize,
    pub max_registration_bytes: usize,
    pub header_timeout: Duration,
    /// For the next piece of a body, in either direction.
    pub body_idle_timeout: Duration,
    /// After SIGTERM: not ready, still accepting.
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
    /// 0: as many as the container may use.
    pub worker_threads: usize,
    pub health_paths: bool,
}

/// Where `SnapTrade` is: an origin, since paths are never rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Without user information; becomes `Host` as it is.
    pub authority: Authority,
}

impl Upstream {
    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        let standard = if self.scheme == Scheme::HTTP { 80 } else { 443 };
        self.authority.port_u16().unwrap_or(standard)
    }

    /// Whether the same server answers there, whatever it speaks.
    fn is_same_place(&self, other: &Self) -> bool {
        self.host().eq_ignore_ascii_case(other.host()) && self.port() == other.port()
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// The certificates of a PEM file, and where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFile {
    pub path: PathBuf,
    /// At least one.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// `[ops]`: the ops plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ops {
    pub listen: SocketAddr,
    pub tls: Option<Identity>,
    pub token: Option<Token>,
    /// Lower case, without ports.
    pub hosts: Vec<String>,
    pub allowed_origins: Vec<OriginPattern>,
}

/// `[webhooks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    pub tls: Option<Identity>,
    /// `http` or `https`, without user information, like every URL here.
    pub forward_url: Option<Url>,
}

/// Where a tenant's application is told of evictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    pub url: Url,
    pub secret: NoticeSecret,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A filter in the syntax of `tracing_subscriber::filter::Targets`: a level, or `target=level`, by commas.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// `[registry]`: what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    pub home: Home,
    /// How long entries of the journal are kept.
    pub journal_retention: Duration,
}

/// Where spans are exported to, as the variables of OpenTelemetry say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// With its path.
    pub endpoint: Url,
    /// The variable that says so.
    pub variable: &'static str,
    /// What the collector wants to see, such as a key. They do not print.
    pub headers: HeaderMap,
    /// For one export.
    pub timeout: Duration,
    /// What the spans are of; of two values for one key the later counts.
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    /// How long a span waits for others to be exported with it.
    pub delay: Duration,
    /// Spans that may wait; further ones are dropped.
    pub queue_max: usize,
    /// Spans of one export.
    pub batch_max: usize,
}

impl Tracing {
    /// The endpoint to be shown, without a query, which may hold a key.
    pub fn target(&self) -> &str {
        &self.endpoint[..url::Position::AfterPath]
    }
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Those that a caller began are recorded where it says that it does.
    pub parent_based: bool,
    /// Of the others. Its bits, which are equal or not.
    ratio: u64,
}

impl Sampler {
    pub fn new(parent_based: bool, ratio: f64) -> Self {
        let ratio = ratio.to_bits();
        Self { parent_based, ratio }
    }

    /// How many of those that no caller decided about, from 0 to 1.
    pub fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio)
    }
}

/// `[tenants.<name>]`: one `SnapTrade` API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub name: Arc<str>,
    pub client_id: ClientId,
    pub consumer_key: ConsumerKey,
    pub terms: Terms,
    /// The words of a limit error; none is shorter than five characters.
    pub phrases: Vec<String>,
    pub signature_max_age: Duration,
    /// For one `listUsers` or `deleteUser`.
    pub manage_timeout: Duration,
    pub queue_max: usize,
    /// How long a reply to a registration is kept whose caller left before it got it.
    pub replay_window: Duration,
    pub notify: Option<Notify>,
}

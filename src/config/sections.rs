//! The sections that are not a tenant's, validated.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, Scheme};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::env::PORT;
use super::fault::{Place, Problem};
use super::file::read_bounded;
use super::home::{Home, home};
use super::identity::identity;
use super::origin::OriginPattern;
use super::reader::Reader;
use super::{CaFile, Log, LogFormat, Ops, Proxy, Registry, Upstream};
use crate::types::Token;

/// Shorter, a bearer token can be found by trying.
const TOKEN_CHARS_MIN: usize = 16;
/// With fewer different characters it is one of them, or a word, over and over; a random one hardly ever has so few.
const TOKEN_CHARS_DIFFERENT_MIN: usize = 8;

pub(super) fn proxy(reader: &mut Reader<'_>) -> Option<Proxy> {
    let listen = listen(reader, "proxy.listen");
    let upstream = reader.parsed("proxy.upstream", upstream);
    reader.note_file("proxy.upstream_ca_file");
    let upstream_ca = reader.parsed("proxy.upstream_ca_file", ca_file);
    let upstream_identity = identity(reader, "proxy.upstream_cert_file", "proxy.upstream_key_file");
    let tls = identity(reader, "proxy.tls_cert_file", "proxy.tls_key_file");
    if let Some(upstream) = upstream.as_ref().filter(|upstream| is_exposed(upstream)) {
        reader.warn(format!(
            "{}: {upstream} is not encrypted; secrets and signatures can be read on the way",
            reader.path("proxy.upstream")
        ));
    }
    Some(Proxy {
        connect_timeout: reader.span("proxy.connect_timeout"),
        response_timeout: reader.span("proxy.response_timeout"),
        max_connections: reader.count("proxy.max_connections"),
        max_requests: reader.count("proxy.max_requests"),
        max_headers: reader.count("proxy.max_headers"),
        max_header_bytes: reader.count("proxy.max_header_bytes"),
        max_registration_bytes: reader.count("proxy.max_registration_bytes"),
        header_timeout: reader.span("proxy.header_timeout"),
        body_idle_timeout: reader.span("proxy.body_idle_timeout"),
        drain_delay: reader.span("proxy.drain_delay"),
        drain_timeout: reader.span("proxy.drain_timeout"),
        worker_threads: reader.count("proxy.worker_threads"),
        health_paths: reader.switch("proxy.health_paths"),
        listen: listen?,
        upstream: upstream?,
        upstream_ca: upstream_ca?,
        upstream_identity: upstream_identity.ok()?,
        tls: tls.ok()?,
    })
}

/// Without what the listener shows in TLS: whoever operates a sidecar need not have its key.
pub(super) fn ops(reader: &mut Reader<'_>) -> Option<Ops> {
    let listen = listen(reader, "ops.listen");
    let token = reader
        .secret("ops.token", "ops.token_file")
        .and_then(|(token, place)| {
            if token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let different = token.bytes().collect::<BTreeSet<u8>>().len();
                if token.len() < TOKEN_CHARS_MIN {
                    reader.warn(format!(
                        "ops.token ({place}): is shorter than {TOKEN_CHARS_MIN} characters and can be guessed"
                    ));
                } else if different < TOKEN_CHARS_DIFFERENT_MIN {
                    reader.warn(format!(
                        "ops.token ({place}): has only {different} different characters and can be guessed; make a random \
                         one, such as by openssl rand -hex 32"
                    ));
                }
                return Some(Token::new(token));
            }
            let what = "has spaces or characters that no Authorization header can carry";
            let problem = Problem::new(what, "use letters, digits and ASCII punctuation");
            reader.fault("ops.token", place, problem);
            None
        });
    let hosts = reader.list("ops.hosts", host);
    let mut allowed_origins: Vec<OriginPattern> = Vec::new();
    for origin in reader.list("ops.allowed_origins", origin) {
        if !allowed_origins.contains(&origin) {
            allowed_origins.push(origin);
        }
    }
    Some(Ops {
        listen: listen?,
        tls: None,
        token,
        hosts,
        allowed_origins,
    })
}

pub(super) fn log(reader: &mut Reader<'_>) -> Option<Log> {
    let (format, _) = reader.text("log.format");
    let format = match format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => LogFormat::Auto,
    };
    let level = reader.parsed("log.level", log_level)?;
    Some(Log { format, level })
}

pub(super) fn registry(reader: &mut Reader<'_>) -> Option<Registry> {
    const KEY: &str = "registry.url";
    const FILE_KEY: &str = "registry.url_file";
    let home = match reader.secret(KEY, FILE_KEY) {
        Some((url, place)) => home(&url)
            .map_err(|Problem { what, remedy }| {
                // Of the two, a file that is named is the one that was read.
                let (file, _) = reader.text(FILE_KEY);
                if file.is_empty() {
                    reader.fault(KEY, place, Problem { what, remedy });
                } else {
                    let what = format!("the URL in {file} {what}");
                    reader.fault(FILE_KEY, place, Problem { what, remedy });
                }
            })
            .ok(),
        // Unset, or a fault already.
        None => Some(Home::Memory),
    };
    let journal_retention = reader.span("registry.journal_retention");
    Some(Registry {
        home: home?,
        journal_retention,
    })
}

/// Two listeners cannot share an address; said here, it names both keys, which the operating system's error does not.
pub(super) fn distinct_listeners(reader: &mut Reader<'_>, own: &[(&'static str, SocketAddr)]) {
    let overlap = |a: SocketAddr, b: SocketAddr| {
        let ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
        ip && a.port() == b.port() && a.port() != 0
    };
    for (place, (key, b)) in own.iter().enumerate() {
        if let Some((other, a)) = own[..place].iter().find(|(_, a)| overlap(*a, *b)) {
            let (_, place) = reader.text(key);
            let problem = Problem::new(
                format!("{b} is taken by {other} ({a})"),
                "give each a port of its own",
            );
            reader.fault(key, place, problem);
        }
    }
}

/// An upstream that is one of the sidecar's own listeners would have it send every call to itself, again and again.
pub(super) fn not_itself(
    reader: &mut Reader<'_>,
    upstream: Option<&Upstream>,
    own: &[(&'static str, SocketAddr)],
) {
    const KEY: &str = "proxy.upstream";
    let Some(upstream) = upstream else { return };
    for (key, listen) in own {
        if leads_to(upstream, *listen) {
            let what = format!("{upstream} is the sidecar itself, by {key} ({listen})");
            let problem = Problem::new(what, "give SnapTrade's origin, or another port");
            let (_, place) = reader.text(KEY);
            reader.fault(KEY, place, problem);
        }
    }
}

/// Whether who listens there is reached by that URL. Names other than localhost are not resolved.
pub(super) fn leads_to(upstream: &Upstream, listen: SocketAddr) -> bool {
    let port = upstream.port();
    let ip = listen.ip().to_canonical();
    let on_loopback = ip.is_loopback() || ip.is_unspecified();
    let is_there = match address(upstream) {
        // To call the address that stands for all is to call oneself.
        Some(called) if called.is_loopback() || called.is_unspecified() => on_loopback,
        Some(called) => called == ip,
        None => is_localhost(upstream) && on_loopback,
    };
    port == listen.port() && is_there
}

pub(super) fn listen(reader: &mut Reader<'_>, key: &str) -> Option<SocketAddr> {
    let (text, place) = reader.text(key);
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let from_port = matches!(&place, Place::Variable(name) if name == PORT);
    let problem = if from_port {
        let port = text.trim_start_matches("0.0.0.0:");
        Problem::new(
            format!("{port:?} is not a port"),
            "set PORT to a number from 1 to 65535, or set the listen address",
        )
    } else {
        Problem::new(
            format!("{text:?} is not an IP address and port"),
            "write it like \"127.0.0.1:8080\" or \"[::1]:8080\"",
        )
    };
    reader.fault(key, place, problem);
    None
}

/// Reads an origin. Does not quote it in a fault, since what is wrong with it may be a password.
fn upstream(text: &str) -> Result<Upstream, Problem> {
    let refused = |what: &str| {
        Problem::new(
            what,
            "write scheme, host and port only, such as \"https://api.snaptrade.com\"",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refused("is not a URL"))?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        _ => return Err(refused("is neither http nor https")),
    };
    if rest.contains('@') {
        return Err(refused("has user information"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(refused("has a path or query, but paths are never rewritten"));
    }
    let authority = Authority::from_str(rest).map_err(|_| refused("has no valid host and port"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority
        .as_str()
        .strip_prefix(authority.host())
        .unwrap_or_default();
    if ServerName::try_from(host).is_err()
        || !(port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
    {
        return Err(refused("has no valid host and port"));
    }
    Ok(Upstream { scheme, authority })
}

fn address(upstream: &Upstream) -> Option<IpAddr> {
    let address: Option<IpAddr> = upstream.host().parse().ok();
    address.map(|ip| ip.to_canonical())
}

fn is_localhost(upstream: &Upstream) -> bool {
    let host = upstream.host().to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether calls to this upstream can be read by others: plain HTTP that leaves the machine.
fn is_exposed(upstream: &Upstream) -> bool {
    let local = is_localhost(upstream) || address(upstream).is_some_and(|ip| ip.is_loopback());
    upstream.scheme == Scheme::HTTP && !local
}

fn ca_file(text: &str) -> Result<Option<CaFile>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |what: String| {
        Problem::new(
            format!("{text} {what}"),
            "give a PEM file with the CA's certificate",
        )
    };
    let pem = read_bounded(text.as_ref()).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused("is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(refused("holds no certificate".to_owned()));
    }
    let (_, unusable) = RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    if unusable > 0 {
        return Err(refused("holds a certificate that cannot be read".to_owned()));
    }
    Ok(Some(CaFile {
        path: PathBuf::from(text),
        certificates,
    }))
}

fn host(text: &str) -> Result<String, Problem> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(inner) {
        return Err(Problem::new(
            format!("{text:?} is not a host name"),
            "write names such as \"sidecar.internal\", without scheme, port or *",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn origin(text: &str) -> Result<OriginPattern, Problem> {
    let remedy = "write origins such as \"https://app.example.com\" or \"https://*.vercel.app\"";
    // The entry is not quoted: a URL may hold a password.
    OriginPattern::parse(text).map_err(|error| Problem::new(format!("is not an origin: {error}"), remedy))
}

/// A bare word has to be a level: the filter would take it for a target, and a mistyped level would silence the log.
fn log_level(text: &str) -> Result<String, Problem> {
    let known = |directive: &str| directive.contains('=') || directive.trim().parse::<LevelFilter>().is_ok();
    if Targets::from_str(text).is_ok() && text.split(',').all(known) {
        return Ok(text.to_owned());
    }
    let remedy = "write off, error, warn, info, debug or trace, then target=level pairs, separated by commas";
    Err(Problem::new(format!("{text:?} is not a log filter"), remedy))
}

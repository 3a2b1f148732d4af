//! Asking a running sidecar's ops plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Method;

use super::Failure;
use super::trust::Trust;
use crate::types::Token;
use crate::upstream::outbound;

/// To reach a sidecar, which is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What somebody answered, be it the sidecar or not.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Cut short where it was longer than wanted: what is cut is no JSON, and so not taken for the sidecar's.
    pub(super) body: Vec<u8>,
}

/// Asks once. `timeout` is for the whole exchange, and at most about `body_bytes_max` of the answer are read.
pub(super) async fn ask(
    trust: &Trust,
    method: Method,
    url: &str,
    token: Option<&Token>,
    timeout: Duration,
    body_bytes_max: usize,
) -> Result<Answer, Failure> {
    let tls = trust.client_config()?;
    let client = outbound::client(tls, CONNECT_TIMEOUT).map_err(|error| Failure::new(&error))?;
    let mut request = client.request(method, url).timeout(timeout);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    // The message names the URL itself, or had better not.
    let failed = |error: reqwest::Error| Failure::new(&error.without_url());
    let mut reply = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(piece) = reply.chunk().await.map_err(failed)? {
        body.extend_from_slice(&piece);
        if body.len() > body_bytes_max {
            break;
        }
    }
    Ok(Answer {
        status: reply.status().as_u16(),
        body,
    })
}

/// The URL that was given with `--url`, without a slash at its end.
pub(super) fn base(url: &str) -> Result<String, &'static str> {
    let is_one = reqwest::Url::parse(url).is_ok_and(|parsed| ["http", "https"].contains(&parsed.scheme()));
    if !is_one {
        return Err("it is not a URL; write http://127.0.0.1:9090");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The URL of what listens there.
pub(super) fn base_of(listen: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}", reachable(listen))
}

/// A listener on all addresses is reached on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9090", "http://127.0.0.1:9090"),
            ("[::]:9090", "http://[::1]:9090"),
            ("10.0.0.7:1", "http://10.0.0.7:1"),
        ] {
            assert_eq!(base_of(listen.parse().unwrap(), false), asked);
        }
    }

    #[test]
    fn only_a_url_is_one() {
        assert_eq!(
            base("http://127.0.0.1:9090/"),
            Ok("http://127.0.0.1:9090".to_owned())
        );
        for text in [
            "foo",
            "127.0.0.1:9090",
            "localhost:9090",
            "ftp://a.b",
            "http://",
            "",
        ] {
            assert!(base(text).is_err(), "{text}");
        }
    }
}

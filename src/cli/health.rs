//! `health`: for container health checks, in an image that has no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::{Failure, Settings, control_runtime, say};
use crate::upstream::{manage, tls};

/// For the whole question; container engines allow 30 s by default.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Far more than the sidecar's answer; any other is not read to its end.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Ask whether it is ready for traffic, rather than whether it lives
    #[arg(long)]
    ready: bool,
    /// Ask this sidecar instead of the one that the configuration describes, such as http://127.0.0.1:9090
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(health: &Health) -> Result<(), Failure> {
    let base = match &health.url {
        Some(url) => base(url)?,
        None => format!("http://{}", reachable(health.settings.ops_listen()?)),
    };
    let url = format!("{base}/{}", if health.ready { "readyz" } else { "healthz" });
    let (status, body) = control_runtime()?
        .block_on(ask(&url))
        .map_err(|error| Failure(format!("no answer from {url}: {error}")))?;
    // Whatever else answers there, its page is of no use to who asks.
    let Some(ok) = verdict(&body) else {
        return Err(Failure(format!(
            "{url} answered {status}, but not as the sidecar does; is it the sidecar's address?"
        )));
    };
    say(String::from_utf8_lossy(&body).trim_end())?;
    if ok && (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure(format!("{url} answered {status}")))
    }
}

fn base(url: &str) -> Result<String, Failure> {
    let is_one = reqwest::Url::parse(url).is_ok_and(|parsed| ["http", "https"].contains(&parsed.scheme()));
    if !is_one {
        return Err(Failure(format!(
            "--url: {url:?} is not a URL; write http://127.0.0.1:9090"
        )));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// What the sidecar says of itself; `None` if it is not the sidecar that speaks.
fn verdict(body: &[u8]) -> Option<bool> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    answer["ok"].as_bool()
}

async fn ask(url: &str) -> Result<(u16, Vec<u8>), Failure> {
    let tls = tls::client_config(None).map_err(|error| Failure::new(&error))?;
    let client = manage::client(tls, TIMEOUT).map_err(|error| Failure::new(&error))?;
    let request = client.get(url).timeout(TIMEOUT).send();
    let mut reply = request
        .await
        .map_err(|error| Failure::new(&error.without_url()))?;
    let mut body = Vec::new();
    while let Some(piece) = reply
        .chunk()
        .await
        .map_err(|error| Failure::new(&error.without_url()))?
    {
        body.extend_from_slice(&piece);
        // What is cut short is no JSON, and so not taken for the sidecar's.
        if body.len() > BODY_BYTES_MAX {
            break;
        }
    }
    Ok((reply.status().as_u16(), body))
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
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:1", "10.0.0.7:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn only_a_url_is_one() {
        assert_eq!(
            base("http://127.0.0.1:9090/").ok().unwrap(),
            "http://127.0.0.1:9090"
        );
        for text in [
            "foo",
            "127.0.0.1:9090",
            "localhost:9090",
            "ftp://a.b",
            "http://",
            "",
        ] {
            let failure = base(text).unwrap_err();
            assert_eq!(
                failure.to_string(),
                format!("--url: {text:?} is not a URL; write http://127.0.0.1:9090")
            );
        }
    }
}

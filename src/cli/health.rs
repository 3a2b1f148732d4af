//! `health`: for container health checks, in an image that has no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::{Failure, Settings, control_runtime, say};
use crate::upstream::{manage, tls};

/// For the whole question; container engines allow 30 s by default.
const TIMEOUT: Duration = Duration::from_secs(3);

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
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(health.settings.load()?.config.ops.listen)),
    };
    let url = format!("{base}/{}", if health.ready { "readyz" } else { "healthz" });
    let (status, body) = control_runtime()?
        .block_on(ask(&url))
        .map_err(|error| Failure(format!("no answer from {url}: {error}")))?;
    say(body.trim_end())?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure(format!("{url} answered {status}")))
    }
}

async fn ask(url: &str) -> Result<(u16, String), Failure> {
    let tls = tls::client_config(None).map_err(|error| Failure::new(&error))?;
    let client = manage::client(tls, TIMEOUT).map_err(|error| Failure::new(&error))?;
    let request = client.get(url).timeout(TIMEOUT).send();
    let reply = request
        .await
        .map_err(|error| Failure::new(&error.without_url()))?;
    let status = reply.status().as_u16();
    let body = reply
        .text()
        .await
        .map_err(|error| Failure::new(&error.without_url()))?;
    Ok((status, body))
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
}

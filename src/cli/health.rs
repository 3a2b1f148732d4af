//! `health`: for container health checks, in an image that has no other program.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;

use super::trust::Trust;
use super::{Failure, Settings, control_runtime, say, talk};
use crate::config::OPS_URL;

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
    #[arg(long, value_name = "URL", env = OPS_URL, value_parser = talk::base)]
    url: Option<String>,
    /// PEM file of a CA to trust where the sidecar speaks TLS; the certificate that the configuration names is trusted anyway
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(health: &Health) -> Result<(), Failure> {
    let own = health.settings.ops_certificates();
    let (base, own) = if let Some(url) = &health.url {
        // Asked elsewhere, a sidecar need not be configured here.
        (url.clone(), own.unwrap_or_default())
    } else {
        let (listen, own) = (health.settings.ops_listen()?, own?);
        (talk::base_of(listen, !own.is_empty()), own)
    };
    let trust = Trust::new(health.ca.as_deref(), own)?;
    let url = format!("{base}/{}", if health.ready { "readyz" } else { "healthz" });
    let talk::Answer { status, body } = control_runtime()?
        .block_on(talk::ask(
            &trust,
            Method::GET,
            &url,
            None,
            TIMEOUT,
            BODY_BYTES_MAX,
        ))
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

/// What the sidecar says of itself; `None` if it is not the sidecar that speaks.
fn verdict(body: &[u8]) -> Option<bool> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    answer["ok"].as_bool()
}

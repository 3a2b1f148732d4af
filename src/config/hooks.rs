//! What arrives from `SnapTrade` beside replies, and what the application is told: `[webhooks]`, and a tenant's
//! `eviction.notify_…`.

use std::net::SocketAddr;
use std::str::FromStr as _;

use http::uri::{Authority, Scheme};
use reqwest::Url;

use super::effective::REDACTED;
use super::fault::{Place, Problem};
use super::identity::identity;
use super::reader::Reader;
use super::sections::{leads_to, listen};
use super::{Config, Notify, Upstream, Webhooks};
use crate::types::NoticeSecret;

/// Shorter, a secret can be found by trying, since whoever sees one notice can check a guess.
const SECRET_CHARS_MIN: usize = 16;

const LISTEN: &str = "webhooks.listen";
const FORWARD: &str = "webhooks.forward_url";

pub(super) fn webhooks(reader: &mut Reader<'_>) -> Option<Webhooks> {
    let (text, _) = reader.text(LISTEN);
    let listen = if text.is_empty() {
        Some(None)
    } else {
        listen(reader, LISTEN).map(Some)
    };
    let forward_url = reader.parsed(FORWARD, optional_url);
    let tls = identity(reader, "webhooks.tls_cert_file", "webhooks.tls_key_file");
    if let (Some(None), Some(Some(_))) = (&listen, &forward_url) {
        reader.warn(format!(
            "{FORWARD} has no effect while {LISTEN} is empty: no webhook arrives"
        ));
    }
    Some(Webhooks {
        listen: listen?,
        tls: tls.ok()?,
        forward_url: forward_url?,
    })
}

/// Webhooks that are passed on to the sidecar itself would go round and round.
pub(super) fn not_itself(
    reader: &mut Reader<'_>,
    webhooks: Option<&Webhooks>,
    own: &[(&'static str, SocketAddr)],
) {
    let Some(webhooks) = webhooks else { return };
    if let Some((key, listen)) = own.iter().find(|(_, listen)| reaches(webhooks, *listen)) {
        let what = format!("is the sidecar itself, by {key} ({listen})");
        let problem = Problem::new(what, "give the application's URL, or another port");
        let (_, place) = reader.text(FORWARD);
        reader.fault(FORWARD, place, problem);
    }
}

/// Whether they are passed on to an address of these listeners.
pub(super) fn leads_to_itself(config: &Config) -> bool {
    let own = [
        Some(config.proxy.listen),
        Some(config.ops.listen),
        config.webhooks.listen,
    ];
    own.into_iter()
        .flatten()
        .any(|listen| reaches(&config.webhooks, listen))
}

fn reaches(webhooks: &Webhooks, listen: SocketAddr) -> bool {
    let target = webhooks.forward_url.as_ref().and_then(origin);
    target.is_some_and(|target| leads_to(&target, listen))
}

/// `None` if the tenant's application wants no notices, or there is a fault.
pub(super) fn notify(reader: &mut Reader<'_>) -> Option<Notify> {
    const URL: &str = "tenants.*.eviction.notify_url";
    const SECRET: &str = "tenants.*.eviction.notify_secret";
    const SECRET_FILE: &str = "tenants.*.eviction.notify_secret_file";
    let url = reader.parsed(URL, optional_url);
    let secret = reader.secret(SECRET, SECRET_FILE);
    match (url?, secret) {
        (Some(url), Some((secret, place))) => {
            if secret.chars().count() < SECRET_CHARS_MIN {
                let key = reader.path(SECRET);
                reader.warn(format!(
                    "{key} ({place}): is shorter than {SECRET_CHARS_MIN} characters and can be guessed"
                ));
            }
            let secret = NoticeSecret::new(secret);
            Some(Notify { url, secret })
        }
        (Some(_), None) => {
            if !reader.is_faulty(&reader.path(SECRET_FILE)) {
                let remedy = "set it, or notify_secret_file, to a random text that the application has too";
                let what = format!("is not set, but {} is", reader.path(URL));
                reader.missing(SECRET, Place::Default, Problem::new(what, remedy));
            }
            None
        }
        (None, Some(_)) => {
            let (secret, url) = (reader.path(SECRET), reader.path(URL));
            reader.warn(format!("{secret} has no effect while {url} is empty"));
            None
        }
        (None, None) => None,
    }
}

fn optional_url(text: &str) -> Result<Option<Url>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    url(text).map(Some)
}

/// Reads the URL of an application. Does not quote it in a fault, since what is wrong with it may be a password.
pub(super) fn url(text: &str) -> Result<Url, Problem> {
    let refused = |what: &str| {
        Problem::new(
            what,
            "write one such as \"https://app.example.com/hooks/snaptrade\"",
        )
    };
    let url = Url::parse(text).map_err(|_| refused("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("is neither http nor https"));
    }
    if url.query() == Some(REDACTED) {
        let what = format!("has {REDACTED:?} after the \"?\", which `check` prints in a query's place");
        return Err(Problem::new(what, "write the URL itself"));
    }
    // It would be sent as a password, and shown by `check`.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("has user information"));
    }
    if url.fragment().is_some() {
        return Err(refused("has a fragment, which is never sent"));
    }
    Ok(url)
}

/// Where a URL leads to, its port always said.
pub(super) fn origin(url: &Url) -> Option<Upstream> {
    let scheme = if url.scheme() == "http" {
        Scheme::HTTP
    } else {
        Scheme::HTTPS
    };
    let port = url.port_or_known_default()?;
    let authority = Authority::from_str(&format!("{}:{port}", url.host_str()?)).ok()?;
    Some(Upstream { scheme, authority })
}

//! A notice on the wire: a POST of JSON, signed over its time and body.

use std::time::Duration;

use bytes::Bytes;
use hmac::Mac as _;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Outcome;
use super::desk::{Desk, Pending, Target};
use crate::clock;
use crate::telemetry::chain;
use crate::types::{Millis, Timestamp, UserId};

/// For the application to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Body<'n> {
    id: &'n str,
    #[serde(rename = "type")]
    kind: &'static str,
    tenant: &'n str,
    client_id: &'n str,
    user_id: &'n str,
    newcomer: Option<&'n str>,
    /// RFC 3339, in UTC.
    at: String,
    outcome: &'static str,
}

pub(super) fn body(
    desk: &Desk,
    id: &str,
    user: &UserId,
    newcomer: Option<&UserId>,
    outcome: Outcome,
    at: Millis,
) -> Bytes {
    let body = Body {
        id,
        kind: "user.evicted",
        tenant: &desk.tenant,
        client_id: desk.client_id.as_str(),
        user_id: user.as_str(),
        newcomer: newcomer.map(UserId::as_str),
        at: jiff::Timestamp::from_millisecond(at.0)
            .unwrap_or_default()
            .to_string(),
        outcome: outcome.token(),
    };
    // Texts only, which serialise whatever they hold.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// An id that no other notice has: the same replica tells of no two users at the same time with the same number.
pub(super) fn id(names: &[&str], at: Millis, number: u64) -> String {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.len().to_be_bytes());
        hash.update(name);
    }
    hash.update(at.0.to_be_bytes());
    hash.update(number.to_be_bytes());
    hex(&hash.finalize()[..16])
}

/// Sends it once. The status if the application took it, otherwise why it did not.
pub(super) async fn post(http: &reqwest::Client, target: Target, pending: &Pending) -> Result<u16, String> {
    let timestamp = Timestamp::from(clock::wall()).to_string();
    let mac = target.mac.chain_update(&timestamp).chain_update(".");
    let signature = hex(&mac.chain_update(&pending.body).finalize().into_bytes());
    let request = http
        .post(target.url)
        .header(CONTENT_TYPE, "application/json")
        .header("Snaptrade-Sidecar-Notice", &pending.id)
        .header("Snaptrade-Sidecar-Timestamp", timestamp)
        .header("Snaptrade-Sidecar-Signature", format!("sha256={signature}"))
        .body(pending.body.clone())
        .timeout(TIMEOUT);
    match request.send().await {
        Ok(reply) if reply.status().is_success() => Ok(reply.status().as_u16()),
        Ok(reply) => Err(format!("answered with {}", reply.status().as_u16())),
        // The URL may hold a secret in its query (R13).
        Err(error) => Err(chain(&error.without_url()).to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(bytes))
}

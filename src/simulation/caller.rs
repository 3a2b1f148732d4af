//! The application: who calls a sidecar, and what it makes of the answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio_util::task::AbortOnDropHandle;

use super::plan::{CLIENT, KEY};
use super::sidecar::Sidecar;
use crate::simulator::{Dialect, sign};
use crate::types::Timestamp;

/// A header that is for the connection to the sidecar, and goes no further (R1).
pub(super) const HOP: &str = "x-hop";

/// What a call got.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// How the sidecar says that it handled a registration.
    pub(super) fn admission(&self) -> &str {
        let value = self.headers.get("snaptrade-sidecar-admission");
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn secret(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("userSecret")?.as_str()?.to_owned())
    }
}

/// One call; its number tells it from all others, also at SnapTrade.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    method: &'static str,
    path: &'static str,
    parameter: String,
    body: String,
    pub(super) is_forged: bool,
}

impl Call {
    pub(super) fn register(number: u64, user: &str) -> Self {
        Self {
            number,
            method: "POST",
            path: "/snapTrade/registerUser",
            parameter: String::new(),
            body: format!("{{\"userId\":\"{user}\"}}"),
            is_forged: false,
        }
    }

    pub(super) fn delete(number: u64, user: &str) -> Self {
        Self {
            number,
            method: "DELETE",
            path: "/snapTrade/deleteUser",
            parameter: format!("userId={user}&"),
            body: String::new(),
            is_forged: false,
        }
    }

    pub(super) fn accounts(number: u64, user: &str) -> Self {
        Self {
            path: "/accounts",
            method: "GET",
            ..Self::delete(number, user)
        }
    }

    /// Signed with another key.
    pub(super) fn forged(self) -> Self {
        Self {
            is_forged: true,
            ..self
        }
    }

    pub(super) fn is_registration(&self) -> bool {
        self.method == "POST"
    }

    /// Makes the call. `None` if the connection broke; dropping the future leaves.
    pub(super) async fn make(&self, sidecar: &Sidecar, now: Timestamp) -> Option<Answer> {
        let query = format!("{}clientId={CLIENT}&timestamp={now}", self.parameter);
        let signature = sign(
            if self.is_forged { "another" } else { KEY },
            Dialect::PYTHON,
            self.path,
            &query,
            self.body.as_bytes(),
        )?;
        let request = Request::builder()
            .method(self.method)
            .uri(format!("{}?{query}", self.path))
            .header("Host", "sidecar")
            .header("Signature", signature)
            .header("X-Attempt", self.number)
            .header("Connection", HOP)
            .header(HOP, "for the sidecar alone")
            .body(Full::new(Bytes::from(self.body.clone())))
            .ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(sidecar.connect())).await.ok()?;
        let _connection = AbortOnDropHandle::new(spawn_local(connection));
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

/// The longest that a call may take, whatever happens: to be admitted, to be answered, and once more.
pub(super) const ANSWER_MAX: Duration = Duration::from_mins(4);

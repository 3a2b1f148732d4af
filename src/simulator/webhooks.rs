//! The webhooks that `SnapTrade` sends when users come and go, to `webhook_url`. Each is sent once: the real one's next try
//! comes after half an hour, which no test waits for.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::options::Options;
use super::signature::{Dialect, sign_body};

/// Webhooks that wait; further ones are lost.
const WAITING_MAX: usize = 1_000;
/// Webhooks that are not answered yet, or not due.
const UNDER_WAY_MAX: usize = 1_000;
/// For an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Outbox = mpsc::Sender<Webhook>;

/// A webhook as it will be sent.
pub(super) struct Webhook {
    due: Instant,
    url: String,
    body: Bytes,
    signature: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'w> {
    webhook_id: &'w str,
    client_id: &'w str,
    event_timestamp: String,
    user_id: &'w str,
    event_type: &'static str,
}

impl Webhook {
    /// About something that happens `after` from now. `None` where webhooks are off.
    pub(super) fn new(
        options: &Options,
        client: &str,
        id: &str,
        (kind, user): (&'static str, &str),
        after: Duration,
    ) -> Option<Self> {
        if options.webhook_url.is_empty() {
            return None;
        }
        let at = jiff::Timestamp::now().checked_add(after).ok()?;
        let body = Body {
            webhook_id: id,
            client_id: client,
            event_timestamp: at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
            user_id: user,
            event_type: kind,
        };
        let body = serde_json::to_vec(&body).ok()?;
        Some(Self {
            due: Instant::now() + after,
            url: options.webhook_url.clone(),
            signature: sign_body(options.consumer_key.expose(), Dialect::PYTHON, &body)?,
            body: body.into(),
        })
    }

    async fn send(self, client: Client<HttpConnector, Full<Bytes>>) {
        sleep_until(self.due).await;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("Signature", self.signature)
            .body(Full::new(self.body));
        if let Ok(request) = request {
            // Whoever wants to know asks the one that it was sent to.
            let _ = timeout(TIMEOUT, client.request(request)).await;
        }
    }
}

/// Where webhooks are put, and what sends them until `stop`.
pub(super) fn outbox(stop: CancellationToken) -> (Outbox, impl Future<Output = ()> + Send) {
    let (outbox, mut waiting) = mpsc::channel(WAITING_MAX);
    let sending = async move {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                webhook = waiting.recv(), if under_way.len() < UNDER_WAY_MAX => match webhook {
                    Some(webhook) => {
                        under_way.spawn(Webhook::send(webhook, client.clone()));
                    }
                    None => break,
                },
                Some(_) = under_way.join_next() => {}
            }
        }
    };
    (outbox, sending)
}

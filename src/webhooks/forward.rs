//! Passing a webhook on to the application, whose answer is then `SnapTrade`'s: it retries what is not acknowledged.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::BytesMut;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, RETRY_AFTER};
use reqwest::Url;

use super::Webhook;
use super::problem::Problem;
use crate::proxy::headers::strip_hop_by_hop;
use crate::telemetry::chain;

/// For the application to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of its answer; a longer one goes without its body.
const ANSWER_BYTES_MAX: usize = 64 << 10;

pub(super) struct Forward {
    http: reqwest::Client,
    url: Url,
}

impl Forward {
    pub(super) fn new(http: reqwest::Client, url: Url) -> Self {
        Self { http, url }
    }

    /// Sends it as it came, but for what belongs to the connection. Returns the application's answer.
    pub(super) async fn send(&self, webhook: &Webhook) -> Result<Response, Problem> {
        let mut headers = webhook.headers.clone();
        strip_hop_by_hop(&mut headers);
        // The first is the application's own, the second comes with the body, and what the third waits for is here.
        for name in [HOST, CONTENT_LENGTH, EXPECT] {
            headers.remove(name);
        }
        let request = self
            .http
            .request(webhook.method.clone(), self.url.clone())
            .headers(headers)
            .body(webhook.body.clone())
            .timeout(TIMEOUT);
        let reply = request.send().await.map_err(|error| {
            let (tenant, timed_out) = (webhook.guard.tenant(), error.is_timeout());
            // The URL may hold a secret in its query (R13).
            let error = error.without_url();
            tracing::warn!(
                tenant,
                error = %chain(&error),
                "the application did not take a webhook, so that SnapTrade is to send it again; check \
                 webhooks.forward_url"
            );
            if timed_out && !error.is_connect() {
                Problem::APPLICATION_TIMEOUT
            } else {
                Problem::UNREACHABLE
            }
        })?;
        if !reply.status().is_success() {
            let (tenant, status) = (webhook.guard.tenant(), reply.status().as_u16());
            tracing::warn!(
                tenant,
                status,
                "the application refused a webhook with this status, which is passed on, so that SnapTrade may send it \
                 again; look into what answers at webhooks.forward_url"
            );
        }
        Ok(answer(reply).await)
    }
}

/// The status is what counts, however the body ends.
async fn answer(mut reply: reqwest::Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = reply.status();
    let mut body = BytesMut::new();
    loop {
        match reply.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(None) => break,
            _ => return response,
        }
    }
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        let value: Option<&HeaderValue> = reply.headers().get(&name);
        if let Some(value) = value {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = body.freeze().into();
    response
}

//! Forwards calls: HTTP/1.1 or, where the upstream offers it over TLS, HTTP/2, on connections that are kept.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::{Progress, ReplyBody, RequestBody};
use super::error::{Kind, UpstreamError};
use crate::config;

/// How long an unused connection is kept. Shorter than the minute after which servers commonly close theirs.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// One worker's way to the upstream.
#[derive(Clone)]
pub struct Forwarder {
    client: Client<HttpsConnector<HttpConnector>, RequestBody>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    response_timeout: Duration,
    body_idle_timeout: Duration,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl Forwarder {
    pub fn new(config: &config::Proxy, tls: rustls::ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .set_host(false)
            .build(connector);
        let authority = config.upstream.authority.clone();
        Self {
            client,
            scheme: config.upstream.scheme.clone(),
            // An authority is made of visible ASCII.
            host: HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static("")),
            authority,
            response_timeout: config.response_timeout,
            body_idle_timeout: config.body_idle_timeout,
        }
    }

    /// Sends a request whose URI is path and query, as the caller sent them.
    pub async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ReplyBody>, UpstreamError> {
        let progress = request.body().progress();
        self.address(&mut request)?;
        let sent = self.client.request(request);
        let reply = tokio::select! {
            reply = sent => reply.map_err(explain)?,
            error = self.too_late(progress) => return Err(error),
        };
        Ok(reply.map(|body: Incoming| ReplyBody::streaming(body, self.body_idle_timeout)))
    }

    fn address(&self, request: &mut Request<RequestBody>) -> Result<(), UpstreamError> {
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build();
        *request.uri_mut() = uri.map_err(|error| UpstreamError::new(Kind::Protocol, false, error))?;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, self.host.clone());
        if request.body().size_hint().exact().is_none() {
            request
                .headers_mut()
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(())
    }

    /// Completes when the response head is overdue: `response_timeout` after the request last moved.
    async fn too_late(&self, progress: Option<Progress>) -> UpstreamError {
        let began = Instant::now();
        let mut last = began;
        loop {
            tokio::time::sleep_until((last + self.response_timeout).into()).await;
            let moved = progress.as_ref().map_or(began, Progress::last).max(began);
            if moved <= last {
                let text = format!("no response head within {:?}", self.response_timeout);
                return UpstreamError::new(Kind::Timeout, true, text);
            }
            last = moved;
        }
    }
}

fn explain(error: legacy::Error) -> UpstreamError {
    if error.is_connect() {
        return UpstreamError::new(Kind::Connect, false, error);
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(level) = cause {
        if level.is::<UpstreamError>() {
            return UpstreamError::caller_body(error);
        }
        cause = level.source();
    }
    UpstreamError::new(Kind::BrokeOff, true, error)
}

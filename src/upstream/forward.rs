//! One request to the upstream, and its reply.

use std::pin::{Pin, pin};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{self, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout};

use super::body::{Progress, ReplyBody, RequestBody, has_other_coding};
use super::error::UpstreamError;
use crate::config;

/// Less than the 60 s after which common load balancers close an idle connection, so that a request seldom meets a
/// connection that is just being closed: one that may have been sent is lost, never sent again.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// A connection that died without a word would otherwise take every HTTP/2 request into its response timeout.
const PING_EVERY: Duration = Duration::from_secs(15);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// For the header section of a reply over HTTP/2; about what HTTP/1.1 is given by default.
const HEADER_LIST_BYTES_MAX: u32 = 400 * 1024;

/// Sends requests to the one upstream over connections of its own. Clones share them. Belongs to the runtime in which it
/// is first used, since its connections run there.
#[derive(Clone, Debug)]
pub struct Forwarder {
    client: Client<HttpsConnector<HttpConnector>, RequestBody>,
    scheme: Scheme,
    authority: Authority,
    connect_timeout: Duration,
    response_timeout: Duration,
    body_idle_timeout: Duration,
}

impl Forwarder {
    /// `tls` comes from [`super::tls::client_config`], without application protocols.
    pub fn new(proxy: &config::Proxy, tls: rustls::ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses of the name, so that one that swallows packets does not use up the whole.
        tcp.set_connect_timeout(Some(proxy.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            // Only what a dying pooled connection hands back before a byte of it was written; tests/it/connections.rs
            // shows that nothing is sent twice (R9).
            .retry_canceled_requests(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PONG_WITHIN)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .build(connector);
        Self {
            client,
            scheme: proxy.upstream.scheme.clone(),
            authority: proxy.upstream.authority.clone(),
            connect_timeout: proxy.connect_timeout,
            response_timeout: proxy.response_timeout,
            body_idle_timeout: proxy.body_idle_timeout,
        }
    }

    /// Sends a request as it is, except that it goes to the upstream: of its target only path and query count, and its
    /// `Host` is replaced. Hop-by-hop headers are the caller's to remove. Dropping the future gives the request up.
    ///
    /// The connection has `connect_timeout`. The response head has `response_timeout`, counted from when the upstream last
    /// took a piece of the body; while the body waits for the caller, it does not count.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<ReplyBody>, UpstreamError> {
        let progress = request.body().progress();
        let mut request = self.aimed(request)?;
        let mut connection = capture_connection(&mut request);
        let mut reply = pin!(self.client.request(request));
        let connected = async move { drop(connection.wait_for_connection_metadata().await) };
        let early = tokio::select! {
            biased;
            early = &mut reply => Some(early),
            connected = timeout(self.connect_timeout, connected) => {
                connected.map_err(|_| UpstreamError::no_connection(self.connect_timeout))?;
                None
            }
        };
        let reply = match early {
            Some(early) => early,
            None => self.answered(reply, progress.as_deref()).await?,
        };
        match reply {
            Ok(reply) => self.received(reply),
            Err(error) if progress.is_some_and(|progress| progress.failed()) => {
                Err(UpstreamError::caller_body(error))
            }
            Err(error) => Err(UpstreamError::from_client(error)),
        }
    }

    fn aimed(&self, request: Request<RequestBody>) -> Result<Request<RequestBody>, UpstreamError> {
        let (mut head, body) = request.into_parts();
        let mut target = head.uri.into_parts();
        target.scheme = Some(self.scheme.clone());
        target.authority = Some(self.authority.clone());
        head.uri = Uri::from_parts(target).map_err(UpstreamError::unsendable)?;
        head.version = Version::HTTP_11;
        // Over HTTP/1.1 the client puts the authority in its place, over HTTP/2 `:authority` says it.
        head.headers.remove(HOST);
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            // Without this, the client would take a GET or HEAD for one without a body. It drops it over HTTP/2.
            head.headers.remove(CONTENT_LENGTH);
            head.headers
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(Request::from_parts(head, body))
    }

    async fn answered(
        &self,
        mut reply: Pin<&mut ResponseFuture>,
        progress: Option<&Progress>,
    ) -> Result<Result<Response<Incoming>, legacy::Error>, UpstreamError> {
        let mut deadline = Instant::now() + self.response_timeout;
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return Ok(reply),
                () = sleep_until(deadline) => {}
            }
            let now = Instant::now();
            let since = match progress {
                Some(progress) if progress.waits_for_caller() => now,
                Some(progress) => progress.last(),
                None => return Err(UpstreamError::no_answer(self.response_timeout)),
            };
            deadline = deadline.max(since + self.response_timeout);
            if deadline <= now {
                return Err(UpstreamError::no_answer(self.response_timeout));
            }
        }
    }

    fn received(&self, reply: Response<Incoming>) -> Result<Response<ReplyBody>, UpstreamError> {
        let mut reply = reply.map(|incoming| ReplyBody::streaming(incoming, self.body_idle_timeout));
        if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::protocol("it switched protocols, unasked"));
        }
        if has_other_coding(reply.headers()) {
            return Err(UpstreamError::protocol("it used a transfer coding, unasked"));
        }
        if reply.headers().contains_key(TRANSFER_ENCODING) {
            // The chunks have the last word (RFC 9112, section 6.3), and the server would believe the length.
            reply.headers_mut().remove(CONTENT_LENGTH);
        }
        // HTTP/2 has no reason phrases, and the server would make one up for a status that it does not know.
        if reply.version() == Version::HTTP_2 && reply.status().canonical_reason().is_none() {
            reply.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        // The version is each connection's own; the server writes that of the caller.
        *reply.version_mut() = Version::HTTP_11;
        Ok(reply)
    }
}

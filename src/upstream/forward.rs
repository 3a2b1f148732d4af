//! One request to the upstream, and its reply.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::body::{Progress, ReplyBody, RequestBody, has_other_coding};
use super::connect::{Connector, Multiplexed};
use super::error::UpstreamError;
use super::own::Own;
use super::pool::{IDLE_MAX, IDLE_MAX_UNREPEATABLE, Pool, Way};
use super::wire::{Unanswered, Wire, is_repeatable};
use crate::config;
use crate::telemetry::chain;

/// How often a request is given to a connection, the last time to a new one.
const TRIES_MAX: u32 = 3;

/// Sends requests to the one upstream over connections of its own. Clones share them. Belongs to the runtime in which it
/// is first used, since its connections run there.
#[derive(Clone, Debug)]
pub struct Forwarder {
    pool: Arc<Pool>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    response_timeout: Duration,
    body_idle_timeout: Duration,
    /// What has not left by then is not sent.
    leave_by: Option<Instant>,
}

impl Forwarder {
    /// `tls` comes from [`super::tls::client_config`], without application protocols. `own` are the sidecar's listeners, and
    /// `cut_short` counts the replies that began and did not end.
    pub fn new(proxy: &config::Proxy, tls: rustls::ClientConfig, own: Own, cut_short: Counter) -> Self {
        let authority = proxy.upstream.authority.clone();
        let scheme = proxy.upstream.scheme.clone();
        let mut origin = http::uri::Parts::default();
        origin.scheme = Some(scheme.clone());
        origin.authority = Some(authority.clone());
        origin.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        // Scheme, authority and path make a URI, and an authority is visible ASCII.
        let origin = Uri::from_parts(origin).unwrap_or_default();
        let host = HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        Self {
            pool: Pool::new(Connector::new(tls, origin, proxy.connect_timeout, own), cut_short),
            scheme,
            authority,
            host,
            response_timeout: proxy.response_timeout,
            body_idle_timeout: proxy.body_idle_timeout,
            leave_by: None,
        }
    }

    /// The same, over the same connections, with another time for the response head.
    #[must_use]
    pub fn with_response_timeout(&self, response_timeout: Duration) -> Self {
        Self {
            response_timeout,
            ..self.clone()
        }
    }

    /// The same, for what must leave by then or not at all: to wait for a connection may take longer.
    #[must_use]
    pub fn leaving_by(&self, at: std::time::Instant) -> Self {
        Self {
            leave_by: Some(Instant::from_std(at)),
            ..self.clone()
        }
    }

    async fn way(&self, idle_max: Duration) -> Result<Way, UpstreamError> {
        let Some(at) = self.leave_by else {
            return self.pool.way(idle_max).await;
        };
        let limit = at.saturating_duration_since(Instant::now());
        let late = || UpstreamError::no_connection(limit);
        let way = timeout_at(at, self.pool.way(idle_max))
            .await
            .map_err(|_| late())?;
        // The program may have been stopped meanwhile.
        if Instant::now() < at { way } else { Err(late()) }
    }

    /// Takes `request` and sends it as it is, except that it goes to the upstream: of its target only path and query count, and its
    /// `Host` is replaced. Hop-by-hop headers are the caller's to remove. Dropping the future gives the request up.
    ///
    /// `now` is when it began. The connection has `connect_timeout`. The response head has `response_timeout`, counted from
    /// when the upstream last took a piece of the body; while the body waits for the caller, it does not count.
    ///
    /// Sent again by another connection, and so as if it had met it at first, is a request of which nothing was sent, because
    /// its connection was closing; and, once, a safe one without a body, if its connection had been used before and ended
    /// without a byte of a reply. Any other that may have been sent is not (R9).
    pub async fn send(
        &self,
        request: &mut Request<RequestBody>,
        now: std::time::Instant,
    ) -> Result<Response<ReplyBody>, UpstreamError> {
        let mut now = Instant::from_std(now);
        if request.uri().path_and_query().is_none() {
            return Err(UpstreamError::unsendable("its target has no path"));
        }
        let mut idle_max = if is_repeatable(request) {
            IDLE_MAX
        } else {
            IDLE_MAX_UNREPEATABLE
        };
        let mut way = if let Some(way) = self.pool.kept(now, idle_max) {
            way
        } else {
            // In a box, as other rare things here, so that it takes no room in what is moved for every request.
            let way = Box::pin(self.way(idle_max)).await?;
            now = Instant::now();
            way
        };
        let (mut tries, mut is_repeated) = (1, false);
        loop {
            let sent = match way {
                Way::Http1(wire) => self.by_wire(wire, request, now).await,
                Way::Http2 { sender, is_new } => Box::pin(self.by_stream(sender, is_new, request)).await,
            };
            let Unanswered {
                error,
                request: again,
            } = match sent {
                Ok(reply) => return Ok(reply),
                Err(unanswered) => unanswered,
            };
            let may_go = tries < TRIES_MAX && !(error.sent() && is_repeated);
            let Some(again) = again.filter(|_| may_go) else {
                return Err(error);
            };
            debug!(error = %chain(&error), "sending a request again, by another connection");
            *request = *again;
            is_repeated |= error.sent();
            tries += 1;
            if is_repeated || tries == TRIES_MAX {
                // All that are kept may be closing, as after a restart of the upstream.
                idle_max = Duration::ZERO;
            }
            way = Box::pin(self.way(idle_max)).await?;
            now = Instant::now();
        }
    }

    async fn by_wire(
        &self,
        mut wire: Box<Wire>,
        request: &mut Request<RequestBody>,
        now: Instant,
    ) -> Result<Response<ReplyBody>, Unanswered> {
        let progress = request.body().progress();
        self.aim_over_http1(request);
        let sent = wire
            .send(request, progress.as_deref(), now, self.response_timeout)
            .await;
        let reply = sent.map_err(|failed| blamed(failed, progress.as_deref()))?;
        let reply = checked(reply)?;
        if progress.is_some_and(|progress| !progress.ended()) {
            tokio::spawn(wire.run());
            return Ok(
                reply.map(|incoming| ReplyBody::by_stream(incoming, &self.pool, self.body_idle_timeout))
            );
        }
        let (head, incoming) = reply.into_parts();
        let body = ReplyBody::by_wire(wire, incoming, &self.pool, self.body_idle_timeout).await;
        Ok(Response::from_parts(head, body.map_err(no_reply)?))
    }

    async fn by_stream(
        &self,
        mut sender: Multiplexed,
        is_new: bool,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<ReplyBody>, Unanswered> {
        let progress = request.body().progress();
        self.aim_over_http2(request).map_err(no_reply)?;
        let copy = (!is_new && is_repeatable(request)).then(|| copy_of_head(request));
        let mut sent = pin!(sender.try_send_request(std::mem::take(request)));
        let mut deadline = Instant::now() + self.response_timeout;
        let reply = loop {
            tokio::select! {
                biased;
                reply = &mut sent => break reply,
                () = sleep_until(deadline) => {}
            }
            let now = Instant::now();
            let since = match progress.as_deref() {
                Some(progress) if progress.waits_for_caller() => now,
                Some(progress) => progress.last(),
                None => deadline - self.response_timeout,
            };
            deadline = deadline.max(since + self.response_timeout);
            if deadline <= now {
                return Err(no_reply(UpstreamError::no_answer(self.response_timeout)));
            }
        };
        let reply =
            reply.map_err(|failed| blamed(Unanswered::by_stream(failed, copy), progress.as_deref()))?;
        let mut reply = checked(reply)?
            .map(|incoming| ReplyBody::by_stream(incoming, &self.pool, self.body_idle_timeout));
        // HTTP/2 has no reason phrases, and the server would make one up for a status that it does not know.
        if reply.status().canonical_reason().is_none() {
            reply.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        Ok(reply)
    }

    fn aim_over_http1(&self, request: &mut Request<RequestBody>) {
        *request.version_mut() = Version::HTTP_11;
        let is_origin_form = request.uri().authority().is_none();
        if !is_origin_form {
            let mut target = std::mem::take(request.uri_mut()).into_parts();
            (target.scheme, target.authority) = (None, None);
            // A path and query alone are a URI.
            *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
        }
        let is_chunked = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if is_chunked {
            // Without this, the client would take a GET or HEAD for one without a body.
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    fn aim_over_http2(&self, request: &mut Request<RequestBody>) -> Result<(), UpstreamError> {
        let mut target = std::mem::take(request.uri_mut()).into_parts();
        target.scheme = Some(self.scheme.clone());
        target.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(target).map_err(UpstreamError::unsendable)?;
        *request.version_mut() = Version::HTTP_2;
        // `:authority` says it.
        request.headers_mut().remove(HOST);
        if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        // From an attempt over HTTP/1.1.
        request.headers_mut().remove(TRANSFER_ENCODING);
        Ok(())
    }
}

/// With an empty body.
fn copy_of_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn no_reply(error: UpstreamError) -> Unanswered {
    Unanswered { error, request: None }
}

/// An upload that failed on the caller's side is the caller's failure, however the connection puts it.
fn blamed(failed: Unanswered, progress: Option<&Progress>) -> Unanswered {
    match progress {
        Some(progress) if progress.failed() && failed.request.is_none() => Unanswered {
            error: UpstreamError::caller_body(failed.error),
            ..failed
        },
        _ => failed,
    }
}

fn checked(mut reply: Response<Incoming>) -> Result<Response<Incoming>, Unanswered> {
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(no_reply(UpstreamError::protocol(
            "it switched protocols, unasked",
        )));
    }
    if reply.headers().contains_key(TRANSFER_ENCODING) {
        if has_other_coding(reply.headers()) {
            return Err(no_reply(UpstreamError::protocol(
                "it used a transfer coding, unasked",
            )));
        }
        // The chunks have the last word (RFC 9112, section 6.3), and the server would believe the length.
        reply.headers_mut().remove(CONTENT_LENGTH);
    }
    // The version is each connection's own; the server writes that of the caller.
    *reply.version_mut() = Version::HTTP_11;
    Ok(reply)
}

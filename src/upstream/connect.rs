//! New connections to the upstream.

use std::time::Duration;

use http::Uri;
use hyper::client::conn::{http1, http2};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service as _;
use tracing::debug;

use super::body::RequestBody;
use super::error::UpstreamError;
use super::line::Line;
use super::own::{Guarded, Own};
use super::resolve::Resolver;
use super::wire::Wire;
use crate::telemetry::chain;

pub(super) type Real = MaybeHttpsStream<TokioIo<TcpStream>>;
#[cfg(not(test))]
pub(super) type Stream = Real;
#[cfg(test)]
pub(super) use super::simulated::Stream;
pub(super) type Multiplexed = http2::SendRequest<RequestBody>;

/// So that a connection whose other end vanished without a word is noticed, and no box on the way forgets a quiet one.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const TCP_KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_RETRIES: u32 = 3;
/// A connection that died without a word would otherwise take every HTTP/2 request into its response timeout.
const PING_EVERY: Duration = Duration::from_secs(15);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// For the head of a reply, and what is buffered of a body on its way at either end of a connection: with much more,
/// callers that do not read could take a great deal.
const BUFFER_BYTES_MAX: u32 = 128 << 10;

/// A connection, by what was agreed on in TLS.
pub(super) enum Connected {
    Http1(Box<Wire>),
    Http2(Multiplexed),
}

#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: HttpsConnector<Guarded>,
    origin: Uri,
    pub(super) timeout: Duration,
}

impl Connector {
    /// `timeout` is for all of a connection: name, TCP, TLS.
    pub(super) fn new(tls: rustls::ClientConfig, origin: Uri, timeout: Duration, own: Own) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEPALIVE_EVERY));
        tcp.set_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES));
        // Divided among the addresses of the name, so that one that swallows packets does not use up the whole.
        tcp.set_connect_timeout(Some(timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Guarded::new(tcp, own));
        Self {
            https,
            origin,
            timeout,
        }
    }

    pub(super) async fn connect(&self) -> Result<Connected, UpstreamError> {
        timeout(self.timeout, self.open())
            .await
            .unwrap_or_else(|_| Err(UpstreamError::no_connection(self.timeout)))
    }

    async fn open(&self) -> Result<Connected, UpstreamError> {
        let stream = self.dial().await?;
        if stream.connected().is_negotiated_h2() {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PONG_WITHIN)
                .max_header_list_size(BUFFER_BYTES_MAX)
                .handshake(stream)
                .await
                .map_err(UpstreamError::connect)?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(error = %chain(&error), "a connection to the upstream ended");
                }
            });
            Ok(Connected::Http2(sender))
        } else {
            let (line, watch) = Line::new(stream);
            let (sender, connection) = http1::Builder::new()
                .allow_obsolete_multiline_headers_in_responses(true)
                // Most requests are a head alone: one buffer is written sooner than a list of them.
                .writev(false)
                .max_buf_size(BUFFER_BYTES_MAX as usize)
                .handshake(line)
                .await
                .map_err(UpstreamError::connect)?;
            Ok(Connected::Http1(Box::new(Wire::new(sender, connection, watch))))
        }
    }
    async fn dial(&self) -> Result<Stream, UpstreamError> {
        #[cfg(test)]
        if let Some(dialled) = super::simulated::dial().await {
            let end = dialled.map_err(UpstreamError::connect)?;
            return Ok(Stream::Simulated(TokioIo::new(end)));
        }
        let opened = self.https.clone().call(self.origin.clone()).await;
        let real = opened.map_err(UpstreamError::connect)?;
        #[cfg(test)]
        let real = Stream::Real(real);
        Ok(real)
    }
}

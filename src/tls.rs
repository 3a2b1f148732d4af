//! TLS on the sidecar's own listeners, and the certificates that it shows, there and to the upstream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::metrics::counter::Counter;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Identity;
use crate::telemetry::chain;

/// What is shown of oneself in handshakes, until it is replaced.
#[derive(Debug)]
pub struct Presented(ArcSwapOption<CertifiedKey>);

impl Presented {
    pub fn new(identity: Option<&Identity>) -> Self {
        Self(ArcSwapOption::new(
            identity.map(|identity| Arc::clone(&identity.key)),
        ))
    }

    /// From the next handshake on; connections stay as they are.
    pub fn show(&self, identity: Option<&Identity>) {
        self.0.store(identity.map(|identity| Arc::clone(&identity.key)));
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesClientCert for Presented {
    /// Whoever asks gets the one there is: which one it takes is its own to say.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

/// Agrees on TLS with who connects to a listener.
#[derive(Clone)]
pub struct Acceptor {
    acceptor: TlsAcceptor,
    failed: Counter,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// TLS 1.2 and 1.3, for HTTP/1.1. `failed` counts the handshakes that came to nothing.
    ///
    /// # Errors
    /// If there is no randomness for session tickets.
    pub fn new(presented: Arc<Presented>, failed: Counter) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(presented);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // So that sessions are resumed by whichever worker gets the next connection, and take no memory here.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            failed,
        })
    }

    /// `None` if there is no agreement within `limit`. Anybody can bring that about, so that it is told at level debug.
    pub async fn accept(&self, stream: TcpStream, limit: Duration) -> Option<TlsStream<TcpStream>> {
        match timeout(limit, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "a caller did not agree on TLS; it must speak https to this port");
            }
            Err(_) => tracing::debug!(?limit, "a caller took too long to agree on TLS"),
        }
        self.failed.inc();
        None
    }
}

//! Whom to trust on the way to the upstream, and what to show it.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::config::CaFile;
use crate::tls::Presented;

/// TLS 1.2 and 1.3 with the roots that come with the program and, beside them, the operator's own. The system's store is
/// not read, so that a container image needs none. Names no application protocol: each client adds those it speaks.
/// Shows no certificate.
///
/// # Errors
/// If a certificate of the operator's cannot be used.
pub fn client_config(ca: Option<&CaFile>) -> Result<ClientConfig, rustls::Error> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for certificate in ca.into_iter().flat_map(|ca| &ca.certificates) {
        roots.add(certificate.clone())?;
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// The same, and what is `presented` is shown where the other end asks for it: for the upstream alone.
pub fn identified(config: &ClientConfig, presented: Arc<Presented>) -> ClientConfig {
    let mut config = config.clone();
    config.client_auth_cert_resolver = presented;
    config
}

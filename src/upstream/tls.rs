//! Trust for the upstream, the same for both clients.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::config::CaFile;

/// The built-in roots, and the CA that the configuration adds. ALPN is each client's own business.
pub fn client_config(ca: Option<&CaFile>) -> Result<ClientConfig, rustls::Error> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for certificate in ca.into_iter().flat_map(|ca| &ca.certificates) {
        roots.add(certificate.clone())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

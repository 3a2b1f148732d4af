//! Whom to trust on the way to the upstream.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::config::CaFile;

/// TLS 1.2 and 1.3 with the roots that come with the program and, beside them, the operator's own. The system's store is
/// not read, so that a container image needs none. Names no application protocol: each client adds those it speaks.
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

//! Whom a command trusts that asks a running sidecar over TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Failure;

/// Trusts what the roots say; and the very certificate that the configuration names, by whatever address it is reached: only
/// the sidecar has its key.
#[derive(Debug)]
struct Verifier {
    by_roots: Arc<WebPkiServerVerifier>,
    own: Option<CertificateDer<'static>>,
}

pub(super) struct Trust {
    /// CAs beside the built-in ones.
    more: Vec<CertificateDer<'static>>,
    own: Option<CertificateDer<'static>>,
}

impl Trust {
    /// `ca` is a file of certificates in PEM; the first of `own` is what the sidecar shows.
    pub(super) fn new(ca: Option<&Path>, own: Vec<CertificateDer<'static>>) -> Result<Self, Failure> {
        Ok(Self {
            more: ca.map_or(Ok(Vec::new()), read)?,
            own: own.into_iter().next(),
        })
    }

    pub(super) fn client_config(&self) -> Result<ClientConfig, Failure> {
        self.build().map_err(|error| Failure::new(&error))
    }

    fn build(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        for certificate in &self.more {
            roots.add(certificate.clone())?;
        }
        let by_roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = Verifier {
            by_roots: by_roots
                .build()
                .map_err(|error| Error::General(error.to_string()))?,
            own: self.own.clone(),
        };
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    }
}

fn read(ca: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let refused = |what: String| Failure(format!("--ca: {} {what}; give a PEM file of a CA", ca.display()));
    let pem = std::fs::read(ca).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(refused("holds no certificate".to_owned())),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.as_ref().is_some_and(|own| own == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.by_roots
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    /// That the other end has the key of its certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls12_signature(message, cert, dss)
    }

    /// That the other end has the key of its certificate.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_roots.supported_verify_schemes()
    }
}

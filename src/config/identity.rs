//! A certificate and its key, from PEM files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::fault::Problem;
use super::file::read_bounded;
use super::reader::Reader;

/// What proves in TLS who one is.
#[derive(Clone)]
pub struct Identity {
    pub cert_file: PathBuf,
    /// The certificate, those that lead to its authority, and the key, which belongs to it.
    pub key: Arc<CertifiedKey>,
}

/// Certificates are not secret, but nothing is told of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("cert_file", &self.cert_file)
            .finish_non_exhaustive()
    }
}

/// A certificate names its key, so that those with the same certificate have the same key.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.cert_file == other.cert_file && self.key.cert == other.key.cert
    }
}

impl Eq for Identity {}

/// Something is wrong, as the reader was told.
pub(super) struct Faulty;

/// What these two keys of the configuration name: both, or neither.
pub(super) fn identity(
    reader: &mut Reader<'_>,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<Identity>, Faulty> {
    reader.note_file(cert);
    reader.note_file(key);
    let (cert_file, _) = reader.text(cert);
    let (key_file, key_place) = reader.text(key);
    if cert_file.is_empty() && key_file.is_empty() {
        return Ok(None);
    }
    for (this, other, file) in [(cert, key, &cert_file), (key, cert, &key_file)] {
        if file.is_empty() {
            let (_, place) = reader.text(other);
            let problem = Problem::new(format!("is not set, but {other} is"), "set both, or neither");
            reader.fault(this, place, problem);
            return Err(Faulty);
        }
    }
    let certificates = reader.parsed(cert, chain);
    let secret = reader.parsed(key, private_key);
    reader.note_if_exposed(Path::new(&key_file), key, "");
    let (Some(certificates), Some(secret)) = (certificates, secret) else {
        return Err(Faulty);
    };
    match CertifiedKey::from_der(certificates, secret, &ring::default_provider()) {
        Ok(certified) => Ok(Some(Identity {
            cert_file: PathBuf::from(cert_file),
            key: Arc::new(certified),
        })),
        Err(error) => {
            let what = format!("{key_file} cannot be used with {cert_file}: {error}");
            let remedy =
                "give the key that this certificate was made for, and its certificate first in its file";
            reader.fault(key, key_place, Problem::new(what, remedy));
            Err(Faulty)
        }
    }
}

/// The certificates of a file; none if no file is named.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    chain(text)
}

fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let refused = |what: String| {
        Problem::new(
            format!("{text} {what}"),
            "give a PEM file with the certificate, and after it those that lead to its CA",
        )
    };
    let pem = read_bounded(text.as_ref()).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| refused("is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(refused("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Problem> {
    let refused = |what: String| {
        Problem::new(
            format!("{text} {what}"),
            "give a PEM file with the certificate's key, not encrypted",
        )
    };
    let pem = read_bounded(text.as_ref())
        .map(Zeroizing::new)
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| refused("holds no key".to_owned()))
}

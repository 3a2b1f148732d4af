//! What an operator can do about an upstream that does not answer. The log says it beside the cause.

use std::io;

use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};

use super::error::{Kind, UpstreamError, find};

/// In one clause, naming the keys that it may lie in.
pub(super) fn remedy(error: &UpstreamError) -> &'static str {
    match error.kind() {
        Kind::Dns => "check the host in proxy.upstream, and this machine's DNS",
        Kind::Connect => match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                "nothing listens there, or a firewall refuses: check host and port of proxy.upstream"
            }
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                "no route leads there: check this machine's network, and IPv6 if the address is one"
            }
            _ => "check proxy.upstream and this machine's network",
        },
        Kind::Tls => find(error).map_or(
            "the upstream closed the connection while TLS was agreed on: check that it speaks TLS at that port; one \
             without TLS is http://",
            tls,
        ),
        Kind::Timeout if !error.sent() => {
            "check that a firewall lets this machine reach proxy.upstream; proxy.connect_timeout says how long is tried"
        }
        Kind::Timeout => {
            "SnapTrade is slow; proxy.response_timeout says how long it is waited for, and manage_timeout for the \
             sidecar's own calls"
        }
        Kind::BrokeOff => "it passes by itself, unless a firewall or proxy between closes connections",
        Kind::Protocol => "check that proxy.upstream is SnapTrade, and https:// where it speaks TLS",
        Kind::Loop => "set proxy.upstream to SnapTrade's origin",
        Kind::CallerBody => "the caller stopped sending; look there",
    }
}

fn tls(error: &Tls) -> &'static str {
    match error {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => {
            "nobody who is trusted signed its certificate: check proxy.upstream, and set proxy.upstream_ca_file to a \
             private CA's"
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet: check this machine's clock"
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired: check this machine's clock, then tell whoever runs the upstream"
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name: check the host in proxy.upstream"
        }
        Tls::AlertReceived(alert) if is_about_the_client(*alert) => {
            "it refused this client: where it wants a client certificate, check proxy.upstream_cert_file and \
             upstream_key_file"
        }
        Tls::InvalidMessage(_) => "it does not speak TLS: an upstream without TLS is http://",
        _ => "check proxy.upstream and proxy.upstream_ca_file",
    }
}

/// Whether an alert says that the other end does not let this client in, by its certificate most likely. Nothing of a
/// request is acted upon then, even if its bytes were sent already, as TLS 1.3 permits.
pub(super) fn is_about_the_client(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::HandshakeFailure
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

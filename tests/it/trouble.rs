//! An upstream that cannot be reached, or does not answer as it should: what the caller, the metrics and the log say of it.

use std::io::Write as _;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS12;
use rustls::{RootCertStore, ServerConfig};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::between::Between;
use crate::connections::nobodys_address;
use crate::harness::{ANY_PORT, options};
use crate::ops::metrics_of;
use crate::program::{Sidecar, simulator};

const CLOCKS: &str = "this machine's clock and SnapTrade's are far apart (positive: SnapTrade's is ahead), so that signatures \
                      may be refused and registrations seem stale; set the clock, and keep it right with NTP";

/// What happens to whoever connects.
#[derive(Clone)]
enum Upstream {
    /// Nothing, for as long as the test takes.
    Silent,
    /// Once something came, it gets this, and the connection is closed.
    Says(&'static [u8]),
    Tls(TlsAcceptor),
}

/// Where that is: host and port.
async fn somewhere(upstream: Upstream) -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream, upstream.clone()));
        }
    });
    address.to_string()
}

async fn treat(mut stream: TcpStream, upstream: Upstream) {
    let mut some = [0; 4096];
    match upstream {
        Upstream::Silent => while stream.read(&mut some).await.is_ok_and(|count| count > 0) {},
        Upstream::Says(what) => {
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(what).await;
        }
        Upstream::Tls(acceptor) => drop(acceptor.accept(stream).await),
    }
}

/// A certificate that nobody but itself vouches for, and its file.
fn certified(name: &str, is_of_the_future: bool) -> (Upstream, NamedTempFile) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if is_of_the_future {
        params.not_before = date_time_ymd(4000, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    (Upstream::Tls(TlsAcceptor::from(Arc::new(config))), file)
}

/// One that lets in nobody, by TLS 1.2, where that is said before a request is sent.
fn exclusive() -> (Upstream, NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    (Upstream::Tls(TlsAcceptor::from(Arc::new(config))), file)
}

/// How one kind of trouble is told.
struct Told {
    status: u16,
    code: &'static str,
    kind: &'static str,
    remedy: &'static str,
}

/// A call of the application's and one of the sidecar's own, and what all three say of them.
async fn check(upstream: &str, settings: &[(&str, &str)], told: Told) {
    let settings = [&[("proxy.upstream", upstream)], settings].concat();
    let mut it = Sidecar::start(simulator(options()).await, &settings).await;
    let reply = it.get(&format!("{}/accounts", it.proxy)).await;
    assert_eq!(reply.status, told.status, "{upstream}");
    assert_eq!(
        reply.json()["code"],
        format!("sidecar_{}", told.code),
        "{upstream}"
    );
    let passed = it.program.logged("a call was not answered by the upstream").await;
    let own = it
        .program
        .logged("cannot count the users; calls are forwarded all the same")
        .await;
    assert_eq!(passed["kind"], told.kind, "{passed}");
    for line in [&passed, &own] {
        assert!(line["remedy"].as_str().unwrap().contains(told.remedy), "{line}");
    }
    let metrics = String::from_utf8(it.get(&format!("{}/metrics", it.ops)).await.body.to_vec()).unwrap();
    let counted = format!(
        "snaptrade_sidecar_upstream_errors_total{{kind=\"{}\"}} 2",
        told.kind
    );
    assert!(metrics.contains(&counted), "no {counted} in:\n{metrics}");
    it.stop().await;
}

fn told(status: u16, code: &'static str, kind: &'static str, remedy: &'static str) -> Told {
    Told {
        status,
        code,
        kind,
        remedy,
    }
}

#[tokio::test]
async fn what_keeps_from_connecting_is_told_apart() {
    // However long the resolver takes to be sure.
    let patient = [
        ("proxy.connect_timeout", "1m"),
        ("tenants.default.manage_timeout", "1m"),
    ];
    let unknown = told(502, "upstream_unresolved", "dns", "DNS");
    check("http://sidecar.invalid", &patient, unknown).await;

    let nobody = format!("http://{}", nobodys_address().await);
    let refused = told(502, "upstream_unreachable", "connect", "nothing listens there");
    check(&nobody, &[], refused).await;

    let silent = format!("https://{}", somewhere(Upstream::Silent).await);
    let too_long = told(504, "connect_timeout", "connect_timeout", "firewall");
    check(&silent, &[("proxy.connect_timeout", "100ms")], too_long).await;
}

#[tokio::test]
async fn what_keeps_from_trusting_is_told_apart() {
    let tls = |remedy| told(502, "upstream_tls", "tls", remedy);
    for (name, is_of_the_future, is_trusted, remedy) in [
        ("127.0.0.1", false, false, "proxy.upstream_ca_file"),
        ("127.0.0.1", true, true, "this machine's clock"),
        ("other.example", false, true, "the host in proxy.upstream"),
    ] {
        let (upstream, file) = certified(name, is_of_the_future);
        let url = format!("https://{}", somewhere(upstream).await);
        let trust = [("proxy.upstream_ca_file", file.path().to_str().unwrap())];
        let settings = if is_trusted { &trust[..] } else { &[] };
        check(&url, settings, tls(remedy)).await;
    }
    let (upstream, file) = exclusive();
    let url = format!("https://{}", somewhere(upstream).await);
    let trust = [("proxy.upstream_ca_file", file.path().to_str().unwrap())];
    check(&url, &trust, tls("proxy.upstream_cert_file")).await;
    let plain = somewhere(Upstream::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    check(&format!("https://{plain}"), &[], tls("http://")).await;
    let closing = somewhere(Upstream::Says(b"")).await;
    check(
        &format!("https://{closing}"),
        &[],
        tls("closed the connection while TLS"),
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_reply_is_told_apart() {
    let silent = format!("http://{}", somewhere(Upstream::Silent).await);
    let short = [
        ("proxy.response_timeout", "100ms"),
        ("tenants.default.manage_timeout", "100ms"),
    ];
    let slow = told(504, "upstream_timeout", "timeout", "proxy.response_timeout");
    check(&silent, &short, slow).await;

    let closing = format!("http://{}", somewhere(Upstream::Says(b"")).await);
    let broke_off = told(502, "upstream_broke_off", "broke_off", "passes by itself");
    check(&closing, &[], broke_off).await;

    // As one that speaks TLS answers what is no TLS: with an alert.
    let alert = somewhere(Upstream::Says(b"\x15\x03\x01\x00\x02\x02\x16")).await;
    let garbled = told(502, "upstream_protocol", "protocol", "https://");
    check(&format!("http://{alert}"), &[], garbled).await;
}

#[tokio::test]
async fn a_reply_that_is_cut_short_is_counted() {
    let mut it = Between::start().await;
    let mut caller = it.sends("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = it.upstream.accept().await;
    upstream.message().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK");
    assert_eq!(caller.chunk().await, b"hi");
    drop(upstream);
    caller.rest().await;
    let metrics = metrics_of(it.sidecar.ops).await;
    assert!(metrics.contains("snaptrade_sidecar_upstream_errors_total{kind=\"cut_short\"} 1"));
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_said_once() {
    let long_ago = b"HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 2\r\n\r\n[]";
    let upstream = format!("http://{}", somewhere(Upstream::Says(long_ago)).await);
    let mut it = Sidecar::start(simulator(options()).await, &[("proxy.upstream", &upstream)]).await;
    let line = it.program.logged(CLOCKS).await;
    assert!(
        line["clock_skew_seconds"].as_f64().unwrap() < -90_000_000.0,
        "{line}"
    );
    // Counts the users anew.
    assert_eq!(it.register("new").await.status, 200);
    assert_eq!(it.stop().await.logged(CLOCKS).len(), 1);
}

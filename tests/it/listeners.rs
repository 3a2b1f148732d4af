//! TLS on the sidecar's own listeners, and the commands that ask one over it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion, version};
use snaptrade_sidecar::config::CaFile;
use snaptrade_sidecar::upstream::{outbound, tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{PATIENCE, Registration, Sidecar, options, patiently, read};
use crate::program::{Program, run, simulator};
use crate::raw::Peer;
use crate::reload::{Scene, tenant};

/// A certificate for 127.0.0.1 that nobody but itself vouches for, and its key.
struct Own {
    cert: PathBuf,
    key: PathBuf,
}

impl Own {
    fn new(folder: &Path) -> Self {
        let own = Self {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        own.renew(&["127.0.0.1"]);
        own
    }

    /// Another one in the same place.
    fn renew(&self, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(&self.cert, certificate.pem()).unwrap();
        fs::write(&self.key, key.serialize_pem()).unwrap();
    }

    fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }

    fn key(&self) -> &str {
        self.key.to_str().unwrap()
    }

    /// Trusts the certificate that is there now.
    fn config(&self) -> ClientConfig {
        let certificates = CertificateDer::pem_file_iter(&self.cert).unwrap();
        let ca = CaFile {
            path: self.cert.clone(),
            certificates: certificates.map(Result::unwrap).collect(),
        };
        tls::client_config(Some(&ca)).unwrap()
    }

    fn client(&self) -> Client {
        outbound::client(self.config(), PATIENCE).unwrap()
    }
}

/// All three listeners speak TLS, with one certificate.
struct It {
    sidecar: Sidecar,
    own: Own,
    _folder: TempDir,
}

impl It {
    async fn before(upstream: &str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new(folder.path());
        let settings = [
            ("proxy.tls_cert_file", own.cert()),
            ("proxy.tls_key_file", own.key()),
            ("ops.tls_cert_file", own.cert()),
            ("ops.tls_key_file", own.key()),
            ("webhooks.listen", "127.0.0.1:0"),
            ("webhooks.tls_cert_file", own.cert()),
            ("webhooks.tls_key_file", own.key()),
        ];
        let sidecar = Sidecar::before(upstream, &[&settings[..], more].concat()).await;
        Self {
            sidecar,
            own,
            _folder: folder,
        }
    }

    async fn metric(&self, series: &str) -> Option<String> {
        let url = format!("https://{}/metrics", self.sidecar.ops);
        let reply = read(patiently(self.own.client().get(url).send()).await.unwrap()).await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let line = |line: &str| {
            line.strip_prefix(&format!("snaptrade_sidecar_{series} "))
                .map(str::to_owned)
        };
        text.lines().find_map(line)
    }
}

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = address.ip().into();
    patiently(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn every_listener_speaks_tls_where_it_has_a_certificate() {
    let sim = simulator(options()).await;
    for user in crate::harness::FIVE {
        sim.add_user(user);
    }
    let it = It::before(&sim.url(), &[]).await;
    let http = it.own.client();
    let (proxy, ops) = (it.sidecar.proxy, it.sidecar.ops);
    let (target, signature) = Registration::of("new").signed();
    let request = http
        .post(format!("https://{proxy}{target}"))
        .header("signature", signature.unwrap())
        .body(r#"{"userId":"new"}"#);
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));

    let webhooks = it.sidecar.webhooks.unwrap();
    for (method, url, status) in [
        (Method::GET, format!("https://{proxy}/readyz"), 200),
        (Method::GET, format!("https://{ops}/"), 200),
        (
            Method::POST,
            format!("https://{webhooks}/webhooks/snaptrade"),
            415,
        ),
    ] {
        let reply = patiently(http.request(method, &url).send()).await.unwrap();
        assert_eq!(reply.status(), status, "{url}");
    }
    it.sidecar.stop().await;
}

#[tokio::test]
async fn what_is_spoken_is_tls_1_2_or_1_3_and_http_1_1() {
    let sim = simulator(options()).await;
    let it = It::before(&sim.url(), &[]).await;
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let of = |versions: &[&'static SupportedProtocolVersion]| {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&it.own.cert).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(versions).unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    for (version, spoken) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for offered in [&[][..], &["h2", "http/1.1"], &["http/1.1"]] {
            let mut config = of(&[version]);
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut stream = connect(it.sidecar.proxy, config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
            let agreed = (!offered.is_empty()).then_some(&b"http/1.1"[..]);
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut reply = Vec::new();
            // To its end, which TLS has to say too, or this fails.
            patiently(stream.read_to_end(&mut reply)).await.unwrap();
            assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        let mut config = of(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(connect(it.sidecar.proxy, config).await.is_err());
    }
    assert_eq!(
        it.metric("tls_failures_total{listener=\"proxy\"}")
            .await
            .as_deref(),
        Some("2")
    );
    it.sidecar.stop().await;
}

#[tokio::test]
async fn who_speaks_no_tls_is_counted_and_costs_nobody_anything() {
    let sim = simulator(options()).await;
    let it = It::before(&sim.url(), &[("proxy.header_timeout", "200ms")]).await;
    for address in [it.sidecar.proxy, it.sidecar.ops, it.sidecar.webhooks.unwrap()] {
        let mut plain = Peer::connect(address).await;
        plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        plain.rest().await;
    }
    // One that says nothing is closed, too.
    Peer::connect(it.sidecar.proxy).await.closed().await;
    for (listener, count) in [("proxy", "2"), ("ops", "1"), ("webhooks", "1")] {
        let series = format!("tls_failures_total{{listener=\"{listener}\"}}");
        assert_eq!(it.metric(&series).await.as_deref(), Some(count), "{listener}");
    }
    let ready = it
        .own
        .client()
        .get(format!("https://{}/readyz", it.sidecar.proxy));
    assert_eq!(patiently(ready.send()).await.unwrap().status(), 200);
    // Nor does a silent one hold up the end for long.
    let _silent = TcpStream::connect(it.sidecar.proxy).await.unwrap();
    it.sidecar.stop().await;
}

/// The configuration of a sidecar whose ops plane speaks TLS, and its proxy too.
fn with_tls(own: &Own) -> String {
    let keys = format!(
        "tls_cert_file = {:?}\ntls_key_file = {:?}\n",
        own.cert(),
        own.key()
    );
    format!(
        "[proxy]\n{keys}[ops]\ntoken = \"open-sesame-open\"\n{keys}{}",
        tenant("")
    )
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_reload_on() {
    let folder = tempfile::tempdir().unwrap();
    let own = Own::new(folder.path());
    let mut it = Scene::with(options(), &with_tls(&own), &[]).await;
    assert!(it.proxy.starts_with("https://") && it.ops.starts_with("https://"));
    let ask = async |it: &Scene| patiently(own.client().get(format!("{}/readyz", it.ops)).send()).await;
    assert_eq!(ask(&it).await.unwrap().status(), 200);

    own.renew(&["127.0.0.1"]);
    // The old one is still shown.
    assert!(ask(&it).await.is_err());
    it.program.signal("HUP").await;
    it.reloaded(1).await;
    assert_eq!(ask(&it).await.unwrap().status(), 200);

    // A key of another certificate changes nothing.
    let other = tempfile::tempdir().unwrap();
    fs::copy(&Own::new(other.path()).key, &own.key).unwrap();
    it.program.signal("HUP").await;
    let fault = it.program.logged("the configuration has a fault").await;
    assert!(
        fault["fault"].as_str().unwrap().contains("cannot be used with"),
        "{fault}"
    );
    assert_eq!(ask(&it).await.unwrap().status(), 200);
    it.program.signal("TERM").await;
    assert_eq!(it.program.end().await.code, Some(0));
}

#[tokio::test]
async fn the_commands_ask_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let own = Own::new(folder.path());
    // Of another name, as of one that is reached by it from elsewhere.
    own.renew(&["sidecar.internal"]);
    let mut it = Scene::with(options(), &with_tls(&own), &[]).await;
    let (file, ops) = (it.file.to_str().unwrap().to_owned(), it.ops.clone());
    let port = ops.rsplit(':').next().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let at = [("SNAPTRADE_SIDECAR__OPS__LISTEN", listen.as_str())];
    // By the configuration alone, which names address and certificate.
    for arguments in [
        &["health", "--config", &file][..],
        &["status", "--config", &file],
        &["pause", "--config", &file],
    ] {
        let ended = run(arguments, &at).await;
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
    }
    // Elsewhere, nothing is known of it.
    let ended = run(&["health", "--url", &ops], &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("certificate"), "{}", ended.err);

    // Nor does a CA help whose certificate is for another name; for this one it does.
    let by_ca = ["health", "--url", &ops, "--ca", own.cert()];
    assert_eq!(run(&by_ca, &[]).await.code, Some(1));
    own.renew(&["127.0.0.1"]);
    it.program.signal("HUP").await;
    it.reloaded(1).await;
    assert_eq!(run(&by_ca, &[]).await.code, Some(0));
    let status = run(&["status", "--url", &ops, "--ca", own.cert()], &[]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    let none = run(&["health", "--url", &ops, "--ca", "/nonexistent.pem"], &[]).await;
    assert!(
        none.err.contains("--ca: /nonexistent.pem cannot be read"),
        "{}",
        none.err
    );
}

#[tokio::test]
async fn a_certificate_without_its_key_is_a_fault_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let own = Own::new(folder.path());
    let other = tempfile::tempdir().unwrap();
    let other = Own::new(other.path());
    let faults = async |settings: &[(&str, &str)]| {
        let settings: Vec<String> = settings
            .iter()
            .map(|(key, file)| format!("--set={key}={file}"))
            .collect();
        let arguments: Vec<&str> = ["check"]
            .into_iter()
            .chain(settings.iter().map(String::as_str))
            .collect();
        let ended = Program::start(&arguments, &crate::program::TWO_VARIABLES)
            .end()
            .await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.err
    };
    for stem in ["proxy.tls", "proxy.upstream", "ops.tls", "webhooks.tls"] {
        let (cert, key) = (format!("{stem}_cert_file"), format!("{stem}_key_file"));
        for (settings, said) in [
            (
                vec![(&*cert, own.cert())],
                format!("{key} (command line): is not set, but {cert} is; set both, or neither"),
            ),
            (
                vec![(&*key, own.key())],
                format!("{cert} (command line): is not set, but {key} is; set both, or neither"),
            ),
            (
                vec![(&*cert, own.cert()), (&*key, other.key())],
                "cannot be used with".to_owned(),
            ),
            (
                vec![(&*cert, own.key()), (&*key, own.key())],
                "holds no certificate; give a PEM file".to_owned(),
            ),
            (
                vec![(&*cert, own.cert()), (&*key, own.cert())],
                "holds no key; give a PEM file".to_owned(),
            ),
            (
                vec![(&*cert, "/nonexistent"), (&*key, own.key())],
                "/nonexistent cannot be read".to_owned(),
            ),
        ] {
            let told = faults(&settings).await;
            assert!(told.contains(&said), "{said} in:\n{told}");
        }
    }
}

//! An upstream behind TLS that speaks the protocols it is told, notes what it gets, and answers by the path.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use snaptrade_sidecar::upstream::{outbound, tls};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::harness::{ANY_PORT, PATIENCE, patiently};

/// A request as it arrived.
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(crate) struct Secure {
    pub(crate) address: SocketAddr,
    ca: NamedTempFile,
    client: [NamedTempFile; 2],
    seen: mpsc::Receiver<Seen>,
}

#[derive(Clone)]
struct Answering {
    seen: mpsc::Sender<Seen>,
    /// Where `SnapTrade`'s own calls go.
    simulator: Option<(String, reqwest::Client)>,
    /// A connection has ended already because of `/lost`.
    lost: Arc<AtomicBool>,
}

/// Pieces of a body, or an error, one after the other.
#[derive(Default)]
struct Pieces(VecDeque<io::Result<Frame<Bytes>>>);

impl Secure {
    /// `protocols` are those that it agrees to (ALPN), `simulator` is where calls to `SnapTrade` are passed on to.
    pub(crate) async fn start(protocols: &[&str], simulator: Option<String>) -> Self {
        Self::serving(certified(protocols, false), simulator).await
    }

    /// The same, and lets in only who shows a certificate of its authority.
    pub(crate) async fn demanding(protocols: &[&str], simulator: Option<String>) -> Self {
        Self::serving(certified(protocols, true), simulator).await
    }

    async fn serving(certified: Certified, simulator: Option<String>) -> Self {
        let Certified {
            config,
            ca,
            client: files,
        } = certified;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel(64);
        let client = || outbound::client(tls::client_config(None).unwrap(), PATIENCE).unwrap();
        let answering = Answering {
            seen: sender,
            simulator: simulator.map(|url| (url, client())),
            lost: Arc::default(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), answering.clone()));
            }
        });
        Self {
            address,
            ca,
            client: files,
            seen,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn ca_file(&self) -> &str {
        self.ca.path().to_str().unwrap()
    }

    /// The files of a certificate that it lets in, and of its key.
    pub(crate) fn client_files(&self) -> [&str; 2] {
        [0, 1].map(|place| self.client[place].path().to_str().unwrap())
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        patiently(self.seen.recv()).await.unwrap()
    }
}

struct Certified {
    config: ServerConfig,
    /// The authority's.
    ca: NamedTempFile,
    client: [NamedTempFile; 2],
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// With certificates of a new authority.
fn certified(protocols: &[&str], is_demanding: bool) -> Certified {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let client_key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["sidecar".to_owned()]).unwrap();
    let client = params.signed_by(&client_key, &ca).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.as_ref().der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if is_demanding {
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Certified {
        config,
        ca: file(&ca.pem()),
        client: [file(&client.pem()), file(&client_key.serialize_pem())],
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answering: Answering) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let ending = CancellationToken::new();
    let end = ending.clone();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let (answering, end) = (answering.clone(), end.clone());
        async move {
            let is_lost = request.uri().path() == "/lost" && !answering.lost.swap(true, Ordering::Relaxed);
            let reply = answering.answer(request).await;
            if is_lost {
                end.cancel();
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let stream = TokioIo::new(stream);
    let serving = async {
        if http2 {
            let server = http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(stream, service).await;
        } else {
            let _ = http1::Builder::new().serve_connection(stream, service).await;
        }
    };
    ending.run_until_cancelled(serving).await;
}

impl Answering {
    async fn answer(&self, request: Request<Incoming>) -> Response<Pieces> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Response::new(Pieces::default());
        };
        let (trailers, body) = (body.trailers().cloned(), body.to_bytes());
        if head.uri.path().starts_with("/snapTrade/") {
            return self.relay(head, body).await;
        }
        let reply = reply_for(head.uri.path());
        let seen = Seen { head, body, trailers };
        let _ = self.seen.send(seen).await;
        reply
    }

    async fn relay(&self, head: Parts, body: Bytes) -> Response<Pieces> {
        let Some((url, client)) = &self.simulator else {
            return Response::new(Pieces::of("[]"));
        };
        let target = format!("{url}{}", head.uri.path_and_query().unwrap());
        let request = client
            .request(head.method, target)
            .headers(head.headers)
            .body(body);
        let relayed = request.send().await.unwrap();
        let mut reply = Response::new(Pieces::default());
        *reply.status_mut() = relayed.status();
        *reply.headers_mut() = relayed.headers().clone();
        reply.headers_mut().remove("transfer-encoding");
        *reply.body_mut() = Pieces::of(relayed.bytes().await.unwrap());
        reply
    }
}

fn reply_for(path: &str) -> Response<Pieces> {
    let mut reply = Response::new(Pieces::of("hi"));
    let headers = reply.headers_mut();
    let value = HeaderValue::from_static;
    headers.insert("date", value("yesterday"));
    match path {
        "/trailers" => {
            headers.append("trailer", value("x-sum"));
            headers.append("set-cookie", value("a=1"));
            headers.append("set-cookie", value("b=2"));
            let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), value("1"))]);
            reply.body_mut().0.push_back(Ok(Frame::trailers(trailers)));
        }
        "/broken" => {
            // More than the other side takes before it has sent some on.
            let pieces = &mut reply.body_mut().0;
            let piece = Bytes::from(vec![b'x'; 64 << 10]);
            pieces.extend((0..256).map(|_| Ok(Frame::data(piece.clone()))));
            pieces.push_back(Err(io::Error::other("broken")));
        }
        "/599" => *reply.status_mut() = http::StatusCode::from_u16(599).unwrap(),
        _ => {}
    }
    reply
}

impl Pieces {
    fn of(piece: impl Into<Bytes>) -> Self {
        Self([Ok(Frame::data(piece.into()))].into())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front())
    }
}

//! A stand-in for the application: what arrives at its URLs, and answers as a test scripts them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{ANY_PORT, patiently};

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrived {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers until it is dropped.
pub(crate) struct Application {
    pub(crate) addr: SocketAddr,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    script: Arc<Script>,
    _stop: DropGuard,
}

struct Script {
    statuses: Mutex<VecDeque<u16>>,
    arrived: mpsc::UnboundedSender<Arrived>,
    release: Notify,
}

async fn answer(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let arrived = Arrived {
        method,
        target: uri.to_string(),
        headers,
        body,
    };
    let _ = script.arrived.send(arrived);
    let mut status = script.statuses.lock().unwrap().pop_front().unwrap_or(200);
    if status == Application::HOLDS {
        script.release.notified().await;
        status = 200;
    }
    (StatusCode::from_u16(status).unwrap(), "said by the application").into_response()
}

impl Application {
    /// Among the answers: 200, once the test says so.
    pub(crate) const HOLDS: u16 = 0;

    pub(crate) async fn start() -> Self {
        Self::at(ANY_PORT.parse().unwrap()).await
    }

    /// At an address that was free a moment ago.
    pub(crate) async fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, arrived) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            statuses: Mutex::default(),
            arrived: sender,
            release: Notify::new(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(stopped.clone().run_until_cancelled_owned(connection));
            }
        }));
        Self {
            addr,
            arrived,
            script,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The next answers; after them, 200.
    pub(crate) fn answers(&self, statuses: &[u16]) {
        self.script.statuses.lock().unwrap().extend(statuses);
    }

    pub(crate) fn release(&self) {
        self.script.release.notify_one();
    }

    pub(crate) async fn next(&mut self) -> Arrived {
        patiently(self.arrived.recv()).await.unwrap()
    }

    /// Whether all that arrived has been looked at.
    pub(crate) fn is_quiet(&self) -> bool {
        self.arrived.is_empty()
    }
}

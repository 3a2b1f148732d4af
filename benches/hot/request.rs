//! A call through the whole data plane, on connections that are there already: listener, connection, proxy, metrics,
//! pool.
//!
//! The caller and the upstream are tasks of the worker's own runtime, so that one thread does everything in an order that
//! does not depend on the machine. They are counted too, and do as little as they can. Between them and the sidecar are
//! loopback sockets: a connection in memory would need an upstream that is generic over its stream, only for this. The
//! kernel's part is not counted anyway.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use snaptrade_sidecar::activity::Teller;
use snaptrade_sidecar::config::{self, Config, Sources};
use snaptrade_sidecar::guard::{Guard, InForce, Live, Means};
use snaptrade_sidecar::notices::{self, Notices, Schedule};
use snaptrade_sidecar::proxy::{Proxy, Shared};
use snaptrade_sidecar::registry::Registry;
use snaptrade_sidecar::server::{self, Limits, Listeners};
use snaptrade_sidecar::telemetry::health::Health;
use snaptrade_sidecar::telemetry::metrics::Metrics;
use snaptrade_sidecar::upstream::forward::Forwarder;
use snaptrade_sidecar::upstream::own::Own;
use snaptrade_sidecar::upstream::{outbound, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CALL: &str = "GET /api/v1/accounts?clientId=BENCH&timestamp=1760000000&userId=u&userSecret=s HTTP/1.1\r\n\
    Host: sidecar\r\nSignature: c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE=\r\nUser-Agent: snaptrade\r\n\
    Accept: application/json\r\n\r\n";
const BODY_BYTES: usize = 1024;
/// The head is not longer than the body.
const BUFFER_BYTES: usize = 2 * BODY_BYTES;

/// For the worker to end in, once the caller is through.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// One tenant's calls, the last in the order of their names where there are several.
pub(crate) fn run(times: usize, tenants: usize) {
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    upstream.set_nonblocking(true).unwrap();
    let config = config(upstream.local_addr().unwrap(), tenants);
    let listeners = Listeners::bind(config.proxy.listen, 1).unwrap();
    let address = listeners.local_addr();
    let control = Builder::new_current_thread().enable_all().build().unwrap();
    control.block_on(async {
        let closing = CancellationToken::new();
        let limits = config
            .tenants
            .iter()
            .map(|tenant| (&*tenant.name, tenant.terms.max_users));
        let metrics = Arc::new(Metrics::new(limits));
        let means = server::Means {
            limits: Limits::from(&config.proxy),
            open: metrics.connections_open(),
            reached: metrics.limits_reached(),
            leaving: CancellationToken::new(),
            stopping: closing.clone(),
        };
        let (shared, forwarder) = proxy(config, &metrics);
        let (upstream, ended) = (Arc::new(upstream), closing.clone());
        let answered = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&answered);
        let handler = move || {
            let upstream = tokio::net::TcpListener::from_std(upstream.try_clone().unwrap()).unwrap();
            tokio::spawn(answer(upstream));
            let (ended, answered) = (ended.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                // Also if the caller panics.
                let _ended = ended.drop_guard();
                call(address, times, &answered).await;
            });
            let proxy = Rc::new(Proxy::new(Arc::clone(&shared), &forwarder));
            move |request| {
                let proxy = Rc::clone(&proxy);
                async move { proxy.handle(request).await }
            }
        };
        let workers = listeners.start(means, handler);
        assert_eq!(workers.unwrap().drained(DRAIN_TIMEOUT).await, 0);
        assert_eq!(answered.load(Ordering::Relaxed), times, "calls without a reply");
    });
}

fn config(upstream: SocketAddr, tenants: usize) -> Config {
    let flags = [
        ("proxy.upstream", format!("http://{upstream}")),
        ("proxy.listen", "127.0.0.1:0".to_owned()),
        ("tenants.default.client_id", "BENCH".to_owned()),
        ("tenants.default.consumer_key", "bench".to_owned()),
    ];
    let others = (1..tenants).flat_map(|number| {
        let key = |leaf| format!("tenants.a{number}.{leaf}");
        [
            (key("client_id"), format!("BENCH-{number}")),
            (key("consumer_key"), "bench".to_owned()),
        ]
    });
    let flags = flags.map(|(key, value)| (key.to_owned(), value)).into_iter();
    let sources = Sources {
        flags: flags.chain(others).collect(),
        ..Sources::default()
    };
    config::load(sources).unwrap().config
}

/// What the composition root makes it with.
fn proxy(config: Config, metrics: &Arc<Metrics>) -> (Arc<Shared>, Forwarder) {
    let tls = tls::client_config(None).unwrap();
    let registry = Arc::new(Registry::memory());
    let forwarder = Forwarder::new(&config.proxy, tls.clone(), Own::default(), metrics.cut_short());
    let http = outbound::client(tls, config.proxy.connect_timeout).unwrap();
    let means = notices::Means {
        http,
        registry: Arc::clone(&registry),
        metrics: Arc::clone(metrics),
        replica: "bench".into(),
    };
    let notices = Notices::new(&config.tenants, means, Schedule::default());
    let tally = Teller::new(Arc::clone(&registry), Arc::clone(metrics), "replica".into()).tally();
    let means = Means {
        forwarder: forwarder.clone(),
        metrics: Arc::clone(metrics),
        registry,
        tally: Arc::clone(&tally),
        replica: "bench".into(),
        notices,
        clock_differs: Arc::default(),
        stopping: CancellationToken::new(),
        runtime: Handle::current(),
        tasks: TaskTracker::new(),
    };
    let in_force = InForce::new(config, |tenant| {
        Arc::new(Guard::new(Arc::clone(tenant), means.clone()))
    });
    let health = Arc::new(Health::new());
    let shared = Shared::new(Live::new(in_force), health, Arc::clone(metrics), tally);
    (Arc::new(shared), forwarder)
}

/// The caller: one call after the other.
async fn call(sidecar: SocketAddr, times: usize, answered: &AtomicUsize) {
    let mut stream = TcpStream::connect(sidecar).await.unwrap();
    let mut buffer = [0; BUFFER_BYTES];
    for _ in 0..times {
        stream.write_all(CALL.as_bytes()).await.unwrap();
        let mut got = 0;
        while !buffer[..got].ends_with(b"}") {
            let read = stream.read(&mut buffer[got..]).await.unwrap();
            assert_ne!(read, 0, "the sidecar closed the connection");
            got += read;
        }
        assert!(
            buffer.starts_with(b"HTTP/1.1 200 "),
            "the sidecar refused the call"
        );
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The upstream: the same reply to whatever arrives, which is a whole request each time.
async fn answer(listener: tokio::net::TcpListener) {
    let reply = format!(
        "HTTP/1.1 200 OK\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: \
         {BODY_BYTES}\r\nConnection: keep-alive\r\nX-Request-ID: 0123456789abcdef\r\nX-RateLimit-Remaining: 249\r\n\
         \r\n{{\"a\":\"{}\"}}",
        "x".repeat(BODY_BYTES - r#"{"a":""}"#.len())
    );
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; BUFFER_BYTES];
    while let Ok(1..) = stream.read(&mut buffer).await {
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}

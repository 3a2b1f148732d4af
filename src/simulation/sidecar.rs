//! A sidecar from its start to its end, on a machine: everything but listeners and workers.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::Teller;
use crate::clock::machine::Machine;
use crate::config::Config;
use crate::guard::{Guard, InForce, Live, Means};
use crate::notices::{self, Notices, Schedule};
use crate::proxy::{Proxy, Shared};
use crate::registry::Registry;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::upstream::forward::Forwarder;
use crate::upstream::own::Own;
use crate::upstream::{outbound, tls};

/// As in `app::upkeep`.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Sidecar {
    pub(super) machine: Machine,
    pub(super) guard: Arc<Guard>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stopping: CancellationToken,
    listener: mpsc::UnboundedSender<DuplexStream>,
}

/// Made once: reading the built-in certificates takes longer than a whole simulation.
fn clients() -> &'static (rustls::ClientConfig, reqwest::Client) {
    static CLIENTS: OnceLock<(rustls::ClientConfig, reqwest::Client)> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        let tls = tls::client_config(None).expect("the built-in certificates are valid");
        let http = outbound::client(tls.clone(), Duration::from_secs(5)).expect("a client");
        (tls, http)
    })
}

impl Sidecar {
    pub(super) fn start(machine: Machine, config: Config, registry: Registry) -> Self {
        let (tls, http) = clients().clone();
        let registry = Arc::new(registry);
        let metrics = Arc::new(Metrics::new([("default", config.tenants[0].terms.max_users)]));
        let replica: Arc<str> = machine.name().into();
        let means = notices::Means {
            http,
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            replica: Arc::clone(&replica),
        };
        let notices = Notices::new(&config.tenants, means, Schedule::default());
        let mut teller = Teller::new(Arc::clone(&registry), Arc::clone(&metrics), Arc::clone(&replica));
        let (tally, stopping) = (teller.tally(), CancellationToken::new());
        let forwarder = Forwarder::new(&config.proxy, tls.clone(), Own::default(), metrics.cut_short());
        let means = Means {
            forwarder: Forwarder::new(&config.proxy, tls, Own::default(), metrics.cut_short()),
            metrics: Arc::clone(&metrics),
            registry: Arc::clone(&registry),
            tally: Arc::clone(&tally),
            replica,
            notices,
            clock_differs: Arc::default(),
            stopping: stopping.clone(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
        };
        let live = Live::new(InForce::new(config, |tenant| {
            Arc::new(Guard::new(Arc::clone(tenant), means.clone()))
        }));
        let guard = Arc::clone(&live.load().guards()[0]);
        let shared = Shared::new(live, Arc::new(Health::new()), Arc::clone(&metrics), tally);
        let proxy = Rc::new(Proxy::new(Arc::new(shared), &forwarder));
        spawn_local(machine.run(async move { teller.run(CancellationToken::new()).await }));
        let first = Arc::clone(&guard);
        spawn_local(machine.run(async move {
            first.settle().await;
            let _ = first.look(Duration::ZERO).await;
        }));
        let kept = Arc::clone(&guard);
        spawn_local(machine.run(async move {
            loop {
                sleep(UPKEEP).await;
                kept.refresh().await;
            }
        }));
        let (listener, mut accepted) = mpsc::unbounded_channel();
        let on = machine.clone();
        spawn_local(machine.run(async move {
            while let Some(stream) = accepted.recv().await {
                spawn_local(on.run(serve(stream, Rc::clone(&proxy))));
            }
        }));
        Self {
            machine,
            guard,
            registry,
            metrics,
            stopping,
            listener,
        }
    }

    /// The caller's end of a new connection.
    pub(super) fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        // Of one that is dead nobody takes it, and it breaks.
        let _ = self.listener.send(theirs);
        ours
    }
}

async fn serve(stream: DuplexStream, proxy: Rc<Proxy>) {
    let service = service_fn(move |request| {
        let proxy = Rc::clone(&proxy);
        async move { Ok::<_, Infallible>(proxy.handle(request).await) }
    });
    // A connection that fails is the caller's business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

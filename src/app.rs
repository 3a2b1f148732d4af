//! The composition root: a validated configuration becomes a running sidecar.
//!
//! The runtime that builds the [`App`] is the control runtime: it runs admissions, management calls and the ops plane.
//! The workers, a thread each, carry the traffic.

mod parts;
mod ports;
pub mod reload;
mod shown;
mod upkeep;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::Teller;
use crate::config::Config;
use crate::guard::{Guard, InForce, Live, Means};
use crate::notices::{self, Notices, Schedule};
use crate::ops::{self, Ops};
use crate::proxy::{Proxy, Shared};
use crate::registry::{Registry, RegistryError};
use crate::server::{self, Limits, Listeners};
use crate::tasks::keep;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{Spans, export::Exporter};
use crate::upstream::forward::Forwarder;
use crate::upstream::own::Own;
use crate::upstream::{outbound, tls};
use crate::webhooks::Webhooks;
use parts::Parts;
use ports::{bind, bind_proxy};
use reload::{Reloader, Reloading};
use shown::Shown;

/// A sidecar whose ports are bound and which has not begun to answer.
#[derive(Debug)]
pub struct App {
    live: Live,
    listeners: Listeners,
    ops: TcpListener,
    ops_addr: SocketAddr,
    webhooks: Option<(TcpListener, SocketAddr, Webhooks)>,
    own: Own,
    /// Towards the upstream.
    tls: rustls::ClientConfig,
    shown: Shown,
    means: Means,
    reloading: Option<Reloading>,
    connections_max: usize,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    teller: Teller,
    /// Where there are any.
    spans: Option<(Spans, Exporter)>,
}

/// Why a sidecar could not be built, or ended by itself.
#[derive(Debug)]
pub enum BuildError {
    Listen {
        /// The configuration key of the address.
        key: &'static str,
        addr: SocketAddr,
        source: io::Error,
    },
    Tls(rustls::Error),
    Threads(io::Error),
    Client(reqwest::Error),
    Registry(RegistryError),
    /// A part that answers on a port ended by itself.
    Died(&'static str),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { key, addr, source } => {
                write!(f, "cannot listen on {addr} ({key})")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => f.write_str(
                        "; another program has this port, perhaps another sidecar: stop it, or choose another address",
                    ),
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; ports below 1024 need a privilege: choose a higher one")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        f.write_str("; this machine has no such address: use 127.0.0.1 or 0.0.0.0")
                    }
                    _ => Ok(()),
                }
            }
            Self::Threads(_) => f.write_str("cannot start the worker threads"),
            Self::Tls(_) => f.write_str("cannot set up TLS"),
            Self::Client(_) => f.write_str("cannot set up the client for notices and webhooks"),
            Self::Registry(_) => f.write_str("cannot use the registry (registry.url)"),
            Self::Died(part) => write!(f, "{part} ended by itself; please report this with the log"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Threads(source) => Some(source),
            Self::Tls(source) => Some(source),
            Self::Client(source) => Some(source),
            Self::Registry(source) => Some(source),
            Self::Died(_) => None,
        }
    }
}

impl App {
    /// Binds the ports and wires the parts together. Must be called on the control runtime.
    ///
    /// # Errors
    /// If a port cannot be bound, or TLS cannot be set up.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let listeners = bind_proxy(&config)?;
        let (ops, ops_addr) = bind("ops.listen", config.ops.listen).await?;
        let hooks = match config.webhooks.listen {
            Some(addr) => Some(bind("webhooks.listen", addr).await?),
            None => None,
        };
        let hooks_addr = hooks.as_ref().map(|(_, addr)| ("webhooks.listen", *addr));
        let own = [("proxy.listen", listeners.local_addr()), ("ops.listen", ops_addr)];
        let own = Own::new(own.into_iter().chain(hooks_addr));
        let shown = Shown::new(&config);
        let tls = tls::client_config(config.proxy.upstream_ca.as_ref()).map_err(BuildError::Tls)?;
        let http = outbound::client(tls.clone(), config.proxy.connect_timeout).map_err(BuildError::Client)?;
        let tls = tls::identified(&tls, Arc::clone(&shown.upstream));
        let limits = config
            .tenants
            .iter()
            .map(|tenant| (&*tenant.name, tenant.terms.max_users));
        let metrics = Arc::new(Metrics::new(limits));
        let spans = spans(&config, &http, &metrics);
        let registry = Registry::open(&config.registry.home).await;
        let registry = Arc::new(registry.map_err(BuildError::Registry)?);
        let replica: Arc<str> = replica().into();
        let means = notices::Means {
            http: http.clone(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            replica: Arc::clone(&replica),
        };
        let notices = Notices::new(&config.tenants, means, Schedule::default());
        let teller = Teller::new(Arc::clone(&registry), Arc::clone(&metrics), Arc::clone(&replica));
        let means = Means {
            forwarder: Forwarder::new(&config.proxy, tls.clone(), own.clone(), metrics.cut_short()),
            metrics: Arc::clone(&metrics),
            registry: Arc::clone(&registry),
            tally: teller.tally(),
            replica,
            notices,
            clock_differs: Arc::default(),
            stopping: CancellationToken::new(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
        };
        let live = Live::new(InForce::new(config, |tenant| {
            Arc::new(Guard::new(Arc::clone(tenant), means.clone()))
        }));
        let webhooks = hooks.map(|(listener, addr)| {
            let webhooks = Webhooks::new(live.clone(), http, registry, Arc::clone(&metrics));
            (listener, addr, webhooks)
        });
        Ok(Self {
            live,
            listeners,
            ops,
            ops_addr,
            webhooks,
            own,
            tls,
            shown,
            means,
            reloading: None,
            connections_max: usize::MAX,
            health: Arc::new(Health::new()),
            metrics,
            teller,
            spans,
        })
    }

    /// From [`App::run`] on, the configuration is reloaded when it changes or somebody asks for it.
    #[must_use]
    pub fn reloading(self, reloading: Reloading) -> Self {
        Self {
            reloading: Some(reloading),
            ..self
        }
    }

    /// Callers are connected in no greater number, whatever the configuration allows.
    #[must_use]
    pub fn with_connections(self, max: usize) -> Self {
        Self {
            connections_max: max,
            ..self
        }
    }

    /// Where the application reaches the sidecar.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.listeners.local_addr()
    }

    /// Where health, metrics and status are.
    pub fn ops_addr(&self) -> SocketAddr {
        self.ops_addr
    }

    /// Where webhooks arrive, if they do.
    pub fn webhooks_addr(&self) -> Option<SocketAddr> {
        self.webhooks.as_ref().map(|(_, addr, _)| *addr)
    }

    /// What the sidecar remembers.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.means.registry)
    }

    /// Tells when it is ready, and when it drains.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Answers until `shutdown` completes, then drains: not ready but still accepting for `drain_delay`, then for at
    /// most `drain_timeout` until what is under way has been answered. Evicts nobody once `shutdown` completed.
    ///
    /// # Errors
    /// If the worker threads cannot be started; or if what answers on a port ended by itself, after the rest has drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), BuildError> {
        self.run_until(shutdown, std::future::ready(())).await
    }

    /// The same, but that before `drain_delay` it is not ready and still accepts until `quiet` completes, too.
    ///
    /// # Errors
    /// As [`App::run`].
    pub async fn run_until(
        mut self,
        shutdown: impl Future<Output = ()>,
        quiet: impl Future<Output = ()>,
    ) -> Result<(), BuildError> {
        let closing = CancellationToken::new();
        // However this ends, the workers end with it.
        let _close = closing.clone().drop_guard();
        let mut upkeep = self.upkeep();
        let (live, health) = (self.live.clone(), Arc::clone(&self.health));
        let stopping = self.means.stopping.clone();
        let mut parts = self.start(&closing)?;
        health.set_ready();

        let died = tokio::select! {
            () = shutdown => None,
            part = parts.ended() => Some(part),
        };
        // From here on nothing is reloaded either.
        upkeep.abort_all();
        let proxy = live.load().config.proxy.clone();
        let (mut delay, timeout) = (proxy.drain_delay, proxy.drain_timeout);
        if let Some(part) = died {
            tracing::error!(
                part,
                "a part of the sidecar ended by itself; the rest finishes what it has, and ends"
            );
            delay = Duration::ZERO;
        }
        health.start_draining();
        stopping.cancel();
        tracing::info!(
            delay_s = delay.as_secs(),
            timeout_s = timeout.as_secs(),
            "draining"
        );
        if died.is_none() {
            quiet.await;
        }
        tokio::time::sleep(delay).await;
        closing.cancel();
        parts.finish(timeout).await;
        tracing::info!("stopped");
        died.map_or(Ok(()), |part| Err(BuildError::Died(part)))
    }

    /// Begins to answer on every port, until `closing`.
    fn start(self, closing: &CancellationToken) -> Result<Parts, BuildError> {
        let (proxy, router) = (self.proxy(), self.ops_plane());
        let [proxy_tls, ops_tls, webhooks_tls] = self.shown.acceptors(&self.metrics)?;
        let (last_call, ops_closing) = (CancellationToken::new(), CancellationToken::new());
        let stop = last_call.clone();
        let teller = tokio::spawn(keep("activity", self.teller, move |teller| {
            Box::pin(teller.run(stop.clone()))
        }));
        let mut limits = Limits::from(&self.live.load().config.proxy);
        limits.max_connections = limits.max_connections.min(self.connections_max);
        let means = server::Means {
            limits,
            open: self.metrics.connections_open(),
            reached: self.metrics.limits_reached(),
            leaving: self.means.stopping.clone(),
            stopping: closing.clone(),
        };
        let workers = self.listeners.over(proxy_tls).start(means, move || {
            let proxy = Rc::new(proxy());
            move |request| {
                let proxy = Rc::clone(&proxy);
                // In a box, so that a connection that waits for its next request holds no room for it.
                Box::pin(async move { proxy.handle(request).await })
            }
        });
        let workers = workers.map_err(BuildError::Threads)?;
        let ops = tokio::spawn(ops::serve(self.ops, ops_tls, router, ops_closing.clone()));
        let webhooks = self.webhooks.map(|(listener, _, webhooks)| {
            let serve = webhooks.serve(listener, webhooks_tls, closing.clone());
            tokio::spawn(serve)
        });
        Ok(Parts {
            workers,
            ops: Some(ops),
            webhooks,
            teller,
            telling: self.means.notices.start(),
            exporting: self.spans.map(|(_, exporter)| exporter.start()),
            last_call,
            ops_closing,
            means: self.means,
        })
    }

    /// What goes on beside the traffic, until it is aborted.
    fn upkeep(&mut self) -> JoinSet<()> {
        let mut upkeep = JoinSet::new();
        upkeep.spawn(upkeep::first_looks(self.live.load().guards().to_vec()));
        let state = (self.registry(), self.live.clone(), Arc::clone(&self.metrics));
        upkeep.spawn(keep("upkeep", state, |(registry, live, metrics)| {
            Box::pin(upkeep::run(registry, live, metrics))
        }));
        if let Some(reloading) = self.reloading.take() {
            let (live, means, shown) = (self.live.clone(), self.means.clone(), self.shown.clone());
            let reloader = Reloader::new(reloading, live, means, shown);
            upkeep.spawn(keep("reload", reloader, |reloader| Box::pin(reloader.run())));
        }
        upkeep
    }

    fn ops_plane(&self) -> Router {
        let (health, metrics) = (Arc::clone(&self.health), Arc::clone(&self.metrics));
        ops::router(Ops::new(self.live.clone(), health, metrics))
    }

    /// What each worker makes its own proxy with, and with it its own connections to the upstream.
    fn proxy(&self) -> impl Fn() -> Proxy + Clone + Send + 'static {
        let config = self.live.load().config.proxy.clone();
        let (health, metrics) = (Arc::clone(&self.health), Arc::clone(&self.metrics));
        let cut_short = metrics.cut_short();
        let spans = self.spans.as_ref().map(|(spans, _)| spans.clone());
        let shared = Shared::new(self.live.clone(), health, metrics, self.teller.tally()).traced(spans);
        let (shared, tls, own) = (Arc::new(shared), self.tls.clone(), self.own.clone());
        move || {
            let forwarder = Forwarder::new(&config, tls.clone(), own.clone(), cut_short.clone());
            Proxy::new(Arc::clone(&shared), &forwarder)
        }
    }
}

/// What traces requests, where that is asked for, and what sends it away.
fn spans(config: &Config, http: &reqwest::Client, metrics: &Metrics) -> Option<(Spans, Exporter)> {
    let tracing = config.tracing.as_ref()?;
    let exporter = Exporter::new(tracing.clone(), http.clone(), metrics.spans_lost());
    let spans = Spans::new(tracing, &config.proxy, exporter.queue());
    Some((spans, exporter))
}

/// Names this process among the replicas.
fn replica() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests;

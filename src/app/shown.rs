//! The certificates that are shown, which a reload replaces: to callers, on each listener that speaks TLS, and to the upstream.

use std::sync::Arc;

use super::BuildError;
use crate::config::{Config, Identity};
use crate::telemetry::metrics::{LISTENERS, Metrics};
use crate::tls::{Acceptor, Presented};

#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Perhaps nothing, until a reload.
    pub(super) upstream: Arc<Presented>,
    /// `None` of a listener that speaks no TLS, for as long as the program runs.
    pub(super) proxy: Option<Arc<Presented>>,
    pub(super) ops: Option<Arc<Presented>>,
    pub(super) webhooks: Option<Arc<Presented>>,
}

impl Shown {
    pub(super) fn new(config: &Config) -> Self {
        let shown = |identity: &Option<Identity>| {
            let identity = identity.as_ref()?;
            Some(Arc::new(Presented::new(Some(identity))))
        };
        Self {
            upstream: Arc::new(Presented::new(config.proxy.upstream_identity.as_ref())),
            proxy: shown(&config.proxy.tls),
            ops: shown(&config.ops.tls),
            webhooks: shown(&config.webhooks.tls),
        }
    }

    /// From now on, what this configuration names.
    pub(super) fn show(&self, config: &Config) {
        self.upstream.show(config.proxy.upstream_identity.as_ref());
        for (listener, identity) in [
            (&self.proxy, &config.proxy.tls),
            (&self.ops, &config.ops.tls),
            (&self.webhooks, &config.webhooks.tls),
        ] {
            if let Some(listener) = listener {
                listener.show(identity.as_ref());
            }
        }
    }

    /// What agrees on TLS on the proxy's, the ops plane's and the webhooks' listener, in this order.
    pub(super) fn acceptors(&self, metrics: &Metrics) -> Result<[Option<Acceptor>; 3], BuildError> {
        let acceptor = |shown: &Option<Arc<Presented>>, failed| {
            let shown = shown.as_ref().map(Arc::clone);
            let made = shown.map(|shown| Acceptor::new(shown, failed)).transpose();
            made.map_err(BuildError::Tls)
        };
        let [proxy, ops, webhooks] = LISTENERS.map(|listener| metrics.tls_failures(listener));
        Ok([
            acceptor(&self.proxy, proxy)?,
            acceptor(&self.ops, ops)?,
            acceptor(&self.webhooks, webhooks)?,
        ])
    }
}

//! `serve`: the sidecar itself.

use std::sync::{Arc, Mutex};

use super::signals::{STOPPED, shutdown_signal};
use super::{Failure, Settings, control_runtime};
use crate::app::App;
use crate::config::{Config, Tenant};
use crate::telemetry::logging;
use crate::webhooks::PATH;

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let loaded = settings.load()?;
    let log = logging::init(&loaded.config.log).map_err(|error| Failure::new(&error))?;
    let log = Arc::new(Mutex::new(Some(log)));
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    control_runtime()?.block_on(async {
        let log = Arc::clone(&log);
        let shutdown = shutdown_signal(move || {
            tracing::warn!("{STOPPED}");
            // Written out here, since the program does not come to its end.
            drop(log.lock().map(|mut log| log.take()));
        })?;
        let (upstream, tenants) = (loaded.config.proxy.upstream.to_string(), tenants(&loaded.config));
        let registry = loaded.config.registry.home.to_string();
        let app = App::build(loaded.config)
            .await
            .map_err(|error| Failure::new(&error))?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            proxy = format!("http://{}", app.proxy_addr()),
            ops = format!("http://{}", app.ops_addr()),
            webhooks = app.webhooks_addr().map(|addr| format!("http://{addr}{PATH}")),
            upstream,
            registry,
            tenants,
            "snaptrade-sidecar is ready"
        );
        app.run(shutdown).await.map_err(|error| Failure::new(&error))
    })
}

/// `default (enforce, at most 5 users)`, one after the other.
fn tenants(config: &Config) -> String {
    let line = |tenant: &Tenant| {
        let terms = &tenant.terms;
        format!(
            "{} ({}, at most {} users)",
            tenant.name,
            terms.mode.token(),
            terms.max_users
        )
    };
    config.tenants.iter().map(line).collect::<Vec<_>>().join(", ")
}

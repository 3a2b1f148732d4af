//! `serve`: the sidecar itself.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::signals::{STOPPED, shutdown_or_reload};
use super::{Failure, Settings, control_runtime};
use crate::app::App;
use crate::app::reload::Reloading;
use crate::config::Identity;
use crate::config::{self, Config, Tenant};
use crate::telemetry::logging;
use crate::webhooks::PATH;

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let sources = settings.sources()?;
    let loaded = config::load(sources.clone()).map_err(|faults| Failure(faults.to_string()))?;
    let (log, level) = logging::init(&loaded.config.log).map_err(|error| Failure::new(&error))?;
    let log = Arc::new(Mutex::new(Some(log)));
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = control_runtime()?;
    let ended = runtime.block_on(async {
        let log = Arc::clone(&log);
        let last_words = move || {
            tracing::warn!("{STOPPED}");
            // Written out here, since the program does not come to its end.
            drop(log.lock().map(|mut log| log.take()));
        };
        let asked = Arc::new(Notify::new());
        let shutdown = shutdown_or_reload(last_words, Arc::clone(&asked))?;
        let (upstream, tenants) = (loaded.config.proxy.upstream.to_string(), tenants(&loaded.config));
        let registry = loaded.config.registry.home.to_string();
        let scheme = |tls: &Option<Identity>| if tls.is_some() { "https" } else { "http" };
        let (proxy, ops) = (scheme(&loaded.config.proxy.tls), scheme(&loaded.config.ops.tls));
        let webhooks = scheme(&loaded.config.webhooks.tls);
        let app = App::build(loaded.config)
            .await
            .map_err(|error| Failure::new(&error))?
            .reloading(Reloading {
                sources,
                files: loaded.files,
                warnings: loaded.warnings,
                level: Some(level),
                asked,
            });
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            proxy = format!("{proxy}://{}", app.proxy_addr()),
            ops = format!("{ops}://{}", app.ops_addr()),
            webhooks = app
                .webhooks_addr()
                .map(|addr| format!("{webhooks}://{addr}{PATH}")),
            upstream,
            registry,
            tenants,
            "snaptrade-sidecar is ready"
        );
        app.run(shutdown).await.map_err(|error| Failure::new(&error))
    });
    // A file that is just being looked at, or a name, must not hold up the end of the program.
    runtime.shutdown_background();
    ended
}

/// `default (enforce, at most 5 users)`, one after the other.
fn tenants(config: &Config) -> String {
    let line = |tenant: &Arc<Tenant>| {
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

//! `serve`: the sidecar itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::signals::{STOPPED, shutdown_or_reload};
use super::{Failure, Settings, control_runtime, descriptors};
use crate::app::reload::Reloading;
use crate::app::{App, BuildError};
use crate::config::Identity;
use crate::config::{self, Config, Loaded, Sources, Tenant};
use crate::telemetry::logging::{self, Flush, Level};
use crate::telemetry::panics;
use crate::webhooks::PATH;

/// How the program ends where it does not end well. The numbers are those of sysexits.h, which systemd names too, so that a
/// process manager can tell what a restart may mend.
pub(super) struct Ended {
    pub(super) failure: Failure,
    pub(super) code: u8,
}

/// `EX_SOFTWARE`: an error of the sidecar's own.
const CRASHED: u8 = 70;
/// `EX_OSERR`: the system does not give it an address.
const NO_ADDRESS: u8 = 71;
/// `EX_CONFIG`: as long as the configuration is what it is, a restart mends nothing.
const MISCONFIGURED: u8 = 78;

impl Ended {
    pub(super) fn panicked() -> Self {
        Self {
            failure: Failure("the sidecar panicked; the log says where. Please report this".to_owned()),
            code: CRASHED,
        }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self { failure, code: 1 }
    }
}

impl From<BuildError> for Ended {
    fn from(error: BuildError) -> Self {
        let code = match error {
            BuildError::Died(_) => CRASHED,
            BuildError::Listen { .. } => NO_ADDRESS,
            _ => 1,
        };
        let failure = Failure::new(&error);
        Self { failure, code }
    }
}

pub(super) fn run(settings: &Settings) -> Result<(), Ended> {
    let (prepared, log) = Prepared::by(settings.sources())?;
    let log = Arc::new(Mutex::new(Some(log)));
    to_its_end(async {
        let log = Arc::clone(&log);
        let last_words = move || {
            tracing::warn!("{STOPPED}");
            // Written out here, since the program does not come to its end.
            drop(log.lock().map(|mut log| log.take()));
        };
        let asked = Arc::new(Notify::new());
        let shutdown = shutdown_or_reload(last_words, Arc::clone(&asked))?;
        let app = prepared.build(asked).await?;
        Ok(app.run(shutdown).await?)
    })
}

/// A sidecar that has its configuration and its log, and no port yet.
pub(super) struct Prepared {
    sources: Sources,
    loaded: Loaded,
    level: Level,
    connections_max: usize,
}

impl Prepared {
    /// What is returned beside it has to be kept until the end, for the log's last lines.
    pub(super) fn by(sources: Sources) -> Result<(Self, Flush), Ended> {
        let loaded = config::load(sources.clone()).map_err(|faults| Ended {
            failure: Failure(faults.to_string()),
            code: MISCONFIGURED,
        })?;
        let (log, level) = logging::init(&loaded.config.log).map_err(|error| Failure::new(&error))?;
        panics::tell();
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let connections_max = descriptors::connections_max(&loaded.config.proxy);
        let prepared = Self {
            sources,
            loaded,
            level,
            connections_max,
        };
        Ok((prepared, log))
    }

    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Binds the ports, and says where. The configuration is loaded anew when `asked` tells so, too.
    pub(super) async fn build(self, asked: Arc<Notify>) -> Result<App, Ended> {
        let Self {
            sources,
            loaded,
            level,
            connections_max,
        } = self;
        let (upstream, tenants) = (loaded.config.proxy.upstream.to_string(), tenants(&loaded.config));
        let registry = loaded.config.registry.home.to_string();
        let traces = loaded
            .config
            .tracing
            .as_ref()
            .map(|tracing| tracing.target().to_owned());
        let scheme = |tls: &Option<Identity>| if tls.is_some() { "https" } else { "http" };
        let (proxy, ops) = (scheme(&loaded.config.proxy.tls), scheme(&loaded.config.ops.tls));
        let webhooks = scheme(&loaded.config.webhooks.tls);
        let reloading = Reloading {
            sources,
            files: loaded.files,
            warnings: loaded.warnings,
            level: Some(level),
            asked,
        };
        let app = App::build(loaded.config).await?;
        let app = app.reloading(reloading).with_connections(connections_max);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            proxy = format!("{proxy}://{}", app.proxy_addr()),
            ops = format!("{ops}://{}", app.ops_addr()),
            webhooks = app
                .webhooks_addr()
                .map(|addr| format!("{webhooks}://{addr}{PATH}")),
            upstream,
            registry,
            traces,
            tenants,
            "snaptrade-sidecar is ready"
        );
        Ok(app)
    }
}

/// Runs what serves, on the control runtime.
pub(super) fn to_its_end<T>(serve: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    let runtime = control_runtime()?;
    let ended =
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve))).unwrap_or_else(|_| Err(Ended::panicked()));
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

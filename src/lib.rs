//! A reverse proxy that runs beside an application that talks to SnapTrade.
//!
//! The application changes one thing, its base URL. Every call passes through untouched, except one: when the
//! application registers a user, the sidecar first makes sure that there is room under the key's limit, by
//! deleting the user that its policy says can go, then forwards the registration, and retries it once if
//! SnapTrade still answers that the limit is reached.
//!
//! The modules, in reading order; each imports only those above it:
//!
//! - [`types`]: the vendor's words as types; secrets that cannot be printed.
//! - [`clock`]: the time, for everything that decides by it or waits.
//! - [`snaptrade`]: the vendor's wire: which call is this, who signed it, what does a reply mean.
//! - [`admission`]: the decision, pure: one registration as a state machine, the policy, the roster.
//! - [`config`]: what the program was told, validated.
//! - [`tasks`]: what goes on beside the traffic, also after a panic.
//! - [`telemetry`]: what it tells its operator: log, metrics, traces and health.
//! - [`tls`]: TLS on its own listeners, and the certificates that it shows.
//! - [`registry`]: what it remembers: users, the journal, and whose turn it is among replicas.
//! - [`replay`]: what other policies would have done with what happened; pure.
//! - [`analytics`]: what the journal says of a while.
//! - [`activity`]: which users are active, as the calls tell that pass through.
//! - [`upstream`]: towards SnapTrade: the calls that are forwarded, and the sidecar's own.
//! - [`notices`]: what the application is told after an eviction.
//! - [`guard`]: performs admissions, a tenant's one after the other; the only place that deletes users.
//! - [`proxy`]: the data plane's requests: passed through, or handed to a guard.
//! - [`ops`]: health, metrics, status, who is there, and what is done by hand.
//! - [`webhooks`]: what SnapTrade tells by itself, taken in and passed on.
//! - [`server`]: the data plane's listeners, connections, and their end.
//! - [`app`]: the composition root: a configuration becomes a running sidecar.
//! - [`simulator`]: a stand-in for SnapTrade; uses nothing of the above.
//! - [`cli`]: the command line.
//! - `simulation`: whole sidecars in a simulated world; for tests.

/// The commit that it was built from, where the build was told.
pub const COMMIT: Option<&str> = option_env!("SNAPTRADE_SIDECAR_COMMIT");

pub mod types;

pub mod clock;

pub mod snaptrade;

pub mod admission;

pub mod config;

pub mod tasks;

pub mod telemetry;

pub mod tls;

pub mod registry;

pub mod analytics;

pub mod replay;

pub mod activity;

pub mod upstream;

pub mod notices;

pub mod guard;

pub mod proxy;

pub mod ops;

pub mod webhooks;

pub mod server;

pub mod app;

pub mod simulator;

pub mod cli;

#[cfg(test)]
mod simulation;

//! The HTTP client for what goes elsewhere than to `SnapTrade`: notices and webhooks to the application, and what the command
//! line asks a running sidecar.

use std::time::Duration;

use super::pool::IDLE_MAX_UNREPEATABLE;

/// A client that trusts as `tls` says.
///
/// # Errors
/// If the TLS configuration is one that the client cannot use.
pub fn client(
    tls: rustls::ClientConfig,
    connect_timeout: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_MAX_UNREPEATABLE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
}

//! The ports that the sidecar answers on.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use tokio::net::TcpListener;

use super::BuildError;
use crate::config::Config;
use crate::server::Listeners;

pub(super) fn bind_proxy(config: &Config) -> Result<Listeners, BuildError> {
    let addr = config.proxy.listen;
    let workers = match config.proxy.worker_threads {
        0 => available_parallelism().map_or(1, NonZeroUsize::get),
        count => count,
    };
    Listeners::bind(addr, workers).map_err(|source| BuildError::Listen {
        key: "proxy.listen",
        addr,
        source,
    })
}

pub(super) async fn bind(
    key: &'static str,
    addr: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BuildError> {
    let bound = async {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    };
    bound
        .await
        .map_err(|source| BuildError::Listen { key, addr, source })
}

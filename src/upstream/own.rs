//! The sidecar's own listeners. A connection to the upstream that leads to one of them would bring each call back to where it
//! came from, again and again. The address tells, whatever name it was found by, and each connection is looked at, since a
//! name may lead elsewhere tomorrow.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolve::Resolver;

type Cause = Box<dyn Error + Send + Sync>;

/// Where the sidecar listens, each with the configuration key that says so.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<[(&'static str, SocketAddr)]>);

impl Own {
    /// The addresses as they were bound, ports included.
    pub fn new(listeners: impl IntoIterator<Item = (&'static str, SocketAddr)>) -> Self {
        Self(listeners.into_iter().collect())
    }

    /// Whether a connection with these two ends leads to a listener, and which. One that is bound to all addresses is reached
    /// by each of this machine: by loopback, and otherwise from the very address that it leads to.
    fn reached(&self, peer: SocketAddr, local: SocketAddr) -> Option<Loop> {
        let (to, from) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let is_here = to.is_loopback() || to == from;
        let is_reached = |listener: &SocketAddr| {
            let on_all = match listener.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() && to.is_ipv4(),
                // Of both families, as systems have it by default.
                IpAddr::V6(ip) => ip.is_unspecified(),
            };
            listener.port() == peer.port() && (listener.ip().to_canonical() == to || on_all && is_here)
        };
        let found = self.0.iter().find(|(_, listener)| is_reached(listener));
        found.map(|(key, listener)| Loop {
            key,
            listener: *listener,
        })
    }
}

/// A connection that would have led to the sidecar itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loop {
    key: &'static str,
    listener: SocketAddr,
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, listener } = self;
        write!(f, "its address is that of {key}, {listener}")
    }
}

impl Error for Loop {}

/// Opens TCP connections, but none to the sidecar itself: not a byte is sent by one.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    tcp: HttpConnector<Resolver>,
    own: Own,
}

impl Guarded {
    pub(super) fn new(tcp: HttpConnector<Resolver>, own: Own) -> Self {
        Self { tcp, own }
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Cause>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let (connecting, own) = (self.tcp.call(origin), self.own.clone());
        Box::pin(async move {
            let stream = connecting.await?;
            let (peer, local) = (stream.inner().peer_addr()?, stream.inner().local_addr()?);
            match own.reached(peer, local) {
                Some(found) => Err(found.into()),
                None => Ok(stream),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(listener: &str, peer: &str, local: &str) -> bool {
        let own = Own::new([("proxy.listen", listener.parse().unwrap())]);
        let found = own.reached(peer.parse().unwrap(), local.parse().unwrap());
        found.is_some()
    }

    #[test]
    fn a_listener_is_known_by_every_address_that_leads_to_it() {
        for (listener, peer, local) in [
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:5"),
            ("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:5"),
            ("0.0.0.0:80", "127.0.0.1:80", "127.0.0.1:5"),
            ("0.0.0.0:80", "127.9.9.9:80", "127.0.0.1:5"),
            ("0.0.0.0:80", "10.0.0.1:80", "10.0.0.1:5"),
            ("[::]:80", "[::1]:80", "[::1]:5"),
            ("[::]:80", "127.0.0.1:80", "127.0.0.1:5"),
            ("[::]:80", "[2001:db8::1]:80", "[2001:db8::1]:5"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", "127.0.0.1:5"),
        ] {
            assert!(reached(listener, peer, local), "{listener} {peer}");
        }
        for (listener, peer, local) in [
            ("127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:5"),
            ("127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:5"),
            ("127.0.0.1:80", "10.0.0.1:80", "10.0.0.1:5"),
            ("0.0.0.0:80", "10.0.0.2:80", "10.0.0.1:5"),
            ("0.0.0.0:80", "[::1]:80", "[::1]:5"),
            ("[::]:80", "10.0.0.2:80", "10.0.0.1:5"),
        ] {
            assert!(!reached(listener, peer, local), "{listener} {peer}");
        }
        assert_eq!(
            Own::default().reached("10.0.0.1:80".parse().unwrap(), "10.0.0.1:5".parse().unwrap()),
            None
        );
    }
}

//! Names of hosts to addresses, with an error that says that it was the name.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiFuture, GaiResolver, Name};
use tower_service::Service;

/// The system's resolver.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

/// The name of a host that has no address, or whose addresses cannot be asked for.
#[derive(Debug)]
pub(super) struct Unresolved {
    name: String,
    cause: io::Error,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no address of {}", self.name)
    }
}

impl Error for Unresolved {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = Unresolved;
    type Future = Resolving;

    /// The system's is always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Resolving {
        Resolving {
            name: name.as_str().to_owned(),
            asked: self.0.call(name),
        }
    }
}

/// A name that is being looked up.
pub(super) struct Resolving {
    name: String,
    asked: GaiFuture,
}

impl Future for Resolving {
    type Output = Result<GaiAddrs, Unresolved>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let addresses = ready!(Pin::new(&mut self.asked).poll(cx));
        Poll::Ready(addresses.map_err(|cause| Unresolved {
            name: std::mem::take(&mut self.name),
            cause,
        }))
    }
}

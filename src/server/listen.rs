//! One socket for each worker on one address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::tls::Acceptor;

/// Connections that the operating system keeps for each worker until it accepts them.
const BACKLOG: i32 = 1024;

/// Sockets that listen already: callers may connect before a worker runs.
#[derive(Debug)]
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    pub(super) tls: Option<Acceptor>,
    address: SocketAddr,
}

impl Listeners {
    /// Binds one socket for each of `workers`, at least one. With port 0 the system chooses a port for all.
    pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Self> {
        // Sharing a port is for the workers among themselves. A second program of the same user that shares it too would
        // silently take half the callers, so the port must first be had alone.
        if address.port() != 0 {
            drop(listener(address, false)?);
        }
        let first = listener(address, true)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(listener(address, true)?);
        }
        Ok(Self {
            sockets,
            tls: None,
            address,
        })
    }

    /// With TLS, if there is any to be spoken.
    #[must_use]
    pub fn over(self, tls: Option<Acceptor>) -> Self {
        Self { tls, ..self }
    }

    /// With the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
impl Listeners {
    /// A listener that cannot be used, so that the worker that gets it ends.
    pub(crate) fn unusable() -> Self {
        let nothing = std::fs::File::open("/dev/null").unwrap_or_else(|error| panic!("{error}"));
        Self {
            sockets: vec![std::os::fd::OwnedFd::from(nothing).into()],
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
        }
    }
}

fn listener(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that just ended must not keep its successor from the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn every_worker_has_a_socket_on_the_one_port() {
        let listeners = Listeners::bind(localhost(0), 3).unwrap();
        assert_ne!(listeners.local_addr().port(), 0);
        assert_eq!(listeners.sockets.len(), 3);
        for socket in &listeners.sockets {
            assert_eq!(socket.local_addr().unwrap(), listeners.local_addr());
        }
    }

    #[test]
    fn a_port_in_use_is_refused_even_where_it_could_be_shared() {
        let first = Listeners::bind(localhost(0), 2).unwrap();
        let error = Listeners::bind(first.local_addr(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let address = first.local_addr();
        drop(first);
        Listeners::bind(address, 2).unwrap();
    }
}

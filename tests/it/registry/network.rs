//! A network between a registry and its server that can be cut, and a pooler's way to treat sessions.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf as FromClient, OwnedWriteHalf as ToClient};
use tokio::net::unix::{OwnedReadHalf as FromServer, OwnedWriteHalf as ToServer};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::server::Server;
use crate::harness::{ANY_PORT, patiently};

/// `ReadyForQuery`, not in a transaction: with it a server's answer ends.
const READY: &[u8] = &[b'Z', 0, 0, 0, 5, b'I'];

pub(crate) struct Network {
    pub(crate) port: u16,
    flows: watch::Sender<bool>,
    routes: Arc<Mutex<Routes>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Routes {
    clients: Vec<ToClient>,
    servers: Vec<ToServer>,
    /// By client: which server's session it speaks to.
    server_of: Vec<usize>,
    /// By client: whether it waits for no answer.
    is_idle: Vec<bool>,
}

impl Network {
    pub(crate) async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flows = watch::Sender::new(true);
        let routes = Arc::default();
        let accepting = tokio::spawn(accept(
            listener,
            server.socket(),
            flows.clone(),
            Arc::clone(&routes),
        ));
        Self {
            port,
            flows,
            routes,
            accepting,
        }
    }

    /// From now on nothing arrives, in either direction, and nobody is told.
    pub(crate) fn cut(&self) {
        self.flows.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.flows.send_replace(true);
    }

    /// The last two clients speak to each other's sessions, as by a pooler in transaction mode.
    pub(crate) async fn swap(&self) {
        patiently(async {
            loop {
                let mut routes = self.routes.lock().await;
                let last = routes.clients.len() - 1;
                if routes.is_idle[last] && routes.is_idle[last - 1] {
                    routes.server_of.swap(last, last - 1);
                    return;
                }
                drop(routes);
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    socket: PathBuf,
    flows: watch::Sender<bool>,
    routes: Arc<Mutex<Routes>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = UnixStream::connect(&socket).await else {
            continue;
        };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let mut all = routes.lock().await;
        let number = all.clients.len();
        all.clients.push(to_client);
        all.servers.push(to_server);
        all.server_of.push(number);
        all.is_idle.push(false);
        drop(all);
        tokio::spawn(ask(number, from_client, flows.subscribe(), Arc::clone(&routes)));
        tokio::spawn(answer(
            number,
            from_server,
            flows.subscribe(),
            Arc::clone(&routes),
        ));
    }
}

async fn ask(
    client: usize,
    mut from: FromClient,
    mut flows: watch::Receiver<bool>,
    routes: Arc<Mutex<Routes>>,
) {
    let mut bytes = vec![0; 65_536];
    loop {
        let length = from.read(&mut bytes).await.unwrap_or(0);
        if flows.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        let mut routes = routes.lock().await;
        routes.is_idle[client] = false;
        let server = routes.server_of[client];
        let server = &mut routes.servers[server];
        if length == 0 || server.write_all(&bytes[..length]).await.is_err() {
            let _ = server.shutdown().await;
            return;
        }
    }
}

async fn answer(
    server: usize,
    mut from: FromServer,
    mut flows: watch::Receiver<bool>,
    routes: Arc<Mutex<Routes>>,
) {
    let mut bytes = vec![0; 65_536];
    loop {
        let length = from.read(&mut bytes).await.unwrap_or(0);
        if flows.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        let mut routes = routes.lock().await;
        let client = routes.server_of.iter().position(|of| *of == server).unwrap();
        routes.is_idle[client] = bytes[..length].ends_with(READY);
        let client = &mut routes.clients[client];
        if length == 0 || client.write_all(&bytes[..length]).await.is_err() {
            let _ = client.shutdown().await;
            return;
        }
    }
}

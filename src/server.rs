//! The listener of the data plane: one thread, one runtime and one socket per worker.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::upstream::body::ReplyBody;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_connections: usize,
    pub header_timeout: Duration,
}

/// One socket per worker, on one address.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<std::net::TcpListener>,
    addr: SocketAddr,
}

impl Listeners {
    pub fn bind(addr: SocketAddr, workers: usize) -> io::Result<Self> {
        let first = socket(addr)?;
        let addr = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(socket(addr)?);
        }
        Ok(Self { sockets, addr })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn start<M, H, F>(
        self,
        limits: Limits,
        open: Arc<AtomicUsize>,
        closing: &CancellationToken,
        make: M,
    ) -> io::Result<Workers>
    where
        M: Fn() -> H + Clone + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ReplyBody>> + Send + 'static,
    {
        let cutting = CancellationToken::new();
        let (done, drained) = mpsc::channel(self.sockets.len());
        let room = Arc::new(Semaphore::new(limits.max_connections));
        for (index, listener) in self.sockets.into_iter().enumerate() {
            let worker = Worker {
                limits,
                open: open.clone(),
                closing: closing.clone(),
                cutting: cutting.clone(),
                room: room.clone(),
                connections: TaskTracker::new(),
            };
            let (make, done) = (make.clone(), done.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    runtime.block_on(async {
                        match TcpListener::from_std(listener) {
                            Ok(listener) => worker.run(listener, make()).await,
                            Err(error) => tracing::error!(%error, "a worker cannot listen"),
                        }
                        drop(done);
                    });
                })?;
        }
        Ok(Workers {
            cutting,
            drained,
            open,
        })
    }
}

fn socket(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// The workers at work.
#[derive(Debug)]
pub struct Workers {
    cutting: CancellationToken,
    drained: mpsc::Receiver<()>,
    open: Arc<AtomicUsize>,
}

impl Workers {
    /// Waits until the workers are done, for at most `timeout`, then cuts what is left and says how much that was.
    pub async fn drained(mut self, timeout: Duration) -> usize {
        if tokio::time::timeout(timeout, self.drained.recv()).await.is_ok() {
            return 0;
        }
        let cut = self.open.load(Ordering::Relaxed);
        self.cutting.cancel();
        self.drained.recv().await;
        cut
    }
}

struct Worker {
    limits: Limits,
    open: Arc<AtomicUsize>,
    closing: CancellationToken,
    cutting: CancellationToken,
    room: Arc<Semaphore>,
    connections: TaskTracker,
}

impl Worker {
    async fn run<H, F>(self, listener: TcpListener, handler: H)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ReplyBody>> + Send + 'static,
    {
        while let Some((stream, permit)) = self.accept(&listener).await {
            self.connections
                .spawn(self.serve(stream, permit, handler.clone()));
        }
        drop(listener);
        self.connections.close();
        self.connections.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        loop {
            let accepted = async {
                let permit = self.room.clone().acquire_owned().await.ok()?;
                Some((listener.accept().await, permit))
            };
            tokio::select! {
                () = self.closing.cancelled() => return None,
                accepted = accepted => match accepted? {
                    (Ok((stream, _)), permit) => return Some((stream, permit)),
                    (Err(error), _) => {
                        tracing::warn!(%error, "cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    fn serve<H, F>(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        handler: H,
    ) -> impl Future<Output = ()> + Send + use<H, F>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ReplyBody>> + Send + 'static,
    {
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let reply = handler(request);
            async move { Ok::<_, Infallible>(reply.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let (closing, cutting, open) = (self.closing.clone(), self.cutting.clone(), self.open.clone());
        open.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                () = cutting.cancelled() => {}
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = connection => {}
                        () = cutting.cancelled() => {}
                    }
                }
            }
            open.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        }
    }
}

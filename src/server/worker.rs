//! The threads that accept and serve.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::connection::{Caller, End, serve};
use super::stage::{Course, Stage};
use super::{Limits, Listeners};
use crate::telemetry::chain;
use crate::telemetry::limits::{Limit, Reached};
use crate::tls::Acceptor;
use crate::upstream::body::ReplyBody;

/// Between attempts to accept while that fails, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about it.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// For agreeing on TLS with those who connected just before it was time to stop.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// What the workers are given.
#[derive(Clone, Debug)]
pub struct Means {
    pub limits: Limits,
    /// Counts the connections.
    pub open: Arc<AtomicUsize>,
    pub reached: Arc<Reached>,
    /// From when this is cancelled, every reply tells its caller to close the connection.
    pub leaving: CancellationToken,
    /// When this is cancelled, the workers stop.
    pub stopping: CancellationToken,
}

/// The steps to the end.
#[derive(Clone, Debug)]
struct Stop {
    leaving: CancellationToken,
    stopping: CancellationToken,
    cutting: CancellationToken,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    stop: Stop,
    open: Arc<AtomicUsize>,
    running: usize,
    /// Of each worker that ends, however it does.
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Waits until a worker ends.
    pub async fn ended(&mut self) {
        if self.ended.recv().await.is_some() {
            self.running -= 1;
        }
    }

    /// Waits until the workers were told to stop and the last connection is closed, `timeout` after that at the latest.
    /// Returns how many connections had to be cut.
    pub async fn drained(mut self, timeout: Duration) -> usize {
        self.stop.stopping.cancelled().await;
        if tokio::time::timeout(timeout, self.all_ended()).await.is_ok() {
            return 0;
        }
        let cut = self.open.load(Ordering::Relaxed);
        self.stop.cutting.cancel();
        self.all_ended().await;
        cut
    }

    async fn all_ended(&mut self) {
        while self.running > 0 {
            self.ended().await;
        }
    }
}

/// Tells of a worker's end, also of one by a panic.
struct TellEnd(mpsc::Sender<()>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // There is room for every worker.
        let _ = self.0.try_send(());
    }
}

/// What the workers share.
#[derive(Clone)]
struct Shared {
    limits: Limits,
    stop: Stop,
    slots: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
    tls: Option<Acceptor>,
    reached: Arc<Reached>,
}

/// A caller that is accepted, and by what address it called.
type Accepted = (TcpStream, SocketAddr);

impl Listeners {
    /// Starts a worker for each socket. Each makes its own handler, within its runtime, by calling `make`.
    ///
    /// When [`Means::stopping`] is cancelled, what is waiting to be accepted still is, then the sockets close, idle
    /// connections too, and every other one after its reply. A handler's future is dropped when its caller
    /// goes away, and what it spawned in the worker's runtime ends with the worker: work that must outlive the caller
    /// belongs in another runtime. A handler that panics loses its connection, no more.
    pub fn start<M, H, F>(self, means: Means, make: M) -> io::Result<Workers>
    where
        M: Fn() -> H + Clone + Send + 'static,
        H: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<ReplyBody>> + 'static,
    {
        let shared = Shared {
            limits: means.limits,
            stop: Stop {
                leaving: means.leaving,
                stopping: means.stopping,
                cutting: CancellationToken::new(),
            },
            slots: Arc::new(Semaphore::new(
                means.limits.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            open: means.open,
            tls: self.tls,
            reached: means.reached,
        };
        let running = self.sockets.len();
        let (end, ended) = mpsc::channel(running.max(1));
        for (number, socket) in self.sockets.into_iter().enumerate() {
            let (worker, make, end) = (shared.for_worker(), make.clone(), TellEnd(end.clone()));
            in_thread(number, move |runtime| {
                let _end = end;
                runtime.block_on(async move {
                    match TcpListener::from_std(socket) {
                        Ok(listener) => worker.accept(listener, Rc::new(make())).await,
                        Err(error) => error!(error = %chain(&error), "a worker cannot use its socket"),
                    }
                });
            })?;
        }
        Ok(Workers {
            stop: shared.stop,
            open: shared.open,
            running,
            ended,
        })
    }
}

/// Runs `work` in a thread with a runtime, once that is there.
fn in_thread(number: usize, work: impl FnOnce(&LocalRuntime) + Send + 'static) -> io::Result<()> {
    let (started, result) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name(format!("worker-{number}")).spawn(
        move || match Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
        {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                work(&runtime);
                // A name being looked up must not hold up the end of the program.
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        },
    )?;
    result
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("a worker's thread died at once")))
}

impl Shared {
    /// With tokens of its own, so that looking at them does not disturb the other workers.
    fn for_worker(&self) -> Self {
        Self {
            stop: Stop {
                leaving: self.stop.leaving.child_token(),
                stopping: self.stop.stopping.child_token(),
                cutting: self.stop.cutting.child_token(),
            },
            ..self.clone()
        }
    }

    async fn accept<H, F>(self, listener: TcpListener, handler: Rc<H>)
    where
        H: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<ReplyBody>> + 'static,
    {
        let course = Course::default();
        let mut connections = JoinSet::new();
        let (mut next, mut said) = (None, None::<Instant>);
        loop {
            let accepted = tokio::select! {
                // Those who are waiting already are served even if it is time to stop.
                biased;
                accepted = self.next(&listener, &mut next) => accepted,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                () = self.stop.leaving.cancelled(), if course.stage() < Stage::Leaving => {
                    course.advance(Stage::Leaving);
                    continue;
                }
                () = self.stop.stopping.cancelled() => break,
            };
            match accepted {
                Ok((caller, slot)) => {
                    let (shared, handler, course) = (self.clone(), Rc::clone(&handler), course.clone());
                    connections
                        .spawn_local(async move { shared.serve(caller, slot, &course, &*handler).await });
                }
                Err(error) if is_callers(&error) => {}
                Err(error) => {
                    self.reached.count(Limit::Descriptors);
                    if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                        said = Some(Instant::now());
                        warn!(
                            error = %chain(&error),
                            "cannot accept connections; trying again until it works. Said once a minute"
                        );
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, next));
        course.advance(Stage::Stopping);
        loop {
            tokio::select! {
                ended = connections.join_next() => match ended {
                    Some(ended) => report(ended),
                    None => return,
                },
                () = self.stop.cutting.cancelled(), if course.stage() < Stage::Cutting => {
                    course.advance(Stage::Cutting);
                }
            }
        }
    }

    /// The next caller and a slot for it. It is accepted first, so that no worker holds a slot for a caller that comes to
    /// another; while it waits for a slot, it waits in `next`.
    async fn next(
        &self,
        listener: &TcpListener,
        next: &mut Option<Accepted>,
    ) -> io::Result<(Accepted, OwnedSemaphorePermit)> {
        if next.is_none() {
            let (_, peer) = next.insert(listener.accept().await?);
            if self.slots.available_permits() == 0 {
                self.reached.note(Limit::Connections, Some(*peer));
            }
        }
        // The slots are never closed.
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let accepted = next
            .take()
            .ok_or_else(|| io::Error::other("nobody was accepted"))?;
        Ok((accepted, slot))
    }

    async fn serve<H, F>(
        &self,
        (stream, peer): Accepted,
        _slot: OwnedSemaphorePermit,
        course: &Course,
        handler: &H,
    ) where
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<ReplyBody>>,
    {
        let _counted = Counted::new(&self.open);
        // Fails only for a caller who is gone already.
        let _ = stream.set_nodelay(true);
        let caller = Caller {
            peer,
            limits: &self.limits,
            slots: &self.slots,
            reached: &self.reached,
        };
        let (stream, end) = match &self.tls {
            None => serve(stream, &caller, course, handler).await,
            // In a box, so that a connection without TLS takes no room for it.
            Some(tls) => match Box::pin(self.serve_tls(tls, stream, &caller, course, handler)).await {
                Some(ended) => ended,
                None => return,
            },
        };
        if end == End::Reset {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// `None` if TLS was not agreed on. That has the time of a request's head, and a second once no more is taken on.
    async fn serve_tls<H, F>(
        &self,
        tls: &Acceptor,
        stream: TcpStream,
        caller: &Caller<'_>,
        course: &Course,
        handler: &H,
    ) -> Option<(TcpStream, End)>
    where
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<ReplyBody>>,
    {
        let too_late = async {
            self.stop.stopping.cancelled().await;
            sleep(HANDSHAKE_GRACE).await;
        };
        let stream = tokio::select! {
            stream = tls.accept(stream, self.limits.header_timeout) => stream?,
            () = too_late => return None,
        };
        let (stream, end) = serve(stream, caller, course, handler).await;
        Some((stream.into_inner().0, end))
    }
}

/// One connection in the count of those open, also if its handler panics.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether it is the fault of the one connection that was to be accepted.
fn is_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(error = %chain(&error), "a request's handler panicked; its connection is closed");
    }
}

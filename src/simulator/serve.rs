//! The sockets: accepting, reading calls, and performing faults upon connections.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::arrived::{Arrived, Gathered};
use super::control::{control, is_control};
use super::echo;
use super::faults::FaultKind;
use super::replies::{self, Reply};

/// Further callers wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 10_000;

/// How long to leave the listener alone after it failed, which it does where the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Before the network is cut: the call that asks for it gets its answer.
const CUT_AFTER: Duration = Duration::from_millis(100);

/// One connection, as its calls see it.
struct Line {
    /// Ends the connection at once, whatever it is doing.
    cut: CancellationToken,
    /// The same socket once more, to have it reset instead of closed.
    socket: Option<Socket>,
}

/// How a call ends.
enum Outcome {
    Reply(Reply),
    Reset,
    Close,
    Hang,
}

/// Accepts callers until the stand-in stops. While the network is cut there is no listener, and no connection.
pub(super) async fn listen(shared: Arc<Shared>, addr: SocketAddr, mut cuts: watch::Receiver<Duration>) {
    loop {
        let Some(listener) = shared.listener() else {
            return;
        };
        let online = shared.stop.child_token();
        let cut = tokio::select! {
            () = accept(&shared, listener, &online) => return,
            Ok(()) = cuts.changed() => *cuts.borrow_and_update(),
        };
        tokio::time::sleep(CUT_AFTER).await;
        online.cancel();
        shared.close();
        let again = async {
            tokio::time::sleep(cut).await;
            // The port is taken for as long as the system remembers the listener.
            loop {
                match TcpListener::bind(addr).await {
                    Ok(listener) => return shared.open(listener),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        };
        if shared.stop.run_until_cancelled(again).await.is_none() {
            return;
        }
    }
}

async fn accept(shared: &Arc<Shared>, listener: Arc<TcpListener>, online: &CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accepting = async {
        while let Ok(place) = Arc::clone(&room).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (shared, online) = (Arc::clone(shared), online.clone());
            tokio::spawn(async move {
                serve_tcp(shared, stream, &online).await;
                drop(place);
            });
        }
    };
    online.run_until_cancelled(accepting).await;
}

async fn serve_tcp(shared: Arc<Shared>, stream: TcpStream, online: &CancellationToken) {
    // Both are niceties: without the first it is slower, without the second a reset becomes a close.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(&stream).try_clone().ok();
    serve(shared, stream, socket, online).await;
}

/// Serves one connection until it ends, a fault ends it, or `online` does.
pub(super) async fn serve<S>(
    shared: Arc<Shared>,
    stream: S,
    socket: Option<Socket>,
    online: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let line = Arc::new(Line {
        cut: online.child_token(),
        socket,
    });
    let service = service_fn(|request| {
        let (shared, line) = (Arc::clone(&shared), Arc::clone(&line));
        async move {
            let answer = line.cut.run_until_cancelled(answer(shared, &line, request)).await;
            match answer {
                Some(reply) => Ok::<_, Infallible>(reply),
                None => pending().await,
            }
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let connection = server.serve_connection(TokioIo::new(stream), service);
    // A connection that fails is the caller's business.
    let _ = line.cut.run_until_cancelled(connection).await;
    // Over HTTP/2 calls are tasks of their own and would outlive the connection.
    line.cut.cancel();
}

async fn answer(shared: Arc<Shared>, line: &Line, request: Request<Incoming>) -> Reply {
    let (parts, incoming) = request.into_parts();
    if echo::wants_stream(&parts) {
        let arrived = Arrived::new(parts, Gathered::default());
        let work = |_: &Shared, arrived: &Arrived| echo::stream(&arrived.parts, incoming);
        return perform(shared, line, arrived, work).await;
    }
    let Ok(body) = Gathered::read(incoming).await else {
        return pending().await;
    };
    let arrived = Arrived::new(parts, body);
    if is_control(arrived.parts.uri.path()) {
        return shared.change(|state| control(state, &arrived));
    }
    perform(shared, line, arrived, |shared, arrived| {
        shared.change(|state| state.work(arrived))
    })
    .await
}

/// Logs the call, does its work in a task of its own, so that it is finished even if the caller goes away, and brings
/// about the outcome.
async fn perform<W>(shared: Arc<Shared>, line: &Line, mut arrived: Arrived, work: W) -> Reply
where
    W: FnOnce(&Shared, &Arrived) -> Reply + Send + 'static,
{
    let deprecated = arrived.has_deprecated_path();
    let (number, fault) = shared.change(|state| state.arrive(&arrived));
    arrived.number = number;
    let task = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { suffered(&shared, &arrived, fault, work).await }
    });
    match task.await {
        Ok(Outcome::Reply(mut reply)) => {
            let status = reply.status().as_u16();
            let request_id = shared.change(|state| {
                state.calls.conclude(number, status);
                state.new_uuid()
            });
            replies::finish(&mut reply, deprecated, &request_id);
            return reply;
        }
        Ok(Outcome::Reset) => {
            if let Some(socket) = &line.socket {
                // Fails only where the connection is gone already.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            line.cut.cancel();
        }
        Ok(Outcome::Close) | Err(_) => line.cut.cancel(),
        Ok(Outcome::Hang) => {}
    }
    pending().await
}

/// Does the work, half a round trip after the call and before the reply, as far as the fault lets it.
async fn suffered<W>(shared: &Shared, arrived: &Arrived, fault: Option<FaultKind>, work: W) -> Outcome
where
    W: FnOnce(&Shared, &Arrived) -> Reply,
{
    let half = shared.read(|state| state.options.round_trip) / 2;
    pause(half).await;
    match &fault {
        Some(FaultKind::ResetBefore) => return Outcome::Reset,
        Some(FaultKind::CloseBefore) => return Outcome::Close,
        Some(FaultKind::Hang) => return Outcome::Hang,
        Some(FaultKind::Status {
            status,
            body,
            content_type,
            done: false,
        }) => {
            pause(half).await;
            return Outcome::Reply(instead(*status, body, content_type.as_deref()));
        }
        Some(FaultKind::Throttled(seconds)) => {
            pause(half).await;
            return Outcome::Reply(replies::throttled(*seconds));
        }
        Some(FaultKind::Delay(delay)) => pause(*delay).await,
        _ => {}
    }
    let reply = work(shared, arrived);
    pause(half).await;
    match fault {
        Some(FaultKind::ResetAfter) => Outcome::Reset,
        Some(FaultKind::CloseAfter) => Outcome::Close,
        Some(FaultKind::HangAfter) => Outcome::Hang,
        Some(FaultKind::TruncatedBody) => Outcome::Reply(replies::cut(reply)),
        Some(FaultKind::Status {
            status,
            body,
            content_type,
            ..
        }) => Outcome::Reply(instead(status, &body, content_type.as_deref())),
        Some(FaultKind::DelayAfter(delay)) => {
            pause(delay).await;
            Outcome::Reply(reply)
        }
        _ => Outcome::Reply(reply),
    }
}

fn instead(status: u16, body: &str, content_type: Option<&str>) -> Reply {
    replies::with_type(
        status,
        content_type.unwrap_or("application/json"),
        body.to_owned(),
    )
}

/// A timer takes up to a millisecond even for nothing.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

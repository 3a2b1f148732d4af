//! The listener of the ops plane, and of others that are answered by the same framework. It drives hyper itself: a caller that never finishes its request head must not hold
//! a connection forever, and the framework's own server cannot say so.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::Ends;
use crate::tls::Acceptor;

/// More wait in the kernel's queue until one of these ends.
const CONNECTIONS_MAX: usize = 256;
/// Until a request head is complete; so an idle connection lasts no longer either.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Before the next try after the process ran out of file descriptors or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about it.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Answers on `listener` until `stopping`, then finishes the calls that are on their way. Dropping the future ends
/// those too, so whoever wants a bound puts a timeout around it.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    router: Router,
    stopping: CancellationToken,
) {
    // Without its own address nobody is local, which errs on the safe side.
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let own = listener.local_addr().unwrap_or(unknown);
    let mut connections = JoinSet::new();
    let mut said: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let ends = Ends { peer, listener: own };
                    connections.spawn(connection(stream, tls.clone(), ends, router.clone(), stopping.clone()));
                }
                Err(error) if is_callers(&error) => {}
                Err(error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                        said = Some(Instant::now());
                        tracing::warn!(
                            listener = %own,
                            %error,
                            "cannot accept connections; trying again until it works. Said once a minute"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Of one that panicked, the log tells.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    tls: Option<Acceptor>,
    ends: Ends,
    router: Router,
    stopping: CancellationToken,
) {
    // Only costs latency if it fails.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return answer(stream, ends, router, stopping).await;
    };
    let agreed = stopping.run_until_cancelled(tls.accept(stream, HEADER_TIMEOUT));
    if let Some(Some(stream)) = agreed.await {
        answer(stream, ends, router, stopping.clone()).await;
    }
}

async fn answer<S>(stream: S, ends: Ends, router: Router, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        let answer = router.call(request);
        async move { answer.await as Result<Response, Infallible> }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = %ends.listener, peer = %ends.peer, %error, "a connection ended early");
    }
}

/// A connection that its caller gave up concerns that caller only; anything else would fail again at once.
fn is_callers(error: &io::Error) -> bool {
    let theirs = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::Interrupted,
    ];
    theirs.contains(&error.kind())
}

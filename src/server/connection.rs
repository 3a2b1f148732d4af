//! One connection, from accept to close.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Limits;
use super::activity::{Activity, Overdue, Reply, Watched};
use super::stage::{Course, Stage};
use crate::telemetry::chain;
use crate::upstream::body::ReplyBody;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By HTTP, by its caller, or because a reply was cut short.
    Over,
    /// As `Over`, but only a reset tells the caller that its reply was cut short.
    Reset,
    Overdue(Overdue),
    /// It was still busy when the time for draining had passed.
    Cut,
}

/// Serves one request after the other. A caller that closes its sending side counts as gone, and so does its request: for
/// an HTTP/1.1 server there is no telling the two apart.
pub(super) async fn serve<S, H, F>(stream: S, limits: &Limits, course: &Course, handler: &H) -> (S, End)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ReplyBody>>,
{
    let activity = Activity::new();
    let stream = Watched {
        stream,
        activity: activity.clone(),
    };
    let service = service_fn(|request: Request<Incoming>| {
        activity.serving();
        let activity = activity.clone();
        let http10 = request.version() == Version::HTTP_10;
        let reply = handler(request);
        async move {
            Ok::<_, Infallible>(reply.await.map(|body| Reply {
                body,
                activity,
                http10,
            }))
        }
    });
    let mut connection = http1::Builder::new()
        // A reply keeps the date that it came with, and one that came without stays without.
        .auto_date_header(false)
        .header_read_timeout(None::<Duration>)
        .serve_connection(TokioIo::new(stream), service);
    // The task's waker is the same for as long as the connection lives: what has it once need not be given it again.
    let mut following = None;
    let mut stopping = false;
    let mut alarm = pin!(sleep_until(next_look(&activity, limits)));
    let end = poll_fn(|cx| {
        following.get_or_insert_with(|| {
            let _ = alarm.as_mut().poll(cx);
            course.follow(cx.waker())
        });
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended(result, &activity));
        }
        if course.stage() == Stage::Cutting {
            return Poll::Ready(End::Cut);
        }
        if course.stage() == Stage::Stopping && !stopping {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(ended(result, &activity));
            }
        }
        while alarm.is_elapsed() {
            if let Some(overdue) = overdue(&activity, limits) {
                debug!(?overdue, "a caller's connection is closed");
                return Poll::Ready(End::Overdue(overdue));
            }
            alarm.as_mut().reset(next_look(&activity, limits));
            let _ = alarm.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await;
    drop(following);
    (connection.into_parts().io.into_inner().stream, end)
}

fn ended(result: hyper::Result<()>, activity: &Activity) -> End {
    if let Err(error) = result {
        debug!(error = %chain(&error), "a caller's connection ended early");
    }
    if activity.must_reset() {
        End::Reset
    } else {
        End::Over
    }
}

fn overdue(activity: &Activity, limits: &Limits) -> Option<Overdue> {
    let (deadline, overdue) = activity.deadline(limits)?;
    (deadline <= Instant::now()).then_some(overdue)
}

/// Not later than the shortest limit from now: whatever begins in between cannot be overdue before.
fn next_look(activity: &Activity, limits: &Limits) -> Instant {
    let latest = Instant::now() + limits.header_timeout.min(limits.body_idle_timeout);
    activity
        .deadline(limits)
        .map_or(latest, |(deadline, _)| deadline.min(latest))
}

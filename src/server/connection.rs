//! One connection, from accept to close.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Limits;
use super::activity::{Activity, Overdue, Reply, Watched};
use super::stage::{Course, Stage};
use crate::proxy::replies::Problem;
use crate::telemetry::chain;
use crate::telemetry::limits::{Limit, Reached};
use crate::upstream::body::ReplyBody;

/// What hyper allows where it is not told. Told the same, it would allocate for each head.
const HEADERS_MAX_OF_HYPER: usize = 100;

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

/// Who calls, and what it may take up.
pub(super) struct Caller<'a> {
    pub(super) peer: SocketAddr,
    pub(super) limits: &'a Limits,
    /// The places for connections that are free.
    pub(super) slots: &'a Semaphore,
    pub(super) reached: &'a Reached,
}

/// Serves one request after the other. A caller that closes its sending side counts as gone, and so does its request: for
/// an HTTP/1.1 server there is no telling the two apart.
pub(super) async fn serve<S, H, F>(stream: S, caller: &Caller<'_>, course: &Course, handler: &H) -> (S, End)
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
            let mut reply = reply.await;
            if course.stage() >= Stage::Leaving {
                let close = HeaderValue::from_static("close");
                reply.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(reply.map(|body| Reply {
                body,
                activity,
                http10,
            }))
        }
    });
    let mut connection = builder(caller.limits).serve_connection(TokioIo::new(stream), service);
    // The task's waker is the same for as long as the connection lives: what has it once need not be given it again.
    let mut following = None;
    let mut stopping = false;
    let mut alarm = pin!(sleep_until(caller.next_look(&activity)));
    let end = poll_fn(|cx| {
        following.get_or_insert_with(|| {
            let _ = alarm.as_mut().poll(cx);
            course.follow(cx.waker())
        });
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(caller.ended(result, &activity));
        }
        if course.stage() == Stage::Cutting {
            return Poll::Ready(End::Cut);
        }
        if course.stage() == Stage::Stopping && !stopping {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(caller.ended(result, &activity));
            }
        }
        while alarm.is_elapsed() {
            if let Some(overdue) = caller.overdue(&activity) {
                return Poll::Ready(End::Overdue(overdue));
            }
            alarm.as_mut().reset(caller.next_look(&activity));
            let _ = alarm.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await;
    drop(following);
    let mut stream = connection.into_parts().io.into_inner().stream;
    if end == End::Overdue(Overdue::Headers) {
        say_too_slow(&mut stream).await;
    }
    (stream, end)
}

/// As far as it goes at once: who was that slow is not waited for.
async fn say_too_slow(stream: &mut (impl AsyncWrite + Unpin)) {
    let last_words = Problem::HeadTooSlow.as_bytes();
    let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_write(cx, &last_words))).await;
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A reply keeps the date that it came with, and one that came without stays without.
        .auto_date_header(false)
        .header_read_timeout(None::<Duration>)
        // What a connection may buffer is what a head may have, also of a body on its way.
        .max_buf_size(limits.max_header_bytes)
        .max_header_size(limits.max_header_bytes);
    if limits.max_headers != HEADERS_MAX_OF_HYPER {
        builder.max_headers(limits.max_headers);
    }
    builder
}

impl Caller<'_> {
    fn ended(&self, result: hyper::Result<()>, activity: &Activity) -> End {
        if let Err(error) = result {
            debug!(peer = %self.peer, error = %chain(&error), "a caller's connection ended early");
            if error.is_parse_too_large() {
                self.reached.note(Limit::HeadBytes, Some(self.peer));
            } else if error.is_parse() {
                self.reached.note(Limit::HeadMalformed, Some(self.peer));
            }
        }
        if activity.stood_still() {
            self.reached.note(Limit::ReplyBodyTime, Some(self.peer));
        }
        if activity.must_reset() {
            End::Reset
        } else {
            End::Over
        }
    }

    /// What of a limit has passed, if one has.
    fn overdue(&self, activity: &Activity) -> Option<Overdue> {
        let (deadline, overdue) = activity.deadline(self.limits, self.is_crowded())?;
        if deadline > Instant::now() {
            return None;
        }
        debug!(peer = %self.peer, ?overdue, "a caller's connection is closed");
        let limit = match overdue {
            Overdue::Idle => self.is_crowded().then_some(Limit::IdleConnections),
            Overdue::Headers => Some(Limit::HeadTime),
            Overdue::Unread => Some(Limit::ReplyUnread),
        };
        if let Some(limit) = limit {
            self.reached.note(limit, Some(self.peer));
        }
        Some(overdue)
    }

    fn is_crowded(&self) -> bool {
        self.slots.available_permits() == 0
    }

    /// Not later than the shortest limit from now: whatever begins in between cannot be overdue before.
    fn next_look(&self, activity: &Activity) -> Instant {
        let latest = Instant::now() + self.limits.header_timeout.min(self.limits.body_idle_timeout);
        activity
            .deadline(self.limits, self.is_crowded())
            .map_or(latest, |(deadline, _)| deadline.min(latest))
    }
}

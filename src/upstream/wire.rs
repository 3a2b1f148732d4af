//! One HTTP/1.1 connection to the upstream, driven by whoever uses it.
//!
//! There is no task for it: the task of the request polls the connection, so that nothing has to be woken or handed over
//! on the way of a reply. hyper's own channels between connection and caller complete only while the connection is
//! polled, and are therefore looked at without a waker.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{Progress, RequestBody};
use super::error::{Kind, UpstreamError};
use super::line::{Line, Watch};

/// An alarm that is not needed yet is set this far ahead.
const FAR: Duration = Duration::from_hours(1);

pub(super) struct Wire {
    sender: SendRequest<RequestBody>,
    connection: Driven,
    alarm: Alarm,
    /// When it was last given a request, or opened.
    pub(super) used: Instant,
    /// It was idle before, so that the upstream may be closing it just now.
    pub(super) was_idle: bool,
}

/// hyper's side of a connection, to be polled by whoever uses it.
struct Driven {
    /// Until it ends. Dropping it hands back what it has not sent.
    connection: Option<Connection<Line, RequestBody>>,
    watch: Watch,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// A request that got no reply.
pub(super) struct Unanswered {
    pub(super) error: UpstreamError,
    /// The request as it was, if it may be sent again: nothing of it was sent, or it is repeatable and was not heard.
    pub(super) request: Option<Box<Request<RequestBody>>>,
}

/// Whether sending it twice does what sending it once does (RFC 9110, section 9.2.1), and it is whole.
pub(super) fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_safe() && request.body().is_end_stream()
}

impl Unanswered {
    /// `copy` is of a request that is repeatable.
    pub(super) fn by_stream(
        mut failed: TrySendError<Request<RequestBody>>,
        copy: Option<Request<RequestBody>>,
    ) -> Self {
        let unsent = failed.take_message();
        let error = failed.into_error();
        let is_lost = ended_as_a_whole(&error);
        Self {
            error: UpstreamError::from_hyper(error),
            request: unsent.or(copy.filter(|_| is_lost)).map(Box::new),
        }
    }
}

/// Whether an HTTP/2 connection ended, rather than one stream of it.
fn ended_as_a_whole(error: &hyper::Error) -> bool {
    error.source().is_some_and(|cause| {
        let h2 = cause.downcast_ref::<h2::Error>();
        cause.is::<io::Error>() || h2.is_some_and(h2::Error::is_go_away)
    })
}

impl Wire {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        connection: Connection<Line, RequestBody>,
        watch: Watch,
    ) -> Self {
        Self {
            sender,
            connection: Driven {
                connection: Some(connection),
                watch,
            },
            alarm: Alarm::new(),
            used: Instant::now(),
            was_idle: false,
        }
    }

    /// Takes `request`, sends it and waits for the head of its reply.
    pub(super) async fn send(
        &mut self,
        request: &mut Request<RequestBody>,
        progress: Option<&Progress>,
        now: Instant,
        response_timeout: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.used = now;
        let watch = &self.connection.watch;
        let can_repeat = is_repeatable(request);
        watch.begin_request(self.was_idle && can_repeat);
        if self.was_idle && !can_repeat {
            watch.demand_quiet();
        }
        // Not within the runtime's budget for a task: used up, it would ask for a wake-up that goes nowhere.
        let mut reply = pin!(unconstrained(
            self.sender.try_send_request(std::mem::take(request))
        ));
        let mut deadline = now + response_timeout;
        poll_fn(|cx| {
            let _ = self.connection.poll(cx);
            match reply.as_mut().poll(&mut unwoken()) {
                Poll::Ready(Ok(reply)) => return Poll::Ready(Ok(reply)),
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(self.connection.unanswered(failed))),
                Poll::Pending => {}
            }
            loop {
                ready!(self.alarm.poll(cx, deadline));
                let now = Instant::now();
                let since = match progress {
                    Some(progress) if progress.waits_for_caller() => now,
                    Some(progress) => progress.last(),
                    None => deadline - response_timeout,
                };
                deadline = deadline.max(since + response_timeout);
                if deadline <= now {
                    return Poll::Ready(Err(Unanswered {
                        error: UpstreamError::no_answer(response_timeout),
                        request: None,
                    }));
                }
            }
        })
        .await
    }

    /// The next piece of the reply's body, which must be one that came by this connection.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut *body).poll_frame(&mut unwoken()) {
            return ready;
        }
        let _ = self.connection.poll(cx);
        Pin::new(body).poll_frame(&mut unwoken())
    }

    /// Ready when `deadline` has passed.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.alarm.poll(cx, deadline)
    }

    /// Whether the connection is idle and takes another request, as far as it was driven.
    pub(super) fn is_ready(&self) -> bool {
        self.connection.connection.is_some() && self.sender.is_ready()
    }

    /// Whether it still takes another request: the upstream neither closed it nor said anything. From then on nothing that
    /// happens to it wakes the task that used it last.
    pub(super) fn is_alive(&mut self) -> bool {
        let _ = self.connection.poll(&mut unwoken());
        self.is_ready()
    }

    /// Drives the connection until request and reply are through, for a reply that comes before its request has ended.
    pub(super) async fn run(self) {
        let Self {
            sender,
            mut connection,
            ..
        } = self;
        // With nobody left who could send another request by it, the connection ends after this one.
        drop(sender);
        poll_fn(|cx| connection.poll(cx)).await;
    }
}

impl Driven {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.connection else {
            return Poll::Ready(());
        };
        self.watch.begin_poll();
        let ended = Pin::new(running).poll(cx).map(drop);
        if ended.is_ready() {
            self.connection = None;
        }
        ended
    }

    fn unanswered(&self, mut failed: TrySendError<Request<RequestBody>>) -> Unanswered {
        let unsent = failed.take_message();
        let error = failed.into_error();
        let closed = error.is_incomplete_message();
        let error = UpstreamError::from_hyper(error);
        let request = unsent.or_else(|| {
            let broke_off = error.kind() == Kind::BrokeOff;
            broke_off.then(|| self.watch.unheard_request(closed)).flatten()
        });
        Unanswered {
            error,
            request: request.map(Box::new),
        }
    }
}

fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A timer that is set once for many deadlines: one that moves on, as deadlines do, costs nothing until the alarm goes
/// off, and is then set anew.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now() + FAR)))
    }

    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use http::Method;

    use super::*;
    use crate::upstream::connect::{Connected, Connector};
    use crate::upstream::own::Own;
    use crate::upstream::tls;

    fn answer_one(mut peer: TcpStream) -> TcpStream {
        let mut head = [0; 1024];
        assert!(peer.read(&mut head).unwrap() > 0);
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        peer
    }

    #[tokio::test]
    async fn r9_nothing_is_lost_to_a_connection_whose_end_the_runtime_has_not_seen_yet() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}/", listener.local_addr().unwrap());
        let tls = tls::client_config(None).unwrap();
        let connector = Connector::new(
            tls,
            origin.parse().unwrap(),
            Duration::from_secs(10),
            Own::default(),
        );
        let Connected::Http1(mut wire) = connector.connect().await.unwrap() else {
            panic!("without TLS there is only HTTP/1.1");
        };
        let (peer, _) = listener.accept().unwrap();
        let answering = thread::spawn(move || answer_one(peer));
        let (now, patience) = (Instant::now(), Duration::from_secs(10));
        let reply = wire
            .send(&mut Request::new(RequestBody::empty()), None, now, patience)
            .await;
        assert_eq!(reply.map_err(|failed| failed.error).unwrap().status(), 200);
        assert!(wire.is_alive());
        wire.was_idle = true;
        // The runtime gets no turn between this and the request.
        drop(answering.join().unwrap());
        let mut post = Request::new(RequestBody::empty());
        *post.method_mut() = Method::POST;
        let Err(failed) = wire.send(&mut post, None, now, patience).await else {
            panic!("nobody was there to answer");
        };
        let again = failed.request.expect("it was not sent");
        assert_eq!(again.method(), Method::POST);
        assert!(!failed.error.sent(), "{}", failed.error);
    }
}

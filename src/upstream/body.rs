//! Bodies on their way: streamed through, with a limit on how long either side may be silent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::error::{Kind, UpstreamError};

/// A peer was silent for too long in the middle of a body.
#[derive(Debug)]
struct Stalled(Duration);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing came for {:?} in the middle of a body", self.0)
    }
}

impl std::error::Error for Stalled {}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A body that may not stall. The time runs only while its reader waits for it.
#[derive(Debug)]
struct Watched {
    incoming: Incoming,
    idle: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(incoming: Incoming, idle: Duration) -> Self {
        Self {
            incoming,
            idle,
            silence: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let idle = self.idle;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Some(Err(Stalled(idle).into())))
    }
}

/// When a request last moved, for a response timeout that does not run during an upload.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    last: Arc<AtomicU64>,
}

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: Arc::default(),
        }
    }

    fn mark(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody(Source);

#[derive(Debug)]
enum Source {
    Full(Option<Bytes>),
    Streaming { body: Watched, progress: Progress },
}

impl RequestBody {
    pub fn full(bytes: Bytes) -> Self {
        Self(Source::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The caller may be silent for `idle` at most.
    pub fn streaming(incoming: Incoming, idle: Duration) -> Self {
        Self(Source::Streaming {
            body: Watched::new(incoming, idle),
            progress: Progress::new(),
        })
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        match &self.0 {
            Source::Full(_) => None,
            Source::Streaming { progress, .. } => Some(progress.clone()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.0 {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Streaming { body, progress } => {
                let frame = ready!(body.poll(cx));
                progress.mark();
                Poll::Ready(frame.map(|frame| frame.map_err(UpstreamError::caller_body)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Full(bytes) => bytes.is_none(),
            Source::Streaming { body, .. } => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Streaming { body, .. } => body.incoming.size_hint(),
        }
    }
}

/// A reply's body on its way to the caller.
#[derive(Debug)]
pub struct ReplyBody(Reply);

#[derive(Debug)]
enum Reply {
    Full(Option<Bytes>),
    Streaming(Watched),
}

impl ReplyBody {
    pub fn full(bytes: Bytes) -> Self {
        Self(Reply::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn streaming(incoming: Incoming, idle: Duration) -> Self {
        Self(Reply::Streaming(Watched::new(incoming, idle)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.0 {
            Reply::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Reply::Streaming(body) => {
                let frame = ready!(body.poll(cx));
                Poll::Ready(frame.map(|frame| {
                    frame.map_err(|cause| {
                        let error = UpstreamError::new(Kind::BrokeOff, true, cause);
                        tracing::warn!(error = %crate::telemetry::chain(&error), "a reply broke off; its caller's connection is closed");
                        error
                    })
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Reply::Full(bytes) => bytes.is_none(),
            Reply::Streaming(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Reply::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Reply::Streaming(body) => body.incoming.size_hint(),
        }
    }
}

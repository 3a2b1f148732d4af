//! Bodies on their way through: streamed, never gathered, and never left waiting for ever.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::UpstreamError;
use super::pool::Pool;
use super::wire::Wire;

/// Whether a body comes in a transfer coding other than `chunked`. `Transfer-Encoding` goes no further than its connection,
/// so that such a body, sent on, would no longer say how to read it.
pub fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |line: &HeaderValue| line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    lines.next().is_some_and(|line| !is_chunked(line)) || lines.next().is_some()
}

/// What the caller sends on. Trailers pass.
pub enum RequestBody {
    /// As it arrives from the caller. In a box, so that it takes no room in the many requests that have none.
    Streaming(Box<Upload>),
    /// Read before, or made here.
    Full(Full<Bytes>),
}

/// A body that the caller is still sending.
#[derive(Debug)]
pub struct Upload {
    incoming: Incoming,
    patience: Patience,
    progress: Arc<Progress>,
}

/// What it holds stays out of logs.
impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl RequestBody {
    /// Fails if the caller sends nothing for as long as `idle`.
    pub fn streaming(incoming: Incoming, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Self::Streaming(Box::new(Upload {
            incoming,
            patience: Patience::new(idle),
            progress: Arc::new(Progress::new()),
        }))
    }

    pub fn full(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }

    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Streaming(upload) => Some(Arc::clone(&upload.progress)),
            Self::Full(_) => None,
        }
    }
}

impl Default for RequestBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Streaming(upload) => upload.poll_frame(cx),
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streaming(upload) => upload.incoming.is_end_stream(),
            Self::Full(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streaming(upload) => upload.incoming.size_hint(),
            Self::Full(full) => full.size_hint(),
        }
    }
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.polled(polled.is_pending());
        let polled = ready!(self.patience.bound(polled, cx));
        Poll::Ready(polled.map(|frame| {
            frame.map_err(|stopped| {
                self.progress.failed.store(true, Ordering::Relaxed);
                UpstreamError::caller_body(stopped)
            })
        }))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.ended.store(true, Ordering::Relaxed);
    }
}

/// How an upload is getting on, for whoever waits for the reply.
#[derive(Debug)]
pub(super) struct Progress {
    since: Instant,
    /// When the upstream last took a piece, in milliseconds after `since`.
    last: AtomicU64,
    waiting: AtomicBool,
    failed: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    fn polled(&self, waiting: bool) {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Whether it is the caller's turn: then the upstream owes nothing yet.
    pub(super) fn waits_for_caller(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether nothing more of it is to be sent.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the upload failed on the caller's side. Over HTTP/2 the reply does not say so: the stream is just reset.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What the caller gets: a reply from upstream as it arrives, or one made here. Trailers pass.
pub struct ReplyBody(Reply);

enum Reply {
    /// By a connection that a task of its own drives.
    Upstream {
        incoming: Incoming,
        patience: Patience,
        pool: Arc<Pool>,
    },
    /// By a connection that is driven from here.
    Wire(Box<ByWire>),
    Full(Full<Bytes>),
}

struct ByWire {
    /// Until the body ended.
    wire: Option<Box<Wire>>,
    incoming: Incoming,
    /// What came with the head.
    first: Option<Frame<Bytes>>,
    pool: Arc<Pool>,
    idle: Duration,
    /// Since when the next piece is awaited.
    waiting: Option<Instant>,
}

/// What it holds, a user secret perhaps, stays out of logs.
impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").finish_non_exhaustive()
    }
}

impl ReplyBody {
    pub fn full(bytes: Bytes) -> Self {
        Self(Reply::Full(Full::new(bytes)))
    }

    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// The body of a reply that came by this connection, which goes back to `pool` when the body is through. One that came
    /// whole with its head is whole here, so that head and body go on in one piece. Fails like [`Self::by_stream`].
    pub(super) async fn by_wire(
        mut wire: Box<Wire>,
        mut incoming: Incoming,
        pool: &Arc<Pool>,
        idle: Duration,
    ) -> Result<Self, UpstreamError> {
        let first = if incoming.is_end_stream() {
            None
        } else {
            let poll_first = poll_fn(|cx| Poll::Ready(wire.poll_frame(cx, &mut incoming)));
            match poll_first.await {
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(Some(Err(error))) => return Err(UpstreamError::broke_off(error)),
                Poll::Ready(None) | Poll::Pending => None,
            }
        };
        if !incoming.is_end_stream() {
            return Ok(Self(Reply::Wire(Box::new(ByWire {
                wire: Some(wire),
                incoming,
                first,
                pool: Arc::clone(pool),
                idle,
                waiting: None,
            }))));
        }
        pool.keep(wire);
        let whole = first.and_then(|frame| frame.into_data().ok());
        Ok(Self::full(whole.unwrap_or_default()))
    }

    /// Fails if the upstream sends nothing for as long as `idle`, while the caller takes what comes.
    pub(super) fn by_stream(incoming: Incoming, pool: &Arc<Pool>, idle: Duration) -> Self {
        Self(Reply::Upstream {
            incoming,
            patience: Patience::new(idle),
            pool: Arc::clone(pool),
        })
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = UpstreamError;

    /// An error here makes the server drop the caller's connection, so that a reply cut short never looks complete.
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let (polled, pool) = match &mut self.get_mut().0 {
            Reply::Upstream {
                incoming,
                patience,
                pool,
            } => {
                let polled = Pin::new(incoming).poll_frame(cx);
                (ready!(patience.bound(polled, cx)), &*pool)
            }
            Reply::Wire(by_wire) => (ready!(by_wire.poll_frame(cx)), &by_wire.pool),
            Reply::Full(full) => {
                return Pin::new(full).poll_frame(cx).map_err(|never| match never {});
            }
        };
        Poll::Ready(polled.map(|frame| {
            frame.map_err(|stopped| {
                let error = UpstreamError::broke_off(stopped);
                pool.note_cut_short(&error);
                error
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Reply::Upstream { incoming, .. } => incoming.is_end_stream(),
            Reply::Wire(by_wire) => by_wire.first.is_none() && by_wire.incoming.is_end_stream(),
            Reply::Full(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Reply::Upstream { incoming, .. } => incoming.size_hint(),
            Reply::Wire(by_wire) => by_wire.size_hint(),
            Reply::Full(full) => full.size_hint(),
        }
    }
}

impl ByWire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(None);
        };
        let Poll::Ready(polled) = wire.poll_frame(cx, &mut self.incoming) else {
            let since = *self.waiting.get_or_insert_with(Instant::now);
            ready!(wire.poll_overdue(cx, since + self.idle));
            return Poll::Ready(Some(Err(UpstreamError::stalled(self.idle).into())));
        };
        self.waiting = None;
        let failed = matches!(polled, Some(Err(_)));
        if (polled.is_none() || self.incoming.is_end_stream())
            && !failed
            && let Some(wire) = self.wire.take()
        {
            self.pool.keep(wire);
        }
        Poll::Ready(polled.map(|piece| piece.map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        let first = self
            .first
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len) as u64;
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

/// Bounds how long a body may stand still. The time during which nobody asks for the next piece does not count, beyond
/// that of the piece last asked for.
#[derive(Debug)]
struct Patience {
    idle: Duration,
    waiting: bool,
    /// Made at the first wait: most bodies are there when asked for.
    alarm: Option<Pin<Box<Sleep>>>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Patience {
    fn new(idle: Duration) -> Self {
        Self {
            idle,
            waiting: false,
            alarm: None,
        }
    }

    fn bound<T>(
        &mut self,
        polled: Poll<Option<Result<T, hyper::Error>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T, Cause>>> {
        if let Poll::Ready(piece) = polled {
            self.waiting = false;
            return Poll::Ready(piece.map(|piece| piece.map_err(Into::into)));
        }
        let deadline = Instant::now() + self.idle;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Some(Err(UpstreamError::stalled(self.idle).into())))
    }
}

//! What a connection is doing, and since when: the limits on a caller follow from it.
//!
//! hyper has a limit for reading headers, but starts it as soon as the reply before is done, so that it would close
//! connections that a caller keeps for later, just as a request may be on its way. Here, waiting for a request and reading
//! one are told apart.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;
use crate::upstream::body::ReplyBody;
use crate::upstream::error::UpstreamError;

/// Longer than the connection pools of common HTTP clients keep an idle connection (minutes at most), so that it is they
/// who close it and no request crosses with the closing.
const IDLE_CONNECTION: Duration = Duration::from_mins(10);

/// Up to this much, copying a message into one piece costs less than handing the system a list of pieces.
const FLAT_BYTES_MAX: usize = 16 << 10;

thread_local! {
    static FLAT: RefCell<Vec<u8>> = RefCell::default();
}

/// Why a connection is closed on its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request for a long time.
    Idle,
    /// A request whose headers do not end.
    Headers,
    /// A reply that the caller does not read.
    Unread,
}

#[derive(Clone, Copy)]
enum Phase {
    Idle(Instant),
    Headers(Instant),
    Serving,
}

/// One connection's state, shared by its two ends: the bytes and the messages.
#[derive(Clone)]
pub(super) struct Activity(Rc<State>);

struct State {
    phase: Cell<Phase>,
    unread_since: Cell<Option<Instant>>,
    /// The caller speaks HTTP/1.0 and its reply was cut short: closing would look like the end of it.
    must_reset: Cell<bool>,
    /// The upstream sent nothing more of a reply.
    stood_still: Cell<bool>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Rc::new(State {
            phase: Cell::new(Phase::Idle(Instant::now())),
            unread_since: Cell::new(None),
            must_reset: Cell::new(false),
            stood_still: Cell::new(false),
        }))
    }

    pub(super) fn serving(&self) {
        self.0.phase.set(Phase::Serving);
    }

    pub(super) fn must_reset(&self) -> bool {
        self.0.must_reset.get()
    }

    pub(super) fn stood_still(&self) -> bool {
        self.0.stood_still.get()
    }

    /// When to close the connection, and why, unless something happens first. While others wait for its place, a quiet one
    /// has no longer than a head has.
    pub(super) fn deadline(&self, limits: &Limits, is_crowded: bool) -> Option<(Instant, Overdue)> {
        if let Some(since) = self.0.unread_since.get() {
            return Some((since + limits.body_idle_timeout, Overdue::Unread));
        }
        match self.0.phase.get() {
            Phase::Idle(since) if is_crowded => Some((since + limits.header_timeout, Overdue::Idle)),
            Phase::Idle(since) => Some((since + IDLE_CONNECTION, Overdue::Idle)),
            Phase::Headers(since) => Some((since + limits.header_timeout, Overdue::Headers)),
            Phase::Serving => None,
        }
    }

    fn read(&self) {
        if let Phase::Idle(_) = self.0.phase.get() {
            self.0.phase.set(Phase::Headers(Instant::now()));
        }
    }

    fn wrote(&self, blocked: bool) {
        let since = self.0.unread_since.get();
        self.0
            .unread_since
            .set(blocked.then(|| since.unwrap_or_else(Instant::now)));
    }
}

/// The bytes of a connection.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let polled = if total <= FLAT_BYTES_MAX {
            FLAT.with_borrow_mut(|flat| {
                flat.clear();
                for buf in bufs {
                    flat.extend_from_slice(buf);
                }
                Pin::new(&mut self.stream).poll_write(cx, flat)
            })
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        };
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A reply's body, until hyper is done with it: then the connection waits for the next request.
pub(super) struct Reply {
    pub(super) body: ReplyBody,
    pub(super) activity: Activity,
    pub(super) http10: bool,
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.activity.0.phase.set(Phase::Idle(Instant::now()));
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            let state = &self.activity.0;
            state.stood_still.set(error.timed_out());
            state.must_reset.set(self.http10);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The bodies of replies.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// How much of a body of a given length is made at a time.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) enum Body {
    Full(Bytes),
    /// The caller's own, as it arrives, trailers and all.
    Echo(Incoming),
    /// So many bytes `x`.
    Filler(u64),
    /// This much, and then the connection breaks.
    Cut(Bytes),
    /// The moment before it breaks, in which what there was is written to the wire.
    Breaking,
    Broken,
}

/// The body breaks off, because a fault says so or because the caller's own did.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body breaks off here")
    }
}

impl std::error::Error for BrokenOff {}

impl Body {
    /// The first half of this body, to be followed by nothing.
    pub(super) fn cut(self) -> Self {
        match self {
            Self::Full(bytes) => Self::Cut(bytes.slice(..bytes.len() / 2)),
            Self::Filler(length) => {
                let half = usize::try_from(length.min(PIECE_BYTES_MAX) / 2).unwrap_or_default();
                Self::Cut(Bytes::from(vec![b'x'; half]))
            }
            Self::Echo(_) | Self::Cut(_) | Self::Breaking | Self::Broken => Self::Breaking,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let body = &mut *self;
        match body {
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Echo(incoming) => {
                let frame = Pin::new(incoming).poll_frame(context);
                frame.map(|frame| frame.map(|frame| frame.map_err(|_| BrokenOff)))
            }
            Self::Filler(0) => Poll::Ready(None),
            Self::Filler(left) => {
                let piece = (*left).min(PIECE_BYTES_MAX);
                *left -= piece;
                let piece = usize::try_from(piece).unwrap_or_default();
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; piece])))))
            }
            Self::Cut(bytes) => {
                let bytes = std::mem::take(bytes);
                *body = Self::Breaking;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            // hyper gives up what it has not written yet when a body fails, but writes it when one is pending.
            Self::Breaking => {
                *body = Self::Broken;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Broken => Poll::Ready(Some(Err(BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Echo(incoming) => incoming.is_end_stream(),
            Self::Filler(left) => *left == 0,
            Self::Cut(_) | Self::Breaking | Self::Broken => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Echo(incoming) => incoming.size_hint(),
            Self::Filler(left) => SizeHint::with_exact(*left),
            Self::Cut(_) | Self::Breaking | Self::Broken => SizeHint::default(),
        }
    }
}

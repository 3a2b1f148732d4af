//! The bytes of an HTTP/1.1 connection to the upstream, read no more often than there can be some.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::connect::Stream;

/// hyper looks for bytes several times each time that it is polled, through all the layers of TLS. But once there are none,
/// there will be none before the runtime has asked the system, which it does between polls.
pub(super) struct Line {
    stream: Stream,
    dry: Dry,
}

/// Whether there was nothing left to read. To be cleared before each poll of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Dry(Arc<AtomicBool>);

impl Dry {
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Line {
    pub(super) fn new(stream: Stream) -> (Self, Dry) {
        let dry = Dry::default();
        let line = Self {
            stream,
            dry: dry.clone(),
        };
        (line, dry)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.dry.0.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            self.dry.0.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! The bytes of an HTTP/1.1 connection to the upstream: read no more often than there can be some, and remembered where
//! they may have to be written again.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use hyper::rt::{Read, ReadBufCursor, Write};
use socket2::SockRef;

use super::body::RequestBody;
use super::connect::{Real, Stream};

/// As many as the server takes of a caller, and the few that this proxy adds.
const HEADERS_MAX: usize = 128;
/// What is kept for the next request's head; most have less.
const HEAD_BYTES_KEPT_MAX: usize = 4 << 10;

pub(super) struct Line {
    stream: Stream,
    watch: Watch,
}

/// What whoever drives the connection knows of its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    is_dry: AtomicBool,
    /// Nothing may have come by now.
    must_be_quiet: AtomicBool,
    /// How often something was read since the request: bytes, or that there will be no more.
    reads: AtomicUsize,
    is_recording: AtomicBool,
    record: Mutex<Record>,
}

/// A request's head as it is written.
#[derive(Debug, Default)]
struct Record {
    bytes: Vec<u8>,
    /// How many of them the system took.
    taken: usize,
}

impl Watch {
    /// To be called before each poll of the connection. hyper looks for bytes several times in one, through all the layers
    /// of TLS. But once there are none, there will be none before the runtime has asked the system, which it does between
    /// polls.
    pub(super) fn begin_poll(&self) {
        self.0.is_dry.store(false, Ordering::Relaxed);
    }

    /// To be called before each request, which is remembered if `is_recording`.
    pub(super) fn begin_request(&self, is_recording: bool) {
        self.0.reads.store(0, Ordering::Relaxed);
        self.0.is_recording.store(is_recording, Ordering::Relaxed);
        if is_recording {
            let mut record = self.record();
            record.bytes.clear();
            record.bytes.shrink_to(HEAD_BYTES_KEPT_MAX);
            record.taken = 0;
        }
    }

    /// To be called before a request that cannot be repeated and meets a connection that was idle. Whether the upstream
    /// closed that is asked of the system then: the runtime, which asks for all sockets at once, may not have done so since.
    pub(super) fn demand_quiet(&self) {
        self.0.must_be_quiet.store(true, Ordering::Relaxed);
    }

    /// The request that was remembered, which must be one without a body, unless the upstream had begun to answer it before
    /// it closed the connection (`closed`) or the connection failed.
    pub(super) fn unheard_request(&self, closed: bool) -> Option<Request<RequestBody>> {
        let is_unheard = self.0.reads.load(Ordering::Relaxed) <= usize::from(closed);
        let is_recording = self.0.is_recording.load(Ordering::Relaxed);
        (is_recording && is_unheard)
            .then(|| parse(&self.record().bytes))
            .flatten()
    }

    /// What is protected is whole at every moment, so that a panic elsewhere does not spoil it.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A head that was written here before. Copying its bytes costs a tenth of copying every request's headers.
fn parse(head: &[u8]) -> Option<Request<RequestBody>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    if parsed.parse(head).ok()?.is_partial() {
        return None;
    }
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = parsed.method?.parse().ok()?;
    *request.uri_mut() = parsed.path?.parse().ok()?;
    for header in parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

impl Line {
    pub(super) fn new(stream: Stream) -> (Self, Watch) {
        let watch = Watch::default();
        let line = Self {
            stream,
            watch: watch.clone(),
        };
        (line, watch)
    }
}

/// Whether nothing came: neither bytes, nor that there will be none, nor an error.
fn is_quiet(stream: &Stream) -> bool {
    #[cfg(test)]
    let stream = match stream {
        Stream::Real(real) => real,
        Stream::Simulated(end) => return end.inner().is_quiet(),
    };
    let tcp = match stream {
        Real::Http(tcp) => tcp.inner(),
        Real::Https(tls) => tls.inner().get_ref().0.inner().inner(),
    };
    let peeked = SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.0.is_dry.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        if self.watch.0.must_be_quiet.load(Ordering::Relaxed) {
            self.watch.0.must_be_quiet.store(false, Ordering::Relaxed);
            if !is_quiet(&self.stream) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Pending => self.watch.0.is_dry.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(())) => {
                // Only one task polls at a time.
                let reads = self.watch.0.reads.load(Ordering::Relaxed);
                self.watch.0.reads.store(reads + 1, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
        polled
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.watch.0.is_recording.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let line = &mut *self;
        let mut record = line.watch.record();
        // Before it is tried, since a connection that is closed already takes nothing.
        let taken = record.taken;
        record.bytes.truncate(taken);
        record.bytes.extend_from_slice(buf);
        let polled = Pin::new(&mut line.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &polled {
            record.taken += count;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

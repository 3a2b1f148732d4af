//! The network of a simulation: connections without sockets, that delay, lose, break and are cut.
//!
//! A machine that has a way into it ([`Network::attach`]) opens its connections here instead of at the system.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Real;
use crate::clock::link::{Fate, Link};
use crate::clock::machine::Machine;

thread_local! {
    static NETWORK: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// Told of everything that a machine writes to the upstream, the moment it does.
pub(crate) type Tap = Arc<dyn Fn(&Machine, &[u8]) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Network {
    links: Arc<Mutex<BTreeMap<String, Link>>>,
    listener: mpsc::UnboundedSender<End>,
    tap: Tap,
}

impl Network {
    /// From now on the machines of this thread connect by it. What they connect to gets its ends by the channel.
    pub(crate) fn enter(tap: Tap) -> (Self, mpsc::UnboundedReceiver<End>) {
        let (listener, accepted) = mpsc::unbounded_channel();
        let network = Self {
            links: Arc::default(),
            listener,
            tap,
        };
        NETWORK.set(Some(network.clone()));
        (network, accepted)
    }

    pub(crate) fn leave() {
        NETWORK.set(None);
    }

    pub(crate) fn attach(&self, machine: &Machine, link: Link) {
        locked(&self.links).insert(machine.name().to_owned(), link);
    }
}

/// Connects the machine on which this is called; `None` if it is none of a simulation.
pub(super) async fn dial() -> Option<io::Result<End>> {
    let machine = Machine::current()?;
    let network = NETWORK.with_borrow(Clone::clone)?;
    let link = locked(&network.links).get(machine.name()).cloned()?;
    Some(open(network, machine, link).await)
}

async fn open(network: Network, machine: Machine, link: Link) -> io::Result<End> {
    match link.fate() {
        Fate::Arrives(time) => link.travel(time + link.distance()).await,
        Fate::Breaks(time) | Fate::ArrivesAndBreaks(time) => {
            link.travel(time).await;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Fate::Vanishes => std::future::pending().await,
    }
    let (there, back) = (Shared::default(), Shared::default());
    let server = End::new(there.clone(), back.clone(), link.clone(), None);
    let client = End::new(back, there, link, Some((machine, network.tap)));
    let refused = |_| io::ErrorKind::ConnectionRefused;
    network.listener.send(server).map_err(refused)?;
    Ok(client)
}

type Shared = Arc<Mutex<Pipe>>;

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(Instant, Piece)>,
    last: Option<Instant>,
    reader: Option<Waker>,
    is_black_hole: bool,
    is_broken: bool,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Pipe {
    /// Nothing overtakes what was sent before.
    fn push(&mut self, time: Duration, piece: Piece) {
        if self.is_black_hole {
            return;
        }
        let at = (Instant::now() + time).max(self.last.unwrap_or_else(Instant::now));
        self.last = Some(at);
        self.pieces.push_back((at, piece));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// One end of a connection.
pub(crate) struct End {
    inbound: Shared,
    outbound: Shared,
    link: Link,
    alarm: Option<Pin<Box<Sleep>>>,
    tap: Option<(Machine, Tap)>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("End")
    }
}

impl End {
    fn new(inbound: Shared, outbound: Shared, link: Link, tap: Option<(Machine, Tap)>) -> Self {
        Self {
            inbound,
            outbound,
            link,
            alarm: None,
            tap,
        }
    }

    /// Whether nothing can be read now.
    pub(super) fn is_quiet(&self) -> bool {
        let inbound = locked(&self.inbound);
        let is_there = |(at, _): &(Instant, Piece)| *at <= Instant::now();
        self.link.is_cut() || !inbound.pieces.front().is_some_and(is_there)
    }

    /// Both ends learn of it, as far as they can.
    fn break_off(&self, time: Duration) {
        for pipe in [&self.outbound, &self.inbound] {
            locked(pipe).push(time, Piece::Reset);
        }
        locked(&self.outbound).is_broken = true;
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = Pin::into_inner(self);
        loop {
            let mut inbound = locked(&end.inbound);
            inbound.reader = Some(cx.waker().clone());
            let Some((at, _)) = inbound.pieces.front() else {
                return Poll::Pending;
            };
            let at = *at;
            if at <= Instant::now() && !end.link.is_cut_for(cx.waker()) {
                return Poll::Ready(take(&mut inbound, buf));
            }
            if at <= Instant::now() {
                return Poll::Pending;
            }
            drop(inbound);
            let alarm = end.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

fn take(inbound: &mut Pipe, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    match inbound.pieces.front_mut() {
        Some((_, Piece::Bytes(bytes))) => {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            bytes.drain(..count);
            if bytes.is_empty() {
                inbound.pieces.pop_front();
            }
            Ok(())
        }
        // They stay, for whoever asks again.
        Some((_, Piece::Reset)) => Err(io::ErrorKind::ConnectionReset.into()),
        Some((_, Piece::End)) | None => Ok(()),
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if locked(&self.outbound).is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some((machine, tap)) = &self.tap {
            tap(machine, buf);
        }
        let bytes = Piece::Bytes(buf.to_vec());
        match self.link.fate() {
            Fate::Arrives(time) => locked(&self.outbound).push(time, bytes),
            Fate::Breaks(time) => self.break_off(time),
            Fate::ArrivesAndBreaks(time) => {
                locked(&self.outbound).push(time, bytes);
                self.break_off(time * 2);
            }
            Fate::Vanishes => locked(&self.outbound).is_black_hole = true,
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbound = locked(&self.outbound);
        if !outbound.is_broken {
            outbound.push(Duration::from_millis(1), Piece::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut outbound = locked(&self.outbound);
        outbound.push(Duration::from_millis(1), Piece::End);
        outbound.is_broken = true;
        drop(outbound);
        locked(&self.inbound).is_broken = true;
    }
}

/// What a connection of the upstream runs over.
#[expect(clippy::large_enum_variant, reason = "as large as outside of tests")]
pub(crate) enum Stream {
    Real(Real),
    Simulated(TokioIo<End>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Real(real) => real.connected(),
            Self::Simulated(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match Pin::into_inner(self) {
            Self::Real(real) => Pin::new(real).poll_read(cx, buf),
            Self::Simulated(end) => Pin::new(end).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::into_inner(self) {
            Self::Real(real) => Pin::new(real).poll_write(cx, buf),
            Self::Simulated(end) => Pin::new(end).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::into_inner(self) {
            Self::Real(real) => Pin::new(real).poll_flush(cx),
            Self::Simulated(end) => Pin::new(end).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::into_inner(self) {
            Self::Real(real) => Pin::new(real).poll_shutdown(cx),
            Self::Simulated(end) => Pin::new(end).poll_shutdown(cx),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

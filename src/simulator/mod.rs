//! A stand-in for `SnapTrade`, for tests and trials: its calls, its limit, its slow deletions, its errors, and faults
//! on demand. It uses nothing of the sidecar, signs and verifies with code of its own, and can also be run by itself.
//!
//! # The vendor's calls
//! Each under its plain path and under `/api/v1`, whose replies carry `Deprecation: @1781222400`. Every reply has an
//! `X-Request-ID`.
//!
//! | call | reply |
//! |---|---|
//! | `GET /` | `{"version":151,"timestamp":"…","online":true}`; needs no signature |
//! | `POST /snapTrade/registerUser` `{"userId":"…"}` | `{"userId","userSecret"}` |
//! | `GET /snapTrade/listUsers` | `["a","b_deleted"]` |
//! | `DELETE /snapTrade/deleteUser?userId=…` | `{"status":"deleted","detail":"User queued for deletion; …","userId"}` |
//! | `POST /snapTrade/resetUserSecret` | `{"userId","userSecret"}`; takes `userId` and `userSecret` from query or body |
//! | `POST /snapTrade/login` | `{"redirectURI","sessionId"}`; a link to a page that stands in for the Connection Portal |
//!
//! Refusals are `{"detail":"…","status_code":N,"code":"…"}`:
//!
//! | status, code | when |
//! |---|---|
//! | 401 `1076` | the signature, its `timestamp` or `clientId` is missing, wrong, stale or (if so set) used before |
//! | 401 `1083` | no such user, or not its secret |
//! | 400 `1010` | the user to be registered exists |
//! | 400 `1012` | no usable `userId`, or a personal key, whose client id starts with `PERS-` |
//! | 413 `1012` | a body over 256 KiB on a call that needs a signature |
//! | 429 `0000` | throttled; with `X-RateLimit-Limit`, `-Remaining`, `-Reset` (as on every counted reply), `Retry-After` |
//! | as set | the limit is reached |
//!
//! A deletion takes effect after `delete_lag`: until then the user is live, listed and counted. Then listUsers shows
//! `<id>_deleted` for `settle_time`, then nothing. Every call takes one round trip, with its work done in the middle,
//! and is finished even if its caller goes away.
//!
//! # Everything else is echoed
//! Any other call is answered with what arrived: `{"method","target","path","query","version","headers":[["name",
//! "value"],…],"trailers":[…],"body_length","body_sha256","body"}`. `body` is the base64 of its first 256 KiB; each
//! byte of a header value is shown as the character of that number. These paths differ, whatever the method:
//!
//! - `/_echo/…` sends the body back as it arrives, trailers included. It counts as no call of the client id.
//! - `/_status/418?reason=Short` answers with that status, that reason phrase, and the request's body (256 KiB at most).
//! - `/_bytes/1000000` answers with so many bytes.
//!
//! On all of them a request header `X-Reply-Name` comes back as the reply's header `Name`.
//!
//! # Webhooks
//! With `webhook_url` set, `USER_REGISTERED` is sent there when a user was registered, and `USER_DELETED` when one is gone
//! without a trace: signed, and once each.
//!
//! # Control, from another process
//! Needs no signature, takes no time, and is neither counted nor logged. Each replies with the state unless it says so.
//!
//! | call | effect |
//! |---|---|
//! | `GET /_simulator` | `{"options","users","listed","calls":{"register":1,…},"deletions","most_live","faults"}` |
//! | `POST /_simulator/faults` | adds a [`Fault`] |
//! | `DELETE /_simulator/faults` | drops those that wait |
//! | `PATCH /_simulator/options` | changes the [`Options`] that are named |
//! | `POST /_simulator/cut` `{"for_ms":3000}` | closes listener and connections in 0.1 s, and listens again after that time |
//! | `DELETE /_simulator/calls` | forgets the calls and begins `deletions` and `most_live` anew |
//! | `POST /_simulator/users/<id>` | adds a user, whatever the limit: 201 `{"userId","userSecret"}`, or 409 |
//! | `DELETE /_simulator/users/<id>` | takes a user away, at once and without a trace; 404 if there is none |
//! | `GET /_simulator/portal/<token>` | the page that a login leads to; 404 where no login gave out that token |

mod arrived;
mod body;
mod calls;
mod control;
mod echo;
mod faults;
mod gzip;
mod options;
mod outside;
mod portal;
mod record;
mod replies;
mod serve;
mod signature;
mod state;
mod throttle;
mod users;
mod webhooks;

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::calls::{Call, CallKind};
pub use self::faults::{Fault, FaultCall, FaultKind};
pub use self::options::{Key, LimitField, ListOrder, Options};
pub use self::signature::{Dialect, Escaping, KeyForm, sign, sign_body};
use self::state::State;
pub use self::state::{Deed, Observer};

/// A running stand-in. It stops when this is dropped.
pub struct Simulator {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// None while the network is cut, and where every connection is accepted elsewhere.
    listener: Mutex<Option<Arc<TcpListener>>>,
    /// Told of every change, so that nobody has to poll.
    changed: watch::Sender<()>,
    stop: CancellationToken,
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        outcome
    }

    fn listener(&self) -> Option<Arc<TcpListener>> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn open(&self, listener: TcpListener) {
        let listener = Some(Arc::new(listener));
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    fn close(&self) {
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // On Linux this frees the port at once; elsewhere the listener is closed with its task.
        if let Some(listener) = listener {
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
        }
    }
}

impl Simulator {
    /// Listens and serves from now on; port 0 takes a free one. Must be called within a tokio runtime.
    ///
    /// Fails if the address cannot be listened on.
    pub async fn start(options: Options, listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let (outbox, sending) = webhooks::outbox(stop.clone());
        tokio::spawn(sending);
        let state = State::new(options, outbox, None);
        let cuts = state.cut.subscribe();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            listener: Mutex::new(Some(Arc::new(listener))),
            changed: watch::Sender::new(()),
            stop,
        });
        tokio::spawn(serve::listen(Arc::clone(&shared), addr, cuts));
        Ok(Self { addr, shared })
    }

    /// One that listens nowhere, for [`Self::serve`], and leaves nothing to chance: what it makes up follows from `seed`, and
    /// its clock shows `wall` now and goes on with the runtime's. Webhooks are not sent.
    pub fn detached(options: Options, seed: u64, wall: jiff::Timestamp, observer: Observer) -> Self {
        let (outbox, _) = webhooks::outbox(CancellationToken::new());
        let mut state = State::new(options, outbox, Some(seed));
        state.clock = Some((Instant::now(), wall));
        state.observer = Some(observer);
        let shared = Shared {
            state: Mutex::new(state),
            listener: Mutex::new(None),
            changed: watch::Sender::new(()),
            stop: CancellationToken::new(),
        };
        Self {
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            shared: Arc::new(shared),
        }
    }

    /// Serves one connection that was accepted elsewhere, HTTP/1.1 or HTTP/2, for example one under TLS.
    ///
    /// `socket` is the TCP socket underneath once more (`try_clone`); without it a fault that resets the connection
    /// closes it instead.
    pub fn serve<S>(&self, stream: S, socket: Option<Socket>) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        async move {
            let online = shared.stop.clone();
            serve::serve(shared, stream, socket, &online).await;
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Writes down what arrives from now on and what it does, a line of JSON each (`docs/simulator.md`).
    pub fn record_to(&self, to: impl io::Write + Send + 'static) {
        self.shared
            .change(|state| state.record = Some(record::Record::new(Box::new(to))));
    }

    pub fn inject(&self, fault: Fault) {
        self.shared.change(|state| state.faults.push(fault));
    }

    /// Drops the faults that have not struck yet.
    pub fn clear_faults(&self) {
        self.shared.change(|state| state.faults.clear());
    }

    pub fn set(&self, change: impl FnOnce(&mut Options)) {
        self.shared.change(|state| change(&mut state.options));
    }

    pub fn options(&self) -> Options {
        self.shared.read(|state| state.options.clone())
    }

    /// The users that exist now, oldest first.
    pub fn users(&self) -> Vec<String> {
        self.shared.read(State::live)
    }

    /// What listUsers would say now.
    pub fn listed(&self) -> Vec<String> {
        self.shared
            .read(|state| state.users.listed(&state.options, Instant::now()))
    }

    /// As if another program registered it, whatever the limit. Does nothing if it exists.
    pub fn add_user(&self, id: &str) {
        self.shared.change(|state| state.add_user(id));
    }

    /// As if another program deleted it and all of that had settled: gone at once, without a tombstone.
    pub fn remove_user(&self, id: &str) {
        self.shared.change(|state| state.remove_user(id));
    }

    /// The calls so far, oldest first; the last 20,000, or fewer if their bodies are large.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.read(|state| state.calls.all())
    }

    /// How many calls of this kind there were, whatever became of them.
    pub fn count(&self, kind: CallKind) -> usize {
        self.shared
            .read(|state| state.calls.counts().get(&kind).copied().unwrap_or_default())
    }

    /// Forgets the calls so far and begins [`Self::deletions`] and [`Self::most_live`] anew.
    pub fn clear_calls(&self) {
        self.shared.change(State::clear_calls);
    }

    /// How many users were deleted by calls to deleteUser, each counted when its deletion was accepted.
    pub fn deletions(&self) -> usize {
        self.shared.read(|state| state.deletions)
    }

    /// The most users that ever existed at once.
    pub fn most_live(&self) -> usize {
        self.shared.read(|state| state.most_live)
    }

    /// The secret of a user that exists.
    pub fn secret_of(&self, id: &str) -> Option<String> {
        let secret = |state: &State| {
            state
                .users
                .secret(id, &state.options, Instant::now())
                .map(str::to_owned)
        };
        self.shared.read(secret)
    }

    /// Returns once the condition holds. It is asked after every change and whenever time alone changes something.
    pub async fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !condition(self) {
            let next = self
                .shared
                .read(|state| state.users.next_change(&state.options, Instant::now()));
            let time = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives as long as this does.
                _ = changed.changed() => {}
                () = time => {}
            }
        }
    }

    /// Stops listening, and ends every connection as soon as the runtime gets to it.
    pub fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.close();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! The connections, and who keeps trying when there are none.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row as _};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::{LIMIT, failure, limited, migrate};
use crate::registry::{RegistryError, Result};

/// Connections for everything but turns.
const SESSIONS_MAX: usize = 4;
/// A connection that was used so recently is taken to be there still.
const FRESH: Duration = Duration::from_secs(1);
/// One that was not needed for so long is closed, before something on the way forgets it.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// Between two looks at a database that is up.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts at one that is down.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Nothing of ours waits long, and what was committed is on the disk, whatever the server's defaults are.
const SETTINGS: &str = "SET statement_timeout = '2s'; SET lock_timeout = '2s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SELECT set_config('synchronous_commit', 'on', FALSE) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

pub(super) struct Sessions {
    options: PgConnectOptions,
    /// The database without its password.
    pub(super) shown: String,
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    permits: Semaphore,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Not tried yet.
    Starting,
    Up,
    /// It can be read and takes no changes, as a standby.
    ReadOnly,
    Down(RegistryError),
}

impl fmt::Debug for Sessions {
    /// Leaves out the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(options: PgConnectOptions, shown: String) -> Self {
        Self {
            options,
            shown,
            idle: Mutex::default(),
            permits: Semaphore::new(SESSIONS_MAX),
            state: watch::Sender::new(State::Starting),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        *self.state.borrow() == State::Up
    }

    /// Fails at once while the database is known to be down.
    async fn ready(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| *state != State::Starting);
        let known = tokio::time::timeout(LIMIT, known).await;
        match known.map(|known| known.map(|state| state.clone())) {
            Ok(Ok(State::Up | State::ReadOnly)) => Ok(()),
            Ok(Ok(State::Down(error))) => Err(error),
            _ => Err(self.told(&sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    /// A connection for a while. One that is not given back by `Lent::done` is closed.
    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        self.ready().await?;
        let Ok(Ok(permit)) = tokio::time::timeout(LIMIT, self.permits.acquire()).await else {
            let cause = format!("has been busy with {SESSIONS_MAX} of our calls for too long");
            return Err(failure::error(&self.shown, &cause, "look at the server's load"));
        };
        let session = match self.reused().await {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Lent {
            sessions: self,
            session,
            _permit: permit,
        })
    }

    async fn reused(&self) -> Option<PgConnection> {
        let (mut session, used) = self.idle().pop()?;
        if used.elapsed() < FRESH || limited(session.ping()).await.is_ok() {
            return Some(session);
        }
        // The others are older, and to try each of them would take long.
        self.idle().clear();
        None
    }

    /// The one used last is the last.
    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, session: PgConnection) {
        let mut idle = self.idle();
        idle.retain(|(_, used)| used.elapsed() < IDLE_MAX);
        if idle.len() < SESSIONS_MAX {
            idle.push((session, Instant::now()));
        }
    }

    /// A new connection, if the database is not known to be down. If it cannot be had, it is known from then on.
    pub(super) async fn connect(&self) -> Result<PgConnection> {
        self.ready().await?;
        self.dial().await.map_err(|error| {
            if has_no_room(&error) {
                // It is there, and serves those who are in.
                self.told(&error)
            } else {
                self.down(&error)
            }
        })
    }

    async fn dial(&self) -> sqlx::Result<PgConnection> {
        // On the heap: it is large, seldom had, and within every call's future.
        let dialling = Box::pin(async {
            let mut session = self.options.connect().await?;
            sqlx::raw_sql(SETTINGS).execute(&mut session).await?;
            Ok(session)
        });
        limited(dialling).await
    }

    fn down(&self, error: &sqlx::Error) -> RegistryError {
        let error = self.told(error);
        self.state.send_replace(State::Down(error.clone()));
        error
    }

    pub(super) fn told(&self, error: &sqlx::Error) -> RegistryError {
        failure::told(&self.shown, error)
    }

    /// Whether the database is there, and takes changes.
    async fn look(&self) -> Result<State> {
        let reused = if self.is_up() { self.reused().await } else { None };
        let mut session = match reused {
            Some(session) => session,
            None => self.dial().await.map_err(|error| self.told(&error))?,
        };
        if !self.is_up() {
            migrate::migrate(&self.shown, &mut session).await?;
        }
        let takes_changes = limited(takes_changes(&mut session)).await;
        if !takes_changes.map_err(|error| self.told(&error))? {
            return Ok(State::ReadOnly);
        }
        if !self.is_up() {
            // Those from before may lead to a server that is a standby now.
            self.idle().clear();
        }
        self.put_back(session);
        Ok(State::Up)
    }
}

/// Notices when the database goes, and tries until it is back.
pub(super) async fn keep(sessions: &Sessions) {
    let mut pause = PAUSE_MIN;
    let mut said = None;
    loop {
        let looked = match sessions.look().await {
            Ok(State::ReadOnly) => {
                sessions.state.send_replace(State::ReadOnly);
                Err(failure::read_only(&sessions.shown))
            }
            looked => looked.inspect_err(|error| {
                sessions.state.send_replace(State::Down(error.clone()));
            }),
        };
        match looked {
            Ok(_) => {
                if said.take().is_some() {
                    tracing::info!("the registry {} works again", sessions.shown);
                }
                sessions.state.send_replace(State::Up);
                pause = PAUSE_MIN;
                sleep(LOOK).await;
            }
            Err(error) => {
                if said.as_ref() != Some(&error) {
                    tracing::warn!("{error}; until then nobody is evicted");
                    said = Some(error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// A connection that goes back when all went well with it.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    sessions: &'a Sessions,
    pub(super) session: PgConnection,
    _permit: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// Puts what failed into words. A connection by which something failed is closed: what state it is in is not known.
    pub(super) fn done<T>(self, result: sqlx::Result<T>) -> Result<T> {
        match result {
            Ok(done) => {
                self.sessions.put_back(self.session);
                Ok(done)
            }
            Err(error) => Err(self.sessions.told(&error)),
        }
    }
}

/// Not while it is a standby, nor where it was told to take none.
async fn takes_changes(session: &mut PgConnection) -> sqlx::Result<bool> {
    let question = "SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::BOOLEAN";
    sqlx::raw_sql(question).fetch_one(session).await?.try_get(0)
}

/// Too many connections, or no memory or disk for more (SQLSTATE class 53).
fn has_no_room(error: &sqlx::Error) -> bool {
    let told = error.as_database_error();
    told.is_some_and(|told| told.code().is_some_and(|code| code.starts_with("53")))
}

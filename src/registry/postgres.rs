//! A database that replicas share. It may be down at any time, also at the start: then every call fails at once, and works
//! again as soon as the database does.
//!
//! - `sessions`: the connections, and who keeps trying when there are none.
//! - `migrate`: the schema.
//! - `users`, `hours`, `journal`: the contract.
//! - `turn`: whose turn it is.
//! - `failure`: what went wrong, in words.

mod failure;
mod hours;
mod journal;
mod migrate;
mod sessions;
mod turn;
mod users;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::{RegistryError, Result};
use crate::config::home::PostgresUrl;
use crate::tasks;
use sessions::Sessions;
pub(super) use turn::Turn;

/// Turns that are held or waited for at once, each with a connection of its own.
const TURNS_MAX: usize = 32;
/// For a connection to be made, and for what is done by it.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Postgres {
    sessions: Arc<Sessions>,
    turns: Arc<Semaphore>,
    _keeper: AbortOnDropHandle<()>,
}

impl Postgres {
    pub(super) fn open(url: &PostgresUrl) -> Result<Self> {
        let options = PgConnectOptions::from_str(url.expose())
            // Not told: what is wrong may be a password.
            .map_err(|_| RegistryError(format!("the registry {url} has a URL that cannot be used")))?;
        let sessions = Arc::new(Sessions::new(prepared(options), url.to_string()));
        let keeper = tokio::spawn(tasks::keep("registry", Arc::clone(&sessions), |sessions| {
            Box::pin(sessions::keep(sessions))
        }));
        Ok(Self {
            sessions,
            turns: Arc::new(Semaphore::new(TURNS_MAX)),
            _keeper: AbortOnDropHandle::new(keeper),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.sessions.is_up()
    }
}

fn prepared(options: PgConnectOptions) -> PgConnectOptions {
    // An IPv6 address stands in brackets in a URL, and without them everywhere else.
    let host = options
        .get_host()
        .trim_matches(|c| c == '[' || c == ']')
        .to_owned();
    let name = options.get_application_name().unwrap_or("snaptrade-sidecar");
    let name = name.to_owned();
    let options = options
        .application_name(&name)
        // Poolers refuse what they do not know at the start of a session.
        .extra_float_digits(None)
        .disable_statement_logging();
    if options.get_socket().is_some() {
        options
    } else {
        options.host(&host)
    }
}

/// Waits for the database, but not for long: an admission has better to do.
async fn limited<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    within(LIMIT, work).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

//! Whose turn it is: an advisory lock on a session of its own, which lives as long as the turn.
//!
//! The server ends a session from which it hears nothing for a few seconds, and with it the lock, so that a holder that was
//! stopped, or cut off, does not keep the others waiting. A task here speaks to it every second as long as all is well.
//! What the holder does under the lock has to be done by this session, or right after it answered.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Postgres, TURNS_MAX, failure, limited, within};
use crate::registry::rows::{self, bind_entry};
use crate::registry::{Entry, EntryId, Intended, RegistryError, Result};

/// Between two words to the server. With the time that one may take it is less than the server waits: the holder knows
/// of the loss before the lock is another's.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The server's own limit ends a wait; this is for a server that does not.
const SLACK: Duration = Duration::from_secs(1);

/// A session that waits for a lock waits as long as it was told to, and one from which nothing comes ends.
const SETTINGS: &str =
    "SET statement_timeout = 0; SET idle_session_timeout = '4s'; SET tcp_user_timeout = '4s'";

/// Whether these are still the session and the lock that were taken. A pooler in transaction mode gives another backend,
/// or the same one to somebody else, who then leaves a mark of their own.
macro_rules! is_held {
    ($backend:literal, $mark:literal, $key:literal) => {
        concat!(
            "pg_backend_pid() = ",
            $backend,
            " AND current_setting('snaptrade_sidecar.turn', TRUE) = ",
            $mark,
            " AND EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted \
             AND objsubid = 1 AND (classid::BIGINT << 32 | objid::BIGINT) = ",
            $key,
            ")"
        )
    };
}

/// A tenant's turn, until it is dropped or lost.
#[derive(Debug)]
pub struct Turn {
    held: Arc<Mutex<Held>>,
    _heartbeat: AbortOnDropHandle<()>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Held {
    /// `Err` once the turn is lost: how.
    session: std::result::Result<PgConnection, RegistryError>,
    backend: i32,
    mark: String,
    key: i64,
    shown: String,
}

impl Postgres {
    pub(in crate::registry) async fn turn(&self, tenant: &str, patience: Duration) -> Result<Turn> {
        let deadline = Instant::now() + patience;
        let shown = &self.sessions.shown;
        let Ok(Ok(permit)) = timeout(patience, Arc::clone(&self.turns).acquire_owned()).await else {
            let cause = format!("is asked for {TURNS_MAX} tenants' turns by this sidecar already");
            let remedy = "raise admission_timeout, or run more sidecars";
            return Err(failure::error(shown, &cause, remedy));
        };
        let mut session = self.sessions.connect().await?;
        let told = |error| self.sessions.told(&error);
        let (backend, mark) = limited(begin(&mut session))
            .await
            .map_err(told)?
            .ok_or_else(|| failure::pooled(shown))?;
        let mut held = Held {
            session: Ok(session),
            backend,
            mark,
            key: key(tenant),
            shown: shown.clone(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !held.lock(left).await? {
            let cause = format!("did not give the turn of client id {tenant} within {patience:?}");
            let remedy = "another replica has it: look at its log, or raise admission_timeout";
            return Err(failure::error(shown, &cause, remedy));
        }
        held.check().await?;
        let held = Arc::new(Mutex::new(held));
        let heartbeat = tokio::spawn(beat(Arc::clone(&held)));
        Ok(Turn {
            held,
            _heartbeat: AbortOnDropHandle::new(heartbeat),
            _permit: permit,
        })
    }
}

impl Turn {
    pub(in crate::registry) async fn is_held(&mut self) -> bool {
        self.held.lock().await.check().await.is_ok()
    }

    pub(in crate::registry) async fn intend(&mut self, entry: &Entry) -> Result<Intended> {
        self.held.lock().await.intend(entry).await
    }
}

impl Drop for Turn {
    /// Gives the lock up at once: the task that speaks to the server has a share in the session until it ends.
    fn drop(&mut self) {
        if let Ok(mut held) = self.held.try_lock() {
            held.session = Err(RegistryError("the turn was given up".to_owned()));
        }
    }
}

impl Held {
    /// Whether the lock was had within `patience`.
    async fn lock(&mut self, patience: Duration) -> Result<bool> {
        let key = self.key;
        let session = self.session.as_mut().map_err(|lost| lost.clone())?;
        // Zero would be for ever.
        let millis = patience.as_millis().max(1).to_string();
        let locked = within(patience + SLACK, async {
            sqlx::query("SELECT set_config('lock_timeout', $1, FALSE)")
                .bind(millis)
                .execute(&mut *session)
                .await?;
            sqlx::query("SELECT pg_advisory_lock($1)")
                .bind(key)
                .execute(&mut *session)
                .await
        });
        match locked.await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("55P03") => Ok(false),
            Err(error) => Err(failure::told(&self.shown, &error)),
        }
    }

    /// Fails if the turn is lost, from now on for good.
    async fn check(&mut self) -> Result<()> {
        let session = self.session.as_mut().map_err(|lost| lost.clone())?;
        let asked = sqlx::query_scalar(concat!(
            "SELECT coalesce(",
            is_held!("$1", "$2", "$3"),
            ", FALSE)"
        ))
        .bind(self.backend)
        .bind(&self.mark)
        .bind(self.key)
        .fetch_one(session);
        match limited(asked).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.lose(failure::pooled(&self.shown))),
            Err(error) => Err(self.lose(self.lost(&error))),
        }
    }

    async fn intend(&mut self, entry: &Entry) -> Result<Intended> {
        let session = self.session.as_mut().map_err(|lost| lost.clone())?;
        // One statement, so that the lock is held while the intent is written.
        let insert = sqlx::query_scalar(concat!(
            "INSERT INTO snaptrade_sidecar.journal (at, tenant, event, user_id, newcomer, outcome, reason, users, \
             user_limit, request_id, intent, replica, is_open, status, took_ms) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 WHERE ",
            is_held!("$16", "$17", "$18"),
            " AND NOT EXISTS (SELECT FROM snaptrade_sidecar.users WHERE tenant = $2 AND id = $4 AND protected) \
             AND NOT EXISTS (SELECT FROM snaptrade_sidecar.tenants \
             WHERE name = $2 AND paused AND $5::TEXT IS NOT NULL) RETURNING id"
        ));
        let insert = bind_entry!(insert, entry)
            .bind(self.backend)
            .bind(&self.mark)
            .bind(self.key)
            .fetch_optional(session);
        match limited(insert).await {
            Ok(Some(id)) => Ok(Intended::Recorded(EntryId(id))),
            // If the turn is still held, it was barred.
            Ok(None) => self.check().await.map(|()| Intended::Barred),
            Err(error) => Err(self.lose(self.lost(&error))),
        }
    }

    fn lost(&self, error: &sqlx::Error) -> RegistryError {
        let RegistryError(why) = failure::told(&self.shown, error);
        RegistryError(format!("the turn is lost: {why}"))
    }

    /// Closes the session, so that the lock is free whatever state it is in.
    fn lose(&mut self, why: RegistryError) -> RegistryError {
        self.session = Err(why.clone());
        why
    }
}

/// Makes the session one for a turn, and marks it: its backend, and the mark. `None` if it is marked already.
async fn begin(session: &mut PgConnection) -> sqlx::Result<Option<(i32, String)>> {
    sqlx::raw_sql(SETTINGS).execute(&mut *session).await?;
    let marked: String =
        sqlx::query_scalar("SELECT coalesce(current_setting('snaptrade_sidecar.turn', TRUE), '')")
            .fetch_one(&mut *session)
            .await?;
    if !marked.is_empty() {
        return Ok(None);
    }
    let marking = sqlx::query_as(
        "SELECT pg_backend_pid(), set_config('snaptrade_sidecar.turn', gen_random_uuid()::TEXT, FALSE)",
    );
    marking.fetch_one(session).await.map(Some)
}

/// Speaks to the server until the turn is lost or given up.
async fn beat(held: Arc<Mutex<Held>>) {
    loop {
        sleep(HEARTBEAT).await;
        if held.lock().await.check().await.is_err() {
            return;
        }
    }
}

/// The number of a tenant's lock; the database's other users may have locks of their own.
fn key(tenant: &str) -> i64 {
    let digest = Sha256::digest(format!("snaptrade-sidecar turn {tenant}"));
    let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    i64::from_be_bytes(*first)
}

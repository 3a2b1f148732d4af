//! The schema, in a namespace of its own, so that it may live in the application's database.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::{failure, within};
use crate::registry::Result;

/// In order; the first makes version 1 of the schema of nothing.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/postgres/001.sql"),
    include_str!("../migrations/postgres/002.sql"),
    include_str!("../migrations/postgres/003.sql"),
];
/// For a migration, which may have to rewrite a million rows, or to wait for another replica that does.
const LIMIT: Duration = Duration::from_mins(1);
/// The first that ends a session without a word from its client (`idle_session_timeout`).
const SERVER_MIN: i32 = 140_000;
/// Of the lock under which replicas migrate one after the other.
const KEY: i64 = 0x736e_6170_7363_686d;

/// Brings the schema to this program's version, and refuses what it cannot work with.
pub(super) async fn migrate(shown: &str, session: &mut PgConnection) -> Result<()> {
    let version = within(LIMIT, bring(session)).await;
    match version.map_err(|error| failure::told(shown, &error))? {
        Found::Fit => Ok(()),
        Found::Newer(version) => {
            let known = MIGRATIONS.len();
            let cause = format!("has schema version {version}, and this program knows {known} at most");
            let remedy = "run the newer version that wrote it, or give another database in registry.url";
            Err(failure::error(shown, &cause, remedy))
        }
        Found::OldServer => {
            let remedy = "use PostgreSQL 14 or newer";
            Err(failure::error(shown, "is on a server that is too old", remedy))
        }
    }
}

enum Found {
    Fit,
    Newer(i64),
    OldServer,
}

async fn bring(session: &mut PgConnection) -> sqlx::Result<Found> {
    let server: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::INTEGER")
        .fetch_one(&mut *session)
        .await?;
    if server < SERVER_MIN {
        return Ok(Found::OldServer);
    }
    if let Some(found) = judged(version(session).await?) {
        return Ok(found);
    }
    let mut change = session.begin().await?;
    sqlx::raw_sql("SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '60s'")
        .execute(&mut *change)
        .await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(KEY)
        .execute(&mut *change)
        .await?;
    // Looked at again: another replica may have had the lock.
    let found = version(&mut change).await?;
    if let Some(found) = judged(found) {
        // Said, since a session that is merely given back would keep the lock until it is used again.
        change.rollback().await?;
        return Ok(found);
    }
    if found == 0 {
        create(&mut change).await?;
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(*migration).execute(&mut *change).await?;
    }
    sqlx::query("UPDATE snaptrade_sidecar.schema SET version = $1")
        .bind(newest())
        .execute(&mut *change)
        .await?;
    change.commit().await?;
    Ok(Found::Fit)
}

fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn judged(version: i64) -> Option<Found> {
    match version.cmp(&newest()) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(Found::Fit),
        std::cmp::Ordering::Greater => Some(Found::Newer(version)),
    }
}

/// Of the schema that is there; 0 of none.
async fn version(session: &mut PgConnection) -> sqlx::Result<i64> {
    // Not by to_regclass: it may still answer what was so before another replica made it.
    let is_there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'snaptrade_sidecar' AND tablename = 'schema')",
    )
    .fetch_one(&mut *session)
    .await?;
    if !is_there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT version FROM snaptrade_sidecar.schema")
        .fetch_one(session)
        .await
}

/// The namespace may be there already: an administrator may have made it for a user who may not.
async fn create(change: &mut PgConnection) -> sqlx::Result<()> {
    let is_missing: bool = sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'snaptrade_sidecar')",
    )
    .fetch_one(&mut *change)
    .await?;
    if is_missing {
        sqlx::raw_sql("CREATE SCHEMA snaptrade_sidecar")
            .execute(&mut *change)
            .await?;
    }
    sqlx::raw_sql(
        "CREATE TABLE snaptrade_sidecar.schema (version BIGINT NOT NULL); \
         INSERT INTO snaptrade_sidecar.schema VALUES (0)",
    )
    .execute(change)
    .await?;
    Ok(())
}

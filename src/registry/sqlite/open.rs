//! The file, its owner and its schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{Access, access};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};

use super::{Sqlite, failure};
use crate::registry::{RegistryError, Result};

/// In order; the first makes version 1 of the schema of nothing.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/001.sql"),
    include_str!("../migrations/sqlite/002.sql"),
    include_str!("../migrations/sqlite/003.sql"),
];
/// In the head of each of our files, so that another program's is not taken for one: "snap".
const APPLICATION: i64 = 0x736e_6170;
const READERS: u32 = 2;
/// For another program, such as the sqlite3 shell, to finish what it does to the file.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sqlite {
    pub(in crate::registry) async fn open(path: &Path) -> Result<Self> {
        let owner = own(path)?;
        create(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .disable_statement_logging();
        let failed = |error| failure::told(path, &error);
        let writer = SqlitePoolOptions::new().max_connections(1);
        let writer = writer.connect_with(options.clone()).await.map_err(failed)?;
        check(path, &writer).await?;
        migrate(path, &writer).await?;
        // Not before: a reader does not create what it reads.
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        let readers = readers.connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self {
            path: path.to_owned(),
            writer,
            readers,
            is_readable: AtomicBool::new(true),
            is_writable: AtomicBool::new(true),
            has_failed: AtomicBool::new(false),
            _owner: owner,
        })
    }
}

/// Locks a file beside the database, for as long as the process lives. The database itself will not do: with the file
/// that is closed, a process would give up SQLite's own locks on it.
fn own(path: &Path) -> Result<File> {
    let beside = PathBuf::from(format!("{}.lock", path.display()));
    let file = private().open(&beside).map_err(|error| unopened(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failure::error(
            path,
            "is in use by another sidecar",
            "stop that one, or let them share a PostgreSQL database: registry.url = \"postgres://…\"",
        )),
        Err(TryLockError::Error(error)) => {
            let cause = format!("cannot be locked: {error}");
            Err(failure::error(path, &cause, "put it on a local disk"))
        }
    }
}

/// Creates the file if it is missing, for its owner only; SQLite gives the files that it puts beside the same rights.
fn create(path: &Path) -> Result<()> {
    private()
        .open(path)
        .map(drop)
        .map_err(|error| unopened(path, &error))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// What would keep this process from opening it, as far as that shows without creating or locking anything.
pub(in crate::registry) fn obstacle(path: &Path) -> Option<RegistryError> {
    let there = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => opened.map(drop),
    };
    // Files are put beside it, too.
    let around = || access(directory(path), Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from);
    let error = there.and_then(|()| around()).err()?;
    Some(unopened(path, &error))
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn unopened(path: &Path, error: &io::Error) -> RegistryError {
    let directory = directory(path);
    let (cause, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (
            "cannot be created, its directory is missing".to_owned(),
            format!("create {}", directory.display()),
        ),
        io::ErrorKind::IsADirectory => (
            "is a directory".to_owned(),
            "name a file in it, such as registry.db".to_owned(),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            format!("cannot be written to: {error}"),
            format!(
                "let the sidecar's user write to it and to {}",
                directory.display()
            ),
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            "cannot be created, the disk is full".to_owned(),
            "make room on the disk".to_owned(),
        ),
        _ => (
            format!("cannot be opened: {error}"),
            "give another path in registry.url".to_owned(),
        ),
    };
    failure::error(path, &cause, &remedy)
}

/// Whether the file is ours and whole: better found now than in the middle of an admission.
async fn check(path: &Path, pool: &SqlitePool) -> Result<()> {
    let failed = |error| failure::told(path, &error);
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if found != "ok" {
        return Err(failure::damaged(path, &found.replace('\n', " ")));
    }
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    let is_empty: bool = sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if application == APPLICATION || is_empty {
        return Ok(());
    }
    let remedy = "give another path in registry.url";
    Err(failure::error(path, "is another program's database", remedy))
}

impl Sqlite {
    /// Changes the file without changing anything in it.
    pub(super) async fn rewrite_version(&self) -> sqlx::Result<()> {
        let number = format!("PRAGMA application_id = {APPLICATION}");
        let rewriting = sqlx::raw_sql(sqlx::AssertSqlSafe(number));
        rewriting.execute(&self.writer).await.map(drop)
    }
}

async fn migrate(path: &Path, pool: &SqlitePool) -> Result<()> {
    let failed = |error| failure::told(path, &error);
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    let known = MIGRATIONS.len();
    let Some(missing) = usize::try_from(version)
        .ok()
        .and_then(|version| MIGRATIONS.get(version..))
    else {
        let cause = format!("has schema version {version}, and this program knows {known} at most");
        let remedy = "run the newer version that wrote it, or give another path in registry.url";
        return Err(failure::error(path, &cause, remedy));
    };
    if missing.is_empty() {
        return Ok(());
    }
    let migrating = async {
        let mut change = pool.begin_with("BEGIN IMMEDIATE").await?;
        for migration in missing {
            sqlx::raw_sql(*migration).execute(&mut *change).await?;
        }
        let numbers = format!("PRAGMA user_version = {known}; PRAGMA application_id = {APPLICATION}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(numbers))
            .execute(&mut *change)
            .await?;
        change.commit().await
    };
    migrating.await.map_err(failed)
}

//! A file that one process owns.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use snaptrade_sidecar::registry::{Event, Registry};
use snaptrade_sidecar::types::Millis;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tempfile::TempDir;

use super::{T, entry, intent, open, try_open, user, users};

struct File {
    directory: TempDir,
}

impl File {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("registry.db")
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    /// Another program that has the file open.
    async fn beside(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        options.create_if_missing(true).connect().await.unwrap()
    }

    async fn spoilt(&self, statement: &'static str) {
        sqlx::raw_sql(statement)
            .execute(&mut self.beside().await)
            .await
            .unwrap();
    }

    /// Why it cannot be opened, without the directory.
    async fn fault(&self) -> String {
        let directory = format!("{}/", self.directory.path().display());
        try_open(&self.url()).await.unwrap_err().replace(&directory, "")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn r7_what_was_recorded_is_there_after_an_end_without_notice() {
    let file = File::new();
    let registry = open(&file.url()).await;
    assert!(registry.is_durable());
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    registry.pause(T, true).await.unwrap();
    let id = registry.record(intent(1, "a")).await.unwrap();
    drop(registry);
    let registry = open(&file.url()).await;
    assert_eq!(registry.users(T).await.unwrap()[0].0, user("a"));
    assert!(registry.is_paused(T).await.unwrap());
    assert_eq!(registry.open_intents(T).await.unwrap()[0].id, id);
    registry.close().await;
    assert!(!file.path().with_extension("db-wal").exists());
}

#[tokio::test]
async fn a_file_of_the_first_version_keeps_its_journal() {
    let file = File::new();
    let registry = open(&file.url()).await;
    registry.record(entry(1, Event::Registration)).await.unwrap();
    registry.close().await;
    drop(registry);
    file.spoilt(
        "ALTER TABLE journal DROP COLUMN status; ALTER TABLE journal DROP COLUMN took_ms; \
         ALTER TABLE departed DROP COLUMN at; DROP TABLE hours; PRAGMA user_version = 1",
    )
    .await;
    let registry = open(&file.url()).await;
    let mut newer = entry(2, Event::Registration);
    (newer.status, newer.took_ms) = (Some(200), Some(u32::MAX));
    registry.record(newer.clone()).await.unwrap();
    let journal = registry.journal(T, None, 9).await.unwrap();
    let journal: Vec<_> = journal.into_iter().map(|recorded| recorded.entry).collect();
    assert_eq!(journal, [newer, entry(1, Event::Registration)]);
}

#[tokio::test]
async fn its_files_are_for_their_owner_only() {
    let file = File::new();
    let registry = open(&file.url()).await;
    registry.record(entry(1, Event::Reload)).await.unwrap();
    let mut files = Vec::new();
    for file in fs::read_dir(file.directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        files.push(file.file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(
        files,
        [
            "registry.db",
            "registry.db-shm",
            "registry.db-wal",
            "registry.db.lock"
        ]
    );
}

#[tokio::test]
async fn r8_a_second_owner_says_so_and_stops() {
    let file = File::new();
    let first = open(&file.url()).await;
    assert_eq!(
        file.fault().await,
        "the registry registry.db is in use by another sidecar; stop that one, or let them share a PostgreSQL \
         database: registry.url = \"postgres://…\""
    );
    first.record(entry(1, Event::Reload)).await.unwrap();
    drop(first);
    open(&file.url()).await;
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let file = File::new();
    open(&file.url()).await.close().await;
    file.spoilt("PRAGMA user_version = 99").await;
    assert_eq!(
        file.fault().await,
        "the registry registry.db has schema version 99, and this program knows 3 at most; run the newer version \
         that wrote it, or give another path in registry.url"
    );
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let file = File::new();
    file.spoilt("CREATE TABLE theirs (id INTEGER)").await;
    assert_eq!(
        file.fault().await,
        "the registry registry.db is another program's database; give another path in registry.url"
    );
}

#[tokio::test]
async fn what_is_no_database_or_a_damaged_one_is_left_alone() {
    let file = File::new();
    fs::write(
        file.path(),
        "no database at all, but long enough to have a head".repeat(9),
    )
    .unwrap();
    assert_eq!(
        file.fault().await,
        "the registry registry.db is not a SQLite database; give another path, or move the file away"
    );
    let file = File::new();
    open(&file.url()).await.close().await;
    let mut bytes = fs::read(file.path()).unwrap();
    // All pages but the first.
    bytes[4096..].fill(0x55);
    fs::write(file.path(), bytes).unwrap();
    let fault = file.fault().await;
    assert!(
        fault.starts_with("the registry registry.db is damaged ("),
        "{fault}"
    );
    assert!(
        fault.ends_with("; restore it from a backup, or move it away to begin with an empty one"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_names_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    for (path, said) in [
        (
            format!("{at}/missing/registry.db"),
            format!("cannot be created, its directory is missing; create {at}/missing"),
        ),
        (
            "/proc/registry.db".to_owned(),
            "cannot be created, its directory is missing; create /proc".to_owned(),
        ),
    ] {
        let fault = try_open(&format!("sqlite://{path}")).await.unwrap_err();
        assert_eq!(fault, format!("the registry {path} {said}"));
    }
    fs::create_dir(directory.path().join("registry.db")).unwrap();
    let fault = try_open(&format!("sqlite://{at}/registry.db")).await.unwrap_err();
    assert_eq!(
        fault,
        format!("the registry {at}/registry.db is a directory; name a file in it, such as registry.db")
    );
}

#[tokio::test]
async fn r14_locked_by_another_program_it_says_so_and_works_again_afterwards() {
    let file = File::new();
    let registry: Registry = open(&file.url()).await;
    let mut other = file.beside().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let error = registry.record(intent(1, "a")).await.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "is locked by another program; close the program that has it open, such as the sqlite3 shell"
        ),
        "{error}"
    );
    assert!(!registry.is_up());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    registry.record(intent(1, "a")).await.unwrap();
    assert!(registry.is_up());
}

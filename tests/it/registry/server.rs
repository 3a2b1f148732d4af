//! A private PostgreSQL server.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::harness::patiently;

/// As `tests/postgres.sh` has them.
const USER: &str = "sidecar";
pub(crate) const PASSWORD: &str = "s3cret";

/// It ends with this process, or when this is dropped.
pub(crate) struct Server {
    directory: PathBuf,
    control: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    /// What `sh` does not remove is removed with this.
    _parts: (Child, TempDir),
}

impl Server {
    /// One for all tests that do not stop it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres.sh");
        let mut child = Command::new(script)
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let control = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let server = Self {
            directory: place.path().to_owned(),
            control: Mutex::new((control.0, BufReader::new(control.1))),
            _parts: (child, place),
        };
        server.answered("ready");
        server
    }

    fn answered(&self, expected: &str) {
        let mut line = String::new();
        self.control.lock().unwrap().1.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected, "PostgreSQL did not obey");
    }

    /// `start` or `stop`, after which it is up or down.
    pub(crate) fn obey(&self, command: &str) {
        let line = format!("{command}\n");
        self.control.lock().unwrap().0.write_all(line.as_bytes()).unwrap();
        self.answered("done");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let directory = self.directory.display();
        format!("postgres://{USER}:{PASSWORD}@localhost/{database}?host={directory}")
    }

    /// The same by whoever listens on a port of this machine.
    pub(crate) fn url_by(port: u16, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// A new database, empty.
    pub(crate) async fn database(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut session = self.session("postgres").await;
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(statement).execute(&mut session).await.unwrap();
        name
    }

    /// A session beside those of the registry.
    pub(crate) async fn session(&self, database: &str) -> PgConnection {
        patiently(PgConnection::connect(&self.url(database)))
            .await
            .unwrap()
    }
}

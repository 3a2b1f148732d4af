//! The registry: one contract for its three homes, and what is special to each.

/// Each promise, a test for each home.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&$crate::registry::Place::memory().registry).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(&$crate::registry::Place::sqlite().await.registry).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(&$crate::registry::Place::postgres().await.registry).await; })*
        }
    };
}

mod hours;
mod journal;
mod network;
mod postgres;
pub(crate) mod server;
mod sqlite;
mod turns;
mod users;

use snaptrade_sidecar::registry::{Activity, Entry, EntryId, Event, Hold, Intended, Registry};
use snaptrade_sidecar::types::{Millis, UserId};
use tempfile::TempDir;

use server::Server;

pub(crate) const T: &str = "default";

/// A registry, and what it needs to stay.
struct Place {
    registry: Registry,
    _directory: Option<TempDir>,
}

impl Place {
    fn memory() -> Self {
        Self {
            registry: Registry::memory(),
            _directory: None,
        }
    }

    async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("registry.db").display());
        Self {
            registry: open(&url).await,
            _directory: Some(directory),
        }
    }

    async fn postgres() -> Self {
        let server = Server::shared();
        let database = server.database().await;
        Self {
            registry: open(&server.url(&database)).await,
            _directory: None,
        }
    }
}

async fn open(url: &str) -> Registry {
    try_open(url).await.unwrap()
}

async fn try_open(url: &str) -> Result<Registry, String> {
    Registry::open(&url.parse()?)
        .await
        .map_err(|error| error.to_string())
}

/// Waits until it is up, or no longer.
async fn until_up(registry: &Registry, is_up: bool) {
    crate::harness::patiently(async {
        while registry.is_up() != is_up {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn user(id: &str) -> UserId {
    UserId::new(id)
}

fn users(ids: &[&str]) -> Vec<UserId> {
    ids.iter().map(|id| user(id)).collect()
}

fn entry(at: i64, event: Event) -> Entry {
    Entry::new(Millis(at), T, event, "replica-1")
}

fn intent(at: i64, victim: &str) -> Entry {
    Entry {
        user: Some(user(victim)),
        ..entry(at, Event::Intent)
    }
}

/// Records an intent that nobody bars.
async fn intended(registry: &Registry, hold: &mut Hold, intent: Entry) -> EntryId {
    match registry.intend(hold, intent).await.unwrap() {
        Intended::Recorded(id) => id,
        Intended::Barred => panic!("barred"),
    }
}

fn activity(user: &UserId, last: i64) -> Activity {
    Activity {
        tenant: T.to_owned(),
        user: user.clone(),
        last: Millis(last),
        calls: 1,
    }
}

//! What cannot be had from outside: a connection that has to fail.

use std::path::Path;
use std::task::{Context, Waker};

use tempfile::TempDir;

use super::*;
use crate::registry::{Entry, EntryId, Event};
use crate::types::Millis;

async fn opened() -> (Sqlite, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&directory.path().join("registry.db")).await.unwrap();
    (sqlite, directory)
}

async fn set(sqlite: &Sqlite, pragma: &'static str) {
    sqlx::raw_sql(pragma).execute(&sqlite.writer).await.unwrap();
}

async fn record(sqlite: &Sqlite, reason: &str) -> Result<EntryId> {
    let entry = Entry {
        reason: Some(reason.to_owned()),
        ..Entry::new(Millis(1), "default", Event::Refusal, "replica")
    };
    sqlite.record(&entry).await
}

#[tokio::test]
async fn r7_a_commit_is_on_the_disk_before_it_is_reported() {
    let (sqlite, _directory) = opened().await;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&sqlite.writer)
        .await
        .unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&sqlite.writer)
        .await
        .unwrap();
    // 2 is FULL.
    assert_eq!((synchronous, journal.as_str()), (2, "wal"));
}

#[tokio::test]
async fn what_would_keep_it_from_being_opened_shows_without_opening_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let told = |path: &Path| obstacle(path).map(|error| error.to_string());
    let path = at("missing/registry.db");
    assert_eq!(
        told(&path),
        Some(format!(
            "the registry {} cannot be created, its directory is missing; create {}",
            path.display(),
            at("missing").display()
        ))
    );
    std::fs::create_dir(at("folder")).unwrap();
    let is_folder = told(&at("folder")).unwrap();
    assert!(
        is_folder.contains(" is a directory; name a file in it"),
        "{is_folder}"
    );
    let path = at("folder/registry.db");
    assert_eq!(told(&path), None);
    assert_eq!(std::fs::read_dir(at("folder")).unwrap().count(), 0);
    // Nor is one that is in use disturbed.
    let sqlite = Sqlite::open(&path).await.unwrap();
    assert_eq!(told(&path), None);
    record(&sqlite, "works").await.unwrap();
}

#[tokio::test]
async fn r14_what_cannot_be_written_says_why_and_works_again_afterwards() {
    let (sqlite, _directory) = opened().await;
    for (spoil, cause, mend) in [
        (
            "PRAGMA query_only = ON",
            "cannot be written to, it is read-only; let",
            "PRAGMA query_only = OFF",
        ),
        (
            "PRAGMA max_page_count = 1",
            "cannot grow, the disk is full; make room",
            "PRAGMA max_page_count = 1000000",
        ),
    ] {
        set(&sqlite, spoil).await;
        let error = record(&sqlite, &"x".repeat(100_000))
            .await
            .unwrap_err()
            .to_string();
        let start = format!("the registry {} {cause}", sqlite.path.display());
        assert!(error.starts_with(&start), "{error}");
        assert!(!sqlite.is_up());
        // It can still be read, which says nothing of the next intent.
        assert_eq!(sqlite.paused().await.unwrap(), [""; 0]);
        assert!(!sqlite.is_up());
        set(&sqlite, mend).await;
        record(&sqlite, "works").await.unwrap();
        assert!(sqlite.is_up());
    }
    // Nothing of what failed is there.
    assert_eq!(sqlite.journal("default", None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn r14_a_file_that_takes_changes_again_is_found_out_without_one() {
    let (sqlite, _directory) = opened().await;
    set(&sqlite, "PRAGMA query_only = ON").await;
    record(&sqlite, "lost").await.unwrap_err();
    sqlite.probe().await;
    assert!(!sqlite.is_up());
    set(&sqlite, "PRAGMA query_only = OFF").await;
    sqlite.probe().await;
    assert!(sqlite.is_up());
    assert_eq!(sqlite.journal("default", None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_behind() {
    let (sqlite, _directory) = opened().await;
    let mut recorded = 0;
    for polls in 0..60 {
        let mut recording = Box::pin(record(&sqlite, "given up"));
        for _ in 0..polls {
            if recording
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
            {
                break;
            }
            // Time for the connection's thread, which answers between two polls.
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        drop(recording);
        // Were the transaction still open, this would wait for ever or fail.
        record(&sqlite, "kept").await.unwrap();
        recorded += 1;
    }
    let kept = sqlite.journal("default", None, 1_000).await.unwrap();
    let kept = kept
        .iter()
        .filter(|one| one.entry.reason.as_deref() == Some("kept"));
    assert_eq!(kept.count(), recorded);
}

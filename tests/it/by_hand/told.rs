//! What an operator is told beside what was done, and in the log.

use http::Method;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{act, ask, before, done, read, refused};
use crate::harness::FIVE;

#[tokio::test]
async fn protecting_who_is_not_listed_says_so_and_a_registry_that_lasts_needs_no_note() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("registry.db").display());
    let it = before(&FIVE, &[("registry.url", &url)]).await;
    assert_eq!(
        done(&it, "users/nobody/protect").await["note"],
        "SnapTrade does not list this user now: check the id"
    );
    for call in ["users/a/protect", "users/a/unprotect", "pause", "resume"] {
        assert_eq!(done(&it, call).await.get("note"), None, "{call}");
    }
    assert_eq!(ask(&it, Method::GET, "/", None).await.json()["registry"], url);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn not_evictable_is_told_as_that() {
    let it = before(&FIVE, &[("tenants.default.eviction.evictable", "b*")]).await;
    let (status, _, detail) = refused(&it, "users/a/evict").await;
    assert_eq!(status, 409);
    assert!(
        detail.contains("no pattern of eviction.evictable matches it"),
        "{detail}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn r14_a_file_that_works_again_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let url = format!("sqlite://{}", path.display());
    let it = before(&FIVE, &[("registry.url", &url)]).await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut another_program = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut another_program)
        .await
        .unwrap();
    assert_eq!(act(&it, "pause").await.status, 503);
    // It can be read, and that is not enough.
    assert_eq!(read(&it, "users").await["paused"], false);
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut another_program)
        .await
        .unwrap();
    done(&it, "pause").await;
    done(&it, "resume").await;
    let ended = it.stop().await;
    let said = format!("the registry {} works again", path.display());
    assert_eq!(ended.logged(&said).len(), 1, "{}", ended.err);
}

#[tokio::test]
async fn r6_a_blown_fuse_tells_its_number_and_window() {
    let it = before(
        &FIVE,
        &[
            ("tenants.default.eviction.fuse.evictions", "1"),
            ("tenants.default.eviction.fuse.window", "2h"),
        ],
    )
    .await;
    assert_eq!(it.register("one").await.admission(), "evicted");
    it.register("two").await;
    let ended = it.stop().await;
    let said = "the fuse has blown: so many evictions in so long are allowed (eviction.fuse), and no more. \
                Registrations are forwarded as they come until it closes again";
    let lines = ended.logged(said);
    assert_eq!(lines.len(), 1, "{}", ended.err);
    assert_eq!(
        (&lines[0]["evictions"], &lines[0]["window_s"]),
        (&1.into(), &7200.into())
    );
}

//! A database that may be down, and that replicas share.

use std::time::{Duration, Instant};

use snaptrade_sidecar::registry::{Event, Registry};
use snaptrade_sidecar::types::Millis;

use super::network::Network;
use super::server::{PASSWORD, Server};
use super::{T, entry, intended, intent, open, until_up, user, users};
use crate::harness::patiently;

/// A call that fails without having waited for anything.
const AT_ONCE: Duration = Duration::from_millis(500);
/// What one call may take at most: a connection, and what is done by it.
const LIMIT: Duration = Duration::from_secs(4);

async fn failure(registry: &Registry) -> (String, Duration) {
    let began = Instant::now();
    let error = patiently(registry.record(entry(1, Event::Reload)))
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(!error.contains(PASSWORD) && !error.contains("wr0ng"), "{error}");
    (error, began.elapsed())
}

#[tokio::test]
async fn r14_a_server_that_is_down_costs_no_time_and_is_used_once_it_is_up() {
    let server = Server::start();
    let url = server.url(&server.database().await);
    server.obey("stop");
    // At the start, which is no reason to fail.
    let registry = open(&url).await;
    until_up(&registry, false).await;
    let (error, took) = failure(&registry).await;
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(
        error.ends_with("; start the server, or correct host, port and files in registry.url"),
        "{error}"
    );
    assert!(took < AT_ONCE, "{took:?}");
    let began = Instant::now();
    registry.turn(T, Duration::from_secs(9)).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE);
    server.obey("start");
    until_up(&registry, true).await;
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    // In the middle.
    let mut hold = registry.turn(T, Duration::from_secs(9)).await.unwrap();
    let before = intended(&registry, &mut hold, intent(1, "a")).await;
    server.obey("stop");
    assert!(!hold.is_held().await);
    registry.intend(&mut hold, intent(2, "a")).await.unwrap_err();
    until_up(&registry, false).await;
    let (_, took) = failure(&registry).await;
    assert!(took < AT_ONCE, "{took:?}");
    server.obey("start");
    until_up(&registry, true).await;
    // What was lost stays lost, and what was recorded stays recorded.
    assert!(!hold.is_held().await);
    let open = registry.open_intents(T).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, &open[0].victim), (before, &user("a")));
    assert_eq!(registry.users(T).await.unwrap().len(), 1);
    registry.turn(T, Duration::from_secs(9)).await.unwrap();
}

#[tokio::test]
async fn r14_a_network_that_swallows_everything_is_waited_for_once() {
    let server = Server::shared();
    let network = Network::to(server).await;
    let database = server.database().await;
    let registry = open(&Server::url_by(network.port, &database)).await;
    registry.record(entry(1, Event::Reload)).await.unwrap();
    network.cut();
    let (error, took) = failure(&registry).await;
    assert!(
        error.contains("does not answer in time; look at the server, and at the network"),
        "{error}"
    );
    assert!(took < LIMIT, "{took:?}");
    until_up(&registry, false).await;
    let (_, took) = failure(&registry).await;
    assert!(took < AT_ONCE, "{took:?}");
    network.mend();
    until_up(&registry, true).await;
    registry.record(entry(1, Event::Reload)).await.unwrap();
}

#[tokio::test]
async fn r13_what_is_refused_says_why_without_the_password() {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    for (url, cause, remedy) in [
        (
            url.replace(PASSWORD, "wr0ng"),
            "password authentication failed for user",
            "correct user and password in registry.url, or the server's pg_hba.conf",
        ),
        (
            url.replace(&database, "missing"),
            "database \"missing\" does not exist",
            "create the database, or correct its name in registry.url",
        ),
    ] {
        let registry = open(&url).await;
        let (error, _) = failure(&registry).await;
        assert!(error.contains(cause) && error.ends_with(remedy), "{error}");
        let shown = format!("{registry:?}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("wr0ng"), "{shown}");
    }
}

#[tokio::test]
async fn a_user_who_may_not_create_and_a_server_that_takes_no_changes() {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    let mut session = server.session(&database).await;
    let role = format!("CREATE ROLE poor_{database} LOGIN PASSWORD '{PASSWORD}'");
    let role = sqlx::AssertSqlSafe(role);
    sqlx::raw_sql(role).execute(&mut session).await.unwrap();
    let poor = url.replace("sidecar:", &format!("poor_{database}:"));
    let (error, _) = failure(&open(&poor).await).await;
    let remedy = "; let the user create and use the schema snaptrade_sidecar in this database";
    assert!(error.ends_with(remedy), "{error}");
    // As a standby is.
    let registry = open(&url).await;
    registry.record(entry(1, Event::Reload)).await.unwrap();
    let standby = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    let standby = sqlx::AssertSqlSafe(standby);
    sqlx::raw_sql(standby).execute(&mut session).await.unwrap();
    let registry = open(&url).await;
    assert_eq!(registry.journal(T, None, 9).await.unwrap().len(), 1);
    let (error, _) = failure(&registry).await;
    let remedy = "; give registry.url the primary server: this one takes no changes";
    assert!(error.ends_with(remedy), "{error}");
    // No intent can be recorded there, whatever can be read.
    until_up(&registry, false).await;
    assert_eq!(registry.journal(T, None, 9).await.unwrap().len(), 1);
    let primary = format!("ALTER DATABASE {database} SET default_transaction_read_only = off");
    let primary = sqlx::AssertSqlSafe(primary);
    sqlx::raw_sql(primary).execute(&mut session).await.unwrap();
    until_up(&registry, true).await;
    registry.record(entry(2, Event::Reload)).await.unwrap();
}

#[tokio::test]
async fn r13_a_password_may_be_checked_by_scram() {
    let server = Server::shared();
    let database = server.database().await;
    let mut session = server.session(&database).await;
    let role = format!(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE scram_{database} LOGIN PASSWORD '{PASSWORD}'; \
         GRANT CREATE ON DATABASE {database} TO scram_{database}"
    );
    let role = sqlx::AssertSqlSafe(role);
    sqlx::raw_sql(role).execute(&mut session).await.unwrap();
    let url = server
        .url(&database)
        .replace("sidecar:", &format!("scram_{database}:"));
    open(&url).await.record(entry(1, Event::Reload)).await.unwrap();
    let (error, _) = failure(&open(&url.replace(PASSWORD, "wr0ng")).await).await;
    assert!(
        error.contains("password authentication failed for user"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    open(&url).await.record(entry(1, Event::Reload)).await.unwrap();
    let mut session = server.session(&database).await;
    let newer = "UPDATE snaptrade_sidecar.schema SET version = 99";
    sqlx::raw_sql(newer).execute(&mut session).await.unwrap();
    let registry = open(&url).await;
    let (error, _) = failure(&registry).await;
    assert!(
        error.ends_with(
            "has schema version 99, and this program knows 3 at most; run the newer version that wrote it, or give \
             another database in registry.url"
        ),
        "{error}"
    );
    assert!(!registry.is_up());
}

#[tokio::test]
async fn a_schema_of_the_first_version_keeps_its_journal() {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    open(&url)
        .await
        .record(entry(1, Event::Registration))
        .await
        .unwrap();
    let mut session = server.session(&database).await;
    let older = "ALTER TABLE snaptrade_sidecar.journal DROP COLUMN status, DROP COLUMN took_ms; \
                 ALTER TABLE snaptrade_sidecar.departed DROP COLUMN at; \
                 DROP TABLE snaptrade_sidecar.hours; \
                 UPDATE snaptrade_sidecar.schema SET version = 1";
    sqlx::raw_sql(older).execute(&mut session).await.unwrap();
    let registry = open(&url).await;
    let mut newer = entry(2, Event::Registration);
    (newer.status, newer.took_ms) = (Some(200), Some(u32::MAX));
    registry.record(newer.clone()).await.unwrap();
    let journal = registry.journal(T, None, 9).await.unwrap();
    let journal: Vec<_> = journal.into_iter().map(|recorded| recorded.entry).collect();
    assert_eq!(journal, [newer, entry(1, Event::Registration)]);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_behind() {
    let server = Server::shared();
    let url = server.url(&server.database().await);
    let registry = open(&url).await;
    until_up(&registry, true).await;
    for micros in 0..100 {
        let patience = Duration::from_micros(micros * 30);
        let ids = users(&["a", "b"]);
        let _ = tokio::time::timeout(patience, registry.gone(T, &ids, Millis(i64::MAX))).await;
        let _ = tokio::time::timeout(patience, registry.seen(T, &ids, Millis(1))).await;
        // Were a transaction left open, the tenant would be locked.
        registry.protect(T, &user("c"), true, Millis(1)).await.unwrap();
    }
    registry
        .gone(T, &users(&["a", "b"]), Millis(i64::MAX))
        .await
        .unwrap();
    assert_eq!(registry.users(T).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_socket_may_be_named_as_libpq_does() {
    let server = Server::shared();
    let url = server.url(&server.database().await);
    let registry = open(&url.replace("@localhost/", "@/")).await;
    until_up(&registry, true).await;
    registry.record(entry(1, Event::Reload)).await.unwrap();
}

#[tokio::test]
async fn replicas_that_start_together_make_one_schema() {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let registry = open(&url).await;
                until_up(&registry, true).await;
                registry.record(entry(1, Event::Reload)).await.unwrap();
            })
        })
        .collect();
    for replica in starting {
        patiently(replica).await.unwrap();
    }
    let mut session = server.session(&database).await;
    let count = "SELECT count(*) FROM snaptrade_sidecar.journal";
    let entries: i64 = sqlx::query_scalar(count).fetch_one(&mut session).await.unwrap();
    assert_eq!(entries, 8);
    // In the application's database, nothing of ours is among the application's.
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let theirs: i64 = sqlx::query_scalar(count).fetch_one(&mut session).await.unwrap();
    assert_eq!(theirs, 0);
}

#[tokio::test]
async fn replicas_that_change_the_same_users_wait_instead_of_failing() {
    let server = Server::shared();
    let url = server.url(&server.database().await);
    let (one, two) = (open(&url).await, open(&url).await);
    let there: Vec<String> = (0..300).map(|number| format!("user-{number}")).collect();
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let back: Vec<&str> = there.iter().rev().copied().collect();
    let changing = async |registry: &Registry, order: &[&str]| {
        let order = users(order);
        for at in 0..20 {
            registry.seen(T, &order, Millis(at)).await.unwrap();
            let batch = order.iter().map(|user| super::activity(user, at));
            registry.active(&batch.collect::<Vec<_>>()).await.unwrap();
            registry.gone(T, &order[..50], Millis(i64::MAX)).await.unwrap();
        }
    };
    patiently(async { tokio::join!(changing(&one, &there), changing(&two, &back)) }).await;
    // Whoever follows the changes of both knows what there is.
    let whole = one.changes(T, None).await.unwrap();
    assert_eq!(whole.version, two.changes(T, None).await.unwrap().version);
    assert_eq!(whole.users.len(), one.users(T).await.unwrap().len());
}

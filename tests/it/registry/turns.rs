//! R8 over replicas: whose turn it is, and how it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use snaptrade_sidecar::registry::{Hold, Registry};

use super::network::Network;
use super::server::{PASSWORD, Server};
use super::{T, intent, open, until_up};
use crate::harness::{PATIENCE, patiently};

/// By then, a turn that was given up is the next one's.
const PROMPTLY: Duration = Duration::from_secs(1);
/// By then, a holder that is not heard of has lost its turn: the server's limit, and time to notice.
const SECONDS: Duration = Duration::from_secs(8);

async fn replicas() -> (Registry, Registry, String) {
    let server = Server::shared();
    let database = server.database().await;
    let url = server.url(&database);
    (open(&url).await, open(&url).await, database)
}

async fn turn(registry: &Registry, tenant: &str) -> Hold {
    registry.turn(tenant, PATIENCE).await.unwrap()
}

/// The turn is lost, and nothing can be intended by it.
async fn assert_lost(registry: &Registry, hold: &mut Hold, why: &str) {
    let error = patiently(registry.intend(hold, intent(1, "a")))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(why), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
    assert!(!hold.is_held().await);
}

#[tokio::test]
async fn r8_the_turn_is_one_replicas_for_as_long_as_it_holds_it() {
    let (one, two, _) = replicas().await;
    let mut hold = turn(&one, T).await;
    let (began, patience) = (Instant::now(), Duration::from_millis(300));
    let error = two.turn(T, patience).await.unwrap_err().to_string();
    assert!(
        error.contains("did not give the turn of client id default within 300ms; another replica has it"),
        "{error}"
    );
    assert!((patience..patience + PROMPTLY).contains(&began.elapsed()));
    // Also from the same process, since each turn is a session of its own.
    one.turn(T, patience).await.unwrap_err();
    turn(&two, "other").await;
    assert!(hold.is_held().await);
    one.intend(&mut hold, intent(1, "a")).await.unwrap();
    drop(hold);
    let began = Instant::now();
    let mut hold = turn(&two, T).await;
    assert!(began.elapsed() < PROMPTLY);
    assert_eq!(two.open_intents(T).await.unwrap().len(), 1);
    assert!(hold.is_held().await);
}

#[tokio::test]
async fn r8_no_two_replicas_have_the_turn_at_once() {
    let (one, two, _) = replicas().await;
    let replicas = Arc::new([one, two]);
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (replicas, inside) = (Arc::clone(&replicas), Arc::clone(&inside));
            tokio::spawn(async move {
                let registry = &replicas[number % 2];
                let mut hold = turn(registry, T).await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                registry.intend(&mut hold, intent(1, "a")).await.unwrap();
                assert!(hold.is_held().await);
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for task in tasks {
        patiently(task).await.unwrap();
    }
    assert_eq!(replicas[0].open_intents(T).await.unwrap().len(), 20);
}

#[tokio::test]
async fn r8_who_gives_up_waiting_is_not_waited_for() {
    let (one, two, _) = replicas().await;
    let hold = turn(&one, T).await;
    let waiting = tokio::time::timeout(Duration::from_millis(300), two.turn(T, PATIENCE));
    waiting.await.unwrap_err();
    drop(hold);
    let began = Instant::now();
    turn(&one, T).await;
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
}

#[tokio::test]
async fn r8_a_holder_that_is_heard_of_keeps_the_turn() {
    let (one, two, _) = replicas().await;
    let mut hold = turn(&one, T).await;
    // Longer than the server waits for a session that says nothing.
    two.turn(T, Duration::from_secs(6)).await.unwrap_err();
    assert!(hold.is_held().await);
    one.intend(&mut hold, intent(1, "a")).await.unwrap();
}

#[tokio::test]
async fn r8_a_holder_that_is_cut_off_loses_the_turn_within_seconds() {
    let server = Server::shared();
    let network = Network::to(server).await;
    let database = server.database().await;
    let far = open(&Server::url_by(network.port, &database)).await;
    let near = open(&server.url(&database)).await;
    let mut lost = turn(&far, T).await;
    network.cut();
    let began = Instant::now();
    let mut hold = turn(&near, T).await;
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    assert_lost(&far, &mut lost, "the turn is lost: ").await;
    // Nor does it come back with the network.
    network.mend();
    assert_lost(&far, &mut lost, "the turn is lost: ").await;
    assert!(hold.is_held().await);
    assert!(near.open_intents(T).await.unwrap().is_empty());
}

#[tokio::test]
async fn r8_a_session_that_the_server_ends_is_a_lost_turn() {
    let (one, two, database) = replicas().await;
    // Which takes a lock, too.
    until_up(&two, true).await;
    let mut hold = turn(&one, T).await;
    let mut session = Server::shared().session(&database).await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database \
                     WHERE locktype = 'advisory' AND datname = current_database()";
    let ended: Vec<bool> = sqlx::query_scalar(terminate)
        .fetch_all(&mut session)
        .await
        .unwrap();
    assert_eq!(ended, [true]);
    assert_lost(&one, &mut hold, "the turn is lost: ").await;
    // Another may have it, and so may the same replica.
    drop(turn(&two, T).await);
    turn(&one, T).await;
    assert!(one.open_intents(T).await.unwrap().is_empty());
}

#[tokio::test]
async fn r8_a_session_that_somebody_else_has_marked_is_a_poolers() {
    let (one, _, database) = replicas().await;
    let mut hold = turn(&one, T).await;
    let mut session = Server::shared().session(&database).await;
    // Every new session begins with a mark, as one does by which a pooler served another holder.
    let mark = format!("ALTER DATABASE {database} SET snaptrade_sidecar.turn = 'x'");
    let mark = sqlx::AssertSqlSafe(mark);
    sqlx::raw_sql(mark).execute(&mut session).await.unwrap();
    assert!(hold.is_held().await);
    let error = one.turn("other", PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("through a pooler in transaction mode"), "{error}");
}

#[tokio::test]
async fn r8_a_pooler_that_changes_the_backend_is_noticed() {
    let server = Server::shared();
    let network = Network::to(server).await;
    let database = server.database().await;
    let registry = open(&Server::url_by(network.port, &database)).await;
    let mut first = turn(&registry, "one").await;
    let mut second = turn(&registry, "two").await;
    network.swap().await;
    assert_lost(
        &registry,
        &mut first,
        "is reached through a pooler in transaction mode, by which no turn can be held; give registry.url a pooler \
         in session mode, or the server itself",
    )
    .await;
    assert!(!second.is_held().await);
    let near = open(&server.url(&database)).await;
    assert!(near.open_intents(T).await.unwrap().is_empty());
    // Neither lock stays behind.
    turn(&near, "one").await;
    turn(&near, "two").await;
}

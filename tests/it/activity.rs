//! Which users the registry takes to be active, after calls that passed through.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::admission::known::Known;
use snaptrade_sidecar::registry::Registry;
use snaptrade_sidecar::simulator::{Dialect, sign};
use snaptrade_sidecar::types::{Millis, UserId};

use crate::harness::{CLIENT_ID, CONSUMER_KEY, FIVE, Harness, options};

const TENANT: &str = CLIENT_ID;

async fn remembering(users: &[&str]) -> Harness {
    let it = Harness::with_users(users, options(), &[]).await;
    let users: Vec<UserId> = users.iter().map(UserId::new).collect();
    it.registry.seen(TENANT, &users, Millis(1)).await.unwrap();
    it
}

async fn get(it: &Harness, target: &str) -> u16 {
    let reply = it.call(Method::GET, target, HeaderMap::new(), Bytes::new());
    reply.await.status.as_u16()
}

/// What the registry knows of these users, once it was told everything.
async fn known_in_the_end<const N: usize>(it: Harness, users: [&str; N]) -> [Option<Known>; N] {
    let registry: Arc<Registry> = Arc::clone(&it.registry);
    it.stop().await;
    let all = registry.users(TENANT).await.unwrap();
    users.map(|user| {
        all.iter()
            .find(|(id, _)| id.as_str() == user)
            .map(|(_, known)| *known)
    })
}

fn calls(known: Option<Known>) -> u64 {
    known.map_or(u64::MAX, |known| known.calls.into())
}

#[tokio::test]
async fn calls_that_snaptrade_accepted_are_activity_told_at_the_end() {
    let it = remembering(&["a", "b c", "idle"]).await;
    let began = Millis::from(SystemTime::now());
    for target in [
        format!("/api/v1/accounts?clientId={CLIENT_ID}&timestamp=1&userId=a&userSecret=s"),
        format!("/_status/204?userId=%61&clientId={CLIENT_ID}"),
        format!("/accounts?clientId={CLIENT_ID}&userId=b+c"),
        format!("/accounts?clientId={CLIENT_ID}&user%49d=b%20c"),
        format!("/accounts?clientId={CLIENT_ID}&userId=nobody"),
    ] {
        let status = get(&it, &target).await;
        assert!((200..300).contains(&status), "{status} {target}");
    }
    let [a, b, idle, nobody] = known_in_the_end(it, ["a", "b c", "idle", "nobody"]).await;
    assert_eq!([a, b, idle].map(calls), [2, 2, 0]);
    assert_eq!(nobody, None);
    assert_eq!(idle.unwrap().last_active, None);
    // Between the two clocks that are compared lie some microseconds.
    let slack = std::time::Duration::from_millis(50);
    let last = a.unwrap().last_active.unwrap();
    assert!(last >= began.minus(slack), "{last:?} is before {began:?}");
    assert!(
        last <= Millis::from(SystemTime::now()),
        "{last:?} is in the future"
    );
}

#[tokio::test]
async fn what_anybody_could_send_is_no_activity() {
    let it = remembering(&["a"]).await;
    for (method, target, expected) in [
        // Refused.
        ("GET", format!("/_status/401?clientId={CLIENT_ID}&userId=a"), 401),
        ("GET", format!("/_status/302?clientId={CLIENT_ID}&userId=a"), 302),
        // Answered without a look at the signature.
        ("GET", format!("/?clientId={CLIENT_ID}&userId=a"), 200),
        ("GET", format!("/api/v1/?clientId={CLIENT_ID}&userId=a"), 200),
        ("HEAD", format!("/accounts?clientId={CLIENT_ID}&userId=a"), 200),
        ("OPTIONS", format!("/accounts?clientId={CLIENT_ID}&userId=a"), 200),
        // Of no tenant, or nobody's.
        ("GET", "/accounts?clientId=OTHER&userId=a".to_owned(), 200),
        ("GET", "/accounts?userId=a".to_owned(), 200),
        ("GET", format!("/accounts?clientId={CLIENT_ID}&userid=a"), 200),
    ] {
        let reply = it.call(method.parse().unwrap(), &target, HeaderMap::new(), Bytes::new());
        assert_eq!(reply.await.status, expected, "{method} {target}");
    }
    let [a] = known_in_the_end(it, ["a"]).await;
    assert_eq!(calls(a), 0);
}

#[tokio::test]
async fn a_new_secret_is_activity_and_a_list_of_users_is_not() {
    let it = remembering(&["a"]).await;
    let secret = it.sim.secret_of("a").unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (method, path, tail) in [
        (
            Method::POST,
            "/snapTrade/resetUserSecret",
            format!("&userSecret={secret}"),
        ),
        (Method::GET, "/snapTrade/listUsers", String::new()),
    ] {
        let query = format!("clientId={CLIENT_ID}&timestamp={now}&userId=a{tail}");
        let signature = sign(CONSUMER_KEY, Dialect::PYTHON, path, &query, b"").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("signature", signature.parse().unwrap());
        let target = format!("{path}?{query}");
        let reply = it.call(method, &target, headers, Bytes::new());
        assert_eq!(reply.await.status, 200, "{path}");
    }
    let [a] = known_in_the_end(it, ["a"]).await;
    assert_eq!(calls(a), 1);
}

#[tokio::test]
async fn a_user_that_the_application_deletes_is_forgotten() {
    let it = remembering(&["a", "b"]).await;
    assert_eq!(
        get(&it, &format!("/accounts?clientId={CLIENT_ID}&userId=a")).await,
        200
    );
    assert_eq!(it.delete("a").await.status, 200);
    it.sim.remove_user("b");
    assert_eq!(it.delete("b").await.status, 401);
    let [a, b] = known_in_the_end(it, ["a", "b"]).await;
    assert_eq!(a, None);
    assert_eq!(calls(b), 0, "a deletion that was refused");
}

#[tokio::test]
async fn r5_who_called_a_moment_ago_is_not_evicted() {
    let settings = [("tenants.default.eviction.active_within", "1h")];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    it.registry
        .seen(TENANT, &FIVE.map(UserId::new), Millis(1))
        .await
        .unwrap();
    for (caller, newcomer, victim) in [("a", "new", "b"), ("c", "newer", "d")] {
        let target = format!("/accounts?clientId={CLIENT_ID}&userId={caller}");
        assert_eq!(get(&it, &target).await, 200);
        let reply = it.register(newcomer).await;
        assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some(victim));
    }
    it.stop().await;
}

//! What an operator sees and does by hand, over the ops plane's HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind};

use crate::harness::{FIVE, Reply, options, patiently};
use crate::program::{Sidecar, simulator};

mod paused;
mod told;

/// What lasts no longer than the process says so.
const FORGOTTEN: &str =
    "until this sidecar restarts, since it remembers in memory only (registry.url = \"memory:\")";
pub(crate) const TOKEN: &str = "open-sesame-of-16";

/// A sidecar with a token, before these users.
pub(crate) async fn before(users: &[&str], settings: &[(&str, &str)]) -> Sidecar {
    let sim = simulator(options()).await;
    for user in users {
        sim.add_user(user);
    }
    let settings = [&[("ops.token", TOKEN)], settings].concat();
    Sidecar::start(sim, &settings).await
}

async fn ask(it: &Sidecar, method: Method, path: &str, token: Option<&str>) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    it.call(method, &format!("{}{path}", it.ops), headers, Bytes::new())
        .await
}

/// The answer to a call that is in order.
async fn read(it: &Sidecar, call: &str) -> Value {
    let reply = ask(
        it,
        Method::GET,
        &format!("/api/tenants/default/{call}"),
        Some(TOKEN),
    )
    .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()
}

async fn act(it: &Sidecar, call: &str) -> Reply {
    ask(
        it,
        Method::POST,
        &format!("/api/tenants/default/{call}"),
        Some(TOKEN),
    )
    .await
}

async fn done(it: &Sidecar, call: &str) -> Value {
    let reply = act(it, call).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Status, code and detail of a call that is refused.
async fn refused(it: &Sidecar, call: &str) -> (u16, String, String) {
    let reply = act(it, call).await;
    let body = reply.json();
    assert_eq!(body["success"], false, "{body}");
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (reply.status.as_u16(), text("code"), text("detail"))
}

fn ids(users: &Value) -> Vec<&str> {
    let users = users["users"].as_array().unwrap();
    users
        .iter()
        .map(|user| user["user_id"].as_str().unwrap())
        .collect()
}

/// The journal, oldest first: event, outcome and user.
async fn journal(it: &Sidecar, query: &str) -> Vec<(String, String, String)> {
    let journal = read(it, &format!("evictions{query}")).await;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| {
        (
            text(&entry["event"]),
            text(&entry["outcome"]),
            text(&entry["user_id"]),
        )
    };
    let entries = journal["entries"].as_array().unwrap();
    entries.iter().rev().map(line).collect()
}

fn line(event: &str, outcome: &str, user: &str) -> (String, String, String) {
    (event.to_owned(), outcome.to_owned(), user.to_owned())
}

#[tokio::test]
async fn users_are_shown_in_the_order_in_which_they_go_and_why() {
    let it = before(&FIVE, &[("tenants.default.eviction.protect", "c")]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let mut users = read(&it, "users").await;
    assert_eq!(ids(&users), ["b", "d", "e", "new", "c"]);
    let list = users["users"].take();
    assert!(users["counted_at"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        users,
        json!({
            "tenant": "default", "limit": 5, "count": 5, "mode": "enforce", "paused": false, "counted_at": null,
            "matching": 5, "users": null,
        })
    );
    let mut first = list[0].clone();
    assert!(first["first_seen"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        first,
        json!({
            "user_id": "b", "place": 1, "evictable": true,
            "why": "oldest (age unknown, place 1 in listUsers)",
            "registered_at": null, "known_by": null, "first_seen": null, "last_active": null, "calls": 0,
            "connections": null, "protected_by_hand": false,
        })
    );
    let newcomer = &list[3];
    assert_eq!(
        (&newcomer["place"], &newcomer["known_by"]),
        (&4.into(), &"own".into())
    );
    assert!(newcomer["registered_at"].as_str().unwrap().ends_with('Z'));
    let kept = &list[4];
    assert_eq!(
        (&kept["place"], &kept["evictable"], &kept["why"]),
        (&Value::Null, &false.into(), &"protected: protect".into())
    );
    // Who is said to go next is who goes.
    assert_eq!(
        read(&it, "next").await,
        json!({"tenant": "default", "next": list[0]})
    );
    let reply = it.register("another").await;
    assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("b"));
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn where_everybody_is_protected_nobody_is_next() {
    let it = before(&FIVE, &[("tenants.default.eviction.protect", "*")]).await;
    assert_eq!(
        read(&it, "next").await,
        json!({"tenant": "default", "next": null})
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn r5_who_is_protected_by_hand_stays_until_unprotected() {
    let it = before(&FIVE, &[]).await;
    assert_eq!(
        done(&it, "users/a/protect").await,
        json!({"success": true, "user_id": "a", "protected": true, "note": FORGOTTEN})
    );
    let users = read(&it, "users").await;
    assert_eq!(ids(&users), ["b", "c", "d", "e", "a"]);
    assert_eq!(users["users"][4]["protected_by_hand"], true);
    let reply = it.register("new").await;
    assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("b"));
    assert_eq!(
        done(&it, "users/a/unprotect").await,
        json!({"success": true, "user_id": "a", "protected": false})
    );
    let reply = it.register("another").await;
    assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("a"));
    assert_eq!(
        journal(&it, "").await,
        [
            line("manual", "protect", "a"),
            line("intent", "-", "b"),
            line("outcome", "evicted", "b"),
            line("manual", "unprotect", "a"),
            line("intent", "-", "a"),
            line("outcome", "evicted", "a"),
        ]
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn r7_an_eviction_by_hand_is_in_the_journal_before_it_is_done() {
    let odd = "a/b c\u{e9}%2F\n";
    let it = before(&["x", odd, "y"], &[]).await;
    let call = "users/a%2Fb%20c%C3%A9%252F%0A/evict";
    assert_eq!(
        done(&it, call).await,
        json!({"success": true, "user_id": odd, "outcome": "evicted"})
    );
    assert_eq!(it.sim.users(), ["x", "y"]);
    assert_eq!(ids(&read(&it, "users").await), ["x", "y"]);
    let journal = journal(&it, "").await;
    let at = |event: &str| journal.iter().position(|(known, _, _)| known == event).unwrap();
    assert!(at("intent") < at("outcome"), "{journal:?}");
    assert!(journal.contains(&line("manual", "evict", odd)), "{journal:?}");
    assert!(journal.contains(&line("outcome", "evicted", odd)), "{journal:?}");
    let (status, code, detail) = refused(&it, call).await;
    assert_eq!(
        (status, code.as_str()),
        (404, "sidecar_user_not_listed"),
        "{detail}"
    );
    let ended = it.stop().await;
    assert_eq!(ended.code, Some(0));
    // Nothing is called done before it is, and nobody came in this one's place.
    assert!(ended.logged("done by hand").is_empty(), "{}", ended.err);
    let evicted = ended.logged("evicted: the user is deleted and no longer listed");
    assert_eq!((evicted.len(), evicted[0].get("newcomer")), (1, None));
}

#[tokio::test]
async fn an_eviction_by_hand_that_is_not_made_says_why() {
    let protect = ("tenants.default.eviction.protect", "[\"x\", \"c*\"]");
    let it = before(&FIVE, &[protect]).await;
    done(&it, "users/a/protect").await;
    let by_pattern = "this user is protected by \"c*\" of eviction.protect: take that pattern out first";
    for (id, why) in [("a", "protected by hand: unprotect it first"), ("c", by_pattern)] {
        let (status, code, detail) = refused(&it, &format!("users/{id}/evict")).await;
        assert_eq!((status, code.as_str()), (409, "sidecar_user_protected"));
        assert!(detail.contains(why), "{detail}");
    }
    it.sim.inject(Fault::status(FaultCall::List, 500, "{}"));
    let (status, code, _) = refused(&it, "users/b/evict").await;
    assert_eq!((status, code.as_str()), (502, "sidecar_list_failed"));
    assert_eq!(it.sim.count(CallKind::Delete), 0);
    it.sim.inject(Fault::status(FaultCall::Delete, 403, "{}"));
    let (status, code, _) = refused(&it, "users/b/evict").await;
    assert_eq!((status, code.as_str()), (502, "sidecar_deletion_refused"));
    assert_eq!(it.sim.users(), FIVE);
    let entries = journal(&it, "").await;
    assert!(entries.contains(&line("outcome", "refused", "b")));
    assert!(!entries.contains(&line("manual", "evict", "b")), "{entries:?}");
    let late = FaultKind::DelayAfter(Duration::from_millis(2_100));
    it.sim.inject(Fault::new(FaultCall::List, late));
    let (status, code, _) = refused(&it, "users/b/evict").await;
    assert_eq!((status, code.as_str()), (502, "sidecar_list_slow"));
    assert_eq!(it.sim.users(), FIVE);
    assert!(
        journal(&it, "")
            .await
            .contains(&line("outcome", "withdrawn", "b"))
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_deletion_by_hand_that_does_not_show_is_told_as_that() {
    let it = before(&FIVE, &[("tenants.default.settle_timeout", "50ms")]).await;
    // Answered as if it were done.
    it.sim.inject(Fault::status(FaultCall::Delete, 200, "{}"));
    assert_eq!(done(&it, "users/b/evict").await["outcome"], "unsettled");
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn r7_a_deletion_by_hand_is_seen_through_though_its_caller_leaves() {
    let mut it = before(&FIVE, &[]).await;
    it.sim
        .set(|options| options.delete_lag = Duration::from_millis(300));
    let url = format!("{}/api/tenants/default/users/b/evict", it.ops);
    let evicting = tokio::spawn(it.http.post(url).bearer_auth(TOKEN).send());
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::Delete) == 1)).await;
    evicting.abort();
    it.program
        .logged("evicted: the user is deleted and no longer listed")
        .await;
    assert!(journal(&it, "").await.contains(&line("outcome", "evicted", "b")));
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_journal_is_read_in_pages_newest_first() {
    let it = before(&FIVE, &[]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    done(&it, "users/b/protect").await;
    let all = read(&it, "evictions?all=true").await;
    let entries = all["entries"].as_array().unwrap();
    let events: Vec<&str> = entries
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["manual", "registration", "outcome", "intent"]);
    assert_eq!(all["next_before"], Value::Null);
    let (outcome, intent) = (&entries[2], &entries[3]);
    assert_eq!(outcome["intent"], intent["id"]);
    assert_eq!(
        (&intent["user_id"], &intent["newcomer"]),
        (&"a".into(), &"new".into())
    );
    assert_eq!((&intent["users"], &intent["limit"]), (&5.into(), &5.into()));
    assert!(intent["at"].as_str().unwrap().ends_with('Z'));
    let mut seen = Vec::new();
    let mut page = read(&it, "evictions?limit=1").await;
    loop {
        seen.extend(page["entries"].as_array().unwrap().clone());
        let Some(before) = page["next_before"].as_i64() else {
            break;
        };
        page = read(&it, &format!("evictions?limit=1&before={before}")).await;
    }
    assert_eq!(seen, [&entries[0], &entries[2], &entries[3]].map(Clone::clone));
    for query in ["limit=0", "before=9223372036854775808"] {
        let path = format!("/api/tenants/default/evictions?{query}");
        let reply = ask(&it, Method::GET, &path, Some(TOKEN)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &"sidecar_bad_query".into()),
            "{query}"
        );
    }
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn who_may_not_learns_and_changes_nothing() {
    let it = before(&FIVE, &[]).await;
    for (method, call) in [
        (Method::GET, "users"),
        (Method::GET, "next"),
        (Method::GET, "evictions"),
        (Method::POST, "users/a/evict"),
        (Method::POST, "users/a/protect"),
        (Method::POST, "users/a/unprotect"),
        (Method::POST, "pause"),
        (Method::POST, "resume"),
    ] {
        let path = format!("/api/tenants/default/{call}");
        for (token, code) in [
            (None, "sidecar_token_missing"),
            (Some("wrong"), "sidecar_token_wrong"),
        ] {
            let reply = ask(&it, method.clone(), &path, token).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.json()["code"]),
                (401, &code.into()),
                "{call}"
            );
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
        let path = format!("/api/tenants/nobody/{call}");
        let reply = ask(&it, method.clone(), &path, Some(TOKEN)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["detail"]),
            (404, &"There is no such tenant. The tenants are: default.".into()),
            "{call}"
        );
        let path = format!("/api/tenants/%FF/{call}");
        let reply = ask(&it, method, &path, Some(TOKEN)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &"sidecar_bad_path".into()),
            "{call}"
        );
    }
    assert_eq!(it.sim.count(CallKind::Delete), 0);
    assert_eq!(read(&it, "users").await["users"][0]["protected_by_hand"], false);
    assert_eq!(it.stop().await.code, Some(0));
}

//! The ops plane over real sockets: summary, probes, metrics, status, and registering by hand.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{FIVE, Harness, PATIENCE, Registration, Reply, options, read};
use crate::program::{Sidecar, simulator};
use crate::raw::Peer;

const CANNOT_COUNT: &str = "cannot count the users; calls are forwarded all the same";

/// Asks the ops plane; `body` is sent as JSON.
pub(crate) async fn ask(
    it: &Harness,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Reply {
    let method: Method = method.parse().unwrap();
    let mut request = it.http.request(method, format!("http://{}{target}", it.ops));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    read(timeout(PATIENCE, request.send()).await.unwrap().unwrap()).await
}

/// All metrics, as text.
pub(crate) async fn metrics_of(ops: SocketAddr) -> String {
    let mut asking = Peer::connect(ops).await;
    asking
        .send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    String::from_utf8(asking.message().await.body).unwrap()
}

const REGISTER: &str = "/api/snaptrade/register";
const TOKEN: [(&str, &str); 1] = [("ops.token", "open-sesame")];
const AUTHORIZED: [(&str, &str); 1] = [("authorization", "Bearer open-sesame")];

#[tokio::test]
async fn the_summary_tells_how_it_stands() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let reply = it.ops_get("/").await;
    assert_eq!(reply.status, 200);
    let mut summary = reply.json();
    assert!(summary["uptime_seconds"].take().is_u64());
    let expected = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": null,
        "upstream": it.sim.url(),
        "registry": "memory:",
        "tenants": [{
            "name": "default", "mode": "enforce", "paused": false, "users": 5, "max_users": 5, "pending_deletions": 0, "queued": 0,
            "registrations": 1, "evictions": 1,
            "fuse_blown_until": null, "unrecognised_accepted": 0,
        }],
        "problems": [],
    });
    assert_eq!(summary, expected);
    it.stop().await;
}

#[tokio::test]
async fn probes_answer_on_both_ports_without_asking_snaptrade() {
    let it = Harness::start().await;
    for target in ["/healthz", "/readyz"] {
        let on_proxy = it.call(Method::GET, target, HeaderMap::new(), Bytes::new()).await;
        for reply in [it.ops_get(target).await, on_proxy] {
            assert_eq!(reply.status, 200);
            assert_eq!(reply.json(), json!({"ok": true, "reasons": []}));
        }
    }
    assert_eq!(it.kinds(), []);
    it.stop().await;
}

#[tokio::test]
async fn the_status_asks_snaptrade_once_however_many_ask() {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    // Its own first look takes a while, so that it knows nothing yet.
    let slow = FaultKind::DelayAfter(Duration::from_millis(500));
    sim.inject(Fault::new(FaultCall::List, slow));
    let it = Sidecar::start(sim, &[]).await;
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let request = it.http.get(format!("{}/api/snaptrade/status", it.ops));
        asking.spawn(async move { read(request.send().await.unwrap()).await });
    }
    for reply in asking.join_all().await {
        assert_eq!(reply.status, 200);
        let expected = json!({
            "success": true,
            "status": {
                "current_count": 5, "max_connections": 5, "at_limit": true, "available_slots": 0, "users": FIVE,
            },
            "message": "5 of 5 users: at the limit.",
            "current_count": 5,
            "max_connections": 5,
        });
        assert_eq!(reply.json(), expected);
    }
    assert_eq!(it.sim.count(CallKind::List), 1);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_status_that_cannot_be_known_says_so() {
    let sim = simulator(options()).await;
    sim.inject(Fault::status(FaultCall::List, 500, "{}"));
    let mut it = Sidecar::start(sim, &[]).await;
    it.program.logged(CANNOT_COUNT).await;
    for _ in 0..3 {
        let reply = it.get(&format!("{}/api/snaptrade/status", it.ops)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (502, &"sidecar_list_failed".into())
        );
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("500") && detail.contains("Try again"), "{detail}");
    }
    assert_eq!(
        it.sim.count(CallKind::List),
        1,
        "SnapTrade is not asked sooner for failing"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_registration_by_hand_goes_through_the_same_admission() {
    let it = Harness::with_users(&FIVE, options(), &TOKEN).await;
    let wanted = json!({"user_id": "by hand/ü"});
    let reply = ask(&it, "POST", REGISTER, &AUTHORIZED, Some(&wanted)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let secret = it.sim.secret_of("by hand/ü").unwrap();
    assert_eq!(
        reply.json(),
        json!({"success": true, "user_id": "by hand/ü", "user_secret": secret, "evicted": ["a"]})
    );
    assert_eq!(it.sim.users(), ["b", "c", "d", "e", "by hand/ü"]);
    assert_eq!(
        it.kinds(),
        [
            CallKind::List,
            CallKind::Delete,
            CallKind::List,
            CallKind::Register
        ]
    );

    let again = ask(&it, "POST", REGISTER, &AUTHORIZED, Some(&wanted)).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["code"]),
        (400, &"1010".into())
    );
    let random = ask(&it, "POST", "/api/snaptrade/register-user", &AUTHORIZED, None).await;
    assert_eq!(
        (random.status.as_u16(), &random.json()["evicted"]),
        (200, &json!(["b"]))
    );
    assert_eq!(random.json()["user_id"].as_str().unwrap().len(), 32);
    assert!(it.sim.most_live() <= 5);
    it.stop().await;
}

/// More than the ops plane serves at once, and none of them ever done.
const STUCK: usize = 300;

#[tokio::test]
async fn r14_a_clogged_ops_plane_holds_up_no_traffic() {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    // The sidecar's first look is never answered, and the status waits for it.
    sim.inject(Fault::new(FaultCall::List, FaultKind::Hang));
    let it = Sidecar::start(sim, &[("tenants.default.manage_timeout", "1h")]).await;
    let status = it.http.get(format!("{}/api/snaptrade/status", it.ops)).send();
    let status = tokio::spawn(status);
    timeout(PATIENCE, it.sim.wait_for(|sim| sim.count(CallKind::List) == 1))
        .await
        .unwrap();
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let mut stream = TcpStream::connect(it.ops.strip_prefix("http://").unwrap())
            .await
            .unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        stuck.push(stream);
    }
    let reply = it.get(&format!("{}/accounts", it.proxy)).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["path"]),
        (200, &"/accounts".into())
    );
    let reply = it.send(&Registration::of("new")).await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert_eq!(it.get(&format!("{}/readyz", it.proxy)).await.status, 200);
    assert!(!status.is_finished());
    drop(stuck);
    status.abort();
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn several_tenants_are_told_apart() {
    let other = [
        TOKEN[0],
        ("tenants.other.client_id", "OTHER"),
        ("tenants.other.consumer_key", "another key"),
        ("tenants.other.eviction.mode", "observe"),
    ];
    let it = Harness::with_users(&FIVE, options(), &other).await;
    let summary = it.ops_get("/").await.json();
    let told: Vec<Value> = summary["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tenant| json!([tenant["name"], tenant["mode"], tenant["users"]]))
        .collect();
    // The other one's key is not one that the simulator knows.
    assert_eq!(
        told,
        [
            json!(["default", "enforce", 0]),
            json!(["other", "observe", null])
        ]
    );
    for (query, status) in [("", 400), ("?tenant=", 404), ("?tenant=other&tenant=other", 400)] {
        let reply = it.ops_get(&format!("/api/snaptrade/status{query}")).await;
        assert_eq!(reply.status, status);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        let tells = ["The tenants are: default, other.", "more than once; name one."];
        assert!(tells.iter().any(|tells| detail.ends_with(tells)), "{detail}");
    }
    let by_hand = format!("{REGISTER}?tenant=default");
    let wanted = json!({"user_id": "new"});
    let reply = ask(&it, "POST", &by_hand, &AUTHORIZED, Some(&wanted)).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["evicted"]),
        (200, &json!(["a"]))
    );
    let by_hand = format!("{REGISTER}?tenant=other");
    let reply = ask(&it, "POST", &by_hand, &AUTHORIZED, Some(&json!({"user_id": "x"}))).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (401, &"1076".into())
    );
    it.stop().await;
}

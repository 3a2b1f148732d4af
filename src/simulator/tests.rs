use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::*;

mod echoes;
mod failures;
mod portal;
mod records;
mod unknowns;

const KEY: &str = "k€y %";
const REGISTER: &str = "/snapTrade/registerUser";
const LIST: &str = "/snapTrade/listUsers";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn refusal(&self) -> (u16, Value, Value) {
        let json = self.json();
        assert_eq!(json["status_code"], self.status);
        (self.status, json["code"].clone(), json["detail"].clone())
    }
}

async fn started(options: Options) -> Simulator {
    let options = Options {
        consumer_key: Key::from(KEY),
        ..options
    };
    Simulator::start(options, (Ipv4Addr::LOCALHOST, 0).into())
        .await
        .unwrap()
}

async fn send(request: Request<Full<Bytes>>) -> Option<Answer> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client.request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

fn unsigned(sim: &Simulator, method: Method, target: &str, body: &str) -> Request<Full<Bytes>> {
    let uri = format!("{}{target}", sim.url());
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

fn signed_by(
    sim: &Simulator,
    dialect: Dialect,
    (method, path, parameters, body): (Method, &str, &str, &str),
) -> Request<Full<Bytes>> {
    let query = format!(
        "clientId=SIMULATOR&timestamp={}{parameters}",
        jiff::Timestamp::now().as_second()
    );
    let signature = sign(KEY, dialect, path, &query, body.as_bytes()).unwrap();
    let mut request = unsigned(sim, method, &format!("{path}?{query}"), body);
    request
        .headers_mut()
        .insert("signature", signature.parse().unwrap());
    request
}

fn registration(sim: &Simulator, id: &str) -> Request<Full<Bytes>> {
    let body = json!({"userId": id}).to_string();
    signed_by(sim, Dialect::PYTHON, (Method::POST, REGISTER, "", &body))
}

fn listing(sim: &Simulator) -> Request<Full<Bytes>> {
    signed_by(sim, Dialect::PYTHON, (Method::GET, LIST, "", ""))
}

fn deletion(sim: &Simulator, id: &str) -> Request<Full<Bytes>> {
    let parameters = format!("&userId={id}");
    signed_by(
        sim,
        Dialect::PYTHON,
        (Method::DELETE, "/snapTrade/deleteUser", &parameters, ""),
    )
}

async fn register(sim: &Simulator, id: &str) -> Answer {
    send(registration(sim, id)).await.unwrap()
}

async fn list(sim: &Simulator) -> Value {
    send(listing(sim)).await.unwrap().json()
}

#[tokio::test]
async fn a_user_is_registered_listed_deleted_a_tombstone_and_gone() {
    let sim = started(Options::default()).await;
    let first = register(&sim, "a b").await.json();
    assert_eq!(first["userId"], "a b");
    assert_eq!(first["userSecret"].as_str(), sim.secret_of("a b").as_deref());
    assert_ne!(
        register(&sim, "b").await.json()["userSecret"],
        first["userSecret"]
    );
    assert_eq!(list(&sim).await, json!(["a b", "b"]));

    sim.set(|options| options.settle_time = Duration::from_hours(1));
    let deleted = send(deletion(&sim, "a%20b")).await.unwrap();
    assert_eq!(
        std::str::from_utf8(&deleted.body).unwrap(),
        r#"{"status":"deleted","detail":"User queued for deletion; please wait for webhook for confirmation.","userId":"a b"}"#
    );
    assert_eq!(list(&sim).await, json!(["a b_deleted", "b"]));
    assert_eq!(sim.users(), ["b"]);

    sim.set(|options| options.settle_time = Duration::from_millis(20));
    sim.wait_for(|sim| sim.listed() == ["b"]).await;
    assert_eq!(
        (sim.deletions(), sim.most_live(), sim.count(CallKind::List)),
        (1, 2, 2)
    );
    let calls = sim.calls();
    assert_eq!(
        (calls[0].kind, calls[0].path(), calls[0].status),
        (CallKind::Register, REGISTER, Some(200))
    );
    sim.clear_calls();
    assert_eq!(
        (sim.deletions(), sim.most_live(), sim.count(CallKind::List)),
        (0, 1, 0)
    );
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_vendor() {
    let sim = started(Options {
        user_limit: 1,
        ..Options::default()
    })
    .await;
    let gone = send(deletion(&sim, "a")).await.unwrap();
    assert_eq!(
        gone.refusal(),
        (401, json!("1083"), json!("Invalid userID or userSecret provided"))
    );
    register(&sim, "a").await;
    let full = register(&sim, "b").await.refusal();
    assert_eq!(full, (400, json!("1012"), json!("Connection Limit Reached")));
    let again = register(&sim, "a").await.refusal();
    assert_eq!(
        again,
        (
            400,
            json!("1010"),
            json!("User with the following userId already exist: a")
        )
    );
    assert_eq!(register(&sim, "").await.refusal().1, json!("1012"));
    sim.set(|options| options.client_id = "PERS-1".to_owned());
    assert_eq!(register(&sim, "c").await.refusal().1, json!("1076"));
}

#[test]
fn further_client_ids_are_counted_from_two() {
    let options = Options {
        tenants: 12,
        ..Options::default()
    };
    for (client_id, number) in [
        ("SIMULATOR", Some(1)),
        ("SIMULATOR-2", Some(2)),
        ("SIMULATOR-12", Some(12)),
        ("SIMULATOR-13", None),
        ("SIMULATOR-1", None),
        ("SIMULATOR-02", None),
        ("SIMULATOR-+2", None),
        ("SIMULATOR-", None),
        ("SIMULATOR2", None),
        ("simulator", None),
        ("", None),
    ] {
        assert_eq!(options.number_of(client_id), number, "{client_id}");
    }
    assert_eq!(Options::default().number_of("SIMULATOR-2"), None);
}

#[tokio::test]
async fn a_personal_key_cannot_register() {
    let sim = started(Options {
        client_id: "PERS-1".to_owned(),
        ..Options::default()
    })
    .await;
    let (query, body) = ("clientId=PERS-1&timestamp=1", r#"{"userId":"a"}"#);
    let mut request = unsigned(&sim, Method::POST, &format!("{REGISTER}?{query}"), body);
    let signature = sign(KEY, Dialect::PYTHON, REGISTER, query, body.as_bytes()).unwrap();
    request
        .headers_mut()
        .insert("signature", signature.parse().unwrap());
    let (status, code, detail) = send(request).await.unwrap().refusal();
    assert_eq!((status, code), (400, json!("1012")));
    assert!(
        detail
            .as_str()
            .unwrap()
            .contains("not available for personal keys")
    );
}

#[tokio::test]
async fn both_dialects_and_both_paths_are_accepted_and_nothing_unsigned_is() {
    let sim = started(Options {
        user_limit: 9,
        ..Options::default()
    })
    .await;
    let users = ["é1", "é2", "é3", "é4"].map(|id| json!({"userId": id}).to_string());
    let ways = [
        (Dialect::PYTHON, "/api/v1/snapTrade/registerUser", "@1781222400"),
        (Dialect::PYTHON, REGISTER, ""),
        (
            Dialect::TYPESCRIPT,
            "/api/v1/snapTrade/registerUser",
            "@1781222400",
        ),
        (Dialect::TYPESCRIPT, REGISTER, ""),
    ];
    for ((dialect, path, deprecation), body) in ways.into_iter().zip(&users) {
        let request = signed_by(&sim, dialect, (Method::POST, path, "", body));
        let reply = send(request).await.unwrap();
        assert_eq!((reply.status, reply.header("deprecation")), (200, deprecation));
        assert!(!reply.header("x-request-id").is_empty());
    }
    let mut forged = registration(&sim, "e");
    forged.headers_mut().insert("signature", "AAAA".parse().unwrap());
    let bare = unsigned(&sim, Method::GET, LIST, "");
    for request in [forged, bare] {
        let refusal = send(request).await.unwrap().refusal();
        assert_eq!(
            refusal,
            (401, json!("1076"), json!("Unable to verify signature sent"))
        );
    }
    assert_eq!(sim.users(), ["é1", "é2", "é3", "é4"]);
}

#[tokio::test]
async fn a_reset_secret_replaces_the_old_one() {
    let sim = started(Options::default()).await;
    register(&sim, "a").await;
    let secret = sim.secret_of("a").unwrap();
    let parameters = format!("&userId=a&userSecret={secret}");
    let target = "/snapTrade/resetUserSecret";
    let reset = || signed_by(&sim, Dialect::PYTHON, (Method::POST, target, &parameters, ""));
    let reply = send(reset()).await.unwrap().json();
    assert_eq!(reply["userSecret"].as_str(), sim.secret_of("a").as_deref());
    assert_ne!(reply["userSecret"].as_str(), Some(secret.as_str()));
    assert_eq!(send(reset()).await.unwrap().refusal().1, json!("1083"));
}

#[tokio::test]
async fn a_stopped_stand_in_refuses_connections_and_its_port_is_free() {
    let sim = started(Options::default()).await;
    sim.stop();
    assert!(send(listing(&sim)).await.is_none());
    Simulator::start(Options::default(), sim.addr()).await.unwrap();
}

#[tokio::test]
async fn control_from_another_process() {
    let sim = started(Options::default()).await;
    let control =
        async |method, target: &str, body: &str| send(unsigned(&sim, method, target, body)).await.unwrap();
    let patch = r#"{"user_limit": 7, "settle_time_ms": 60000}"#;
    assert_eq!(
        control(Method::PATCH, "/_simulator/options", patch).await.status,
        200
    );
    assert_eq!(
        (sim.options().user_limit, sim.options().settle_time.as_secs()),
        (7, 60)
    );
    assert_eq!(sim.options().consumer_key, Key::from(KEY));
    for wrong in [r#"{"user_limits": 7}"#, r#"{"limit_status": 99}"#, "["] {
        assert_eq!(
            control(Method::PATCH, "/_simulator/options", wrong).await.status,
            400,
            "{wrong}"
        );
    }
    let added = control(Method::POST, "/_simulator/users/a%20%C3%A9", "").await;
    assert_eq!(
        (added.status, added.json()["userId"].as_str()),
        (201, Some("a é"))
    );
    assert_eq!(
        control(Method::POST, "/_simulator/users/a%20%C3%A9", "")
            .await
            .status,
        409
    );
    let fault = r#"{"call": "list", "kind": {"status": {"status": 500}}}"#;
    assert_eq!(
        control(Method::POST, "/_simulator/faults", fault).await.status,
        200
    );
    assert_eq!(send(listing(&sim)).await.unwrap().status, 500);

    let state = control(Method::GET, "/_simulator", "").await.json();
    assert_eq!(state["users"], json!(["a é"]));
    assert_eq!(state["calls"], json!({"list": 1}));
    assert_eq!(
        (&state["options"]["user_limit"], &state["options"]["consumer_key"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(
        control(Method::DELETE, "/_simulator/users/a%20%C3%A9", "")
            .await
            .status,
        200
    );
    assert!(sim.users().is_empty());
    assert_eq!(
        control(Method::PUT, "/_simulator/users", "").await.refusal().1,
        "simulator_unknown_path"
    );
}

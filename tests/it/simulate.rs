//! `simulate` as a process, as a stranger would use it who has read docs/simulator.md.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::harness::{ANY_PORT, PATIENCE, Registration, Reply, client, read};
use crate::program::{Program, run};

const DOCUMENT: &str = include_str!("../../docs/simulator.md");

struct Simulated {
    program: Program,
    url: String,
    http: reqwest::Client,
}

impl Simulated {
    async fn start(arguments: &[&str]) -> Self {
        let arguments = [&["simulate", "--listen", ANY_PORT], arguments].concat();
        let mut program = Program::start(&arguments, &[]);
        let line = program.said("simulator listening on ").await;
        let url = line.strip_prefix("simulator listening on ").unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        let http = client();
        Self { program, url, http }
    }

    async fn call(&self, method: &str, target: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Reply {
        let method: Method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{target}", self.url));
        let request = request.headers(headers).body(body.into());
        read(
            tokio::time::timeout(PATIENCE, request.send())
                .await
                .unwrap()
                .unwrap(),
        )
        .await
    }

    async fn control(&self, method: &str, target: &str, body: &str) -> Reply {
        self.call(method, target, HeaderMap::new(), body.to_owned()).await
    }

    async fn state(&self) -> Value {
        self.control("GET", "/_simulator", "").await.json()
    }

    async fn register(&self, user: &str, consumer_key: &'static str) -> Reply {
        let registration = Registration {
            consumer_key,
            ..Registration::of(user)
        };
        let (target, signature) = registration.signed();
        let mut headers = registration.headers.clone();
        headers.insert("signature", signature.unwrap().parse().unwrap());
        self.call("POST", &target, headers, registration.body).await
    }
}

#[tokio::test]
async fn it_starts_verifies_and_keeps_the_limit() {
    let it = Simulated::start(&["--limit", "2", "--limit-status", "403"]).await;
    assert_eq!(
        it.call("GET", "/", HeaderMap::new(), "").await.json()["online"],
        true
    );
    for user in ["a", "b"] {
        let reply = it.register(user, "simulator-consumer-key").await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["userId"]),
            (200, &user.into())
        );
        assert!(reply.header("x-request-id").is_some());
    }
    let full = it.register("c", "simulator-consumer-key").await;
    assert_eq!(full.status, 403);
    assert_eq!(
        full.json(),
        json!({"detail": "Connection Limit Reached", "status_code": 403, "code": "1012"})
    );
    let forged = it.register("d", "another key").await;
    assert_eq!(
        (forged.status.as_u16(), &forged.json()["code"]),
        (401, &"1076".into())
    );

    let state = it.state().await;
    assert_eq!(
        (&state["users"], &state["calls"], &state["most_live"]),
        (
            &json!(["a", "b"]),
            &json!({"api_status": 1, "register": 4}),
            &json!(2)
        )
    );
    assert_eq!(state["options"].get("consumer_key"), None);
    it.program.signal("TERM").await;
    let ended = it.program.end().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    let expected = [
        format!("simulator listening on {}", it.url),
        format!("its state, and faults on demand: {}/_simulator", it.url),
    ];
    assert_eq!(lines, expected);
}

/// The examples of the document, as (method, target, body).
fn examples() -> Vec<(&'static str, &'static str, &'static str)> {
    let blocks = DOCUMENT.split("```http\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    let parts = |line: &'static str| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
        (method, target, body)
    };
    lines.map(parts).collect()
}

#[tokio::test]
async fn every_example_of_the_document_works() {
    let it = Simulated::start(&[]).await;
    let mut faults = Vec::new();
    for (method, target, body) in examples() {
        let reply = it.control(method, target, body).await;
        let creates = method == "POST" && target.contains("/users/");
        assert_eq!(
            reply.status,
            if creates { 201 } else { 200 },
            "{method} {target} {body}: {reply:?}"
        );
        let state = it.state().await;
        let Ok(asked) = serde_json::from_str::<Value>(body) else {
            assert_eq!(state["users"], if creates { json!(["alice"]) } else { json!([]) });
            continue;
        };
        if method == "PATCH" {
            for (key, value) in asked.as_object().unwrap() {
                assert_eq!(&state["options"][key], value, "{body}");
            }
        } else {
            faults.push(asked["kind"].clone());
            let waiting = state["faults"].as_array().unwrap();
            assert_eq!(waiting.len(), faults.len(), "{body}");
            assert_eq!(waiting.last().unwrap()["call"], asked["call"]);
        }
    }
    let kinds: BTreeSet<&str> = faults
        .iter()
        .map(|kind| {
            kind.as_str()
                .unwrap_or_else(|| kind.as_object().unwrap().keys().next().unwrap())
        })
        .collect();
    assert_eq!(kinds.len(), 11, "not every kind has an example: {kinds:?}");
    assert_eq!(
        it.state().await["faults"],
        json!([]),
        "the last example drops them"
    );
}

#[tokio::test]
async fn a_fault_set_over_http_strikes_as_documented() {
    let it = Simulated::start(&[]).await;
    let fault = r#"{"call": "register", "skip": 1, "kind": {"status": {"status": 502, "done": true}}}"#;
    assert_eq!(it.control("POST", "/_simulator/faults", fault).await.status, 200);
    for (user, status) in [("a", 200), ("b", 502), ("c", 200)] {
        assert_eq!(it.register(user, "simulator-consumer-key").await.status, status);
    }
    let state = it.state().await;
    assert_eq!(
        (&state["users"], &state["faults"]),
        (&json!(["a", "b", "c"]), &json!([]))
    );
    // What is not understood changes nothing and says why.
    for (method, target, body, why) in [
        ("POST", "/_simulator/faults", r#"{"kind": "explode"}"#, "explode"),
        (
            "POST",
            "/_simulator/faults",
            r#"{"kind": {"status": {"status": 99}}}"#,
            "99",
        ),
        ("PATCH", "/_simulator/options", r#"{"usr_limit": 3}"#, "usr_limit"),
        (
            "PATCH",
            "/_simulator/options",
            r#"{"limit_status": 99}"#,
            "limit_status",
        ),
        ("PATCH", "/_simulator/options", "", "not understood"),
    ] {
        let reply = it.control(method, target, body).await;
        assert_eq!(reply.status, 400, "{body}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
    }
    assert_eq!(it.state().await, state);
    let unknown = it.control("PUT", "/_simulator/users", "").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.json()["detail"]
            .as_str()
            .unwrap()
            .contains("POST and DELETE /_simulator/faults")
    );
}

#[tokio::test]
async fn the_document_names_every_flag_and_every_option() {
    let help = run(&["simulate", "--help"], &[]).await;
    assert_eq!(help.code, Some(0));
    let flags = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let flags = words.filter(|word| word.starts_with("--") && word.len() > 2 && !word.ends_with('-'));
        flags.map(str::to_owned).collect()
    };
    let mut documented = flags(DOCUMENT);
    let mut offered = flags(&help.out);
    documented.remove("--upstream");
    offered.remove("--help");
    assert_eq!(documented, offered);

    let it = Simulated::start(&[]).await;
    let state = it.state().await;
    for (key, value) in state["options"].as_object().unwrap() {
        let row = DOCUMENT
            .lines()
            .find(|line| line.contains(&format!("| `{key}` | ")));
        let row = row.unwrap_or_else(|| panic!("{key} is not documented"));
        let default = match value {
            Value::Null => "any".to_owned(),
            Value::String(text) if text.is_empty() => "none".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        assert!(
            row.contains(&format!("| `{key}` | {default} |")),
            "{row}: {default}"
        );
    }
}

#[tokio::test]
async fn what_it_cannot_do_is_said_before_it_starts() {
    let taken = Simulated::start(&[]).await;
    let address = taken.url.strip_prefix("http://").unwrap();
    let ended = run(&["simulate", "--listen", address], &[]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(
        ended.err,
        format!(
            "error: cannot listen on {address}; another program has this port: stop it, or choose another with \
             --listen: Address already in use (os error 98)\n"
        )
    );
    for (flag, value, why) in [
        ("--listen", "localhost:80", "invalid socket address"),
        ("--webhook-url", "https://a.example", "begins with http://"),
        ("--settle-time", "5", "ms, s, m, h or d"),
        ("--limit-status", "99", "200..=999"),
        ("--list-order", "random", "oldest-first"),
    ] {
        let ended = run(&["simulate", flag, value], &[]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.err.contains(flag) && ended.err.contains(why),
            "{}",
            ended.err
        );
    }
}

#[tokio::test]
async fn its_record_is_a_new_file_with_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.jsonl");
    let path = file.to_str().unwrap();
    let it = Simulated::start(&["--record", path]).await;
    it.register("a", "simulator-consumer-key").await;
    let text = std::fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let read = |key: &str| events.iter().map(|event| event[key].clone()).collect::<Vec<_>>();
    assert_eq!(read("event"), ["call", "done"]);
    assert_eq!(read("status"), [Value::Null, json!(200)]);

    let ended = run(&["simulate", "--record", path], &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("cannot create") && ended.err.contains(path),
        "{}",
        ended.err
    );
}

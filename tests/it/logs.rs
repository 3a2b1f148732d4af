//! What the log says, and what it never says.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind, Simulator};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::harness::{
    ANY_PORT, CLIENT_ID, CONSUMER_KEY, FIVE, PATIENCE, Registration, Reply, client, options,
};
use crate::program::{Ended, Sidecar, TWO_VARIABLES, command, simulator};

const TOKEN: &str = "open-sesame";
const WRONG_SIGNATURE: &str = "d3JvbmctYnV0LWEtc2VjcmV0LWFsbC10aGUtc2FtZQ==";

const ALL: &str = "trace,h2=trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,tower_http=trace";

/// The simulator under TLS and HTTP/2, as the real one is reached; its URL and its certificate.
async fn under_tls(sim: &Arc<Simulator>) -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(sim.serve(stream, None));
            }
        }
    });
    (url, own.cert.pem())
}

/// What a backend does all day, with the things that go wrong. Returns the secrets that were about.
async fn busy_session(it: &Sidecar, sim: &Simulator) -> Vec<String> {
    let mut secrets: Vec<String> = FIVE.map(|user| sim.secret_of(user).unwrap()).into();
    let mut admissions = Vec::new();
    for user in ["n1", "n2", "n3"] {
        let reply = it.register(user).await;
        assert_eq!(reply.status, 200);
        admissions.push(reply);
    }
    let failures = [
        Fault::status(FaultCall::List, 500, r#"{"detail":"no"}"#).times(2),
        Fault::status(FaultCall::Delete, 403, "{}"),
        Fault::status(FaultCall::Delete, 500, "{}").times(2),
        Fault::status(FaultCall::Register, 400, r#"{"detail":"limit reached"}"#),
        Fault::new(FaultCall::Register, FaultKind::CloseBefore),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        sim.inject(failure);
        admissions.push(it.register(&format!("failing-{number}")).await);
        sim.clear_faults();
    }
    let wrong = Registration {
        signature: Some(WRONG_SIGNATURE),
        ..Registration::of("forged")
    };
    assert!(it.send(&wrong).await.admission().starts_with("unmanaged"));
    admissions.push(by_hand(it, TOKEN).await);
    assert_eq!(by_hand(it, "guessed-token").await.status, 401);
    secrets.push("guessed-token".to_owned());
    for reply in &admissions {
        let body = reply.json();
        let secret = body.get("userSecret").or(body.get("user_secret"));
        secrets.extend(secret.map(|secret| secret.as_str().unwrap().to_owned()));
    }
    assert!(secrets.len() > FIVE.len() + 4, "{admissions:?}");

    let (user, secret) = ("n3", sim.secret_of("n3").unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let query = format!("userId={user}&userSecret={secret}&clientId={CLIENT_ID}&timestamp={now}");
    for fault in [None, Some(FaultKind::CloseBefore), Some(FaultKind::TruncatedBody)] {
        if let Some(kind) = fault {
            sim.inject(Fault::new(FaultCall::Other, kind));
        }
        let mut headers = HeaderMap::new();
        headers.insert("signature", WRONG_SIGNATURE.parse().unwrap());
        let request = it
            .http
            .request(Method::GET, format!("{}/accounts?{query}", it.proxy))
            .headers(headers);
        // One is answered, one is answered by the sidecar, and one breaks off.
        drop(
            timeout(PATIENCE, async { request.send().await?.bytes().await })
                .await
                .unwrap(),
        );
    }
    // What hyper refuses, and what no call could be.
    for start in [
        format!("GET /x?{query} HTTP/9.9\r\n\r\n"),
        format!("GET /{query}\u{1} HTTP/1.1\r\n\r\n"),
    ] {
        let address = it.proxy.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut refusal = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut refusal);
        timeout(PATIENCE, read).await.unwrap().unwrap();
    }
    secrets
}

async fn by_hand(it: &Sidecar, token: &str) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let body = Bytes::from(json!({"user_id": "by-hand"}).to_string());
    let url = format!("{}/api/snaptrade/register?token={token}", it.ops);
    it.call(Method::POST, &url, headers, body).await
}

#[tokio::test]
async fn r13_a_busy_session_leaves_no_secret_in_log_metrics_summary_or_status() {
    let sim = Arc::new(simulator(options()).await);
    for user in FIVE {
        sim.add_user(user);
    }
    let (upstream, certificate) = under_tls(&sim).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let settings = [
        ("proxy.upstream", upstream.as_str()),
        ("proxy.upstream_ca_file", ca.to_str().unwrap()),
        ("ops.token", TOKEN),
        ("log.level", ALL),
        ("tenants.default.settle_timeout", "10ms"),
    ];
    // Its own is not used; the one under TLS is.
    let it = Sidecar::start(simulator(options()).await, &settings).await;
    let mut secrets = busy_session(&it, &sim).await;
    secrets.extend([TOKEN, CONSUMER_KEY, "k%25y%20with%20%C3%A9", WRONG_SIGNATURE].map(str::to_owned));
    for call in sim.calls() {
        let headers = call.headers.iter();
        let signatures = headers.filter(|(name, _)| name == "signature");
        secrets.extend(signatures.map(|(_, value)| String::from_utf8(value.clone()).unwrap()));
    }
    // Query strings, by the names that are in every one.
    secrets.extend(["clientId=", "timestamp=", "userSecret", "userId="].map(str::to_owned));

    let mut shown = Vec::new();
    for target in [
        "/",
        "/metrics",
        "/api/snaptrade/status",
        "/nowhere?userId=x",
        "/readyz",
    ] {
        let reply = it.get(&format!("{}{target}", it.ops)).await;
        shown.push(String::from_utf8(reply.body.to_vec()).unwrap());
    }
    let ended = it.stop().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("\"target\":\"h2::"), "HTTP/2 was not spoken");
    shown.extend([ended.out, ended.err]);
    for secret in &secrets {
        for text in &shown {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is told");
        }
    }
}

async fn session(level: &str) -> Ended {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let it = Sidecar::start(sim, &[("log.level", level)]).await;
    assert_eq!(it.register("n1").await.admission(), "evicted");
    it.sim.inject(Fault::status(
        FaultCall::Register,
        400,
        r#"{"detail":"limit reached"}"#,
    ));
    // With room on the list SnapTrade is taken to count late: it is waited for, and nobody else goes.
    assert_eq!(it.register("n2").await.admission(), "evicted; retried");
    assert_eq!(
        it.get(&format!("{}/accounts?userId=x", it.proxy)).await.status,
        200
    );
    it.stop().await
}

#[tokio::test]
async fn each_admission_is_one_line_that_tells_its_story_and_each_eviction_one_before_and_after() {
    let ended = session("info").await;
    let stories = ended.logged("registration");
    assert_eq!(stories.len(), 2, "{}", ended.err);
    let story = |number: usize, field: &str| stories[number][field].clone();
    for (field, first, second) in [
        ("level", json!("INFO"), json!("INFO")),
        ("tenant", json!("default"), json!("default")),
        ("newcomer", json!("n1"), json!("n2")),
        ("outcome", json!("evicted"), json!("evicted")),
        ("status", json!(200), json!(200)),
        ("evicted", json!("a"), json!("b")),
        ("retried", json!(false), json!(true)),
        ("users", json!(5), json!(5)),
        ("limit", json!(5), json!(5)),
    ] {
        assert_eq!((story(0, field), story(1, field)), (first, second), "{field}");
    }
    let steps = |number: usize| -> Vec<String> {
        let steps = story(number, "steps").as_str().unwrap().to_owned();
        let steps: Vec<String> = steps.split(", ").map(str::to_owned).collect();
        assert_eq!(story(number, "calls"), steps.len());
        assert!(
            steps.iter().all(|step| step.contains("ms id=")),
            "no request id in {steps:?}"
        );
        let words = |step: &String| step.split(' ').take(2).collect::<Vec<_>>().join(" ");
        steps.iter().map(words).collect()
    };
    assert_eq!(
        steps(0),
        [
            "list_users 200",
            "delete_user 200",
            "list_users 200",
            "register 200"
        ]
    );
    assert!(
        story(1, "steps")
            .as_str()
            .unwrap()
            .contains("register (signed anew) 200")
    );
    for message in [
        "evicting: about to delete this user to make room",
        "evicted: the user is deleted and no longer listed",
    ] {
        let victims: Vec<Value> = ended
            .logged(message)
            .iter()
            .map(|line| json!([line["victim"], line["newcomer"]]))
            .collect();
        assert_eq!(victims, [json!(["a", "n1"]), json!(["b", "n2"])]);
    }
    // Ready, the first look, draining, stopped; and nothing of the call that was passed through.
    assert_eq!(ended.err.lines().count(), 4 + 2 + 2 * 2, "{}", ended.err);
}

#[tokio::test]
async fn calls_passed_through_are_lines_at_debug() {
    let ended = session("debug").await;
    let lines = ended.logged("request");
    let told: Vec<Value> = lines
        .iter()
        .map(|line| json!([line["level"], line["method"], line["path"], line["status"]]))
        .collect();
    let expected = [
        json!(["DEBUG", "POST", "/snapTrade/registerUser", 200]),
        json!(["DEBUG", "POST", "/snapTrade/registerUser", 200]),
        json!(["DEBUG", "GET", "/accounts", 200]),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn r14_a_log_that_nobody_reads_holds_up_neither_traffic_nor_the_end() {
    let sim = simulator(options()).await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let settings = ["--upstream", &sim.url(), "--set", "log.level=trace"];
    let listen = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT];
    let mut child = command(&[&settings[..], &listen].concat(), &TWO_VARIABLES)
        .stderr(writer)
        .spawn()
        .unwrap();
    // The line that says where it listens is read, and nothing after it.
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let ready: Value = serde_json::from_slice(&line).unwrap();
    let (url, http) = (ready["proxy"].as_str().unwrap(), client());
    // More lines than fit into the pipe.
    for _ in 0..1_000 {
        let request = http.get(format!("{url}/accounts")).send();
        let reply = timeout(PATIENCE, request).await.unwrap().unwrap();
        assert_eq!(reply.status(), 200);
    }
    let script = format!("kill -TERM {}", child.id().unwrap());
    let sent = tokio::process::Command::new("sh").args(["-c", &script]).status();
    assert!(sent.await.unwrap().success());
    let status = timeout(PATIENCE, child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0));
    drop(reader);
}

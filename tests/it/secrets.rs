//! R13: whatever the program goes through, and wherever it tells of it, no secret is in what it says.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;
use snaptrade_sidecar::config::{self, Sources};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind, Simulator};

use crate::application::Application;
use crate::harness::{
    ANY_PORT, CLIENT_ID, CONSUMER_KEY, FIVE, Registration, Reply, client, options, patiently, read,
};
use crate::program::{Ended, Program, run, simulator};
use crate::traces::received;
use crate::webhooks::{signature, webhook};

const TOKEN: &str = "ops-token-needle-4711";
const NOTICE_SECRET: &str = "notice-secret-needle-0815";
const PASSWORD: &str = "database-password-needle";
const GUESS: &str = "guessed-token-needle";
const FORGED: &str = "Zm9yZ2VkLWJ1dC1ub3Qtc2hvd24tZWl0aGVyLW5lZWRsZQ==";

/// Everything, of the libraries too.
const ALL: &str = "trace,axum=trace,h2=trace,hyper=trace,hyper_util=trace,mio=trace,reqwest=trace,rustls=trace,sqlx=trace,\
                   sqlx_core=trace,sqlx_postgres=trace,sqlx_sqlite=trace,tokio=trace,tower=trace,tower_http=trace";

/// A text as it is, and as somebody may have encoded it.
fn forms(secret: &str) -> Vec<String> {
    let hex = format!("{:x}", Bytes::copy_from_slice(secret.as_bytes()));
    vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        hex.to_uppercase(),
        hex,
        format!("{:?}", secret.as_bytes()),
    ]
}

struct Story {
    sim: Simulator,
    application: Application,
    collector: Application,
    program: Program,
    proxy: String,
    ops: String,
    webhooks: String,
    secrets: Vec<String>,
    /// What was told over HTTP, to those who may hear less than everything.
    told: Vec<String>,
}

impl Story {
    async fn start(file: &Path, registry: &str) -> Self {
        let sim = simulator(options()).await;
        for user in FIVE {
            sim.add_user(user);
        }
        let application = Application::start().await;
        let text = format!(
            "[proxy]\nupstream = \"{}\"\nlisten = \"{ANY_PORT}\"\n[ops]\nlisten = \"{ANY_PORT}\"\ntoken = \"{TOKEN}\"\n\
             [webhooks]\nlisten = \"{ANY_PORT}\"\nforward_url = \"{}\"\n[log]\nlevel = \"{ALL}\"\n\
             [registry]\nurl = \"{registry}\"\n[tenants.default]\nclient_id = \"{CLIENT_ID}\"\n\
             consumer_key = \"{CONSUMER_KEY}\"\nsettle_timeout = \"50ms\"\n[tenants.default.eviction]\n\
             notify_url = \"{}\"\nnotify_secret = \"{NOTICE_SECRET}\"\n",
            sim.url(),
            application.url("/hook?key=forward-needle"),
            application.url("/notice?key=notify-needle"),
        );
        fs::write(file, text).unwrap();
        let collector = Application::start().await;
        let endpoint = collector.url("/traces?key=collector-needle");
        let env = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=header-needle"),
        ];
        let mut program = Program::start(&["--config", file.to_str().unwrap()], &env);
        let ready = program.logged("snaptrade-sidecar is ready").await;
        let text = |field: &str| ready[field].as_str().unwrap().to_owned();
        let secrets = [
            TOKEN,
            CONSUMER_KEY,
            "k%25y%20with%20%C3%A9",
            NOTICE_SECRET,
            PASSWORD,
        ];
        Self {
            proxy: text("proxy"),
            ops: text("ops"),
            webhooks: text("webhooks"),
            secrets: secrets
                .iter()
                .flat_map(|secret| forms(secret))
                .chain([GUESS, FORGED].map(str::to_owned))
                .chain(["forward", "notify", "collector", "header"].map(|of| format!("{of}-needle")))
                .collect(),
            told: Vec::new(),
            sim,
            application,
            collector,
            program,
        }
    }

    async fn call(
        &self,
        method: Method,
        url: String,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Reply {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        let request = client().request(method, url).headers(all).body(body);
        read(patiently(request.send()).await.unwrap()).await
    }

    async fn register(&mut self, registration: &Registration) {
        let (target, signature) = registration.signed();
        let signature = signature.unwrap();
        let headers = [("content-type", "application/json"), ("signature", &*signature)];
        let url = format!("{}{target}", self.proxy);
        let reply = self
            .call(Method::POST, url, &headers, registration.body.clone())
            .await;
        if reply.status == 200 {
            let secret = reply.json()["userSecret"].as_str().unwrap().to_owned();
            self.secrets.push(secret);
        } else {
            self.told.push(String::from_utf8_lossy(&reply.body).into_owned());
        }
        self.secrets.push(signature);
    }

    async fn registrations(&mut self) {
        for user in ["n1", "n2", "n3"] {
            self.register(&Registration::of(user)).await;
        }
        for fault in [
            Fault::status(FaultCall::List, 500, r#"{"detail":"no"}"#).times(2),
            Fault::status(FaultCall::Delete, 403, "{}"),
            Fault::status(FaultCall::Register, 400, r#"{"detail":"limit reached"}"#),
            Fault::new(FaultCall::Register, FaultKind::CloseBefore),
            Fault::new(FaultCall::Register, FaultKind::TruncatedBody),
        ] {
            self.sim.inject(fault);
            self.register(&Registration::of("failing")).await;
            self.sim.clear_faults();
        }
        let forged = Registration {
            signature: Some(FORGED),
            ..Registration::of("forged")
        };
        self.register(&forged).await;
        let user = self.sim.users()[0].clone();
        let secret = self.sim.secret_of(&user).unwrap();
        let url = format!(
            "{}/accounts?userId={user}&userSecret={secret}&clientId={CLIENT_ID}",
            self.proxy
        );
        self.secrets.push(secret);
        self.call(Method::GET, url.clone(), &[("signature", FORGED)], Bytes::new())
            .await;
        self.sim
            .inject(Fault::new(FaultCall::Other, FaultKind::CloseBefore));
        let lost = self
            .call(Method::POST, url, &[("signature", FORGED)], Bytes::new())
            .await;
        self.told.push(String::from_utf8_lossy(&lost.body).into_owned());
    }

    async fn webhooks(&mut self) {
        for (id, forged) in [("w1", false), ("w1", false), ("w2", true)] {
            let body = webhook(id, "USER_REGISTERED", "n1", 0).to_string();
            let signed = if forged {
                FORGED.to_owned()
            } else {
                signature(&body)
            };
            let headers = [("content-type", "application/json"), ("signature", &*signed)];
            self.call(Method::POST, self.webhooks.clone(), &headers, body.into())
                .await;
            self.secrets.push(signed);
        }
    }

    async fn by_hand(&mut self) {
        let (right, wrong) = (format!("Bearer {TOKEN}"), format!("Bearer {GUESS}"));
        for token in [&right, &wrong] {
            for (method, path) in [
                (Method::GET, "/"),
                (Method::GET, "/metrics"),
                (Method::GET, "/readyz"),
                (Method::GET, "/nowhere?token=guessed-token-needle"),
                (Method::GET, "/api/snaptrade/status"),
                (Method::GET, "/api/tenants/default/users"),
                (Method::GET, "/api/tenants/default/next"),
                (Method::GET, "/api/tenants/default/evictions?all=true&limit=1000"),
                (Method::POST, "/api/tenants/default/pause"),
                (Method::POST, "/api/tenants/default/resume"),
                (Method::POST, "/api/tenants/default/users/n1/protect"),
                (Method::POST, "/api/tenants/default/users/n2/evict"),
            ] {
                let url = format!("{}{path}", self.ops);
                let headers = [
                    ("authorization", token.as_str()),
                    ("content-type", "application/json"),
                ];
                let reply = self.call(method, url, &headers, Bytes::new()).await;
                self.told.push(String::from_utf8_lossy(&reply.body).into_owned());
            }
        }
        let url = format!("{}/api/snaptrade/register?token={GUESS}", self.ops);
        let headers = [("authorization", &*right), ("content-type", "application/json")];
        let body = json!({"user_id": "by-hand"}).to_string();
        let reply = self.call(Method::POST, url, &headers, body.into()).await;
        let secret = reply.json()["user_secret"].as_str().map(str::to_owned);
        self.secrets.extend(secret);
    }

    /// Everything that was said, to be searched for what must not be in it.
    async fn end(mut self) -> (Vec<String>, Vec<String>) {
        for call in self.sim.calls() {
            let headers = call.headers.iter().filter(|(name, _)| name == "signature");
            let values = headers.map(|(_, value)| String::from_utf8(value.clone()).unwrap());
            self.secrets.extend(values);
        }
        while !self.application.is_quiet() {
            let arrived = self.application.next().await;
            let signature = arrived.headers.get("snaptrade-sidecar-signature");
            let signature =
                signature.map(|value| value.to_str().unwrap().trim_start_matches("sha256=").to_owned());
            self.secrets.extend(signature);
        }
        self.program.signal("TERM").await;
        let Ended { code, out, err } = self.program.end().await;
        assert_eq!(code, Some(0), "{err}");
        let spans = received(&mut self.collector).await;
        assert!(spans.spans.len() > 20, "{}", spans.spans.len());
        let exports = spans
            .exports
            .iter()
            .map(|export| String::from_utf8_lossy(&export.body).into_owned());
        self.told.extend(exports);
        self.told.extend([out, err]);
        (self.secrets, self.told)
    }
}

fn are_not_told(secrets: &[String], told: &[String]) {
    assert!(secrets.iter().all(|secret| secret.len() > 5), "{secrets:?}");
    for secret in secrets {
        for text in told {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is told");
        }
    }
}

#[tokio::test]
async fn r13_no_secret_is_told_by_a_program_that_goes_through_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (file, database) = (
        folder.path().join("sidecar.toml"),
        folder.path().join("registry.db"),
    );
    let mut it = Story::start(&file, &format!("sqlite://{}", database.display())).await;
    // The first are refused, so that what is said then is said.
    it.application.answers(&[500, 500, 404]);
    it.registrations().await;
    it.webhooks().await;
    it.by_hand().await;

    // What the command line says of the same file, whole and broken where it holds a secret.
    let path = file.to_str().unwrap().to_owned();
    let whole = fs::read_to_string(&file).unwrap();
    let broken = [
        whole.replace("notify_secret = \"", "notify_secret = "),
        whole.replace("consumer_key = \"k", "consumer_key = \"k\\q"),
        whole.replace("token = \"", "token = \"with a space "),
        whole.replace("sqlite://", &format!("postgres://u:{PASSWORD}@:x/")),
        whole.replace("consumer_key", "consumer_keys"),
    ];
    for text in [&whole].into_iter().chain(&broken) {
        fs::write(&file, text).unwrap();
        let said = run(&["check", "--config", &path], &[]).await;
        assert_eq!(said.code == Some(0), *text == whole, "{}", said.err);
        it.told.extend([said.out, said.err]);
        it.program.signal("HUP").await;
    }
    it.program
        .logged("the configuration on disk has faults, so that nothing of it is in force; the one before still is")
        .await;
    fs::write(&file, &whole).unwrap();
    let ops = it.ops.clone();
    for arguments in [
        &["--help"][..],
        &["check", "--reference"],
        &["status", "--json", "--url", &ops, "--config", &path],
        &["users", "--url", &ops, "--config", &path],
        &["evictions", "--all", "--url", &ops, "--config", &path],
        &["protect", "n3", "--url", &ops, "--config", &path],
        &["serve", "--set", &format!("ops.tokens={TOKEN}")],
        &["serve", "--set", TOKEN],
    ] {
        let said = run(arguments, &[]).await;
        it.told.extend([said.out, said.err]);
    }

    let (secrets, mut told) = it.end().await;
    assert!(secrets.len() > 50, "{}", secrets.len());
    let log = told.last().unwrap();
    for part in ["hyper", "snaptrade_sidecar"] {
        assert!(
            log.contains(&format!("\"target\":\"{part}")),
            "{part} said nothing"
        );
    }
    // What is remembered is nobody's secret either.
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path != file {
            told.push(String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
        }
    }
    are_not_told(&secrets, &told);
}

#[tokio::test]
async fn r13_a_database_that_is_not_there_is_told_of_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidecar.toml");
    // Nothing listens there.
    let url = format!("postgres://sidecar:{PASSWORD}@127.0.0.1:1/registry?application_name=x");
    let mut it = Story::start(&file, &url).await;
    it.registrations().await;
    it.by_hand().await;
    let said = run(&["check", "--config", file.to_str().unwrap()], &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    it.told.extend([said.out, said.err]);
    let (secrets, told) = it.end().await;
    are_not_told(&secrets, &told);
}

#[test]
fn r13_a_panic_that_shows_the_configuration_shows_no_secret() {
    let flags = [
        ("tenants.default.client_id", CLIENT_ID),
        ("tenants.default.consumer_key", CONSUMER_KEY),
        ("tenants.default.eviction.notify_url", "http://127.0.0.1:1/"),
        ("tenants.default.eviction.notify_secret", NOTICE_SECRET),
        ("ops.token", TOKEN),
        ("registry.url", &format!("postgres://u:{PASSWORD}@127.0.0.1:1/x")),
    ];
    let sources = Sources {
        flags: flags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        ..Sources::default()
    };
    let panic = std::panic::catch_unwind(|| {
        let loaded = config::load(sources.clone()).unwrap();
        panic!("{sources:?} {loaded:?}");
    });
    let said = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("[redacted]"), "{said}");
    let secrets: Vec<String> = [CONSUMER_KEY, NOTICE_SECRET, TOKEN, PASSWORD]
        .iter()
        .flat_map(|s| forms(s))
        .collect();
    are_not_told(&secrets, &[said]);
}

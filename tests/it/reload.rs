//! Reloading the configuration of a running program, by its files and by SIGHUP.

use std::fs;
use std::path::PathBuf;

use http::Method;
use serde_json::Value;
use snaptrade_sidecar::simulator::{Options, Simulator};
use tempfile::TempDir;

use crate::harness::{
    ANY_PORT, CLIENT_ID, CONSUMER_KEY, Registration, Reply, client, options, patiently, read,
};
use crate::program::{Ended, Program, simulator};

const RELOADED: &str = "reloaded the configuration";
pub(crate) const UNCHANGED: &str = "reloaded the configuration, and nothing of what is in force changed";
const FAULT: &str = "the configuration has a fault";
const REFUSED: &str =
    "the configuration on disk has faults, so that nothing of it is in force; the one before still is";

/// A sidecar that is configured by a file.
pub(crate) struct Scene {
    pub(crate) sim: Simulator,
    pub(crate) program: Program,
    pub(crate) http: reqwest::Client,
    pub(crate) proxy: String,
    pub(crate) ops: String,
    pub(crate) folder: TempDir,
    pub(crate) file: PathBuf,
}

/// `default`, with these lines in its section, and whatever sections follow.
pub(crate) fn tenant(lines: &str) -> String {
    format!("[tenants.default]\nclient_id = \"{CLIENT_ID}\"\nconsumer_key = \"{CONSUMER_KEY}\"\n{lines}\n")
}

impl Scene {
    pub(crate) async fn start(text: &str) -> Self {
        Self::with(options(), text, &[]).await
    }

    pub(crate) async fn with(options: Options, text: &str, more: &[&str]) -> Self {
        let sim = simulator(options).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidecar.toml");
        fs::write(&file, text).unwrap();
        let (url, path) = (sim.url(), file.to_str().unwrap().to_owned());
        let arguments = ["--config", &path, "--upstream", &url];
        let ports = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT];
        let mut program = Program::start(&[&arguments[..], &ports, more].concat(), &[]);
        let ready = program.logged("snaptrade-sidecar is ready").await;
        let address = |field: &str| ready[field].as_str().unwrap().to_owned();
        Self {
            sim,
            http: client(),
            proxy: address("proxy"),
            ops: address("ops"),
            program,
            folder,
            file,
        }
    }

    /// In one piece, as editors do.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// Writes the file and asks for it to be read; what is logged of it, as the `times`th reload that changed something.
    pub(crate) async fn reload(&mut self, text: &str, times: usize) -> Value {
        self.write(text);
        self.program.signal("HUP").await;
        self.reloaded(times).await
    }

    pub(crate) async fn reloaded(&mut self, times: usize) -> Value {
        self.program.logged_times(RELOADED, times).await.pop().unwrap()
    }

    pub(crate) async fn register(&self, user: &str) -> Reply {
        send(&self.http, &self.proxy, &Registration::of(user)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, token: Option<&str>) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.ops));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        read(patiently(request.send()).await.unwrap()).await
    }

    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8(self.get("/metrics").await.body.to_vec()).unwrap()
    }

    pub(crate) async fn counts(&self, series: &str) -> bool {
        let line = format!("snaptrade_sidecar_{series}");
        self.metrics().await.lines().any(|have| have == line)
    }

    pub(crate) async fn problems(&self) -> Vec<String> {
        let summary = self.get("/").await.json();
        serde_json::from_value(summary["problems"].clone()).unwrap()
    }

    pub(crate) async fn stop(self) -> Ended {
        self.program.signal("TERM").await;
        let ended = self.program.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        ended
    }
}

pub(crate) async fn send(http: &reqwest::Client, proxy: &str, registration: &Registration) -> Reply {
    let (target, signature) = registration.signed();
    let request = http
        .post(format!("{proxy}{target}"))
        .headers(registration.headers.clone())
        .header("signature", signature.unwrap())
        .body(registration.body.clone());
    read(patiently(request.send()).await.unwrap()).await
}

/// What the log says of tenants that a reload changed.
pub(crate) fn tenants_of(reload: &Value) -> &str {
    reload["tenants"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_sighup_reloads_the_next_registration_obeys() {
    let mut it = Scene::start(&tenant("max_users = 1")).await;
    it.sim.add_user("a");
    assert_eq!(it.register("b").await.admission(), "evicted");
    let reload = it.reload(&tenant("max_users = 3"), 1).await;
    assert_eq!(tenants_of(&reload), "default (max_users)");
    assert_eq!(it.register("c").await.admission(), "forwarded");
    assert_eq!(it.sim.deletions(), 1);
    assert!(it.counts("user_limit{tenant=\"default\"} 3").await);
    assert!(it.counts("config_reloads_total{outcome=\"applied\"} 1").await);
    let summary = it.get("/").await.json();
    // What was counted before is not forgotten.
    let tenant = &summary["tenants"][0];
    assert_eq!(
        (
            &tenant["max_users"],
            &tenant["evictions"],
            &tenant["registrations"]
        ),
        (&3.into(), &1.into(), &2.into())
    );
    let journal = it.get("/api/tenants/default/evictions?all=true").await.json();
    let entries = journal["entries"].as_array().unwrap().iter();
    let reloads: Vec<_> = entries.filter(|entry| entry["event"] == "reload").collect();
    assert_eq!(reloads.len(), 1, "{journal}");
    assert_eq!(
        (
            &reloads[0]["outcome"],
            &reloads[0]["reason"],
            &reloads[0]["limit"]
        ),
        (&"applied".into(), &"max_users".into(), &3.into())
    );
    it.program.signal("HUP").await;
    it.program.logged(UNCHANGED).await;
    assert!(it.counts("config_reloads_total{outcome=\"unchanged\"} 1").await);
    it.stop().await;
}

#[tokio::test]
async fn a_change_of_any_of_its_files_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // As Kubernetes mounts a secret: a link by way of a link, of which the second is replaced.
    for (version, key) in [("1", CONSUMER_KEY), ("2", "the new key")] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("key"), key).unwrap();
    }
    let point = |version: &str| {
        std::os::unix::fs::symlink(version, path("new")).unwrap();
        fs::rename(path("new"), path("data")).unwrap();
    };
    point("1");
    std::os::unix::fs::symlink("data/key", path("key")).unwrap();
    fs::write(path("env"), "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS=1\n").unwrap();
    let text = |lines: &str| {
        let key = path("key");
        format!(
            "[tenants.default]\nclient_id = \"{CLIENT_ID}\"\nconsumer_key_file = \"{}\"\n{lines}",
            key.display()
        )
    };
    let env = path("env");
    let mut it = Scene::with(options(), &text(""), &["--env-file", env.to_str().unwrap()]).await;
    it.sim.add_user("a");

    it.write(&text("queue_max = 7\n"));
    assert_eq!(tenants_of(&it.reloaded(1).await), "default (queue_max)");

    fs::write(path("env"), "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS=2\n").unwrap();
    assert_eq!(tenants_of(&it.reloaded(2).await), "default (max_users)");
    assert_eq!(it.register("b").await.admission(), "forwarded");

    point("2");
    assert_eq!(tenants_of(&it.reloaded(3).await), "default (consumer_key)");
    it.sim.set(|options| options.consumer_key = "the new key".into());
    // Proved by the new key, listed and deleted with it.
    let registration = |consumer_key, user| Registration {
        consumer_key,
        ..Registration::of(user)
    };
    let by_new = registration("the new key", "c");
    assert_eq!(send(&it.http, &it.proxy, &by_new).await.admission(), "evicted");
    let by_old = send(&it.http, &it.proxy, &registration(CONSUMER_KEY, "d")).await;
    assert_eq!(
        (by_old.status.as_u16(), by_old.admission()),
        (401, "unmanaged; reason=signature-not-recognised")
    );
    let ended = it.stop().await;
    assert!(!ended.err.contains("the new key"));
}

#[tokio::test]
async fn r15_a_configuration_with_faults_changes_nothing_and_names_them_all_once() {
    let mut it = Scene::start(&tenant("max_users = 1")).await;
    it.sim.add_user("a");
    it.write(
        &(tenant("max_users = 9\nsettle_timeout = \"soon\"\nunheard_of = 1") + "[log]\nlevel = \"loud\"\n"),
    );
    it.program.logged(REFUSED).await;
    let faults = it.program.logged_times(FAULT, 3).await;
    let told: Vec<&str> = faults
        .iter()
        .map(|line| line["fault"].as_str().unwrap())
        .collect();
    for (key, line) in [
        ("tenants.default.settle_timeout", 5),
        ("tenants.default.unheard_of", 6),
        ("log.level", 8),
    ] {
        let begins = format!("{key} ({}:{line}): ", it.file.display());
        assert!(
            told.iter().any(|fault| fault.starts_with(&begins)),
            "{begins}: {told:?}"
        );
    }
    // In the words of the start.
    let path = it.file.to_str().unwrap().to_owned();
    let checked = crate::program::run(&["check", "--config", &path], &[]).await;
    assert!(
        told.iter().all(|fault| checked.err.contains(fault)),
        "{}",
        checked.err
    );
    assert_eq!(it.register("b").await.admission(), "evicted");
    assert!(it.problems().await[0].starts_with(REFUSED));
    assert!(it.counts("config_reloads_total{outcome=\"refused\"} 1").await);

    // Until it is found changed, it is looked at twice more.
    it.write(&tenant("max_users = 3"));
    assert_eq!(tenants_of(&it.reloaded(1).await), "default (max_users)");
    assert_eq!(it.register("c").await.admission(), "forwarded");
    assert_eq!(it.problems().await, [""; 0]);
    let journal = it.get("/api/tenants/default/evictions?all=true").await.json();
    let entries = journal["entries"].as_array().unwrap().iter();
    let outcomes: Vec<_> = entries
        .filter(|entry| entry["event"] == "reload")
        .map(|entry| entry["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["applied", "refused"]);
    let ended = it.stop().await;
    assert_eq!((ended.logged(FAULT).len(), ended.logged(REFUSED).len()), (3, 1));
}

#[tokio::test]
async fn what_needs_a_restart_is_said_by_name_and_the_rest_is_done() {
    let mut it = Scene::start(&tenant("max_users = 1")).await;
    let waits =
        "[registry]\nurl = \"sqlite://elsewhere.db\"\n[proxy]\nmax_connections = 7\ndrain_timeout = \"3s\"\n";
    let text = tenant("max_users = 2") + waits;
    let reload = it.reload(&text, 1).await;
    assert_eq!(reload["keys"], "proxy.drain_timeout");
    assert_eq!(tenants_of(&reload), "default (max_users)");
    let told = [
        "proxy.max_connections changed; that needs a restart",
        "registry.url changed; that needs a restart",
    ];
    for what in told {
        assert_eq!(it.program.logged(what).await["level"], "WARN");
    }
    assert_eq!(it.problems().await, told.map(|what| format!("{what}.")));
    assert_eq!(it.get("/").await.json()["registry"], "memory:");
    // Another key by the same name: all of the tenant waits, so that no key is used with another's secret.
    let other = text
        .replace(CLIENT_ID, "SIMULATOR-2")
        .replace("max_users = 2", "max_users = 3");
    it.write(&other);
    it.program.signal("HUP").await;
    let what =
        "tenants.default.client_id changed; that needs a restart, and until then this tenant stays as it was";
    it.program.logged(what).await;
    assert_eq!(it.register("a").await.admission(), "forwarded");
    assert!(it.counts("user_limit{tenant=\"default\"} 2").await);
    // Taken back, nothing waits.
    it.write(&tenant("max_users = 2"));
    it.program.signal("HUP").await;
    it.reloaded(2).await;
    assert_eq!(it.problems().await, [""; 0]);
    let ended = it.stop().await;
    // Once each, however often it was loaded.
    assert!(told.iter().all(|what| ended.logged(what).len() == 1));
}

#[tokio::test]
async fn the_ops_planes_own_settings_are_reloaded() {
    let ops = |token: &str, more: &str| format!("[ops]\ntoken = \"{token}\"\n{more}") + &tenant("");
    let (old, new) = ("the-token-of-yesterday", "the-token-of-today");
    let mut it = Scene::start(&ops(old, "")).await;
    let pause = |token| it.ask(Method::POST, "/api/tenants/default/pause", Some(token));
    assert_eq!(
        (pause(old).await.status.as_u16(), pause(new).await.status.as_u16()),
        (200, 401)
    );
    let text = ops(new, "hosts = [\"sidecar.internal\"]\n") + "[log]\nlevel = \"debug\"\n";
    let reload = it.reload(&text, 1).await;
    assert_eq!(reload["keys"], "ops.token, ops.hosts, log.level");
    let pause = |token| it.ask(Method::POST, "/api/tenants/default/pause", Some(token));
    assert_eq!(
        (pause(old).await.status.as_u16(), pause(new).await.status.as_u16()),
        (401, 200)
    );
    let named = it
        .http
        .get(format!("{}/", it.ops))
        .header("host", "sidecar.internal");
    assert_eq!(patiently(named.send()).await.unwrap().status(), 200);
    // What was paused by hand stays so.
    assert_eq!(it.register("a").await.admission(), "unmanaged; reason=paused");
    it.program.logged("request").await;
    let ended = it.stop().await;
    assert!(!ended.err.contains(old) && !ended.err.contains(new));
}

#[tokio::test]
async fn a_change_that_a_flag_goes_over_is_told_to_be_in_vain() {
    let flag = ["--set", "tenants.default.max_users=4"];
    let mut it = Scene::with(options(), &tenant("max_users = 1"), &flag).await;
    // Nobody asks for it.
    it.write(&tenant("max_users = 2"));
    let told = it.program.logged(UNCHANGED).await;
    let overridden = "tenants.default.max_users (command line goes over the file)";
    assert_eq!(told["overridden"], overridden);
    assert!(it.counts("user_limit{tenant=\"default\"} 4").await);
    let reload = it.reload(&tenant("max_users = 3\nqueue_max = 7"), 1).await;
    assert_eq!(
        (tenants_of(&reload), &reload["overridden"]),
        ("default (queue_max)", &overridden.into())
    );
    it.stop().await;
}

#[tokio::test]
async fn nothing_is_reloaded_while_it_drains() {
    let mut it = Scene::start(&(tenant("max_users = 1") + "[proxy]\ndrain_delay = \"1h\"\n")).await;
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    it.write(&(tenant("max_users = 2") + "[proxy]\ndrain_delay = \"1h\"\n"));
    it.program.signal("HUP").await;
    assert_eq!(it.register("a").await.admission(), "forwarded");
    it.program.signal("INT").await;
    let ended = it.program.end().await;
    assert_eq!(ended.code, Some(130));
    assert_eq!(
        (ended.logged(RELOADED).len(), ended.logged(UNCHANGED).len()),
        (0, 0),
        "{}",
        ended.err
    );
}

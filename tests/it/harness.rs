//! Starts a simulator and a sidecar on ports that the system chose, and speaks to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use snaptrade_sidecar::app::{App, BuildError};
use snaptrade_sidecar::config::{self, Config, Sources};
use snaptrade_sidecar::registry::Registry;
use snaptrade_sidecar::simulator::{Call, CallKind, Dialect, Options, Simulator, sign};
use snaptrade_sidecar::upstream::{outbound, tls};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::watched;

pub(crate) const ANY_PORT: &str = "127.0.0.1:0";
pub(crate) const CLIENT_ID: &str = "SIMULATOR";
/// Has characters that `encodeURI` changes, so that the two ways to use a key differ.
pub(crate) const CONSUMER_KEY: &str = "k%y with é";

/// No condition of these tests takes longer, unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Harness {
    pub(crate) sim: Simulator,
    pub(crate) proxy: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) registry: Arc<Registry>,
    sidecar: Sidecar,
}

/// A sidecar alone, in front of whatever the test put there. It stops when this is dropped.
pub(crate) struct Sidecar {
    pub(crate) proxy: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) webhooks: Option<SocketAddr>,
    pub(crate) registry: Arc<Registry>,
    tenants: usize,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), BuildError>>,
}

impl Sidecar {
    /// `upstream` is an origin, `settings` are configuration keys and their values.
    pub(crate) async fn before(upstream: &str, settings: &[(&str, &str)]) -> Self {
        Self::told(upstream, settings, &[]).await
    }

    /// `env` are variables.
    pub(crate) async fn told(upstream: &str, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let common = [
            ("proxy.upstream", upstream),
            ("proxy.listen", ANY_PORT),
            ("proxy.worker_threads", "2"),
            ("ops.listen", ANY_PORT),
            ("tenants.default.client_id", CLIENT_ID),
            ("tenants.default.consumer_key", CONSUMER_KEY),
        ];
        let flags = common
            .iter()
            .chain(settings)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources {
            flags: flags.collect(),
            env: env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..Sources::default()
        };
        let loaded = config::load(sources).unwrap_or_else(|faults| panic!("{faults}"));
        Self::of(loaded.config).await
    }

    pub(crate) async fn of(config: Config) -> Self {
        let tenants = config.tenants.len();
        let app = App::build(config).await.unwrap();
        let (proxy, ops) = (app.proxy_addr(), app.ops_addr());
        let (registry, webhooks) = (app.registry(), app.webhooks_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self {
            proxy,
            ops,
            webhooks,
            registry,
            tenants,
            stop,
            running,
        }
    }

    /// Stops it as SIGTERM would, and waits for its end.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        patiently(self.running).await.unwrap().unwrap();
    }
}

/// Waits for what must come; a test fails instead of hanging.
pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("what the test waits for did not come")
}

/// A reply, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn admission(&self) -> &str {
        self.header("snaptrade-sidecar-admission").unwrap_or("")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn options() -> Options {
    Options {
        client_id: CLIENT_ID.to_owned(),
        consumer_key: CONSUMER_KEY.into(),
        rate_limit: 100_000,
        ..Options::default()
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(options(), &[]).await
    }

    /// `settings` are configuration keys and their values.
    pub(crate) async fn with(options: Options, settings: &[(&str, &str)]) -> Self {
        Self::told(options, settings, &[]).await
    }

    /// `env` are variables.
    pub(crate) async fn told(options: Options, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        watched::begin();
        let sim = Simulator::start(options, ANY_PORT.parse().unwrap())
            .await
            .unwrap();
        let url = sim.url();
        let sidecar = Sidecar::told(&url, settings, env).await;
        let tenants = sidecar.tenants;
        let harness = Self {
            sim,
            proxy: sidecar.proxy,
            ops: sidecar.ops,
            http: client(),
            registry: Arc::clone(&sidecar.registry),
            sidecar,
        };
        // The first look at each tenant's users, which is no part of any story told here.
        harness
            .until(|sim| sim.calls().iter().filter(|call| call.status.is_some()).count() >= tenants)
            .await;
        harness.sim.clear_calls();
        harness
    }

    /// With these users on the key, the oldest first.
    pub(crate) async fn with_users(users: &[&str], options: Options, settings: &[(&str, &str)]) -> Self {
        let harness = Self::with(options, settings).await;
        for user in users {
            harness.sim.add_user(user);
        }
        harness
    }

    pub(crate) async fn until(&self, condition: impl Fn(&Simulator) -> bool + Send + Sync) {
        patiently(self.sim.wait_for(condition)).await;
    }

    pub(crate) async fn register(&self, user: &str) -> Reply {
        self.send(&Registration::of(user)).await
    }

    pub(crate) async fn send(&self, registration: &Registration) -> Reply {
        let (target, signature) = registration.signed();
        let mut headers = registration.headers.clone();
        if let Some(signature) = signature {
            headers.insert("signature", signature.parse().unwrap());
        }
        self.call(Method::POST, &target, headers, registration.body.clone())
            .await
    }

    pub(crate) async fn call(&self, method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Reply {
        let request = self
            .http
            .request(method, format!("http://{}{target}", self.proxy))
            .headers(headers)
            .body(body);
        read(
            tokio::time::timeout(PATIENCE, request.send())
                .await
                .unwrap()
                .unwrap(),
        )
        .await
    }

    /// The application deletes one of its users.
    pub(crate) async fn delete(&self, user: &str) -> Reply {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (path, query) = (
            "/snapTrade/deleteUser",
            format!("userId={user}&clientId={CLIENT_ID}&timestamp={now}"),
        );
        let signature = sign(CONSUMER_KEY, Dialect::PYTHON, path, &query, b"").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("signature", signature.parse().unwrap());
        self.call(Method::DELETE, &format!("{path}?{query}"), headers, Bytes::new())
            .await
    }

    pub(crate) async fn ops_get(&self, target: &str) -> Reply {
        let request = self.http.get(format!("http://{}{target}", self.ops));
        read(
            tokio::time::timeout(PATIENCE, request.send())
                .await
                .unwrap()
                .unwrap(),
        )
        .await
    }

    /// Where webhooks arrive; only with a setting that says where they shall.
    pub(crate) fn webhooks(&self) -> String {
        format!("http://{}/webhooks/snaptrade", self.sidecar.webhooks.unwrap())
    }

    /// What the sidecar remembers.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.sidecar.registry)
    }

    /// The kinds of the calls that reached the simulator, in their order.
    pub(crate) fn kinds(&self) -> Vec<CallKind> {
        self.sim.calls().iter().map(|call| call.kind).collect()
    }

    pub(crate) fn calls_of(&self, kind: CallKind) -> Vec<Call> {
        self.sim
            .calls()
            .into_iter()
            .filter(|call| call.kind == kind)
            .collect()
    }

    /// Stops the sidecar as SIGTERM would, and waits for its end.
    pub(crate) async fn stop(self) {
        drop(self.stop_keeping_simulator().await);
    }

    pub(crate) async fn stop_keeping_simulator(self) -> Simulator {
        self.sidecar.stop().await;
        self.sim
    }
}

pub(crate) fn client() -> reqwest::Client {
    outbound::client(tls::client_config(None).unwrap(), PATIENCE).unwrap()
}

pub(crate) async fn read(reply: reqwest::Response) -> Reply {
    Reply {
        status: reply.status(),
        headers: reply.headers().clone(),
        body: reply.bytes().await.unwrap(),
    }
}

/// A registration as an SDK would send it, or nearly.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) path: &'static str,
    /// The path that is signed, which some clients choose differently.
    pub(crate) signed_path: &'static str,
    pub(crate) client_id: &'static str,
    pub(crate) consumer_key: &'static str,
    pub(crate) dialect: Dialect,
    /// Seconds from now.
    pub(crate) timestamp: i64,
    /// Follows the other parameters as it is.
    pub(crate) query_tail: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Sent instead of the right signature; empty for none at all.
    pub(crate) signature: Option<&'static str>,
}

impl Registration {
    pub(crate) fn of(user: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        Self {
            path: "/snapTrade/registerUser",
            signed_path: "/snapTrade/registerUser",
            client_id: CLIENT_ID,
            consumer_key: CONSUMER_KEY,
            dialect: Dialect::PYTHON,
            timestamp: 0,
            query_tail: "",
            headers,
            body: serde_json::json!({ "userId": user }).to_string().into(),
            signature: None,
        }
    }

    /// The request, signed, to a program that serves at this URL.
    pub(crate) fn request(&self, proxy: &str) -> reqwest::RequestBuilder {
        let (target, signature) = self.signed();
        client()
            .post(format!("{proxy}{target}"))
            .headers(self.headers.clone())
            .header("signature", signature.unwrap())
            .body(self.body.clone())
    }

    /// The request target and the signature.
    pub(crate) fn signed(&self) -> (String, Option<String>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let timestamp = now.cast_signed() + self.timestamp;
        let (client_id, tail) = (self.client_id, self.query_tail);
        let query = format!("clientId={client_id}&timestamp={timestamp}{tail}");
        let right = || {
            sign(
                self.consumer_key,
                self.dialect,
                self.signed_path,
                &query,
                &self.body,
            )
        };
        let signature = match self.signature {
            Some("") => None,
            Some(other) => Some(other.to_owned()),
            None => right(),
        };
        (format!("{}?{query}", self.path), signature)
    }
}

pub(crate) const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

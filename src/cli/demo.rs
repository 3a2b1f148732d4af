//! `demo`: everything in one process, with a walk-through on the terminal.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use http::HeaderMap;
use tokio::sync::oneshot;

use super::signals::{say_stopped, shutdown_signal};
use super::{Failure, control_runtime, say};
use crate::app::App;
use crate::config::{self, Sources};
use crate::proxy::outcome::{ADMISSION, EVICTED};
use crate::simulator::{Call, CallKind, Dialect, Options, Simulator, sign};
use crate::telemetry::logging::{self, Flush};
use crate::types::Timestamp;
use crate::upstream::{outbound, tls};

const CLIENT_ID: &str = "DEMO";
const CONSUMER_KEY: &str = "demo-consumer-key";
/// No secret either: it opens nothing but what the demonstration shows, on loopback.
const TOKEN: &str = "demo-operator-token";
const LIMIT: usize = 5;
const USERS: [&str; 6] = ["ada", "grace", "edsger", "barbara", "donald", "leslie"];

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What the simulated `SnapTrade` takes for a call, for a deleted user to leave the list, and for its tombstone to go.
const ROUND_TRIP: Duration = Duration::from_millis(50);
const DELETE_LAG: Duration = Duration::from_millis(250);
const SETTLE_TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Leave after the walk-through instead of staying up
    #[arg(long)]
    exit: bool,
    /// Show the sidecar's own log as well
    #[arg(long)]
    log: bool,
}

pub(super) fn run(demo: &Demo) -> Result<(), Failure> {
    control_runtime()?.block_on(async {
        let interrupted = shutdown_signal(say_stopped)?;
        let simulator = start_simulator().await?;
        let (app, _log) = build(demo, &simulator).await?;
        let (proxy, ops) = (app.proxy_addr(), app.ops_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        let scene = Scene {
            simulator: &simulator,
            proxy: format!("http://{proxy}"),
            http: client()?,
        };
        let mut interrupted = std::pin::pin!(interrupted);
        tokio::select! {
            played = scene.play() => {
                played?;
                if !demo.exit {
                    say(addresses(proxy, ops, &simulator))?;
                    interrupted.await;
                }
            }
            () = &mut interrupted => {}
        }
        let _ = stop.send(());
        running
            .await
            .map_err(|error| Failure::new(&error))?
            .map_err(|error| Failure::new(&error))
    })
}

async fn start_simulator() -> Result<Simulator, Failure> {
    let options = Options {
        client_id: CLIENT_ID.to_owned(),
        consumer_key: CONSUMER_KEY.into(),
        user_limit: LIMIT,
        round_trip: ROUND_TRIP,
        delete_lag: DELETE_LAG,
        settle_time: SETTLE_TIME,
        ..Options::default()
    };
    Simulator::start(options, ANY_PORT)
        .await
        .map_err(|error| Failure::new(&error))
}

/// The sidecar as anybody would configure it, but for the simulated upstream and ports that are free.
async fn build(demo: &Demo, simulator: &Simulator) -> Result<(App, Flush), Failure> {
    let flags = [
        ("proxy.upstream", simulator.url()),
        ("proxy.listen", ANY_PORT.to_string()),
        ("ops.listen", ANY_PORT.to_string()),
        ("ops.token", TOKEN.to_owned()),
        ("log.level", if demo.log { "info" } else { "warn" }.to_owned()),
        ("tenants.default.client_id", CLIENT_ID.to_owned()),
        ("tenants.default.consumer_key", CONSUMER_KEY.to_owned()),
        ("tenants.default.max_users", LIMIT.to_string()),
    ];
    let sources = Sources {
        flags: flags.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        ..Sources::default()
    };
    let loaded = config::load(sources).map_err(|faults| Failure(faults.to_string()))?;
    let (log, _) = logging::init(&loaded.config.log).map_err(|error| Failure::new(&error))?;
    let app = App::build(loaded.config)
        .await
        .map_err(|error| Failure::new(&error))?;
    Ok((app, log))
}

fn client() -> Result<reqwest::Client, Failure> {
    let tls = tls::client_config(None).map_err(|error| Failure::new(&error))?;
    outbound::client(tls, Duration::from_secs(5)).map_err(|error| Failure::new(&error))
}

/// The backend, and what it sees.
struct Scene<'a> {
    simulator: &'a Simulator,
    proxy: String,
    http: reqwest::Client,
}

impl Scene<'_> {
    async fn play(&self) -> Result<(), Failure> {
        say(format_args!(
            "A simulated SnapTrade that allows {LIMIT} users, this sidecar in front of it, and a backend that registers \
             {}.\nEvery call takes {} ms there; a deleted user stays listed for {} ms.",
            USERS.len(),
            ROUND_TRIP.as_millis(),
            DELETE_LAG.as_millis()
        ))?;
        // The sidecar's own first look at the users.
        self.simulator.wait_for(|simulator| answered(simulator) > 0).await;
        let (mut registered, mut deleted, mut most) = (0, 0, 0);
        for user in USERS {
            registered += usize::from(self.register(user).await?);
            // What the simulator counts begins anew with each registration.
            deleted += self.simulator.deletions();
            most = most.max(self.simulator.most_live());
        }
        say(format_args!(
            "\n{registered} users registered, {deleted} deleted to make room, never more than {most} at once."
        ))
    }

    /// Registers one user through the sidecar and shows each call to `SnapTrade` as it is answered; whether it succeeded.
    async fn register(&self, user: &str) -> Result<bool, Failure> {
        say(format_args!(
            "\nPOST {}/snapTrade/registerUser  {{\"userId\":\"{user}\"}}",
            self.proxy
        ))?;
        self.simulator.clear_calls();
        let began = Instant::now();
        let mut shown = 0;
        let mut reply = std::pin::pin!(self.send(user));
        let reply = loop {
            tokio::select! {
                () = self.simulator.wait_for(|simulator| answered(simulator) > shown) => {
                    shown = self.show(shown, began)?;
                }
                reply = &mut reply => break reply?,
            }
        };
        shown = self.show(shown, began)?;
        let evicted = header(reply.headers(), EVICTED.as_str())
            .map(|id| format!(", evicted {id}"))
            .unwrap_or_default();
        say(format_args!(
            "  => {} in {} ms and {shown} calls{evicted}  (Snaptrade-Sidecar-Admission: {})",
            reply.status().as_u16(),
            began.elapsed().as_millis(),
            header(reply.headers(), ADMISSION.as_str()).unwrap_or("none")
        ))?;
        Ok(reply.status().is_success())
    }

    async fn send(&self, user: &str) -> Result<reqwest::Response, Failure> {
        let path = "/snapTrade/registerUser";
        let query = format!(
            "clientId={CLIENT_ID}&timestamp={}",
            Timestamp::from(SystemTime::now())
        );
        let body = format!(r#"{{"userId":"{user}"}}"#);
        let signature = sign(CONSUMER_KEY, Dialect::PYTHON, path, &query, body.as_bytes());
        self.http
            .post(format!("{}{path}?{query}", self.proxy))
            .header("Signature", signature.unwrap_or_default())
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| Failure::new(&error.without_url()))
    }

    fn listed(&self) -> String {
        match self.simulator.listed() {
            nobody if nobody.is_empty() => "(nobody)".to_owned(),
            users => users.join(" "),
        }
    }

    /// Prints the calls answered since, and says how many there are now.
    fn show(&self, shown: usize, began: Instant) -> Result<usize, Failure> {
        let calls: Vec<Call> = self.simulator.calls();
        let now = answered(self.simulator);
        for call in calls.iter().take(now).skip(shown) {
            let status = call.status.unwrap_or_default();
            let what = match call.kind {
                CallKind::List => format!("listUsers     {status}  {}", self.listed()),
                CallKind::Delete => format!("deleteUser    {status}  {}", parameter(&call.target, "userId")),
                CallKind::Register => format!("registerUser  {status}"),
                _ => format!("{} {}  {status}", call.method, call.path()),
            };
            say(format_args!("  {:>5} ms  {what}", began.elapsed().as_millis()))?;
        }
        Ok(now)
    }
}

/// How many calls have their answer; those of one registration come one after the other.
fn answered(simulator: &Simulator) -> usize {
    simulator
        .calls()
        .iter()
        .take_while(|call| call.status.is_some())
        .count()
}

fn parameter<'t>(target: &'t str, name: &str) -> &'t str {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map_or("", |(_, value)| value)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn addresses(proxy: SocketAddr, ops: SocketAddr, simulator: &Simulator) -> String {
    format!(
        "\nIt stays up until Ctrl-C. Client id {CLIENT_ID}, consumer key {CONSUMER_KEY}; the base URL for each SDK:

  Python 13.x      host=\"http://{proxy}\"
  Python 11.x      host=\"http://{proxy}/api/v1\"
  TypeScript 11.x  basePath: \"http://{proxy}\"

  dashboard        http://{ops}/dashboard (sign in with {TOKEN})
  health           http://{ops}/healthz
  status           http://{ops}/api/snaptrade/status
  metrics          http://{ops}/metrics
  simulator        {}/_simulator",
        simulator.url()
    )
}

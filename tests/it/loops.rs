//! A sidecar that is its own upstream, and two in a row.

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method};
use snaptrade_sidecar::config::{self, Config, Sources};
use snaptrade_sidecar::simulator::Simulator;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{
    ANY_PORT, CLIENT_ID, CONSUMER_KEY, FIVE, Registration, Reply, Sidecar, client, options, patiently, read,
};
use crate::program::{Program, TWO_VARIABLES, simulator};

/// A port of an address of this machine that no other test uses, so that nobody takes it meanwhile.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// What loading a configuration would refuse, because here it can be told by the text: as if a name led there.
fn config_of_loop(listen: &str, upstream: &str) -> Config {
    let flags = [
        ("tenants.default.client_id", CLIENT_ID),
        ("tenants.default.consumer_key", CONSUMER_KEY),
        ("ops.listen", ANY_PORT),
        ("proxy.upstream", "http://127.0.0.1:1"),
        ("proxy.listen", listen),
        ("proxy.worker_threads", "1"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.to_vec(),
        ..Sources::default()
    };
    let mut config = config::load(sources).unwrap().config;
    config.proxy.upstream.authority = upstream.parse::<Authority>().unwrap();
    config
}

async fn call(method: Method, url: String, headers: HeaderMap, body: Bytes) -> Reply {
    let request = client().request(method, url).headers(headers).body(body);
    read(patiently(request.send()).await.unwrap()).await
}

async fn register(proxy: &str, user: &str) -> Reply {
    let registration = Registration::of(user);
    let (target, signature) = registration.signed();
    let mut headers = registration.headers.clone();
    headers.insert("signature", signature.unwrap().parse().unwrap());
    call(
        Method::POST,
        format!("{proxy}{target}"),
        headers,
        registration.body,
    )
    .await
}

#[tokio::test]
async fn an_upstream_that_is_the_sidecar_itself_is_said_so_and_gets_nothing() {
    let port = free_port().await;
    let here = format!("127.77.0.1:{port}");
    for listen in [here.clone(), format!("0.0.0.0:{port}")] {
        let it = Sidecar::of(config_of_loop(&listen, &here)).await;
        let proxy = format!("http://127.77.0.1:{port}");
        let get = |url| call(Method::GET, url, HeaderMap::new(), Bytes::new());
        let reply = get(format!("{proxy}/accounts")).await;
        let code = reply.json()["code"].clone();
        assert_eq!((reply.status.as_u16(), code), (508, "sidecar_loop".into()));
        // Nobody is counted, and nobody is deleted.
        let reply = register(&proxy, "new").await;
        assert_eq!(reply.json()["code"], "sidecar_loop");
        assert_eq!(reply.admission(), "refused; reason=list-failed");

        let metrics = get(format!("http://{}/metrics", it.ops)).await.body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let count = |start: &str| -> u64 {
            let lines = metrics.lines().filter_map(|line| line.strip_prefix(start));
            lines
                .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
                .sum()
        };
        assert!(
            count("snaptrade_sidecar_upstream_errors_total{kind=\"loop\"}") >= 1,
            "{metrics}"
        );
        // The two, and none that came back.
        assert_eq!(count("snaptrade_sidecar_requests_total{"), 2, "{metrics}");
        it.stop().await;
    }
}

/// A sidecar before `upstream` in a process of its own, and where it is.
async fn process(upstream: &str, mode: &str) -> (Program, String) {
    let mode = format!("tenants.default.eviction.mode={mode}");
    let arguments = [
        "--listen",
        ANY_PORT,
        "--ops-listen",
        ANY_PORT,
        "--upstream",
        upstream,
        "--set",
        &mode,
    ];
    let mut program = Program::start(&arguments, &TWO_VARIABLES);
    let ready = program.logged("snaptrade-sidecar is ready").await;
    (program, ready["proxy"].as_str().unwrap().to_owned())
}

async fn two_in_a_row(outer: &str, inner: &str) -> (Simulator, [Program; 2], String) {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let (inner, address) = process(&sim.url(), inner).await;
    let (outer, address) = process(&address, outer).await;
    (sim, [outer, inner], address)
}

#[tokio::test]
async fn two_sidecars_in_a_row_make_room_once_for_each_registration() {
    for (outer, inner) in [("off", "enforce"), ("enforce", "off"), ("enforce", "enforce")] {
        let (sim, programs, proxy) = two_in_a_row(outer, inner).await;
        let reply = register(&proxy, "first").await;
        assert_eq!(reply.status, 200, "{outer} before {inner}");
        // Whoever of the two made room, the application is told.
        assert_eq!(reply.admission(), "evicted", "{outer} before {inner}");
        assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("a"));
        let mut burst = JoinSet::new();
        for number in 0..4 {
            let proxy = proxy.clone();
            burst.spawn(async move { register(&proxy, &format!("burst-{number}")).await });
        }
        for reply in burst.join_all().await {
            assert_eq!(
                (reply.status.as_u16(), reply.admission()),
                (200, "evicted"),
                "{outer} before {inner}"
            );
        }
        assert_eq!(
            (sim.deletions(), sim.most_live()),
            (5, 5),
            "{outer} before {inner}"
        );
        for program in programs {
            program.signal("TERM").await;
            assert_eq!(program.end().await.code, Some(0));
        }
    }
}

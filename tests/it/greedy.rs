//! Callers that take what they can get and give nothing: the sidecar's memory stays where it was.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::harness::{ANY_PORT, options, patiently};
use crate::program::{Program, Sidecar, TWO_VARIABLES, simulator};
use crate::raw::Peer;

const GET: &str = "GET /accounts HTTP/1.1\r\nHost: a\r\n\r\n";
const IDLE: usize = 10_000;

/// In KiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// This process has the other ends of ten thousand connections, and the program inherits the limit.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let enough = maximum.is_none_or(|maximum| maximum > 13_000);
    assert!(
        enough,
        "{maximum:?} open files are too few for {IDLE} connections; raise the hard limit (ulimit -Hn)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little_and_harm_nobody() {
    raise_descriptors();
    let settings = [("proxy.max_connections", "20000"), ("proxy.max_requests", "100")];
    let mut it = Sidecar::start(simulator(options()).await, &settings).await;
    it.program.logged("SnapTrade answers for this key").await;
    let proxy = address(&it.proxy);
    let before = resident(it.program.id());
    let at_once = Arc::new(Semaphore::new(200));
    let mut opening = JoinSet::new();
    for number in 0..IDLE {
        let at_once = Arc::clone(&at_once);
        opening.spawn(async move {
            let _turn = at_once.acquire_owned().await.unwrap();
            let mut caller = Peer::connect(proxy).await;
            // Half of them have had a reply.
            if number % 2 == 0 {
                caller.send("GET /healthz HTTP/1.1\r\n\r\n").await;
                caller.message().await;
            }
            caller
        });
    }
    let idle = opening.join_all().await;
    let open = "snaptrade_sidecar_connections_open ";
    let all = async {
        loop {
            let metrics = it.get(&format!("{}/metrics", it.ops)).await;
            let text = String::from_utf8(metrics.body.to_vec()).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(open)).unwrap();
            if line.parse::<usize>().unwrap() >= IDLE {
                return;
            }
        }
    };
    patiently(all).await;
    let each = (resident(it.program.id()) - before) * 1024 / IDLE as u64;
    assert!(each < 32 << 10, "{each} bytes for each of {IDLE} connections");
    assert_eq!(it.get(&format!("{}/accounts", it.proxy)).await.status, 200);
    assert_eq!(it.register("new").await.status, 200);
    drop(idle);
    assert_eq!(it.stop().await.code, Some(0));
}

/// A program before an upstream that sends as much as is taken, and then tells how much that was; or, with nobody to tell,
/// neither answers nor reads.
async fn before_a_raw_upstream(taken: Option<mpsc::Sender<usize>>) -> (Program, SocketAddr) {
    let upstream = TcpListener::bind(ANY_PORT).await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = upstream.accept().await {
            tokio::spawn(serve(stream, taken.clone()));
        }
    });
    let arguments = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT, "--upstream", &url];
    let mut program = Program::start(&arguments, &TWO_VARIABLES);
    let ready = program.logged("snaptrade-sidecar is ready").await;
    (program, address(ready["proxy"].as_str().unwrap()))
}

async fn serve(stream: TcpStream, taken: Option<mpsc::Sender<usize>>) {
    let mut peer = Peer::on(stream);
    let asked = peer.head().await;
    if let Some(taken) = taken.filter(|_| asked.start.starts_with("GET /accounts")) {
        peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let sent = peer.send_until_stalled(ENDLESS, STALLED_MS).await;
        let _ = taken.send(sent).await;
    }
    std::future::pending::<()>().await;
}

/// What 50 such callers may cost: the buffers of their connections, and no more.
const GREEDY: usize = 50;
const GREEDY_KIB_MAX: u64 = 48 << 10;
const ENDLESS: usize = 1 << 30;
/// For the other side to take the next piece, before every buffer on the way counts as full.
const STALLED_MS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_nobody_reads_do_not_gather() {
    let (sender, mut taken) = mpsc::channel(GREEDY);
    let (program, proxy) = before_a_raw_upstream(Some(sender)).await;
    let before = resident(program.id());
    let mut callers = Vec::new();
    for _ in 0..GREEDY {
        let mut caller = Peer::connect(proxy).await;
        caller.send(GET).await;
        caller.head().await;
        callers.push(caller);
    }
    for _ in 0..GREEDY {
        let sent = patiently(taken.recv()).await.unwrap();
        assert!(sent < ENDLESS, "all of it was taken");
    }
    let more = resident(program.id()).saturating_sub(before);
    assert!(more < GREEDY_KIB_MAX, "{more} KiB more");
    drop(callers);
    program.signal("KILL").await;
    program.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_nobody_takes_do_not_gather() {
    let (program, proxy) = before_a_raw_upstream(None).await;
    let before = resident(program.id());
    let mut sending = JoinSet::new();
    for _ in 0..GREEDY {
        sending.spawn(async move {
            let mut caller = Peer::connect(proxy).await;
            let head = format!("POST /accounts HTTP/1.1\r\nContent-Length: {ENDLESS}\r\n\r\n");
            caller.send(head).await;
            let sent = caller.send_until_stalled(ENDLESS, STALLED_MS).await;
            (caller, sent)
        });
    }
    let callers = sending.join_all().await;
    assert!(
        callers.iter().all(|(_, sent)| *sent < ENDLESS),
        "all of it was taken"
    );
    let more = resident(program.id()).saturating_sub(before);
    assert!(more < GREEDY_KIB_MAX, "{more} KiB more");
    drop(callers);
    program.signal("KILL").await;
    program.end().await;
}

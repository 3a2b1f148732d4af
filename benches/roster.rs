//! What one admission costs where very many users are listed: the key is full, so it lists, deletes one user, lists again
//! and registers. Prints processor time, the time that its caller waits, peak memory, and what it takes to read the list once,
//! for each number of users; `roster USERS` is for one number alone.
//!
//! The whole sidecar runs, and has looked at the users once before, as it does when it starts. The upstream and the caller
//! are a thread of the same process, which writes the list as it goes; its processor time does not count.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than to end"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use snaptrade_sidecar::app::App;
use snaptrade_sidecar::config::{self, Config, Sources};
use snaptrade_sidecar::simulator::{Dialect, sign};
use snaptrade_sidecar::snaptrade::listing::Reader;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const SIZES: [usize; 4] = [5, 1_000, 100_000, 1_000_000];
/// For the last of them.
const OWN_MS_MAX: f64 = 1_000.0;
const PEAK_MB_MAX: f64 = 300.0;
/// As many as a piece of the list has; it goes out before the next is written.
const PIECE_IDS: usize = 1_000;
/// Of an id of 36 characters, with its quotes and a comma.
const ENTRY_BYTES: usize = 39;
const KEY: &str = "bench";
const REGISTER: &str = "/snapTrade/registerUser";
const BODY: &str = r#"{"userId":"new"}"#;
/// The thread whose processor time does not count.
const OUTSIDE: &str = "outside";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if let Some(users) = arguments.next() {
        one(users.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    println!(
        "{:>10} {:>10} {:>10} {:>10}",
        "users", "own ms", "whole ms", "peak MB"
    );
    let mut is_good = true;
    for users in SIZES {
        // A process for each, since the peak is that of a whole process.
        let program = std::env::current_exe().unwrap();
        let ran = Command::new(program).arg(users.to_string()).output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout);
        let figures: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
        let [own, whole, peak, read] = figures[..] else {
            println!("{users:>10} failed: {}", String::from_utf8_lossy(&ran.stderr));
            return ExitCode::FAILURE;
        };
        println!("{users:>10} {own:>10.1} {whole:>10.1} {peak:>10.1} {read:>10.1}");
        is_good = own <= OWN_MS_MAX && peak <= PEAK_MB_MAX;
    }
    let verdict = if is_good { "within" } else { "FAILED: not within" };
    println!("the last is {verdict} {OWN_MS_MAX} ms and {PEAK_MB_MAX} MB");
    ExitCode::from(u8::from(!is_good))
}

/// Prints the sidecar's own time, the time that the caller waited, the peak of the process's memory, and of the first what
/// it takes to read one list.
fn one(users: usize) {
    let upstream = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    upstream.set_nonblocking(true).unwrap();
    let config = config(upstream.local_addr().unwrap(), users);
    runtime().block_on(async {
        let app = App::build(config).await.unwrap();
        let (proxy, ops) = (app.proxy_addr(), app.ops_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let outside = move || {
            runtime().block_on(async {
                let upstream = TcpListener::from_std(upstream).unwrap();
                tokio::spawn(answer(upstream, users));
                measure(proxy, ops, users).await;
                let _ = stop.send(());
            });
        };
        let outside = thread::Builder::new().name(OUTSIDE.to_owned()).spawn(outside);
        let ended = app.run(async {
            let _ = stopped.await;
        });
        ended.await.unwrap();
        outside.unwrap().join().unwrap();
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn config(upstream: SocketAddr, users: usize) -> Config {
    let flags = [
        ("proxy.upstream", format!("http://{upstream}")),
        ("proxy.listen", "127.0.0.1:0".to_owned()),
        ("proxy.worker_threads", "1".to_owned()),
        ("ops.listen", "127.0.0.1:0".to_owned()),
        ("tenants.default.client_id", "BENCH".to_owned()),
        ("tenants.default.consumer_key", KEY.to_owned()),
        ("tenants.default.max_users", users.to_string()),
    ];
    let sources = Sources {
        flags: flags.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        ..Sources::default()
    };
    config::load(sources).unwrap().config
}

async fn measure(proxy: SocketAddr, ops: SocketAddr, users: usize) {
    // Answered when the first look is over; as one that comes from elsewhere, so that it is told no names.
    let status = "GET /api/snaptrade/status HTTP/1.1\r\nHost: 127.0.0.1\r\nForwarded: for=192.0.2.1\r\nConnection: close\r\n\r\n";
    let reply = exchange(ops, status).await;
    assert!(reply.contains("\"at_limit\":true"), "{reply}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let query = format!("clientId=BENCH&timestamp={now}");
    let signature = sign(KEY, Dialect::PYTHON, REGISTER, &query, BODY.as_bytes()).unwrap();
    let request = format!(
        "POST {REGISTER}?{query} HTTP/1.1\r\nHost: sidecar\r\nSignature: {signature}\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let (before, began) = (own_ms(), Instant::now());
    let reply = exchange(proxy, &request).await;
    let whole = began.elapsed().as_secs_f64() * 1e3;
    assert!(
        reply.contains("snaptrade-sidecar-admission: evicted\r\n"),
        "{reply}"
    );
    println!("{} {whole} {} {}", own_ms() - before, peak_mb(), read_ms(users));
}

/// What it takes to read the list once, of what the sidecar does.
fn read_ms(users: usize) -> f64 {
    let (mut reader, mut took) = (Reader::default(), Duration::ZERO);
    for first in (0..users).step_by(PIECE_IDS) {
        let piece = piece(users, 0, first);
        let began = Instant::now();
        reader.feed(&piece);
        took += began.elapsed();
    }
    let began = Instant::now();
    assert_eq!(reader.finish().unwrap().entries.len(), users);
    (took + began.elapsed()).as_secs_f64() * 1e3
}

/// The whole reply to a request after which the connection is closed.
async fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// Processor time of all threads but the one that is outside.
fn own_ms() -> f64 {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        let used = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        if name.trim() != OUTSIDE {
            let used = used.split_whitespace().next().map(str::parse::<f64>);
            nanoseconds += used.and_then(Result::ok).unwrap_or(0.0);
        }
    }
    nanoseconds / 1e6
}

fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024.0 / 1e6
}

/// The upstream: whoever asks, and however.
async fn answer(listener: TcpListener, users: usize) {
    let is_full = Arc::new(AtomicBool::new(true));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(converse(stream, users, Arc::clone(&is_full)));
    }
}

async fn converse(mut stream: TcpStream, users: usize, is_full: Arc<AtomicBool>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16 << 10];
    // A request is short enough to come in one piece; its body, if there is one, comes along or is read as nothing.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let call = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let words = if call.starts_with("GET /snapTrade/listUsers?") {
            list(&mut stream, users, is_full.load(Ordering::Relaxed)).await;
            continue;
        } else if call.starts_with("DELETE ") {
            is_full.store(false, Ordering::Relaxed);
            r#"{"status":"deleted"}"#
        } else if call.starts_with("POST ") {
            r#"{"userId":"new","userSecret":"s"}"#
        } else {
            continue;
        };
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{words}",
            words.len()
        );
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}

/// All users, or all but the first.
async fn list(stream: &mut TcpStream, users: usize, is_full: bool) {
    let skipped = usize::from(!is_full);
    let length = (users - skipped) * ENTRY_BYTES + 1;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for first in (0..users).step_by(PIECE_IDS) {
        stream.write_all(&piece(users, skipped, first)).await.unwrap();
    }
}

/// The users from this one on, as they stand in the list.
fn piece(users: usize, skipped: usize, first: usize) -> Vec<u8> {
    let mut piece = Vec::with_capacity(PIECE_IDS * ENTRY_BYTES + 1);
    for number in first.max(skipped)..users.min(first + PIECE_IDS) {
        piece.push(if number == skipped { b'[' } else { b',' });
        piece.extend_from_slice(b"\"00000000-0000-4000-8000-");
        // By hand, since to format a million numbers takes as long as what is measured.
        let digits = (0..12).rev().map(|place| number / 10_usize.pow(place) % 10);
        piece.extend(digits.map(|digit| b"0123456789"[digit]));
        piece.push(b'"');
    }
    if users <= first + PIECE_IDS {
        piece.push(b']');
    }
    piece
}

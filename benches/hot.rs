//! Runs one case of the hot path so many times, for a counter of instructions to watch: `hot CASE TIMES`. A `request` can
//! also be one among those of many tenants: `hot request TIMES TENANTS`.
//!
//! What the program needs for its start falls out where two numbers of times are compared (`benches/quick.py`).

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than to end"
)]

#[path = "hot/request.rs"]
mod request;

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use snaptrade_sidecar::admission::fuse::Fuse;
use snaptrade_sidecar::admission::patterns::Patterns;
use snaptrade_sidecar::admission::policy::{Key, Mode, OnListError, Policy, UnknownAge};
use snaptrade_sidecar::admission::roster::Roster;
use snaptrade_sidecar::admission::{Admission, Circumstances, Deletion, Event, Reply, Terms};
use snaptrade_sidecar::proxy::headers::strip_hop_by_hop;
use snaptrade_sidecar::simulator::{Dialect, sign};
use snaptrade_sidecar::snaptrade::proof::{CallView, prove};
use snaptrade_sidecar::snaptrade::route::Route;
use snaptrade_sidecar::snaptrade::signature::SigningKey;
use snaptrade_sidecar::types::{ClientId, ConsumerKey, Timestamp, UserId};

const QUERY: &str = "clientId=BENCH&timestamp=1760000000";
const REGISTER: &str = "/api/v1/snapTrade/registerUser";
const BODY: &str = r#"{"userId":"user-0001"}"#;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let case = arguments.next().unwrap_or_default();
    let times: usize = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(0);
    match case.as_str() {
        "classify" => classify(times),
        "headers" => headers(times),
        "verify" => verify(times),
        "admission" => admission(times),
        "request" => {
            let tenants = arguments.next().map_or(1, |tenants| tenants.parse().unwrap());
            request::run(times, tenants);
        }
        _ => eprintln!("usage: hot classify|headers|verify|admission|request TIMES [TENANTS]"),
    }
}

/// Which call is this? One of each kind that there is, and one that comes close.
fn classify(times: usize) {
    let calls = [
        (Method::GET, "/api/v1/accounts/0a1b/holdings"),
        (Method::GET, "/api/v1/snapTrade/listUsers"),
        (Method::POST, REGISTER),
        (Method::POST, "/api/v1/snapTrade/registerUsers"),
        (Method::DELETE, "/api/v1/snapTrade/deleteUser"),
    ];
    for _ in 0..times {
        for (method, path) in black_box(&calls) {
            black_box(Route::classify(method, path));
        }
    }
}

/// A reply's headers as SnapTrade sends them, copied and stripped.
fn headers(times: usize) {
    let lines = [
        ("date", "Wed, 01 Jan 2025 00:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("connection", "keep-alive"),
        ("x-request-id", "0123456789abcdef"),
        ("x-ratelimit-limit", "250"),
        ("x-ratelimit-remaining", "249"),
        ("x-ratelimit-reset", "60"),
    ];
    let headers: HeaderMap = lines
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    for _ in 0..times {
        let mut headers = black_box(&headers).clone();
        strip_hop_by_hop(&mut headers);
        black_box(headers);
    }
}

/// A registration that proves itself in the first form that is tried.
fn verify(times: usize) {
    let key = SigningKey::new(&ConsumerKey::new("bench"));
    let signature = sign("bench", Dialect::PYTHON, REGISTER, QUERY, BODY.as_bytes()).unwrap();
    let client_id = ClientId::new("BENCH");
    for _ in 0..times {
        let view = CallView {
            path: black_box(REGISTER),
            query: QUERY,
            signature: Some(signature.as_bytes()),
            body: BODY.as_bytes(),
        };
        let now = Timestamp(1_760_000_000);
        black_box(prove(&key, &client_id, view, now, Duration::from_mins(5)).unwrap());
    }
}

/// A whole admission that evicts one of five.
fn admission(times: usize) {
    let patterns = |sources: &[String]| Patterns::new(sources);
    let terms = Terms {
        mode: Mode::Enforce,
        max_users: 5,
        on_list_error: OnListError::Forward,
        policy: Policy {
            order: vec![Key::Oldest],
            unknown_age: UnknownAge::Oldest,
            evictable: patterns(&["*".to_owned()]),
            protect: patterns(&["vip-*".to_owned()]),
            min_age: Duration::ZERO,
            active_within: Duration::ZERO,
        },
        max_per_registration: 3,
        fuse: Fuse {
            evictions: 60,
            window: Duration::from_hours(1),
        },
        settle_timeout: Duration::from_secs(20),
        admission_timeout: Duration::from_secs(30),
    };
    let ids = |names: [&str; 5]| Some(names.map(UserId::new).to_vec());
    let new = UserId::new("new");
    for _ in 0..times {
        let now = Instant::now();
        let mut roster = Roster::default();
        let mut admission = Admission::new(Some(new.clone()), now);
        for event in [
            Event::Begun,
            Event::Listed(ids(["a", "b", "c", "d", "e"])),
            Event::IntentRecorded(true),
            Event::Deleted(Deletion::Accepted),
            Event::Listed(ids(["a_deleted", "b", "c", "d", "e"])),
            Event::Replied(Reply::Registered(new.clone())),
        ] {
            let here = Circumstances::default();
            black_box(admission.on(event, now, here, &terms, &mut roster));
        }
    }
}

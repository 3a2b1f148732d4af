//! Reloads while there is something to do, and of very many tenants.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::simulator::{CallKind, Options};

use crate::harness::{CLIENT_ID, CONSUMER_KEY, Registration, options, patiently, read};
use crate::reload::{Scene, UNCHANGED, send, tenant, tenants_of};

#[tokio::test]
async fn an_admission_under_way_ends_as_it_began_and_those_behind_it_go_by_what_is_new() {
    let slow = Options {
        delete_lag: Duration::from_hours(1),
        ..options()
    };
    let mut it = Scene::with(slow, &tenant("max_users = 1"), &[]).await;
    it.sim.add_user("a");
    let register = |user: &'static str| {
        let (http, proxy) = (it.http.clone(), it.proxy.clone());
        tokio::spawn(async move { send(&http, &proxy, &Registration::of(user)).await })
    };
    let first = register("b");
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::Delete) == 1)).await;
    let second = register("c");
    let queued = async { while !it.counts("admission_queue{tenant=\"default\"} 1").await {} };
    patiently(queued).await;
    let observing = tenant("max_users = 1\neviction.mode = \"observe\"");
    assert_eq!(
        tenants_of(&it.reload(&observing, 1).await),
        "default (eviction.mode)"
    );
    // The deletion that was under way shows.
    it.sim.remove_user("a");
    assert_eq!(first.await.unwrap().admission(), "evicted");
    // By the policy that it came with, this one would evict b.
    assert_eq!(second.await.unwrap().admission(), "forwarded; reason=observe");
    assert_eq!(it.sim.users(), ["b", "c"]);
    it.stop().await;
}

#[tokio::test]
async fn nobody_is_evicted_for_a_tenant_that_was_taken_out() {
    let slow = Options {
        tenants: 2,
        delete_lag: Duration::from_hours(1),
        ..options()
    };
    let second = format!(
        "[tenants.t2]\nclient_id = \"SIMULATOR-2\"\nconsumer_key = \"{CONSUMER_KEY}\"\n[registry]\njournal_retention = \"9d\"\n"
    );
    let mut it = Scene::with(slow, &(tenant("max_users = 1") + &second), &[]).await;
    it.sim.add_user("a");
    let register = |user: &'static str| {
        let (http, proxy) = (it.http.clone(), it.proxy.clone());
        tokio::spawn(async move { send(&http, &proxy, &Registration::of(user)).await })
    };
    let first = register("b");
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::Delete) == 1)).await;
    let behind = register("c");
    let queued = async { while !it.counts("admission_queue{tenant=\"default\"} 1").await {} };
    patiently(queued).await;
    assert_eq!(tenants_of(&it.reload(&second, 1).await), "default (removed)");
    it.sim.remove_user("a");
    assert_eq!(first.await.unwrap().admission(), "evicted");
    let reply = behind.await.unwrap();
    assert!(
        reply.admission().starts_with("forwarded"),
        "{}",
        reply.admission()
    );
    // It is nobody's now, and goes through.
    assert_eq!(
        it.register("d").await.admission(),
        "unmanaged; reason=client-unknown"
    );
    assert_eq!(it.sim.deletions(), 1);
    // There again, and with the same limit, it knows its lock and its users.
    it.reload(&(tenant("max_users = 9") + &second), 2).await;
    assert_eq!(it.register("e").await.admission(), "forwarded");
    it.stop().await;
}

/// Calls one after the other until it is told to stop, and how many there were; each was answered with 200.
struct Traffic {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    calls: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn begin(it: &Scene, client_id: &str) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&made));
        let (http, url) = (
            it.http.clone(),
            format!("{}/accounts?clientId={client_id}&userId=u", it.proxy),
        );
        let calls = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let request = http.request(Method::GET, &url).headers(HeaderMap::new());
                let reply = read(patiently(request.body(Bytes::new()).send()).await.unwrap()).await;
                assert_eq!(reply.status, 200);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, made, calls }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        patiently(self.calls).await.unwrap();
        self.made.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn tenants_come_and_go_under_traffic() {
    let two = Options {
        tenants: 2,
        ..options()
    };
    let mut it = Scene::with(two, &tenant("max_users = 1"), &[]).await;
    let traffic = Traffic::begin(&it, "SIMULATOR-2");
    let registration = |user| Registration {
        client_id: "SIMULATOR-2",
        ..Registration::of(user)
    };
    let both = tenant("max_users = 1")
        + &format!(
            "[tenants.t2]\nclient_id = \"SIMULATOR-2\"\nconsumer_key = \"{CONSUMER_KEY}\"\nmax_users = 1\n"
        );
    let strange = send(&it.http, &it.proxy, &registration("a")).await;
    assert_eq!(strange.admission(), "unmanaged; reason=client-unknown");
    assert_eq!(tenants_of(&it.reload(&both, 1).await), "t2 (added)");
    assert_eq!(
        send(&it.http, &it.proxy, &registration("b")).await.admission(),
        "evicted"
    );
    let counted = async {
        while !it
            .metrics()
            .await
            .contains("requests_total{tenant=\"t2\",route=\"other\"")
        {}
    };
    patiently(counted).await;
    assert!(it.counts("user_limit{tenant=\"t2\"} 1").await);
    assert_eq!(
        it.get("/api/snaptrade/status?tenant=t2").await.json()["current_count"],
        1
    );
    assert_eq!(
        tenants_of(&it.reload(&tenant("max_users = 1"), 2).await),
        "t2 (removed)"
    );
    let strange = send(&it.http, &it.proxy, &registration("c")).await;
    assert_eq!(strange.admission(), "unmanaged; reason=client-unknown");
    assert_eq!(it.get("/api/snaptrade/status?tenant=t2").await.status, 404);
    assert!(traffic.end().await > 0);
    let metrics = it.metrics().await;
    assert!(!metrics.contains("t2"), "{metrics}");
    it.stop().await;
}

#[tokio::test]
async fn two_hundred_reloads_under_traffic_lose_no_call_and_keep_nothing_open() {
    const RELOADS: usize = 200;
    let mut it = Scene::start(&tenant("max_users = 1")).await;
    let descriptors = format!("/proc/{}/fd", it.program.id());
    let open = || fs::read_dir(&descriptors).unwrap().count();
    let warm = Traffic::begin(&it, CLIENT_ID);
    assert_eq!(it.register("a").await.admission(), "forwarded");
    it.metrics().await;
    warm.end().await;
    let before = open();
    let traffic = Traffic::begin(&it, CLIENT_ID);
    for times in 1..=RELOADS {
        it.reload(&tenant(&format!("max_users = {}", 2 + times % 2)), times)
            .await;
    }
    assert!(traffic.end().await > RELOADS);
    // Fewer, where a connection that was kept is closed by now.
    let after = open();
    assert!(after <= before, "{after} are open, {before} were");
    assert!(it.counts("config_reloads_total{outcome=\"applied\"} 200").await);
    assert!(
        it.counts("requests_total{tenant=\"default\",route=\"register\",status=\"200\"} 1")
            .await
    );
    let ended = it.stop().await;
    let notable = ended
        .err
        .lines()
        .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""));
    // Of the file's permissions, at the start, and not with every reload.
    assert_eq!(
        notable.filter(|line| line.contains("chmod o-r")).count(),
        1,
        "{}",
        ended.err
    );
    assert_eq!(
        ended.err.matches("\"WARN\"").count() + ended.err.matches("\"ERROR\"").count(),
        1
    );
}

const TENANTS: usize = 2_000;
/// Debug builds on a machine that does much else at once.
const RELOAD_MAX: Duration = Duration::from_secs(10);
const GROWTH_KIB_MAX: u64 = 64 << 10;

/// In KiB, what the program keeps in memory.
fn resident(it: &Scene) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", it.program.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn many(max_users: usize) -> String {
    let section = |number| {
        format!(
            "[tenants.t{number}]\nclient_id = \"SIMULATOR-{number}\"\nconsumer_key = \"{CONSUMER_KEY}\"\n\
             max_users = {max_users}\n"
        )
    };
    let others: String = (2..=TENANTS).map(section).collect();
    tenant(&format!("max_users = {max_users}")) + &others
}

/// With `--nocapture` it tells what it measured.
#[tokio::test]
async fn two_thousand_tenants_are_reloaded() {
    let options = Options {
        tenants: TENANTS,
        ..options()
    };
    let mut it = Scene::with(options, &many(1), &[]).await;
    patiently(it.sim.wait_for(|sim| sim.count(CallKind::List) >= TENANTS)).await;
    let began = Instant::now();
    it.program.signal("HUP").await;
    it.program.logged(UNCHANGED).await;
    let unchanged = began.elapsed();
    let mut slowest = Duration::ZERO;
    let mut first = 0;
    for times in 1..=20 {
        let began = Instant::now();
        let reload = it.reload(&many(1 + times), times).await;
        slowest = slowest.max(began.elapsed());
        assert!(tenants_of(&reload).ends_with(" and 1980 more"), "{reload}");
        if times == 1 {
            first = resident(&it);
        }
    }
    let last = resident(&it);
    println!(
        "unchanged {unchanged:?}, all changed {slowest:?} at most, {first} KiB after the first, {last} after 20"
    );
    assert!(unchanged.max(slowest) < RELOAD_MAX, "{unchanged:?}, {slowest:?}");
    assert!(last < first + GROWTH_KIB_MAX, "{first} KiB, then {last}");
    assert!(it.counts("user_limit{tenant=\"t2000\"} 21").await);
    // Nothing was asked for anew: the keys are the same.
    assert_eq!(it.sim.count(CallKind::List), TENANTS);
    it.stop().await;
}

//! Very many tenants in one process.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;
use snaptrade_sidecar::simulator::{CallKind, Options, Simulator};

use crate::harness::{
    ANY_PORT, CLIENT_ID, CONSUMER_KEY, Registration, Reply, Sidecar, client, options, patiently, read,
};

const TENANTS: usize = 2_000;
/// Those that register somebody.
const SAMPLE: [usize; 5] = [2, 3, 999, 1_999, 2_000];

/// `default`, and `t2` to `t<count>`, each with room for one user.
async fn start(count: usize, options: Options) -> (Simulator, Sidecar) {
    let options = Options {
        tenants: count,
        user_limit: 1,
        ..options
    };
    let sim = Simulator::start(options, ANY_PORT.parse().unwrap())
        .await
        .unwrap();
    let mut settings = vec![("tenants.default.max_users".to_owned(), "1".to_owned())];
    for number in 2..=count {
        let key = |leaf: &str| format!("tenants.t{number}.{leaf}");
        settings.push((key("client_id"), client_id(number).to_owned()));
        settings.push((key("consumer_key"), CONSUMER_KEY.to_owned()));
        settings.push((key("max_users"), "1".to_owned()));
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, &**value)).collect();
    let sidecar = Sidecar::before(&sim.url(), &settings).await;
    (sim, sidecar)
}

fn client_id(number: usize) -> &'static str {
    format!("SIMULATOR-{number}").leak()
}

async fn send(sidecar: &Sidecar, registration: &Registration) -> Reply {
    let (target, signature) = registration.signed();
    let request = client()
        .post(format!("http://{}{target}", sidecar.proxy))
        .headers(registration.headers.clone())
        .header("signature", signature.unwrap())
        .body(registration.body.clone());
    read(patiently(request.send()).await.unwrap()).await
}

async fn ops(sidecar: &Sidecar, target: &str) -> Reply {
    let request = client().get(format!("http://{}{target}", sidecar.ops));
    read(patiently(request.send()).await.unwrap()).await
}

#[tokio::test]
async fn two_thousand_tenants_are_looked_at_served_and_told_of() {
    let (sim, sidecar) = start(TENANTS, options()).await;
    for number in SAMPLE {
        for (user, outcome) in [("a", "forwarded"), ("b", "evicted")] {
            let registration = Registration {
                client_id: client_id(number),
                ..Registration::of(user)
            };
            let reply = send(&sidecar, &registration).await;
            assert_eq!(
                (reply.status.as_u16(), reply.admission()),
                (200, outcome),
                "t{number}"
            );
        }
    }
    // Each has users of its own.
    assert_eq!(
        (sim.deletions(), sim.most_live(), sim.users().len()),
        (SAMPLE.len(), 1, 0)
    );
    patiently(sim.wait_for(|sim| sim.count(CallKind::List) >= TENANTS)).await;

    let text = String::from_utf8(ops(&sidecar, "/metrics").await.body.to_vec()).unwrap();
    let limits = text
        .lines()
        .filter(|line| line.starts_with("snaptrade_sidecar_user_limit{"));
    assert_eq!(limits.count(), TENANTS);
    for number in SAMPLE {
        for series in [
            format!("evictions_total{{tenant=\"t{number}\",outcome=\"evicted\"}} 1"),
            format!("requests_total{{tenant=\"t{number}\",route=\"register\",status=\"200\"}} 2"),
        ] {
            let line = format!("snaptrade_sidecar_{series}");
            assert!(text.lines().any(|have| have == line), "no {line}");
        }
    }
    let summary = ops(&sidecar, "/").await.json();
    assert_eq!(summary["tenants"].as_array().unwrap().len(), TENANTS);
    let status = ops(&sidecar, "/api/snaptrade/status?tenant=t999").await.json();
    assert_eq!(status["status"]["users"], serde_json::json!(["b"]));
    let unknown = ops(&sidecar, "/api/snaptrade/status?tenant=t0").await;
    let told = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert!(told.ends_with(" and 1980 more."), "{told}");
    sidecar.stop().await;
}

#[tokio::test]
async fn tenants_are_looked_at_eight_at_a_time() {
    const COUNT: usize = 40;
    let slow = Options {
        round_trip: std::time::Duration::from_millis(20),
        ..options()
    };
    let (sim, sidecar) = start(COUNT, slow).await;
    let most = AtomicUsize::new(0);
    let all_answered = |sim: &Simulator| {
        let calls = sim.calls();
        let waiting = calls.iter().filter(|call| call.status.is_none()).count();
        most.fetch_max(waiting, Ordering::Relaxed);
        calls.len() == COUNT && waiting == 0
    };
    patiently(sim.wait_for(all_answered)).await;
    assert_eq!(most.into_inner(), 8);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_call_is_counted_for_its_own_tenant() {
    let (_sim, sidecar) = start(3, options()).await;
    for (client_id, times) in [("SIMULATOR-2", 2), ("SIMULATOR-3", 1), ("SIMULATOR-4", 4)] {
        for _ in 0..times {
            let target = format!("http://{}/accounts?clientId={client_id}", sidecar.proxy);
            let request = client().request(Method::GET, target).headers(HeaderMap::new());
            let reply = patiently(request.body(Bytes::new()).send()).await.unwrap();
            assert_eq!(reply.status(), 200);
        }
    }
    let text = String::from_utf8(ops(&sidecar, "/metrics").await.body.to_vec()).unwrap();
    for (tenant, count) in [("t2", 2), ("t3", 1), ("unknown", 4)] {
        let line = format!(
            "snaptrade_sidecar_requests_total{{tenant=\"{tenant}\",route=\"other\",status=\"200\"}} {count}"
        );
        assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_remembered_belongs_to_the_key_and_not_to_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("registry.db").display());
    let two = Options {
        tenants: 2,
        ..options()
    };
    let sim = Simulator::start(two, ANY_PORT.parse().unwrap()).await.unwrap();
    let registry = ("registry.url", &*url);
    let sidecar = Sidecar::before(&sim.url(), &[registry]).await;
    assert_eq!(send(&sidecar, &Registration::of("a")).await.status, 200);
    sidecar.stop().await;

    // Under the name that the first key had there is another now.
    let renamed = [
        registry,
        ("tenants.default.client_id", client_id(2)),
        ("tenants.old.client_id", CLIENT_ID),
        ("tenants.old.consumer_key", CONSUMER_KEY),
    ];
    let sidecar = Sidecar::before(&sim.url(), &renamed).await;
    let of_the_other = Registration {
        client_id: client_id(2),
        ..Registration::of("b")
    };
    assert_eq!(send(&sidecar, &of_the_other).await.status, 200);
    let known = async |name: &str| {
        let users = ops(&sidecar, &format!("/api/tenants/{name}/users")).await.json();
        let user = &users["users"][0];
        let told = (user["user_id"].clone(), user["known_by"].clone());
        (users["users"].as_array().unwrap().len(), told)
    };
    assert_eq!(known("old").await, (1, (json!("a"), json!("own"))));
    assert_eq!(known("default").await, (1, (json!("b"), json!("own"))));
    let journal = ops(&sidecar, "/api/tenants/old/evictions?all=true").await.json();
    assert_eq!(journal["entries"][0]["newcomer"], "a", "{journal}");
    sidecar.stop().await;
}

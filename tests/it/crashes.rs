//! R7: what a crash left open is settled at the next start, by looking and never by deleting again.

use std::time::Duration;

use serde_json::Value;
use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Simulator};

use crate::harness::{FIVE, Registration, client, options, patiently, read};
use crate::program::{Program, remembering, simulator};

struct Started {
    program: Program,
    proxy: String,
    ops: String,
}

async fn start(sim: &Simulator, registry: &str) -> Started {
    let settling = [("SNAPTRADE_SIDECAR__TENANTS__DEFAULT__SETTLE_TIMEOUT", "2s")];
    let (program, ready) = remembering(sim, registry, &settling).await;
    let text = |field: &str| ready[field].as_str().unwrap().to_owned();
    Started {
        proxy: text("proxy"),
        ops: text("ops"),
        program,
    }
}

/// The journal, oldest first: event, user and outcome.
async fn journal(started: &Started) -> Vec<(String, String, String)> {
    let url = format!("{}/api/tenants/default/evictions?all=true", started.ops);
    let reply = read(client().get(url).send().await.unwrap()).await;
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = reply.json()["entries"].as_array().unwrap().clone();
    let entries = entries.iter().rev();
    entries
        .map(|entry| {
            (
                text(entry, "event"),
                text(entry, "user_id"),
                text(entry, "outcome"),
            )
        })
        .collect()
}

fn entry(event: &str, user: &str, outcome: &str) -> (String, String, String) {
    (event.to_owned(), user.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn r7_a_deletion_that_a_crash_cut_short_is_settled_by_looking() {
    // SnapTrade has done it, or has not and never will.
    for (kind, outcome, left) in [
        (FaultKind::DelayAfter(Duration::from_mins(1)), "evicted", 4),
        (FaultKind::Delay(Duration::from_hours(1)), "unsettled", 5),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let registry = format!("sqlite://{}", directory.path().join("registry.db").display());
        let sim = simulator(options()).await;
        for user in FIVE {
            sim.add_user(user);
        }
        let mut first = start(&sim, &registry).await;
        first.program.logged("SnapTrade answers for this key").await;
        sim.inject(Fault::new(FaultCall::Delete, kind));
        let request = Registration::of("new").request(&first.proxy);
        let cut_short = tokio::spawn(request.send());
        patiently(sim.wait_for(|sim| sim.count(CallKind::Delete) == 1)).await;
        first.program.signal("KILL").await;
        assert!(cut_short.await.unwrap().is_err());

        let mut second = start(&sim, &registry).await;
        let said = "evictions were cut short the last time; looking what became of them";
        second.program.logged(said).await;
        second.program.logged("SnapTrade answers for this key").await;
        let expected = [entry("intent", "a", ""), entry("outcome", "a", outcome)];
        assert_eq!(journal(&second).await, expected);
        assert_eq!(sim.count(CallKind::Delete), 1, "deleted again");
        assert_eq!(sim.users().len(), left);
        second.program.signal("TERM").await;
        assert_eq!(second.program.end().await.code, Some(0));
    }
}

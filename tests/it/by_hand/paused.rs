//! A tenant that is paused by hand.

use http::Method;
use serde_json::json;
use snaptrade_sidecar::simulator::CallKind;

use super::{FORGOTTEN, ask, before, done, read};
use crate::harness::{FIVE, patiently};

#[tokio::test]
async fn a_paused_tenant_evicts_nobody_until_it_is_resumed() {
    let it = before(&FIVE, &[]).await;
    assert_eq!(
        done(&it, "pause").await,
        json!({"success": true, "tenant": "default", "paused": true, "note": FORGOTTEN})
    );
    assert_eq!(read(&it, "users").await["paused"], true);
    let summary = ask(&it, Method::GET, "/", None).await.json();
    assert_eq!(summary["tenants"][0]["paused"], true);
    let reply = it.register("new").await;
    assert_ne!(reply.status, 200);
    assert!(reply.admission().starts_with("unmanaged"), "{reply:?}");
    assert_eq!(it.sim.count(CallKind::Delete), 0);
    assert_eq!(
        done(&it, "resume").await,
        json!({"success": true, "tenant": "default", "paused": false})
    );
    assert_eq!(it.register("new").await.admission(), "evicted");
    assert_eq!(it.stop().await.code, Some(0));
}

/// Of one that has none, it would be the first to go.
#[tokio::test]
async fn r5_whom_snaptrade_registered_while_paused_has_an_age() {
    let it = before(&["a"], &[]).await;
    done(&it, "pause").await;
    assert_eq!(it.register("new").await.status, 200);
    patiently(async {
        loop {
            let users = read(&it, "users").await["users"].clone();
            let new = users
                .as_array()
                .unwrap()
                .iter()
                .find(|user| user["user_id"] == "new");
            if new.is_some_and(|user| user["known_by"] == "own") {
                break;
            }
        }
    })
    .await;
    assert_eq!(it.stop().await.code, Some(0));
}

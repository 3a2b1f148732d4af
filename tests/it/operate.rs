//! The operator's commands as processes, against a running sidecar.

use serde_json::Value;

use crate::harness::{FIVE, Harness, options};
use crate::program::{Ended, run};

const TOKEN: &str = "open-sesame-of-16";
const VARIABLE: (&str, &str) = ("SNAPTRADE_SIDECAR__OPS__TOKEN", TOKEN);

/// Runs a command against this sidecar, with its token.
async fn operate(it: &Harness, arguments: &[&str]) -> Ended {
    let listen = it.ops.to_string();
    run(
        arguments,
        &[VARIABLE, ("SNAPTRADE_SIDECAR__OPS__LISTEN", &listen)],
    )
    .await
}

async fn five() -> Harness {
    Harness::with_users(&FIVE, options(), &[("ops.token", TOKEN)]).await
}

fn told(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    &ended.out
}

/// What a command that failed said, which never is the token.
fn refused(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(!ended.err.contains(TOKEN), "{ended:?}");
    &ended.err
}

#[tokio::test]
async fn status_tells_how_every_tenant_stands() {
    let it = five().await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let ended = operate(&it, &["status"]).await;
    let lines: Vec<&str> = told(&ended).lines().collect();
    assert!(
        lines[0].starts_with(concat!("ok: version ", env!("CARGO_PKG_VERSION"), ", up ")),
        "{lines:?}"
    );
    assert_eq!(
        &lines[1..],
        [
            "tenant   mode     users  deleting  queued  registrations  evictions",
            "default  enforce  5/5    0         0       1              1",
        ]
    );
    let ended = operate(&it, &["status", "--json", "--tenant", "default"]).await;
    let summary: Value = serde_json::from_str(told(&ended)).unwrap();
    assert_eq!(summary["tenants"][0]["evictions"], 1);
    let ended = operate(&it, &["status", "--tenant", "nobody"]).await;
    assert!(refused(&ended).contains("The tenants are: default."), "{ended:?}");
    it.stop().await;
}

#[tokio::test]
async fn where_nothing_listens_it_says_how_to_find_it() {
    let it = five().await;
    let url = format!("http://{}", it.ops);
    it.stop().await;
    for arguments in [
        &["status", "--url", &url][..],
        &["users", "--url", &url],
        &["evict", "a", "--yes", "--url", &url],
    ] {
        let ended = run(arguments, &[]).await;
        let said = refused(&ended);
        assert!(
            said.starts_with(&format!("error: no answer from {url}: ")),
            "{said}"
        );
        assert!(said.contains("ops.listen") && said.contains("--url"), "{said}");
    }
}

#[tokio::test]
async fn what_is_not_the_sidecar_is_told_as_that() {
    let it = five().await;
    let other = it.sim.url();
    let ended = run(&["users", "--tenant", "default", "--url", &other], &[]).await;
    assert!(refused(&ended).contains("not as the sidecar does"), "{ended:?}");
    it.stop().await;
}

//! The operator's commands as processes, against a running sidecar.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use snaptrade_sidecar::simulator::CallKind;

use crate::by_hand::{TOKEN, before};
use crate::harness::{FIVE, options};
use crate::program::{Ended, Sidecar, run, simulator};

const VARIABLE: (&str, &str) = ("SNAPTRADE_SIDECAR__OPS__TOKEN", TOKEN);

/// Runs a command against this sidecar, with its token.
pub(crate) async fn operate(it: &Sidecar, arguments: &[&str]) -> Ended {
    let listen = it.ops.trim_start_matches("http://");
    run(arguments, &[VARIABLE, ("SNAPTRADE_SIDECAR__OPS__LISTEN", listen)]).await
}

/// What a command said that did what it was told.
pub(crate) fn told(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    &ended.out
}

/// What a command that failed said, which never is the token.
pub(crate) fn refused(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(!ended.err.contains(TOKEN), "{ended:?}");
    &ended.err
}

/// The cells of a table's rows, without its heading: no cell of these tests has two spaces in it.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().skip(1);
    let cells = |line| {
        str::split(line, "  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
    };
    lines.map(|line| cells(line).collect()).collect()
}

#[tokio::test]
async fn status_tells_how_every_tenant_stands() {
    let it = before(&FIVE, &[]).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    let ended = operate(&it, &["status"]).await;
    let lines: Vec<&str> = told(&ended).lines().collect();
    let version = concat!("ok: version ", env!("CARGO_PKG_VERSION"), ", up ");
    assert!(lines[0].starts_with(version), "{lines:?}");
    assert!(lines[0].ends_with(", registry memory:"), "{lines:?}");
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
    assert_eq!(summary["registry"], "memory:");
    let ended = operate(&it, &["status", "--tenant", "nobody"]).await;
    assert!(refused(&ended).contains("The tenants are: default."), "{ended:?}");
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn status_does_not_begin_with_ok_alone_where_snaptrade_refuses_the_key() {
    let it = before(&FIVE, &[("tenants.default.consumer_key", "another-key")]).await;
    let ended = operate(&it, &["users"]).await;
    assert!(
        refused(&ended).contains("listUsers was answered with 401"),
        "{ended:?}"
    );
    // That it could be asked is what the exit code says.
    let ended = operate(&it, &["status"]).await;
    let text = told(&ended);
    assert!(text.starts_with("ok, with a problem: version "), "{text}");
    assert!(
        text.ends_with(
            "\nproblem: tenant default: the users cannot be counted: listUsers was answered with 401; check client_id and \
             consumer_key, and this machine's clock. Calls are forwarded, and nobody is evicted.\n"
        ),
        "{text}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn users_and_what_was_done_to_them_are_tables() {
    let it = before(&["a", "b\u{1b}[2J\u{e9}"], &[]).await;
    assert_eq!(
        told(&operate(&it, &["protect", "a"]).await),
        "a is protected: it is not evicted\nnote: until this sidecar restarts, since it remembers in memory only \
         (registry.url = \"memory:\")\n"
    );
    let ended = operate(&it, &["users"]).await;
    let (heading, table) = told(&ended).split_once('\n').unwrap();
    assert_eq!(heading, "tenant default: 2 of 5 users, mode enforce");
    let rows = rows(table);
    let names: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(names, [("1", "b\\u{1b}[2J\\u{e9}"), ("-", "a")]);
    assert_eq!(rows[1].last(), Some(&"protected: by-hand"));
    // The exact id is in the JSON, and that is harmless too.
    let ended = operate(&it, &["users", "--json"]).await;
    assert!(
        told(&ended).is_ascii() && !ended.out.contains('\u{1b}'),
        "{ended:?}"
    );
    let users: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(users["users"][0]["user_id"], "b\u{1b}[2J\u{e9}");
    let ended = operate(&it, &["evictions"]).await;
    let table = told(&ended);
    assert_eq!(table.lines().count(), 2, "{table}");
    let row = &self::rows(table)[0];
    assert_eq!((row[2], row[3], row[4]), ("manual", "protect", "a"));
    assert_eq!(
        told(&operate(&it, &["unprotect", "a"]).await),
        "done: a has no protection by hand\n"
    );
    assert_eq!(
        told(&operate(&it, &["evictions", "--before", "0"]).await),
        "nothing\n"
    );
    let ended = operate(&it, &["evictions", "--limit", "1"]).await;
    let last = told(&ended).lines().last().unwrap();
    let before = last.strip_prefix("older: --before ").unwrap();
    let ended = operate(&it, &["evictions", "--all", "--before", before]).await;
    assert!(told(&ended).contains("  protect  "), "{ended:?}");
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn evict_deletes_one_user_and_only_if_it_is_meant() {
    let it = before(&FIVE, &[]).await;
    let ended = operate(&it, &["evict", "b"]).await;
    assert!(refused(&ended).contains("give --yes if you mean it"), "{ended:?}");
    assert_eq!(it.sim.count(CallKind::Delete), 0);
    let ended = operate(&it, &["evict", "b", "--yes"]).await;
    assert_eq!(told(&ended), "b is deleted\n");
    assert_eq!(it.sim.users(), ["a", "c", "d", "e"]);
    let ended = operate(&it, &["evict", "--yes", "--json", "c"]).await;
    let answer: Value = serde_json::from_str(told(&ended)).unwrap();
    assert_eq!(answer["outcome"], "evicted");
    let ended = operate(&it, &["evict", "b", "--yes"]).await;
    assert!(
        refused(&ended).contains("does not list this user. (404)"),
        "{ended:?}"
    );
    told(&operate(&it, &["protect", "d"]).await);
    let ended = operate(&it, &["evict", "d", "--yes"]).await;
    let said = refused(&ended);
    assert!(
        said.contains("protected by hand: unprotect it first") && said.contains("(409)"),
        "{said}"
    );
    assert_eq!(it.sim.users(), ["a", "d", "e"]);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn pause_and_resume_say_what_happens_now() {
    let it = before(&FIVE, &[]).await;
    let ended = operate(&it, &["pause"]).await;
    assert!(
        told(&ended).starts_with("tenant default is paused: "),
        "{ended:?}"
    );
    let ended = operate(&it, &["status"]).await;
    assert!(told(&ended).contains("  enforce (paused)  "), "{ended:?}");
    assert!(it.register("new").await.admission().starts_with("unmanaged"));
    let ended = operate(&it, &["resume"]).await;
    assert!(
        told(&ended).starts_with("done: tenant default is not paused"),
        "{ended:?}"
    );
    assert_eq!(it.register("new").await.admission(), "evicted");
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn r13_the_token_comes_from_a_variable_or_a_file_and_is_never_printed() {
    let it = before(&FIVE, &[]).await;
    let url = it.ops.as_str();
    let ended = run(&["users", "--url", url], &[]).await;
    assert!(
        refused(&ended).contains("wants its token (401): set SNAPTRADE_SIDECAR__OPS__TOKEN"),
        "{ended:?}"
    );
    let another = [("SNAPTRADE_SIDECAR__OPS__TOKEN", "another-token-of-16")];
    for arguments in [
        &["users", "--url", url][..],
        &["protect", "a", "--url", url],
        &["evict", "a", "--yes", "--url", url],
    ] {
        let ended = run(arguments, &another).await;
        let said = refused(&ended);
        assert!(
            said.contains("has another token (401)") && !said.contains(another[0].1),
            "{said}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    // The file that is named wins over what is configured.
    let ended = run(&["users", "--url", url, "--token-file", file], &another).await;
    assert!(
        told(&ended).starts_with("tenant default: 5 of 5 users"),
        "{ended:?}"
    );
    let configured = [("SNAPTRADE_SIDECAR__OPS__TOKEN_FILE", file)];
    told(&run(&["users", "--url", url], &configured).await);
    let ended = run(&["users", "--url", url, "--token-file", "missing"], &[VARIABLE]).await;
    assert!(refused(&ended).contains("missing cannot be read"), "{ended:?}");
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn of_several_tenants_one_is_named_unless_it_is_the_default() {
    let one_more = [
        ("tenants.other.client_id", "OTHER"),
        ("tenants.other.consumer_key", "k"),
    ];
    let it = before(&FIVE, &one_more).await;
    assert!(told(&operate(&it, &["pause"]).await).starts_with("tenant default is paused"));
    let ended = operate(&it, &["pause", "--tenant", "other"]).await;
    assert!(told(&ended).starts_with("tenant other is paused"), "{ended:?}");
    let ended = operate(&it, &["pause", "--tenant", "nobody"]).await;
    assert!(
        refused(&ended).contains("The tenants are: default, other. (404)"),
        "{ended:?}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn where_nothing_listens_it_says_how_to_find_it() {
    let it = before(&FIVE, &[]).await;
    let url = it.ops.clone();
    assert_eq!(it.stop().await.code, Some(0));
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
    let other = simulator(options()).await;
    for arguments in [
        &["users", "--tenant", "default", "--url", &other.url()][..],
        &["users", "--url", &other.url()],
    ] {
        let ended = run(arguments, &[]).await;
        assert!(refused(&ended).contains("not as the sidecar does"), "{ended:?}");
    }
}

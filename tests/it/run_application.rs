//! `run`: what the application gets, and what becomes of its status.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use snaptrade_sidecar::simulator::Simulator;

use crate::harness::{ANY_PORT, CLIENT_ID, FIVE, Registration, options};
use crate::program::{Ended, Program, TWO_VARIABLES, run, simulator};

const TOKEN: &str = "open-sesame-9d1f";
const PASSWORD: &str = "pass-of-the-registry";

/// Where programs are found, and what a complete configuration is.
pub(crate) fn variables<'v>(path: &'v str, more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    [&TWO_VARIABLES[..], &[("PATH", path)], more].concat()
}

pub(crate) fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// `run` with these options before the command, before `sim`.
pub(crate) fn start(sim: &Simulator, options: &[&str], command: &[&str], more: &[(&str, &str)]) -> Program {
    let url = sim.url();
    let upstream = ["run", "--upstream", &url];
    let arguments = [&upstream[..], options, &["--"], command].concat();
    Program::start(&arguments, &variables(&path(), more))
}

async fn ended(command: &[&str], more: &[(&str, &str)]) -> Ended {
    start(&simulator(options()).await, &[], command, more).end().await
}

#[tokio::test]
async fn the_application_is_told_where_the_sidecar_is_and_keeps_its_port() {
    let sim = simulator(options()).await;
    // One that is taken: had the sidecar wanted it, it would not have started.
    let port = sim.addr().port().to_string();
    let script = "echo $SNAPTRADE_API_HOST; echo $SNAPTRADE_SIDECAR_OPS_URL; echo $PORT; echo $SNAPTRADE_CLIENT_ID; exit 7";
    let ended = start(&sim, &[], &["sh", "-c", script], &[("PORT", &port)])
        .end()
        .await;
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let ready = &ended.logged("snaptrade-sidecar is ready")[0];
    let [proxy, ops] = ["proxy", "ops"].map(|part| ready[part].as_str().unwrap());
    assert_eq!(ended.out, format!("{proxy}\n{ops}\n{port}\n{CLIENT_ID}\n"));
    for place in [proxy, ops] {
        assert!(place.starts_with("http://127.0.0.1:"), "{place}");
        assert!(!place.ends_with(":8080") && !place.ends_with(":9090"), "{place}");
    }
    assert_eq!(ended.logged("stopped").len(), 1);
    assert_eq!(ended.err.matches("WARN").count(), 0, "{}", ended.err);
}

#[tokio::test]
async fn an_address_that_is_configured_is_used() {
    let script = "echo $SNAPTRADE_API_HOST; echo $SNAPTRADE_SIDECAR_OPS_URL";
    let listen = [
        ("SNAPTRADE_SIDECAR__PROXY__LISTEN", "0.0.0.0:0"),
        ("SNAPTRADE_SIDECAR__OPS__LISTEN", "127.0.0.2:0"),
    ];
    let ended = ended(&["sh", "-c", script], &listen).await;
    let ready = &ended.logged("snaptrade-sidecar is ready")[0];
    let [proxy, ops] = ["proxy", "ops"].map(|part| ready[part].as_str().unwrap());
    let near = proxy.replace("//0.0.0.0:", "//127.0.0.1:");
    assert!(proxy != near && ops.starts_with("http://127.0.0.2:"), "{ready}");
    assert_eq!(ended.out, format!("{near}\n{ops}\n"));
}

/// In Python, without a library: what any backend does.
const BACKEND: &str = r#"
import json, os, sys, urllib.request
call = os.environ["SNAPTRADE_API_HOST"] + sys.argv[1]
request = urllib.request.Request(call, sys.argv[3].encode(), {"Content-Type": "application/json", "Signature": sys.argv[2]})
with urllib.request.urlopen(request) as reply:
    print(reply.headers["Snaptrade-Sidecar-Admission"], reply.headers["Snaptrade-Sidecar-Evicted"])
"#;

#[tokio::test]
async fn the_application_registers_by_way_of_the_sidecar_and_room_is_made() {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let registration = Registration::of("new");
    let (target, signature) = registration.signed();
    let body = String::from_utf8(registration.body.to_vec()).unwrap();
    let command = ["python3", "-c", BACKEND, &target, &signature.unwrap(), &body];
    let ended = start(&sim, &[], &command, &[]).end().await;
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "evicted a\n"),
        "{ended:?}"
    );
    assert_eq!(sim.users(), ["b", "c", "d", "e", "new"]);
}

#[tokio::test]
async fn the_operators_commands_find_the_sidecar_that_runs_beside() {
    let own = env!("CARGO_BIN_EXE_snaptrade-sidecar");
    let ended = ended(&["sh", "-c", "$0 health --ready && $0 status --json", own], &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains(r#"{"ok":true,"reasons":[]}"#), "{}", ended.out);
    assert!(ended.out.contains(r#""tenants":"#), "{}", ended.out);
}

#[tokio::test]
async fn the_operators_secrets_are_kept_from_the_application_and_its_arguments_from_the_log() {
    let registry = format!("postgres://somebody:{PASSWORD}@127.0.0.1:1/nothing");
    let argument = "argument-2b7e";
    let more = [
        ("SNAPTRADE_SIDECAR__OPS__TOKEN", TOKEN),
        ("SNAPTRADE_SIDECAR__REGISTRY__URL", &registry),
        ("SNAPTRADE_SIDECAR__LOG__LEVEL", "trace"),
        ("SECRET_OF_ITS_OWN", "variable-77aa"),
    ];
    let ended = ended(&["sh", "-c", "env; echo $0", argument], &more).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (name, _) in &more[..2] {
        assert!(!ended.out.contains(name), "{}", ended.out);
    }
    let key = format!("SNAPTRADE_CONSUMER_KEY={}", TWO_VARIABLES[1].1);
    for kept in [
        &key,
        "SNAPTRADE_SIDECAR__LOG__LEVEL=trace",
        "SECRET_OF_ITS_OWN=variable-77aa",
        argument,
    ] {
        assert!(ended.out.lines().any(|line| line == kept), "{}", ended.out);
    }
    for secret in [TOKEN, PASSWORD, TWO_VARIABLES[1].1, argument, "variable-77aa"] {
        assert!(!ended.err.contains(secret), "{secret} is in\n{}", ended.err);
    }
    assert_eq!(ended.logged("starting the application")[0]["program"], "sh");
}

#[tokio::test]
async fn a_signal_that_ends_the_application_is_in_the_exit_code() {
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        let ended = ended(&["sh", "-c", &format!("kill -{signal} $$")], &[]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.logged("stopped").len(), 1, "{}", ended.err);
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_named_with_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let stale = file("stale", "#!/nowhere/python\n", 0o755);
    let nothing = folder.path().join("nothing").to_str().unwrap().to_owned();
    let path = format!("{}:{}", folder.path().display(), path());
    for (command, code, why) in [
        ("no-such-program", 127, "there is no such program in PATH"),
        (
            "sh -c true",
            127,
            "there is no such program in PATH; it has a space in its name: leave out the quotes around a command and its \
             arguments",
        ),
        (
            "./app.py --port 8000",
            127,
            "there is no such file; it has a space in its name: leave out the quotes around a command and its arguments",
        ),
        (nothing.as_str(), 127, "there is no such file"),
        (
            stale.as_str(),
            127,
            "the interpreter that its first line names is not there",
        ),
        (
            "stale",
            127,
            "it is in PATH, but the interpreter that its first line names is not there",
        ),
        (plain.as_str(), 126, "Permission denied (os error 13)"),
    ] {
        let ended = ended(&[command, "argument"], &[("PATH", &path)]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let expected = format!("error: cannot start {command}: {why}");
        assert!(ended.err.lines().any(|line| line == expected), "{}", ended.err);
        assert_eq!(ended.logged("stopped").len(), 1, "{}", ended.err);
    }
}

#[tokio::test]
async fn a_sidecar_that_cannot_start_starts_no_application() {
    let taken = simulator(options()).await;
    let address = taken.addr().to_string();
    let command = ["--", "sh", "-c", "echo started"];
    for (arguments, environment, code, why) in [
        (&["run"][..], &[][..], 78, "the configuration has a fault"),
        (
            &["run", "--listen", &address],
            &TWO_VARIABLES[..],
            71,
            "cannot listen on",
        ),
        (
            &["run", "--ops-listen", &address, "--listen", ANY_PORT],
            &TWO_VARIABLES,
            71,
            "(ops.listen)",
        ),
    ] {
        let ended = run(&[arguments, &command].concat(), environment).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.err.contains(why), "{}", ended.err);
    }
}

#[tokio::test]
async fn the_command_stands_after_two_dashes() {
    for arguments in [&["run"][..], &["run", "sh"], &["run", "--"]] {
        let ended = run(arguments, &TWO_VARIABLES).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.err.contains("-- <COMMAND>..."), "{}", ended.err);
    }
}

/// The sidecar raises the limit for itself; programs that use select(2) do not work beyond 1024.
#[tokio::test]
async fn the_application_may_have_as_many_files_open_as_without_the_sidecar() {
    let sim = simulator(options()).await;
    let url = sim.url();
    let own = env!("CARGO_BIN_EXE_snaptrade-sidecar");
    let script = r#"ulimit -Sn 256; exec "$0" run --upstream "$1" -- sh -c "ulimit -Sn""#;
    let program = Program::of("sh", &["-c", script, own, &url], &variables(&path(), &[]));
    let ended = program.end().await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "256\n"), "{ended:?}");
}

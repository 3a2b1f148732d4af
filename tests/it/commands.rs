//! `check`, `health` and `demo` as processes: what they print, and how they exit.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::{fs, io};

use crate::harness::Harness;
use crate::program::{Program, TWO_VARIABLES, command, run};

const SECRETS: [&str; 3] = ["s3cret-consumer-key", "s3cret-token", "s3cret-of-env-file"];

fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
}

#[tokio::test]
async fn r13_check_prints_what_is_in_effect_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let env_file = folder.path().join("env");
    fs::write(
        &env_file,
        "SNAPTRADE_SIDECAR__TENANTS__OTHER__CONSUMER_KEY=s3cret-of-env-file\n",
    )
    .unwrap();
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o644)).unwrap();
    let arguments = [
        "check",
        "--env-file",
        env_file.to_str().unwrap(),
        "--set=ops.token=s3cret-token-of-16",
        "--set=tenants.other.client_id=OTHER",
        "--set=tenants.default.max_users=20",
    ];
    let environment = [
        ("SNAPTRADE_CLIENT_ID", "MINE"),
        ("SNAPTRADE_CONSUMER_KEY", "s3cret-consumer-key"),
        ("PORT", "9999"),
        ("FRONTEND_URL", "https://app.example.com/home"),
    ];
    let ended = run(&arguments, &environment).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_no_secret(&ended.out);
    assert_no_secret(&ended.err);
    for line in [
        "listen = \"0.0.0.0:9999\" # environment variable PORT",
        "allowed_origins = [\"https://app.example.com\"] # environment variable FRONTEND_URL",
        "token = \"[redacted]\" # command line",
        "[tenants.default]",
        "client_id = \"MINE\" # environment variable SNAPTRADE_CLIENT_ID",
        "consumer_key = \"[redacted]\" # environment variable SNAPTRADE_CONSUMER_KEY",
        "max_users = 20 # command line",
        "[tenants.other]",
        "settle_timeout = \"20s\"",
    ] {
        assert!(
            ended.out.lines().any(|printed| printed == line),
            "no {line:?} in:\n{}",
            ended.out
        );
    }
    let exposed = env_file.display();
    assert_eq!(
        ended.err,
        format!(
            "warning: {exposed} holds a secret (SNAPTRADE_SIDECAR__TENANTS__OTHER__CONSUMER_KEY) and every user of this machine can read it; chmod o-r {exposed}\n\
             the configuration is valid: 2 tenants\n"
        )
    );
    // What it prints is a configuration file, but for the secrets.
    let printed = folder.path().join("printed.toml");
    fs::write(&printed, &ended.out).unwrap();
    let again = run(&["check", "--config", printed.to_str().unwrap()], &[]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(
        again.err.matches("write the secret itself").count(),
        3,
        "{again:?}"
    );
    fs::write(&printed, ended.out.replace("[redacted]", "a-secret-for-now")).unwrap();
    let again = run(&["check", "--config", printed.to_str().unwrap()], &[]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[tokio::test]
async fn check_says_that_a_registry_cannot_be_where_it_is_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let url = |file: &str| format!("--set=registry.url=sqlite://{}/{file}", folder.path().display());
    let valid = "the configuration is valid: 1 tenant\n";
    let ended = run(&["check", &url("missing/x.db")], &TWO_VARIABLES).await;
    // Where the sidecar will run, it may be there.
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let at = folder.path().join("missing");
    let at = at.display();
    let said =
        format!("warning: the registry {at}/x.db cannot be created, its directory is missing; create {at}\n");
    assert_eq!(ended.err, said + valid);
    let ended = run(&["check", &url("x.db")], &TWO_VARIABLES).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), valid));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn r15_check_says_every_fault_at_once_with_its_key_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidecar.toml");
    let text = "\
[proxy]
listen = \"localhost\"
upstraem = \"https://api.snaptrade.com\"

[ops]
token = \"s3cret-token with a space\"

[tenants.default]
client_id = \"MINE\"
consumer_key = \"s3cret-consumer-key\"
max_users = 0
settle_timout = \"5s\"
";
    fs::write(&path, text).unwrap();
    let environment = [("SNAPTRADE_SIDECAR__PROXY__DRAIN_TIMEOUT", "soon")];
    let arguments = [
        "check",
        "--config",
        path.to_str().unwrap(),
        "--set=log.level=loud",
        "--set=ops.tokn=s3cret-token",
    ];
    let ended = run(&arguments, &environment).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_no_secret(&ended.err);
    let file = path.display();
    for fault in [
        "error: the configuration has 8 faults:".to_owned(),
        format!("- proxy.listen ({file}:2): "),
        format!("- proxy.upstraem ({file}:3): unknown key; did you mean proxy.upstream?"),
        format!("- ops.token ({file}:6): has spaces"),
        format!("- tenants.default.max_users ({file}:11): "),
        format!("- tenants.default.settle_timout ({file}:12): unknown key; did you mean"),
        "- proxy.drain_timeout (environment variable SNAPTRADE_SIDECAR__PROXY__DRAIN_TIMEOUT): ".to_owned(),
        "- log.level (command line): ".to_owned(),
        "- ops.tokn (command line): unknown key; did you mean ops.token?".to_owned(),
    ] {
        assert!(ended.err.contains(&fault), "no {fault:?} in:\n{}", ended.err);
    }
    // The fault ends `serve` in the same words.
    let arguments = [&["serve"], &arguments[1..]].concat();
    assert_eq!(run(&arguments, &environment).await.err, ended.err);
}

#[tokio::test]
async fn r13_a_file_that_is_not_toml_is_refused_without_quoting_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidecar.toml");
    fs::write(
        &path,
        "[tenants.default]\nconsumer_key = \"s3cret-consumer-key\nmax_users = 5\n",
    )
    .unwrap();
    let ended = run(&["check", "--config", path.to_str().unwrap()], &[]).await;
    assert_eq!(ended.code, Some(1));
    assert_no_secret(&ended.err);
    assert!(
        ended.err.contains(&format!("{}:2: ", path.display())),
        "{}",
        ended.err
    );
    let missing = run(&["check", "--config", "missing.toml"], &[]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("missing.toml"), "{}", missing.err);
    assert_eq!(missing.err.lines().count(), 2, "{}", missing.err);
}

#[tokio::test]
async fn r13_a_set_without_a_value_is_refused_without_quoting_it() {
    for arguments in [
        &["check", "--set=ops.token:s3cret-token"][..],
        &["--set", "s3cret-token"],
    ] {
        let ended = run(arguments, &[]).await;
        assert_eq!(ended.code, Some(2));
        assert!(
            ended.err.starts_with(
                "error: a --set has no \"=\"; write --set KEY=VALUE, such as --set log.level=debug\n"
            ),
            "{}",
            ended.err
        );
        assert_no_secret(&ended.err);
    }
}

#[tokio::test]
async fn the_reference_is_the_file_in_the_repository() {
    let ended = run(&["check", "--reference"], &[]).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/sidecar.toml");
    assert_eq!(ended.out, fs::read_to_string(file).unwrap());
}

/// `println!` would panic.
#[tokio::test]
async fn a_reader_that_leaves_early_is_no_failure() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut reference = command(&["check", "--reference"], &[]);
    let child = reference.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap()),
        (Some(0), String::new())
    );
}

#[tokio::test]
async fn health_exits_0_when_all_is_well_and_says_what_is_not() {
    let it = Harness::start().await;
    let (ops, proxy) = (format!("http://{}/", it.ops), format!("http://{}", it.proxy));
    for arguments in [
        &["health", "--url", &ops][..],
        &["health", "--ready", "--url", &ops],
        &["health", "--url", &proxy],
    ] {
        let ended = run(arguments, &[]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(
            (ended.out.as_str(), ended.err.as_str()),
            ("{\"ok\":true,\"reasons\":[]}\n", "")
        );
    }
    // Where it listens is read from the configuration that the sidecar itself has.
    let listen = format!("0.0.0.0:{}", it.ops.port());
    // The keys may be in a file that only `serve` is given.
    let configured = [("SNAPTRADE_SIDECAR__OPS__LISTEN", listen.as_str())];
    assert_eq!(run(&["health"], &configured).await.code, Some(0));

    // Something that answers 200 is not yet the sidecar.
    let other = it.sim.url();
    let ended = run(&["health", "--url", &format!("{other}/_simulator?")], &[]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.err.contains("but not as the sidecar does"), "{}", ended.err);

    let gone = it.ops;
    it.stop().await;
    let ended = run(&["health", "--url", &ops], &[]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(
        ended
            .err
            .starts_with(&format!("error: no answer from http://{gone}/healthz: ")),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn the_demo_runs_through_and_keeps_its_promise() {
    let ended = run(&["demo", "--exit"], &[]).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(
        ended
            .out
            .ends_with("\n\n6 users registered, 1 deleted to make room, never more than 5 at once.\n"),
        "{}",
        ended.out
    );
    assert_eq!(ended.out.matches("  => 200 in ").count(), 6, "{}", ended.out);
    assert_eq!(
        ended
            .out
            .matches("(Snaptrade-Sidecar-Admission: forwarded)")
            .count(),
        5
    );
    assert!(
        ended
            .out
            .contains("calls, evicted ada  (Snaptrade-Sidecar-Admission: evicted)"),
        "{}",
        ended.out
    );
    assert_eq!(ended.out.matches("deleteUser    200  ada\n").count(), 1);
}

#[tokio::test]
async fn the_demo_stays_up_until_it_is_interrupted() {
    let mut program = Program::start(&["demo"], &[]);
    let health = program.said("health  ").await;
    let url = health
        .split_whitespace()
        .last()
        .unwrap()
        .strip_suffix("/healthz")
        .unwrap()
        .to_owned();
    let asked = run(&["health", "--ready", "--url", &url], &[]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    // By the token that it names, everything can be tried.
    let dashboard = program.said("/dashboard (sign in with ").await;
    let (_, token) = dashboard.split_once("(sign in with ").unwrap();
    let token = token.strip_suffix(')').unwrap();
    let token = [("SNAPTRADE_SIDECAR__OPS__TOKEN", token)];
    for (arguments, said) in [
        (&["users"][..], "tenant default: 5 of 5 users, mode enforce\n"),
        (&["evict", "grace", "--yes"], "grace is deleted\n"),
        (&["pause"], "tenant default is paused: "),
    ] {
        let done = run(&[arguments, &["--url", &url]].concat(), &token).await;
        assert!(done.code == Some(0) && done.out.starts_with(said), "{done:?}");
    }
    let asked = run(&["users", "--url", &url], &[]).await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(
        asked.err.contains("set SNAPTRADE_SIDECAR__OPS__TOKEN"),
        "{asked:?}"
    );
    program.signal("INT").await;
    let ended = program.end().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_command_that_there_is_not_says_which_there_are() {
    let ended = run(&["sreve"], &[]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("serve"), "{}", ended.err);
    let help = run(&["--help"], &[]).await;
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    let commands =
        "serve demo simulate check health status users evictions evict protect unprotect pause resume";
    for command in commands.split(' ') {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command} is not in:\n{}",
            help.out
        );
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_is_right() {
    for (arguments, said) in [
        (
            &["health", "--url", "localhost:9090"][..],
            "'--url <URL>': it is not a URL; write http://127.0.0.1:9090",
        ),
        (&["status", "--url", ""], "it is not a URL"),
        (
            &["replay", "--order", "oldest,newest"],
            "'--order <KEYS>': newest is no key; known are oldest, ",
        ),
    ] {
        let ended = run(arguments, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.err.contains(said), "{ended:?}");
    }
}

#[tokio::test]
async fn an_option_before_the_command_is_told_where_it_belongs() {
    let ended = run(&["--config", "a.toml", "status"], &[]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("options stand after the command"), "{ended:?}");
}

//! `serve` as a process: how it starts, what it says, and how it ends.

use std::os::unix::fs::PermissionsExt as _;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{ANY_PORT, CLIENT_ID, CONSUMER_KEY, PATIENCE, Registration, options};
use crate::program::{Program, Sidecar, TWO_VARIABLES, command, run, simulator};

#[tokio::test]
async fn two_variables_are_enough_with_and_without_the_subcommand() {
    for subcommand in [&["serve"][..], &[]] {
        let sim = simulator(options()).await;
        let url = sim.url();
        let listen = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT, "--upstream", &url];
        let mut program = Program::start(&[subcommand, &listen].concat(), &TWO_VARIABLES);
        let ready = program.logged("snaptrade-sidecar is ready").await;
        assert_eq!(ready["level"], "INFO");
        assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(ready["upstream"], url);
        assert_eq!(ready["registry"], "memory:");
        assert_eq!(ready["tenants"], "default (enforce, at most 5 users)");
        for address in ["proxy", "ops"] {
            let address = ready[address].as_str().unwrap();
            assert!(
                address.starts_with("http://127.0.0.1:") && !address.ends_with(":0"),
                "{ready}"
            );
        }
        let seen = program.logged("SnapTrade answers for this key").await;
        assert_eq!(
            (&seen["tenant"], &seen["users"], &seen["limit"]),
            (&"default".into(), &0.into(), &5.into())
        );
        program.signal("TERM").await;
        let ended = program.end().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.out, "");
        assert_eq!(ended.logged("snaptrade-sidecar is ready").len(), 1);
        assert_eq!(ended.err.lines().count(), 4, "{}", ended.err);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = simulator(options()).await;
    let address = taken.addr().to_string();
    for (listen, ops, key) in [
        (address.as_str(), ANY_PORT, "proxy.listen"),
        (ANY_PORT, address.as_str(), "ops.listen"),
    ] {
        let ended = run(&["--listen", listen, "--ops-listen", ops], &TWO_VARIABLES).await;
        assert_eq!(ended.code, Some(71));
        let expected = format!(
            "error: cannot listen on {address} ({key}); another program has this port, perhaps another sidecar: stop \
             it, or choose another address: Address already in use (os error 98)\n"
        );
        assert_eq!(ended.err, expected);
    }
}

#[tokio::test]
async fn a_missing_key_is_named_with_what_to_do() {
    for (environment, missing) in [
        (
            &[][..],
            "set the environment variables SNAPTRADE_CLIENT_ID and SNAPTRADE_CONSUMER_KEY",
        ),
        (&TWO_VARIABLES[..1], "SNAPTRADE_CONSUMER_KEY"),
        (&TWO_VARIABLES[1..], "SNAPTRADE_CLIENT_ID"),
    ] {
        let ended = run(&[], environment).await;
        assert_eq!(ended.code, Some(78));
        assert!(
            ended.err.starts_with("error: the configuration has a fault:\n- "),
            "{}",
            ended.err
        );
        assert!(ended.err.contains(missing), "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 2, "{}", ended.err);
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_said_at_once_and_ends_nothing() {
    let sim = simulator(options()).await;
    sim.stop();
    let mut it = Sidecar::start(sim, &[]).await;
    let warning = it
        .program
        .logged("cannot count the users; calls are forwarded all the same")
        .await;
    assert_eq!(warning["level"], "WARN");
    assert!(
        warning["error"].as_str().unwrap().contains("Connection refused"),
        "{warning}"
    );
    let reply = it.get(&format!("{}/accounts", it.proxy)).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (502, &"sidecar_upstream_unreachable".into())
    );
    assert_eq!(it.get(&format!("{}/readyz", it.proxy)).await.status, 200);
    assert_eq!(it.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_wrong_consumer_key_is_said_at_once() {
    let wrong = Options {
        consumer_key: "another key".into(),
        ..options()
    };
    let mut it = Sidecar::start(simulator(wrong).await, &[]).await;
    let error = it
        .program
        .logged(
            "SnapTrade does not accept this key: check client_id and consumer_key, and this machine's clock",
        )
        .await;
    assert_eq!(
        (&error["level"], &error["tenant"]),
        (&"ERROR".into(), &"default".into())
    );
    assert!(error["error"].as_str().unwrap().contains("401"), "{error}");
    assert_eq!(it.stop().await.code, Some(0));
}

/// A call that is in flight for as long as its body is held back.
struct Held(TcpStream);

impl Held {
    async fn begin(it: &Sidecar) -> Self {
        let mut stream = TcpStream::connect(it.proxy.strip_prefix("http://").unwrap())
            .await
            .unwrap();
        let head = "POST /_echo/held HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 11\r\n\r\nhello";
        stream.write_all(head.as_bytes()).await.unwrap();
        let arrived = it.sim.wait_for(|sim| sim.count(CallKind::Other) == 1);
        timeout(PATIENCE, arrived).await.unwrap();
        Self(stream)
    }

    /// Sends the rest, and reads until the sidecar closes the connection.
    async fn finish(mut self) -> String {
        self.0.write_all(b" world").await.unwrap();
        let mut reply = String::new();
        let read = timeout(PATIENCE, self.0.read_to_string(&mut reply)).await;
        read.unwrap().unwrap();
        reply
    }
}

#[tokio::test]
async fn a_signal_drains_with_what_is_in_flight_answered() {
    for signal in ["TERM", "INT"] {
        let mut it = Sidecar::start(simulator(options()).await, &[]).await;
        let held = Held::begin(&it).await;
        it.program.signal(signal).await;
        it.program.logged("draining").await;

        let ready = it.get(&format!("{}/readyz", it.ops)).await;
        assert_eq!((ready.status.as_u16(), &ready.json()["ok"]), (503, &false.into()));
        assert_eq!(it.get(&format!("{}/healthz", it.ops)).await.status, 200);
        assert_eq!(it.get(&format!("{}/", it.ops)).await.json()["status"], "draining");
        let asked = run(&["health", "--ready", "--url", &it.ops], &[]).await;
        assert_eq!(asked.code, Some(1));
        assert!(
            asked.out.contains("draining") && asked.err.contains("503"),
            "{asked:?}"
        );

        let reply = held.finish().await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with("hello world"),
            "{reply}"
        );
        let ended = it.program.end().await;
        assert_eq!(ended.code, Some(0));
        assert!(
            ended
                .err
                .lines()
                .last()
                .unwrap()
                .contains("\"message\":\"stopped\""),
            "{}",
            ended.err
        );
        assert_eq!(ended.err.matches("WARN").count(), 0, "{}", ended.err);
    }
}

#[tokio::test]
async fn r4_nobody_is_evicted_after_sigterm_while_requests_are_still_accepted() {
    let sim = simulator(options()).await;
    let mut it = Sidecar::start(sim, &[("proxy.drain_delay", "1h")]).await;
    for user in crate::harness::FIVE {
        it.sim.add_user(user);
    }
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    let reply = it.register("new").await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=shutting-down")
    );
    assert_eq!(it.sim.deletions(), 0);
    it.program.signal("INT").await;
    assert_eq!(it.program.end().await.code, Some(130));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut it = Sidecar::start(simulator(options()).await, &[]).await;
    let _held = Held::begin(&it).await;
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    it.program.signal("INT").await;
    let ended = it.program.end().await;
    assert_eq!(ended.code, Some(130));
    let last = ended.logged("stopped at once, because a second signal came");
    assert_eq!((last.len(), &last[0]["level"]), (1, &"WARN".into()));
}

#[tokio::test]
async fn a_signal_and_its_echo_are_one() {
    let mut it = Sidecar::start(simulator(options()).await, &[]).await;
    let held = Held::begin(&it).await;
    it.program.signal("TERM").await;
    it.program.logged("draining").await;
    it.program.signal("TERM").await;
    // Too late for a reload, and no wish for a quicker end.
    it.program.signal("HUP").await;
    held.finish().await;
    let ended = it.program.end().await;
    assert_eq!(
        (ended.code, ended.logged("stopped").len()),
        (Some(0), 1),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn what_is_not_done_by_drain_timeout_is_cut_and_told() {
    let it = Sidecar::start(simulator(options()).await, &[("proxy.drain_timeout", "0s")]).await;
    it.sim.inject(Fault::new(FaultCall::Register, FaultKind::Hang));
    let (target, signature) = Registration::of("new").signed();
    let url = format!("{}{target}", it.proxy);
    let request = it.http.post(url).header("signature", signature.unwrap());
    let cut = tokio::spawn(request.body(Registration::of("new").body).send());
    let hanging = it.sim.wait_for(|sim| sim.count(CallKind::Register) == 1);
    timeout(PATIENCE, hanging).await.unwrap();
    it.program.signal("TERM").await;
    let ended = it.program.end().await;
    assert_eq!(ended.code, Some(0));
    let cuts = ended.logged("cut connections that were still open after drain_timeout");
    assert_eq!((cuts.len(), &cuts[0]["connections"]), (1, &1.into()));
    let left = ended.logged("left registrations unfinished after drain_timeout");
    assert_eq!((left.len(), &left[0]["count"]), (1, &1.into()));
    assert!(cut.await.unwrap().is_err());
}

#[tokio::test]
async fn file_environment_and_flags_lie_one_over_the_other() {
    let sim = simulator(options()).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, env_file) = (folder.path().join("sidecar.toml"), folder.path().join("env"));
    let key = folder.path().join("key");
    std::fs::write(&key, format!("{CONSUMER_KEY}\n")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "[ops]\nlisten = \"{ANY_PORT}\"\n[tenants.first]\nclient_id = \"{CLIENT_ID}\"\nmax_users = 7\n\
         consumer_key_file = \"{}\"\n[tenants.first.eviction]\nmode = \"off\"\n",
        key.display()
    );
    std::fs::write(&file, text).unwrap();
    std::fs::write(
        &env_file,
        "PORT=0\nSNAPTRADE_SIDECAR__TENANTS__FIRST__MAX_USERS=8\n",
    )
    .unwrap();
    let arguments = [
        "--env-file",
        env_file.to_str().unwrap(),
        "--upstream",
        &sim.url(),
        "--set=tenants.first.eviction.mode=observe",
    ];
    let environment = [
        ("SNAPTRADE_SIDECAR_CONFIG", file.to_str().unwrap()),
        ("SNAPTRADE_OPS_TOKEN", "mistyped"),
    ];
    let mut program = Program::start(&arguments, &environment);
    let ready = program.logged("snaptrade-sidecar is ready").await;
    assert_eq!(ready["tenants"], "first (observe, at most 8 users)");
    assert!(
        ready["proxy"].as_str().unwrap().starts_with("http://0.0.0.0:"),
        "{ready}"
    );
    program.logged("SnapTrade answers for this key").await;
    program.signal("TERM").await;
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0));
    let warnings: Vec<&str> = ended.err.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{}", ended.err);
    for expected in [
        "SNAPTRADE_OPS_TOKEN is not read; did you mean SNAPTRADE_SIDECAR__OPS__TOKEN?",
        "every user of this machine can read it; chmod o-r ",
    ] {
        assert!(
            warnings.iter().any(|line| line.contains(expected)),
            "{warnings:?}"
        );
    }
    assert!(!ended.err.contains("mistyped"));
}

/// `eprintln!` would panic, and the program go on.
#[tokio::test]
async fn a_second_signal_ends_it_even_if_nobody_reads_its_log() {
    let sim = simulator(options()).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let settings = ["--upstream", &sim.url(), "--set", "proxy.drain_delay=1h"];
    let listen = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT];
    let mut child = command(&[&settings[..], &listen].concat(), &TWO_VARIABLES)
        .stderr(writer)
        .spawn()
        .unwrap();
    timeout(PATIENCE, sim.wait_for(|sim| sim.count(CallKind::List) == 1))
        .await
        .unwrap();
    // Two of one kind might arrive as one.
    let script = format!("kill -TERM {0}; kill -INT {0}", child.id().unwrap());
    let sent = Command::new("sh").args(["-c", &script]).status().await;
    assert!(sent.unwrap().success());
    let status = timeout(PATIENCE, child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
}

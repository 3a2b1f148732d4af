//! `serve` as a process: how it starts, what it says, and how it ends.

use snaptrade_sidecar::simulator::{CallKind, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{ANY_PORT, PATIENCE, options};
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
        assert_eq!(ended.code, Some(1));
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
        assert_eq!(ended.code, Some(1));
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
        .logged(
            "cannot count the users; calls are forwarded all the same. Check proxy.upstream, DNS and the way out",
        )
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
        .logged("SnapTrade does not accept this key; check client_id and consumer_key")
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
async fn sigterm_and_sigint_drain_with_what_is_in_flight_answered() {
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
    it.program.signal("TERM").await;
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
    assert!(
        ended
            .err
            .ends_with("stopped at once, because a second signal came\n"),
        "{}",
        ended.err
    );
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

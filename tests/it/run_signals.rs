//! `run`: who gets which signal, and what happens at the end.

use std::process::Stdio;

use snaptrade_sidecar::simulator::{CallKind, Fault, FaultCall, FaultKind, Simulator};
use tokio::process::Command;

use crate::harness::{FIVE, Registration, client, options, patiently, read};
use crate::program::{Program, simulator};
use crate::run_application::{path, start, variables};

/// Says which signals it gets. SIGTERM ends it, or, if it is told so, only makes it say so, and SIGUSR1 ends it then. They are
/// waited for, since a handler might come in the middle of another's output, or just before a pause.
const APPLICATION: &str = r#"
import os, signal, sys
last = signal.SIGUSR1 if "reluctant" in sys.argv else signal.SIGTERM
names = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"]
signals = [getattr(signal, "SIG" + name) for name in names]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("started", os.environ["SNAPTRADE_API_HOST"], flush=True)
number = None
while number != last:
    number = signal.sigwait(signals)
    print(signal.Signals(number).name, flush=True)
sys.exit(3)
"#;

const RELOADED: &str = "reloaded the configuration, and nothing of what is in force changed";

/// The sidecar's URL, once the application has started.
async fn started(program: &mut Program) -> String {
    let said = program.said("started").await;
    said.strip_prefix("started ").unwrap().to_owned()
}

async fn with_application(sim: &Simulator, arguments: &[&str], options: &[&str]) -> (Program, String) {
    let command = [&["python3", "-c", APPLICATION], arguments].concat();
    let mut program = start(sim, options, &command, &[]);
    let proxy = started(&mut program).await;
    (program, proxy)
}

#[tokio::test]
async fn every_signal_is_passed_on_once_and_the_status_is_the_applications() {
    let sim = simulator(options()).await;
    let (mut program, _) = with_application(&sim, &[], &[]).await;
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "TERM"] {
        program.signal(signal).await;
        program.said(&format!("SIG{signal}")).await;
        if signal == "HUP" {
            // Before it is told to end, since nothing is reloaded after that.
            program.logged(RELOADED).await;
        }
    }
    let ended = program.end().await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let got: Vec<&str> = ended.out.lines().skip(1).collect();
    let sent = [
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM",
    ];
    assert_eq!(got, sent);
    let reloaded = ended.logged(RELOADED);
    assert_eq!(
        (reloaded.len(), ended.logged("stopped").len()),
        (1, 1),
        "{}",
        ended.err
    );
}

/// What the sidecar is asked while the application ends, and what it does.
#[tokio::test]
async fn r4_while_the_application_ends_calls_are_forwarded_and_nobody_is_evicted() {
    let sim = simulator(options()).await;
    let (mut program, proxy) = with_application(&sim, &["reluctant"], &["--set=proxy.drain_delay=1h"]).await;
    for user in FIVE {
        sim.add_user(user);
    }
    program.signal("TERM").await;
    program.said("SIGTERM").await;
    program.logged("draining").await;
    let request = Registration::of("new").request(&proxy);
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.admission()),
        (400, "forwarded; reason=shutting-down")
    );
    assert_eq!(sim.deletions(), 0);
    program.signal("USR1").await;
    assert_eq!(program.end().await.code, Some(3));
}

#[tokio::test]
async fn an_application_whose_sidecar_is_killed_is_told_to_end() {
    let sim = simulator(options()).await;
    let (mut program, _) = with_application(&sim, &[], &[]).await;
    program.signal("KILL").await;
    program.said("SIGTERM").await;
    let ended = program.end().await;
    assert_eq!((ended.code, ended.out.lines().count()), (None, 2), "{ended:?}");
}

/// Runs a program on a terminal of its own. Ctrl-C is typed; a signal is sent to the program alone.
const TERMINAL: &str = r#"
import os, pty, signal, sys
program, terminal = pty.fork()
if program == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = ""
def until(words):
    global seen
    while words not in seen:
        seen += os.read(terminal, 65536).decode()
    before, seen = seen.split(words, 1)
    assert "SIGINT" not in before, before
    print(words, flush=True)
until("started http")
# Of two that come at once the application might see one.
for _ in range(10):
    os.write(terminal, b"\x03")
    until("SIGINT")
    os.kill(program, signal.SIGUSR2)
    until("SIGUSR2")
os.kill(program, signal.SIGINT)
until("SIGINT")
os.kill(program, signal.SIGTERM)
until("SIGTERM")
try:
    while True:
        seen += os.read(terminal, 65536).decode()
except OSError:
    pass
assert "SIGINT" not in seen, seen
print(os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
"#;

#[tokio::test]
async fn ctrl_c_reaches_the_application_once() {
    let sim = simulator(options()).await;
    let (url, own) = (sim.url(), env!("CARGO_BIN_EXE_snaptrade-sidecar"));
    let sidecar = [own, "run", "--upstream", &url, "--", "python3", "-c", APPLICATION];
    let arguments = [&["-c", TERMINAL], &sidecar[..]].concat();
    let ended = Program::of("python3", &arguments, &variables(&path(), &[]))
        .end()
        .await;
    let expected = format!(
        "started http\n{}SIGINT\nSIGTERM\n3\n",
        "SIGINT\nSIGUSR2\n".repeat(10)
    );
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), &*expected),
        "{}",
        ended.err
    );
}

/// What the first process of a container inherits, and so does one that asks for it (`PR_SET_CHILD_SUBREAPER`).
const INHERITING: &str = r"
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
";

/// Leaves a process behind, which ends at once, and waits until nobody knows it any more.
const LEAVING: &str = r#"
import os
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    left = os.fork()
    if left == 0:
        os.close(reader)
        os.read(os.open("/dev/null", os.O_RDONLY), 1)
        os._exit(0)
    os.write(writer, str(left).encode())
    os._exit(0)
os.waitpid(child, 0)
left = int(os.read(reader, 32))
while True:
    try:
        os.kill(left, 0)
        os.sched_yield()
    except ProcessLookupError:
        break
print("reaped", flush=True)
"#;

#[tokio::test]
async fn what_the_application_leaves_behind_is_reaped() {
    let sim = simulator(options()).await;
    let (url, own) = (sim.url(), env!("CARGO_BIN_EXE_snaptrade-sidecar"));
    let sidecar = [own, "run", "--upstream", &url, "--", "python3", "-c", LEAVING];
    let arguments = [&["-c", INHERITING], &sidecar[..]].concat();
    let ended = Program::of("python3", &arguments, &variables(&path(), &[]))
        .end()
        .await;
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "reaped\n"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn nohup_is_for_the_application_too() {
    let sim = simulator(options()).await;
    let url = sim.url();
    let own = env!("CARGO_BIN_EXE_snaptrade-sidecar");
    let script =
        r#"trap "" HUP; exec "$0" run --upstream "$1" -- sh -c "kill -HUP \$PPID \$\$ && echo here""#;
    let program = Program::of("sh", &["-c", script, own, &url], &variables(&path(), &[]));
    let ended = program.end().await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "here\n"), "{ended:?}");
}

/// A script starts what it leaves in the background without SIGINT and SIGQUIT.
#[tokio::test]
async fn an_application_in_the_background_of_a_script_is_told_as_any_other() {
    let sim = simulator(options()).await;
    let url = sim.url();
    let own = env!("CARGO_BIN_EXE_snaptrade-sidecar");
    let script = r#"trap "" INT QUIT; exec "$@""#;
    let sidecar = [own, "run", "--upstream", &url, "--", "python3", "-c", APPLICATION];
    let arguments = [&["-c", script, "sh"], &sidecar[..]].concat();
    let mut program = Program::of("sh", &arguments, &variables(&path(), &[]));
    started(&mut program).await;
    for signal in ["INT", "QUIT", "TERM"] {
        program.signal(signal).await;
        program.said(&format!("SIG{signal}")).await;
    }
    assert_eq!(program.end().await.code, Some(3));
}

/// Whoever has ended the application need not wait for what the sidecar still has, such as a call by another program.
#[tokio::test]
async fn a_drain_is_cut_short_by_another_signal() {
    let sim = simulator(options()).await;
    sim.inject(Fault::new(FaultCall::Other, FaultKind::Hang));
    let (mut program, proxy) = with_application(&sim, &[], &[]).await;
    let hanging = tokio::spawn(client().get(format!("{proxy}/accounts")).send());
    patiently(sim.wait_for(|sim| sim.count(CallKind::Other) == 1)).await;
    program.signal("TERM").await;
    program.logged("the application has ended").await;
    // One that comes within a second of the end is most likely what ended the application.
    let id = program.id();
    let script = format!("until ! kill -INT {id}; do :; done");
    let sent = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::null())
        .status();
    let (sent, ended) = tokio::join!(patiently(sent), program.end());
    assert!(sent.unwrap().success());
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = ended.logged("stopped at once, because a second signal came");
    assert_eq!(last.len(), 1, "{}", ended.err);
    assert!(hanging.await.unwrap().is_err());
}

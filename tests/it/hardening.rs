//! What the program needs of the machine that it runs on.

use crate::harness::{ANY_PORT, FIVE, Registration, options, patiently, read};
use crate::program::{Program, TWO_VARIABLES, simulator};

#[tokio::test]
async fn nothing_is_written_where_nothing_is_remembered_on_disk() {
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let folder = tempfile::tempdir().unwrap();
    // No file may grow by a byte: to try kills the process (setrlimit(2), RLIMIT_FSIZE).
    let script = "ulimit -f 0 && cd \"$1\" && shift && exec \"$@\"";
    // What counts the lines that are executed writes a file, where that is done.
    let uncounted = ("LLVM_PROFILE_FILE", "/dev/null");
    let (place, url) = (folder.path().to_str().unwrap(), sim.url());
    let program = env!("CARGO_BIN_EXE_snaptrade-sidecar");
    let listen = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT, "--upstream", &url];
    let arguments = [&["-c", script, "sh", place, program][..], &listen].concat();
    let mut program = Program::of(
        "sh",
        &arguments,
        &[
            &TWO_VARIABLES[..],
            &[("TMPDIR", place), ("HOME", place), uncounted],
        ]
        .concat(),
    );
    let ready = program.logged("snaptrade-sidecar is ready").await;
    let request = Registration::of("new").request(ready["proxy"].as_str().unwrap());
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!(reply.admission(), "evicted");
    program.signal("HUP").await;
    program
        .logged("reloaded the configuration, and nothing of what is in force changed")
        .await;
    program.signal("TERM").await;
    assert_eq!(program.end().await.code, Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

use std::io::Read as _;
use std::process::{Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::app::BuildError;

/// What is waited for comes long before, or never.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn all_addresses_are_reached_by_one_that_every_sdk_takes() {
    for (listen, reached) in [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("10.0.0.7:80", "10.0.0.7:80"),
    ] {
        assert_eq!(near(listen.parse().unwrap()), reached.parse().unwrap());
    }
}

/// A program that ends with 4 when this signal comes, and not by SIGTERM otherwise, and has said that it waits.
fn application(awaited: &str) -> Application {
    // Before there is the child.
    let children = signal(SignalKind::child()).unwrap();
    let script = format!(
        "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); print(flush=True); \
         signal.sigwait([signal.{awaited}]); os._exit(4)"
    );
    let mut child = Command::new("python3")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    Application::of(child, children)
}

/// An application whose sidecar fails in this way, and what came of both.
async fn beside(
    end: impl Future<Output = Result<(), BuildError>> + Send + 'static,
    application: Application,
    grace: Duration,
) -> (Status, Ended) {
    let (_sender, receiver) = mpsc::channel(1);
    let mut supervisor = Supervisor {
        signals: Signals::of(receiver),
        asked: Arc::default(),
        grace,
    };
    let mut sidecar = Beside::of(tokio::spawn(end));
    let status = timeout(PATIENCE, supervisor.run(application, &mut sidecar));
    let status = status.await.unwrap();
    let drained = timeout(PATIENCE, supervisor.drain(sidecar)).await.unwrap();
    (status, drained.unwrap_err())
}

/// In one test, and no other of the library has child processes, since all that end are reaped.
#[tokio::test]
async fn an_application_whose_sidecar_fails_is_told_to_end_and_killed_if_it_does_not() {
    let dies = || async { Err(BuildError::Died("a part")) };
    let (status, ended) = beside(dies(), application("SIGTERM"), PATIENCE).await;
    assert_eq!((status, ended.code), (Status::Code(4), 70));
    assert!(ended.failure.to_string().starts_with("a part ended by itself"));

    let panics = async { panic!("on purpose") };
    let (status, ended) = beside(panics, application("SIGTERM"), PATIENCE).await;
    assert_eq!((status, ended.code), (Status::Code(4), 70));
    assert!(ended.failure.to_string().starts_with("the sidecar panicked"));

    let (status, ended) = beside(dies(), application("SIGUSR1"), Duration::ZERO).await;
    assert_eq!((status, ended.code), (Status::Signal(9), 70));
}

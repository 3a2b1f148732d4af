//! What a caller sees of each fault, and whether the work was done.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const LONG: Duration = Duration::from_hours(1);

async fn struck(kind: FaultKind) -> Simulator {
    let sim = started(Options::default()).await;
    sim.inject(Fault::new(FaultCall::Register, kind));
    sim
}

/// A registration as bytes, so that the end of its connection can be looked at.
async fn connected(sim: &Simulator) -> TcpStream {
    let request = registration(sim, "a");
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let signature = request.headers()["signature"].to_str().unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nsignature: {signature}\r\ncontent-length: 14\r\n\r\n{{\"userId\":\"a\"}}",
        request.uri().path_and_query().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that came, or that the connection was reset.
async fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(|_| bytes)
}

#[tokio::test]
async fn a_connection_is_reset_or_closed_before_or_after_the_work() {
    let cases = [
        (FaultKind::ResetBefore, true, false),
        (FaultKind::ResetAfter, true, true),
        (FaultKind::CloseBefore, false, false),
        (FaultKind::CloseAfter, false, true),
    ];
    for (kind, reset, done) in cases {
        let sim = struck(kind.clone()).await;
        let mut stream = connected(&sim).await;
        match rest(&mut stream).await {
            Ok(bytes) => assert!(bytes.is_empty() && !reset, "{kind:?}"),
            Err(error) => assert!(
                error.kind() == io::ErrorKind::ConnectionReset && reset,
                "{kind:?}"
            ),
        }
        assert_eq!(!sim.users().is_empty(), done, "{kind:?}");
        assert_eq!(sim.calls()[0].status, None);
        assert_eq!(register(&sim, "b").await.status, 200, "{kind:?} strikes once");
    }
}

#[tokio::test]
async fn a_truncated_body_is_announced_whole() {
    let sim = struck(FaultKind::TruncatedBody).await;
    let mut stream = connected(&sim).await;
    let reply = String::from_utf8(rest(&mut stream).await.unwrap()).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
    assert!(body.starts_with(r#"{"userId":"a","#));
    assert_eq!(sim.users(), ["a"]);
}

#[tokio::test]
async fn a_status_comes_instead_of_the_work_or_after_it() {
    let sim = started(Options::default()).await;
    sim.inject(Fault::status(FaultCall::Register, 500, "oh"));
    let status = FaultKind::Status {
        status: 502,
        body: "<html>".to_owned(),
        content_type: Some("text/html".to_owned()),
        done: true,
    };
    sim.inject(Fault::new(FaultCall::Register, status));
    let reply = register(&sim, "a").await;
    assert_eq!(
        (reply.status, &reply.body[..], reply.header("content-type")),
        (500, &b"oh"[..], "application/json")
    );
    assert!(sim.users().is_empty());
    let reply = register(&sim, "a").await;
    assert_eq!(
        (reply.status, &reply.body[..], reply.header("content-type")),
        (502, &b"<html>"[..], "text/html")
    );
    assert_eq!(sim.users(), ["a"]);
}

#[tokio::test]
async fn a_call_that_hangs_has_done_its_work_or_not() {
    for (kind, done) in [(FaultKind::Hang, false), (FaultKind::HangAfter, true)] {
        let sim = struck(kind.clone()).await;
        let mut stream = connected(&sim).await;
        if done {
            sim.wait_for(|sim| sim.users() == ["a"]).await;
        } else {
            sim.wait_for(|sim| sim.count(CallKind::Register) == 1).await;
        }
        let answered = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(answered.is_err(), "{kind:?} is answered");
        assert_eq!(!sim.users().is_empty(), done, "{kind:?}");
    }
}

#[tokio::test]
async fn delayed_work_is_done_although_the_caller_left() {
    let sim = struck(FaultKind::Delay(Duration::from_millis(100))).await;
    let stream = connected(&sim).await;
    sim.wait_for(|sim| sim.count(CallKind::Register) == 1).await;
    drop(stream);
    sim.wait_for(|sim| sim.users() == ["a"]).await;
}

#[tokio::test]
async fn a_delayed_reply_does_not_delay_the_work() {
    let sim = struck(FaultKind::DelayAfter(LONG)).await;
    let stream = connected(&sim).await;
    sim.wait_for(|sim| sim.users() == ["a"]).await;
    assert_eq!(sim.calls()[0].status, None);
    drop(stream);
}

#[tokio::test]
async fn a_call_takes_one_round_trip() {
    let sim = started(Options {
        round_trip: Duration::from_millis(60),
        ..Options::default()
    })
    .await;
    let start = Instant::now();
    register(&sim, "a").await;
    assert!(start.elapsed() >= Duration::from_millis(60));
}

//! Webhooks that are passed on to the application.

use std::time::Duration;

use http::Method;
use snaptrade_sidecar::types::UserId;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::{ON, counted, known, post, send, signature, webhook};
use crate::application::Application;
use crate::harness::{ANY_PORT, CLIENT_ID, Harness, options, patiently};
use crate::program::{Sidecar, simulator};

#[tokio::test]
async fn a_verified_webhook_is_passed_on_unchanged_and_answered_by_the_application() {
    let mut application = Application::start().await;
    let forward = application.url("/hook?key=1");
    let it = Harness::with(options(), &[ON, ("webhooks.forward_url", &forward)]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 0);
    let body = serde_json::to_string_pretty(&event).unwrap();
    let signature = signature(&event.to_string());
    let headers = [
        ("content-type", "application/json"),
        ("signature", &*signature),
        ("user-agent", "SnapTrade"),
        ("x-two", "1"),
        ("x-two", "2"),
        ("x-hop", "by"),
        ("connection", "x-hop"),
    ];
    application.answers(&[202, 418, 503]);
    for status in [202, 418] {
        let reply = post(&it.webhooks(), &headers, body.clone()).await;
        assert_eq!(reply.status, status);
        assert_eq!(&*reply.body, b"said by the application");
        let arrived = application.next().await;
        assert_eq!(
            (arrived.method.clone(), &*arrived.target),
            (Method::POST, "/hook?key=1")
        );
        assert_eq!(arrived.body, body);
        for (name, value) in &headers[..3] {
            assert_eq!(arrived.header(name), *value);
        }
        let two: Vec<_> = arrived.headers.get_all("x-two").iter().collect();
        assert_eq!(two, ["1", "2"]);
        assert!(!arrived.headers.contains_key("x-hop"));
        assert_eq!(arrived.header("host"), application.addr.to_string());
    }
    let other = send(&it, &webhook("w2", "SOMETHING_ELSE", "a", 0)).await;
    assert_eq!(other.status, 503);
    assert_eq!(application.next().await.json()["eventType"], "SOMETHING_ELSE");
    assert_eq!(counted(&it, "default", "repeated").await, 1);
    it.stop().await;
    assert!(application.is_quiet());
}

#[tokio::test]
async fn what_the_application_did_not_get_is_sent_again_and_handled_once() {
    let free = TcpListener::bind(ANY_PORT).await.unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let forward = format!("http://{addr}/?token=needle");
    let it = Harness::with(options(), &[ON, ("webhooks.forward_url", &forward)]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 60);
    let reply = send(&it, &event).await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.json()["code"], "sidecar_webhook_unforwarded");
    assert_eq!(counted(&it, "default", "unforwarded").await, 1);
    let registered = known(&it, "a").await.unwrap().registered;
    assert!(registered.is_some());

    let user = UserId::new("a");
    it.registry()
        .gone(CLIENT_ID, &[user], snaptrade_sidecar::types::Millis(i64::MAX))
        .await
        .unwrap();
    let mut application = Application::at(addr).await;
    assert_eq!(send(&it, &event).await.status, 200);
    assert_eq!(application.next().await.json(), event);
    assert!(known(&it, "a").await.is_none(), "handled twice");
    it.stop().await;
}

#[tokio::test]
async fn a_webhook_whose_sender_left_is_handled_all_the_same() {
    let mut application = Application::start().await;
    application.answers(&[Application::HOLDS]);
    let forward = application.url("/");
    let it = Harness::with(options(), &[ON, ("webhooks.forward_url", &forward)]).await;
    let event = webhook("w1", "USER_REGISTERED", "a", 0).to_string();
    let head = format!(
        "POST /webhooks/snaptrade HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nsignature: {}\r\n\
         content-length: {}\r\n\r\n{event}",
        signature(&event),
        event.len()
    );
    let url = it.webhooks();
    let addr = url.split('/').nth(2).unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    application.next().await;
    // A reset, which the sidecar sees at once.
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    // By the time that it serves another, it has.
    assert_eq!(send(&it, &webhook("w2", "OTHER", "b", 0)).await.status, 200);
    application.release();
    let handled = async { while counted(&it, "default", "handled").await == 0 {} };
    patiently(handled).await;
    it.stop().await;
}

#[tokio::test]
async fn what_is_refused_or_malformed_is_warned_about() {
    let application = Application::start().await;
    application.answers(&[422]);
    let forward = application.url("/hook?key=needle");
    let settings = [ON, ("webhooks.forward_url", &*forward)];
    let mut it = Sidecar::start(simulator(options()).await, &settings).await;
    let ready = it.program.logged("snaptrade-sidecar is ready").await;
    let url = ready["webhooks"].as_str().unwrap();
    let mut event = webhook("w1", "USER_DELETED", "a", 0);
    event.as_object_mut().unwrap().remove("eventTimestamp");
    let signature = signature(&event.to_string());
    let headers = [("content-type", "application/json"), ("signature", &*signature)];
    assert_eq!(post(url, &headers, event.to_string()).await.status, 422);
    let ended = it.stop().await;
    let refused = ended.logged(
        "the application refused a webhook with this status, which is passed on, so that SnapTrade may send it again; \
         look into what answers at webhooks.forward_url",
    );
    assert_eq!((refused.len(), &refused[0]["status"]), (1, &422.into()));
    let malformed = ended.logged(
        "a webhook is malformed: what it lacks is missing, or not as SnapTrade writes it; the users are listed anew",
    );
    assert_eq!(
        (malformed.len(), &malformed[0]["lacks"]),
        (1, &"eventTimestamp".into())
    );
    assert!(!ended.err.contains("needle"), "{}", ended.err);
}

//! The calls that are not acted upon.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn an_unknown_call_is_told_what_arrived() {
    let sim = started(Options::default()).await;
    let mut request = unsigned(&sim, Method::PUT, "/accounts/%7e//x?b=%2F&&a", "\u{0}hé");
    request
        .headers_mut()
        .insert("x-odd", HeaderValue::from_bytes(b"\xff\xe9").unwrap());
    request
        .headers_mut()
        .insert("x-reply-x-odd", HeaderValue::from_bytes(b"\xff").unwrap());
    let reply = send(request).await.unwrap();
    assert_eq!(reply.headers["x-odd"].as_bytes(), b"\xff");
    let echo = reply.json();
    assert_eq!(echo["method"], "PUT");
    assert_eq!(echo["target"], "/accounts/%7e//x?b=%2F&&a");
    assert_eq!(
        (&echo["path"], &echo["query"]),
        (&json!("/accounts/%7e//x"), &json!("b=%2F&&a"))
    );
    assert!(
        echo["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-odd", "\u{ff}\u{e9}"]))
    );
    assert_eq!(
        (&echo["body_length"], &echo["body"]),
        (&json!(4), &json!(BASE64.encode("\u{0}hé")))
    );
    assert_eq!(sim.calls()[0].target, "/accounts/%7e//x?b=%2F&&a");
}

#[tokio::test]
async fn an_echo_may_need_a_signature_too() {
    let sim = started(Options {
        verify_echo: true,
        ..Options::default()
    })
    .await;
    assert_eq!(
        send(unsigned(&sim, Method::GET, "/x", ""))
            .await
            .unwrap()
            .refusal()
            .1,
        "1076"
    );
    let signed = signed_by(&sim, Dialect::TYPESCRIPT, (Method::GET, "/x", "", ""));
    assert_eq!(send(signed).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_large_body_is_counted_and_hashed_but_not_kept() {
    let sim = started(Options::default()).await;
    let body = "x".repeat(300 * 1024);
    let echo = send(unsigned(&sim, Method::POST, "/x", &body))
        .await
        .unwrap()
        .json();
    assert_eq!(echo["body_length"], 300 * 1024);
    assert_eq!(sim.calls()[0].body.len(), 256 * 1024);
    assert_eq!(
        send(unsigned(&sim, Method::POST, REGISTER, &body))
            .await
            .unwrap()
            .status,
        413
    );
    let bytes = send(unsigned(&sim, Method::GET, "/_bytes/200000", ""))
        .await
        .unwrap();
    assert_eq!(
        (bytes.body.len(), bytes.header("content-length")),
        (200_000, "200000")
    );
}

#[tokio::test]
async fn a_body_streams_back_as_it_arrives_with_its_trailers() {
    let sim = started(Options::default()).await;
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let head = "POST /_echo/x HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\n\
                trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"1\r\na\r\n") {
        stream.read_buf(&mut reply).await.unwrap();
    }
    stream
        .write_all(b"1\r\nb\r\n0\r\nx-sum: 2\r\n\r\n")
        .await
        .unwrap();
    stream.read_to_end(&mut reply).await.unwrap();
    assert!(
        String::from_utf8(reply)
            .unwrap()
            .ends_with("1\r\nb\r\n0\r\nx-sum: 2\r\n\r\n")
    );
}

#[tokio::test]
async fn a_status_line_is_as_asked() {
    let sim = started(Options::default()).await;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(sim.addr()).await.unwrap()))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::post("/_status/418?reason=Short+and+stout")
        .body(Full::new(Bytes::from("tea")))
        .unwrap();
    let reply = sender.send_request(request).await.unwrap();
    let reason = reply.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(
        (reply.status().as_u16(), reason.as_bytes()),
        (418, &b"Short and stout"[..])
    );
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "tea");
}

/// As a test under TLS does it: the stream comes from elsewhere and speaks HTTP/2.
#[tokio::test]
async fn a_stream_from_elsewhere_is_served_over_http2() {
    let sim = started(Options::default()).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(sim.serve(far, None));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(near))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://host/a?b")
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = sender
        .send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    let echo: Value = serde_json::from_slice(&reply.to_bytes()).unwrap();
    assert_eq!(
        (&echo["target"], &echo["version"]),
        (&json!("/a?b"), &json!("HTTP/2.0"))
    );

    sim.inject(Fault::new(FaultCall::Any, FaultKind::CloseBefore));
    let request = Request::get("http://host/a?b")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert!(sender.send_request(request).await.is_err());
}

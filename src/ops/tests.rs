use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::origin::OriginPattern;
use crate::config::{self, Sources};
use crate::guard::InForce;
use crate::telemetry::metrics::Format;
use crate::types::Token;

pub(super) fn ops(token: Option<&str>) -> Ops {
    let health = Health::new();
    health.set_ready();
    let flags = [
        ("tenants.default.client_id", "C"),
        ("tenants.default.consumer_key", "k"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.to_vec(),
        ..Sources::default()
    };
    let mut config = config::load(sources).unwrap().config;
    config.tenants.clear();
    config.ops.token = token.map(Token::new);
    config.ops.allowed_origins = vec![OriginPattern::parse("https://*.vercel.app").unwrap()];
    Ops::new(
        Live::new(InForce::new(config, |_| unreachable!("there are no tenants"))),
        Arc::new(health),
        Arc::new(Metrics::new([("default", 5)])),
    )
}

pub(super) async fn call(ops: Ops, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    TowerToHyperService::new(router(ops)).call(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) async fn json(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn probes_follow_health_and_need_no_known_host() {
    let any = [("host", "anything.example")];
    for path in ["/healthz", "/readyz"] {
        let response = call(ops(None), "GET", path, &any).await;
        assert_eq!(response.status(), 200);
        assert_eq!(json(response).await["ok"], true);
        assert_eq!(call(ops(None), "HEAD", path, &any).await.status(), 200);
    }
    let draining = ops(None);
    draining.health.start_draining();
    let response = call(draining, "GET", "/readyz", &any).await;
    assert_eq!(response.status(), 503);
    assert!(
        json(response).await["reasons"][0]
            .as_str()
            .unwrap()
            .starts_with("draining")
    );
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let asked = [("accept", "application/openmetrics-text; version=1.0.0")];
    let response = call(ops(None), "GET", "/metrics", &asked).await;
    assert_eq!(
        response.headers()["content-type"],
        Format::OpenMetrics.content_type()
    );
    let mut varies = response.headers().get_all("vary").iter();
    assert!(varies.any(|value| value == "Accept"));
    assert!(text(response).await.ends_with("# EOF\n"));
    let response = call(ops(None), "GET", "/metrics", &[]).await;
    assert_eq!(
        response.headers()["content-type"],
        Format::Prometheus.content_type()
    );
    assert!(
        text(response)
            .await
            .contains("\nsnaptrade_sidecar_user_limit{tenant=\"default\"} 5\n")
    );
}

#[tokio::test]
async fn the_summary_says_what_is_running() {
    let body = json(call(ops(None), "GET", "/", &[]).await).await;
    assert_eq!(body["status"], "ok");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["upstream"], "https://api.snaptrade.com");
    assert_eq!(body["problems"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_makes_the_next_ones_wait_and_locks_nobody_out() {
    const PATH: &str = "/api/tenants/default/users";
    let router = TowerToHyperService::new(router(ops(Some("right"))));
    let answered = async |token: &str, path: &str| {
        let request = Request::builder()
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"));
        let began = tokio::time::Instant::now();
        let request = request.body(Body::empty()).unwrap();
        let status = router.call(request).await.unwrap().status().as_u16();
        (status, began.elapsed())
    };
    assert_eq!(answered("wrong", PATH).await, (401, Duration::ZERO));
    let (_, second) = answered("wrong", PATH).await;
    let (_, third) = answered("wrong", PATH).await;
    assert!(Duration::ZERO < second && second < third, "{second:?} {third:?}");
    for _ in 0..20 {
        answered("wrong", PATH).await;
    }
    // The right one waits as long as a wrong one would, or its speed would tell it; and it is let in.
    let (status, took) = answered("right", PATH).await;
    assert_eq!(status, 404);
    assert!(third < took && took < Duration::from_secs(3), "{took:?}");
    // Probes and scrapers wait for nobody.
    for path in ["/healthz", "/metrics"] {
        assert_eq!(answered("wrong", path).await, (200, Duration::ZERO), "{path}");
    }
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let metrics = text(router.call(request).await.unwrap()).await;
    assert!(
        metrics.contains("\nsnaptrade_sidecar_ops_token_failures_total 23\n"),
        "{metrics}"
    );
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(answered("right", PATH).await, (404, Duration::ZERO));
}

#[tokio::test]
async fn an_unknown_path_lists_the_known_ones() {
    let response = call(ops(None), "GET", "/snapTrade/listUsers", &[]).await;
    assert_eq!(response.status(), 404);
    let body = json(response).await;
    assert_eq!(body["code"], "sidecar_unknown_path");
    assert_eq!(body["status_code"], 404);
    for (method, path, _) in &CALLS {
        assert!(
            body["detail"]
                .as_str()
                .unwrap()
                .contains(&format!("{method} {path}"))
        );
    }
}

#[tokio::test]
async fn every_listed_call_exists_and_another_method_is_told_so() {
    for (method, path, _) in &CALLS {
        let path = path.replace("{file}", "main.js");
        let status = call(ops(None), method, &path, &[]).await.status();
        assert!(status != 404 && status != 405, "{method} {path}: {status}");
        let response = call(ops(None), "DELETE", &path, &[]).await;
        assert_eq!(response.status(), 405);
        assert!(
            response.headers()["allow"].to_str().unwrap().contains(method),
            "{path}"
        );
        assert_eq!(json(response).await["code"], "sidecar_wrong_method");
    }
}

#[tokio::test]
async fn registering_needs_the_token() {
    let register = |token, value: &'static str| async move {
        let headers = [("authorization", value)];
        call(ops(token), "POST", "/api/snaptrade/register", &headers).await
    };
    let response = register(None, "Bearer x").await;
    assert_eq!(response.status(), 403);
    let response = register(Some("t0ken"), "").await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let response = register(Some("t0ken"), "Bearer x").await;
    assert_eq!(response.status(), 401);
    let body = text(response).await;
    assert!(body.contains("sidecar_token_wrong") && !body.contains("t0ken"));
    // Past the token, it is the tenant that is missing here.
    let response = register(Some("t0ken"), "Bearer t0ken").await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn nobody_is_registered_while_draining() {
    let ops = ops(Some("t0ken"));
    ops.health.start_draining();
    let headers = [("authorization", "Bearer t0ken")];
    let response = call(ops, "POST", "/api/snaptrade/register-user", &headers).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(json(response).await["code"], "sidecar_shutting_down");
}

#[tokio::test]
async fn allowed_origins_may_read_and_send_the_token() {
    let origin = ("origin", "https://app-1.vercel.app");
    let response = call(ops(None), "GET", "/", &[origin]).await;
    assert_eq!(response.headers()["access-control-allow-origin"], origin.1);
    let vary = |response: &Response| {
        response
            .headers()
            .get_all("vary")
            .iter()
            .any(|value| value.to_str().unwrap().to_ascii_lowercase().contains("origin"))
    };
    assert!(vary(&response));
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let response = call(ops(None), "OPTIONS", "/api/snaptrade/register", &preflight).await;
    assert!(response.status().is_success());
    assert_eq!(response.headers()["access-control-allow-origin"], origin.1);
    let allowed = response.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"));
    // An answer without Origin must not be served from a cache to a page, so it varies too.
    assert!(vary(&call(ops(None), "GET", "/", &[]).await));
}

#[tokio::test]
async fn foreign_origins_and_names_get_nothing_not_even_a_preflight() {
    let foreign = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    for method in ["GET", "OPTIONS"] {
        let response = call(ops(None), method, "/", &foreign).await;
        assert_eq!(response.status(), 403);
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        assert_eq!(response.headers()["vary"], "origin");
        assert_eq!(json(response).await["code"], "sidecar_foreign_origin");
    }
    let response = call(ops(None), "OPTIONS", "/", &[("host", "evil.example")]).await;
    assert_eq!(response.status(), 421);
}

#[test]
fn a_tenant_is_named_in_the_query() {
    let names = ["a b", "c"];
    assert_eq!(named(&names, Some("x=1&tenant=a+b")).unwrap(), Some(0));
    assert_eq!(named(&names, Some("tenant=%63")).unwrap(), Some(1));
    assert_eq!(named(&names, Some("x=1")).unwrap(), None);
    assert_eq!(named(&names, None).unwrap(), None);
    for query in ["tenant=d", "tenant=", "tenant=%FF"] {
        let problem = named(&names, Some(query)).unwrap_err();
        assert_eq!(problem.status, 404);
        assert!(
            problem.detail.ends_with("The tenants are: a b, c."),
            "{}",
            problem.detail
        );
    }
    assert_eq!(named(&names, Some("tenant=c&tenant=c")).unwrap_err().status, 400);
}

async fn started(ops: Ops) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stopping) = (listener.local_addr().unwrap(), CancellationToken::new());
    let served = tokio::spawn(serve(listener, None, router(ops), stopping.clone()));
    (address, stopping, served)
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_the_listener() {
    let (address, stopping, served) = started(ops(None)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stopping.cancel();
    served.await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n\r\n"), "a HEAD has no body: {rest}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_cut_off() {
    let (address, _stopping, _served) = started(ops(None)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    tokio::time::pause();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "still open after a minute");
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let (address, _stopping, _served) = started(ops(Some("t0ken"))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/snaptrade/register HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t0ken\r\n\
         Content-Type: application/json\r\nContent-Length: 65537\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 65537]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("sidecar_body_too_long"));
}

//! Nothing that a caller, the upstream or the application says makes the sidecar speak to another host.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::application::Application;
use crate::between::Between;
use crate::harness::{ANY_PORT, FIVE, Harness, Registration, Sidecar, options, patiently, read};
use crate::program::{Program, TWO_VARIABLES, simulator};
use crate::raw::Peer;
use crate::webhooks::{send, webhook};

/// Somebody who must not be spoken to.
struct Elsewhere {
    listener: TcpListener,
    address: SocketAddr,
}

impl Elsewhere {
    async fn start() -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// Connections are accepted in the order in which they were made: the first is the one that is made here.
    async fn was_left_alone(&self) {
        let own = patiently(TcpStream::connect(self.address)).await.unwrap();
        let (_, first) = patiently(self.listener.accept()).await.unwrap();
        assert_eq!(first, own.local_addr().unwrap(), "somebody else connected before");
    }
}

#[tokio::test]
async fn no_request_leads_elsewhere() {
    let elsewhere = Elsewhere::start().await;
    let mut it = Between::start().await;
    let to = elsewhere.address;
    for (start, fields) in [
        (format!("GET http://{to}/x"), String::new()),
        (format!("GET https://{to}/x"), String::new()),
        (format!("GET http://127.0.0.1@{to}/x"), String::new()),
        (format!("GET //{to}/x"), String::new()),
        (format!("GET ///{to}/x"), String::new()),
        (format!("GET /\\{to}/x"), String::new()),
        (format!("GET /@{to}/x"), String::new()),
        (format!("GET /http://{to}/x"), String::new()),
        (format!("GET /x?url=http://{to}/"), String::new()),
        ("GET /x".to_owned(), format!("Host: {to}\r\n")),
        (
            "GET /x".to_owned(),
            format!("X-Forwarded-Host: {to}\r\nX-Forwarded-Proto: http\r\n"),
        ),
        (
            "GET /x".to_owned(),
            format!("Forwarded: host={to};for={to};proto=http\r\n"),
        ),
        (
            "GET /x".to_owned(),
            format!("X-Original-URL: http://{to}/\r\nX-Rewrite-URL: http://{to}/\r\n"),
        ),
        (
            "GET /x".to_owned(),
            format!("X-Host: {to}\r\nX-Real-IP: {to}\r\nX-HTTP-Host-Override: {to}\r\n"),
        ),
        (
            "GET /x".to_owned(),
            format!("Origin: http://{to}\r\nReferer: http://{to}/\r\nFrom: x@{to}\r\n"),
        ),
        (
            "OPTIONS *".to_owned(),
            format!("Host: {to}\r\nMax-Forwards: 9\r\n"),
        ),
    ] {
        let host = if fields.starts_with("Host") {
            ""
        } else {
            "Host: a\r\n"
        };
        let got = it
            .forwarded(format!("{start} HTTP/1.1\r\n{host}{fields}\r\n"))
            .await;
        let expected = it.upstream.address.to_string();
        assert_eq!(got.head.get("host"), Some(&*expected), "{start}");
    }
    for start in [format!("CONNECT {to}"), format!("GET {to}")] {
        let mut caller = it.sends(format!("{start} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let reply = caller.message().await;
        assert!(["400", "405"].contains(&reply.verdict().0), "{start}");
    }
    elsewhere.was_left_alone().await;
}

#[tokio::test]
async fn no_reply_of_the_upstream_leads_elsewhere() {
    let elsewhere = Elsewhere::start().await;
    let mut it = Between::start().await;
    let to = elsewhere.address;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See",
        "307 Temporary",
        "308 Permanent",
        "421 Misdirected",
        "305 Use Proxy",
    ] {
        for fields in [
            format!("Location: http://{to}/x\r\n"),
            format!(
                "Alt-Svc: h2=\"{to}\"\r\nRefresh: 0;url=http://{to}/\r\nContent-Location: http://{to}/\r\n"
            ),
        ] {
            let reply =
                format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let mut caller = it.replied(reply).await;
            assert_eq!(caller.head().await.start, format!("HTTP/1.1 {status}"));
        }
    }
    elsewhere.was_left_alone().await;
}

/// Answers with five users where they are asked for, and otherwise sends everybody elsewhere. Returns what arrived.
async fn redirecting(to: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut peer = Peer::on(stream);
                let start = peer.message().await.head.start;
                if start.starts_with("GET /snapTrade/listUsers?") {
                    let list = r#"["a","b","c","d","e"]"#;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        list.len()
                    );
                    peer.send(head + list).await;
                } else {
                    let location = format!("Location: http://{to}/elsewhere\r\n");
                    let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                    peer.send(format!("HTTP/1.1 307 Temporary Redirect\r\n{location}{rest}"))
                        .await;
                }
                let path = start.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" ");
                let _ = sender.send(path);
            });
        }
    });
    (address, arrived)
}

async fn until(arrived: &mut mpsc::UnboundedReceiver<String>, wanted: &str) {
    while patiently(arrived.recv()).await.unwrap() != wanted {}
}

#[tokio::test]
async fn no_redirect_of_a_call_of_the_sidecars_own_is_followed() {
    let elsewhere = Elsewhere::start().await;
    let (upstream, mut arrived) = redirecting(elsewhere.address).await;
    let hasty = [("tenants.default.settle_timeout", "50ms")];
    let sidecar = Sidecar::before(&format!("http://{upstream}"), &hasty).await;
    let request = Registration::of("new").request(&format!("http://{}", sidecar.proxy));
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!(reply.status, 307);
    for wanted in [
        "GET /snapTrade/listUsers",
        "DELETE /snapTrade/deleteUser",
        "POST /snapTrade/registerUser",
    ] {
        until(&mut arrived, wanted).await;
    }
    sidecar.stop().await;
    elsewhere.was_left_alone().await;
}

#[tokio::test]
async fn no_redirect_of_the_application_is_followed_by_notices_and_webhooks() {
    let elsewhere = Elsewhere::start().await;
    let (application, mut arrived) = redirecting(elsewhere.address).await;
    let (notices, webhooks) = (
        format!("http://{application}/notices"),
        format!("http://{application}/webhooks"),
    );
    let settings = [
        ("tenants.default.eviction.notify_url", &*notices),
        (
            "tenants.default.eviction.notify_secret",
            "shared with the application",
        ),
        ("webhooks.listen", ANY_PORT),
        ("webhooks.forward_url", &*webhooks),
    ];
    let it = Harness::with_users(&FIVE, options(), &settings).await;
    assert_eq!(it.register("new").await.admission(), "evicted");
    until(&mut arrived, "POST /notices").await;

    // Names other places wherever there is room for some.
    let mut event = webhook("w1", "USER_REGISTERED", "new", 0);
    for field in ["forward_url", "url", "callback", "redirectURI"] {
        event[field] = format!("http://{}/x", elsewhere.address).into();
    }
    assert_eq!(send(&it, &event).await.status, 307);
    until(&mut arrived, "POST /webhooks").await;
    it.stop().await;
    elsewhere.was_left_alone().await;
}

#[tokio::test]
async fn no_redirect_of_a_collector_is_followed() {
    let elsewhere = Elsewhere::start().await;
    let (collector, mut arrived) = redirecting(elsewhere.address).await;
    let endpoint = format!("http://{collector}");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    let it = Harness::told(options(), &[], &env).await;
    it.register("new").await;
    it.stop().await;
    until(&mut arrived, "POST /v1/traces").await;
    elsewhere.was_left_alone().await;
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let elsewhere = Elsewhere::start().await;
    let mut application = Application::start().await;
    let sim = simulator(options()).await;
    for user in FIVE {
        sim.add_user(user);
    }
    let proxy = format!("http://{}", elsewhere.address);
    let names = [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ];
    let mut variables = names.map(|name| (name, &*proxy)).to_vec();
    variables.extend(TWO_VARIABLES);
    let endpoint = application.url("/spans");
    variables.push(("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint));
    let notices = format!(
        "tenants.default.eviction.notify_url={}",
        application.url("/notices")
    );
    let secret = "tenants.default.eviction.notify_secret=shared with the application";
    let url = sim.url();
    let listen = ["--listen", ANY_PORT, "--ops-listen", ANY_PORT, "--upstream", &url];
    let arguments = [&listen[..], &["--set", &notices, "--set", secret]].concat();
    let mut program = Program::start(&arguments, &variables);
    let ready = program.logged("snaptrade-sidecar is ready").await;
    let request = Registration::of("new").request(ready["proxy"].as_str().unwrap());
    let reply = read(patiently(request.send()).await.unwrap()).await;
    assert_eq!(reply.admission(), "evicted");
    assert_eq!(application.next().await.target, "/notices");
    program.signal("TERM").await;
    assert_eq!(program.end().await.code, Some(0));
    assert_eq!(application.next().await.target, "/spans");
    elsewhere.was_left_alone().await;
}

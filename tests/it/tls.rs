//! The way to an upstream behind TLS, over HTTP/1.1 and HTTP/2.

use http::{Method, Version};
use snaptrade_sidecar::simulator::{CallKind, Simulator};
use snaptrade_sidecar::upstream::{outbound, tls};

use crate::harness::{ANY_PORT, FIVE, PATIENCE, Registration, Sidecar, options, patiently};
use crate::ops::metrics_of;
use crate::raw::{End, Message, Peer};
use crate::secure::{Secure, Seen};

/// What a server may agree to, and what is spoken then.
const PROTOCOLS: [(&[&str], Version); 4] = [
    (&["h2", "http/1.1"], Version::HTTP_2),
    (&["h2"], Version::HTTP_2),
    (&["http/1.1"], Version::HTTP_11),
    (&[], Version::HTTP_11),
];

struct Way {
    upstream: Secure,
    caller: Peer,
    sidecar: Sidecar,
}

impl Way {
    async fn over(protocols: &[&str]) -> Self {
        let upstream = Secure::start(protocols, None).await;
        let trust = [("proxy.upstream_ca_file", upstream.ca_file())];
        let sidecar = Sidecar::before(&upstream.url(), &trust).await;
        Self {
            caller: Peer::connect(sidecar.proxy).await,
            upstream,
            sidecar,
        }
    }

    async fn exchange(&mut self, request: impl AsRef<[u8]>) -> (Seen, Message) {
        self.caller.send(request).await;
        let seen = self.upstream.seen().await;
        (seen, self.caller.message().await)
    }
}

#[tokio::test]
async fn r1_calls_pass_over_whatever_the_upstream_speaks() {
    for (protocols, version) in PROTOCOLS {
        let mut way = Way::over(protocols).await;
        let (seen, reply) = way
            .exchange("POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX: 1\r\n\r\n{}")
            .await;
        assert_eq!(seen.head.version, version);
        assert_eq!((&seen.body[..], &reply.body[..]), (&b"{}"[..], &b"hi"[..]));
        let address = way.upstream.address.to_string();
        // Over HTTP/2, `:authority` says what `Host` says over HTTP/1.1.
        let authority = seen.head.uri.authority().map(ToString::to_string);
        let host = seen.head.headers.get("host").map(|host| host.to_str().unwrap());
        match version {
            Version::HTTP_2 => assert_eq!((authority, host), (Some(address), None)),
            _ => assert_eq!((authority, host), (None, Some(address.as_str()))),
        }
        let mut names: Vec<&str> = seen.head.headers.keys().map(http::HeaderName::as_str).collect();
        names.retain(|name| *name != "host");
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x"]);
        assert_eq!(reply.head.get("date"), Some("yesterday"));
    }
}

#[tokio::test]
async fn r1_targets_arrive_byte_for_byte_over_http_2() {
    let mut way = Way::over(&["h2"]).await;
    for target in [
        "/",
        "/?",
        "/a?",
        "//a//",
        "/../x",
        "/%2F%2f%00%",
        "/?a=b&&=&;|",
        "/\"{}[]|^'\\?'{}[]^`\\",
        "/caf\u{e9}?n=\u{fc}",
    ] {
        let (seen, _) = way.exchange(format!("GET {target} HTTP/1.1\r\n\r\n")).await;
        assert_eq!(seen.head.uri.path_and_query().unwrap().as_str(), target);
    }
    let (seen, _) = way.exchange("OPTIONS * HTTP/1.1\r\n\r\n").await;
    assert_eq!(seen.head.uri.path(), "*");
    let (seen, _) = way.exchange("M-SEARCH http://elsewhere/x HTTP/1.1\r\n\r\n").await;
    assert_eq!(seen.head.method.as_str(), "M-SEARCH");
    let authority = seen.head.uri.authority().unwrap().as_str();
    assert_eq!(authority, way.upstream.address.to_string());
}

#[tokio::test]
async fn r1_cookies_trailers_and_bodies_pass_over_http_2() {
    let mut way = Way::over(&["h2"]).await;
    let (seen, mut reply) = way
        .exchange(
            "GET /trailers HTTP/1.1\r\nCookie: a=1; b=2\r\nCookie: c=3\r\nConnection: TE\r\nTE: trailers\r\n\
             Trailer: X-End\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-End: 1\r\n\r\n",
        )
        .await;
    assert_eq!(seen.head.method, Method::GET);
    let cookies: Vec<_> = seen.head.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2", "c=3"]);
    assert_eq!(seen.head.headers["te"], "trailers");
    for gone in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!seen.head.headers.contains_key(gone));
    }
    assert_eq!(&seen.body[..], b"{}");
    assert_eq!(seen.trailers.unwrap()["x-end"], "1");
    assert_eq!(reply.head.start, "HTTP/1.1 200 OK");
    reply.head.fields.retain(|field| field.starts_with("set-cookie"));
    assert_eq!(reply.head.fields, ["set-cookie: a=1", "set-cookie: b=2"]);
    assert_eq!(reply.trailers, ["x-sum: 1"]);

    let (_, reply) = way.exchange("GET /599 HTTP/1.1\r\n\r\n").await;
    assert_eq!(reply.head.start, "HTTP/1.1 599 ");
}

#[tokio::test]
async fn a_reply_cut_short_over_http_2_never_looks_complete() {
    let mut way = Way::over(&["h2"]).await;
    for version in ["1.1", "1.0"] {
        let mut caller = Peer::connect(way.sidecar.proxy).await;
        caller.send(format!("GET /broken HTTP/{version}\r\n\r\n")).await;
        way.upstream.seen().await;
        let head = caller.head().await;
        assert_eq!(head.start, format!("HTTP/{version} 200 OK"));
        let (rest, end) = caller.rest().await;
        assert!(rest.starts_with(b"hi") || head.get("transfer-encoding").is_some());
        assert!(!rest.ends_with(b"0\r\n\r\n"));
        assert!(version == "1.1" || end == End::Reset);
    }
}

#[tokio::test]
async fn a_safe_request_whose_connection_was_lost_is_sent_once_more() {
    for (protocols, _) in PROTOCOLS {
        let mut way = Way::over(protocols).await;
        way.exchange("GET / HTTP/1.1\r\n\r\n").await;
        way.caller.send("GET /lost?a=1 HTTP/1.1\r\nX: 1\r\n\r\n").await;
        let (first, second) = (way.upstream.seen().await, way.upstream.seen().await);
        assert_eq!(
            (second.head.uri, second.head.headers),
            (first.head.uri, first.head.headers)
        );
        assert_eq!(&way.caller.message().await.body[..], b"hi");

        let mut way = Way::over(protocols).await;
        way.exchange("GET / HTTP/1.1\r\n\r\n").await;
        way.caller.send("DELETE /lost HTTP/1.1\r\n\r\n").await;
        way.upstream.seen().await;
        assert_eq!(
            way.caller.message().await.verdict().1,
            "sidecar_upstream_broke_off"
        );
        let (seen, _) = way.exchange("GET /next HTTP/1.1\r\n\r\n").await;
        assert_eq!(seen.head.uri.path(), "/next");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_trusted_gets_nothing() {
    let upstream = Secure::start(&["h2"], None).await;
    let other = Secure::start(&["h2"], None).await;
    for trust in [None, Some(("proxy.upstream_ca_file", other.ca_file()))] {
        let settings: Vec<_> = trust.into_iter().collect();
        let sidecar = Sidecar::before(&upstream.url(), &settings).await;
        let mut caller = Peer::connect(sidecar.proxy).await;
        caller.send("GET /a HTTP/1.1\r\n\r\n").await;
        let reply = caller.message().await;
        assert_eq!(reply.verdict(), ("502", "sidecar_upstream_tls".to_owned()));
        let metrics = metrics_of(sidecar.ops).await;
        // The sidecar's own call counts too, as soon as it has failed.
        assert!(!metrics.contains("snaptrade_sidecar_upstream_errors_total{kind=\"tls\"} 0"));
    }
}

#[tokio::test]
async fn registrations_make_room_behind_tls() {
    for (protocols, _) in PROTOCOLS {
        makes_room(async |simulator| Secure::start(protocols, Some(simulator)).await).await;
    }
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_certificate_gets_it() {
    for (protocols, version) in [(&["h2"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)] {
        makes_room(async |simulator| Secure::demanding(protocols, Some(simulator)).await).await;

        let mut upstream = Secure::demanding(protocols, None).await;
        let address = upstream.url();
        let settings = trusting(&upstream);
        let sidecar = Sidecar::before(&address, &settings).await;
        let mut caller = Peer::connect(sidecar.proxy).await;
        caller.send("GET /a HTTP/1.1\r\n\r\n").await;
        assert_eq!(&caller.message().await.body[..], b"hi");
        assert_eq!(upstream.seen().await.head.version, version);

        // Without one it lets nobody in.
        let upstream = Secure::demanding(protocols, None).await;
        let sidecar = Sidecar::before(&upstream.url(), &trusting(&upstream)[..1]).await;
        let mut caller = Peer::connect(sidecar.proxy).await;
        caller.send("POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(caller.message().await.verdict().0, "502");
    }
}

fn trusting(upstream: &Secure) -> [(&str, &str); 3] {
    let [cert, key] = upstream.client_files();
    [
        ("proxy.upstream_ca_file", upstream.ca_file()),
        ("proxy.upstream_cert_file", cert),
        ("proxy.upstream_key_file", key),
    ]
}

/// Before an upstream that passes what it gets on to the simulator's URL.
async fn makes_room(upstream: impl AsyncFn(String) -> Secure) {
    let simulator = Simulator::start(options(), ANY_PORT.parse().unwrap())
        .await
        .unwrap();
    for user in FIVE {
        simulator.add_user(user);
    }
    let upstream = upstream(simulator.url()).await;
    let sidecar = Sidecar::before(&upstream.url(), &trusting(&upstream)).await;
    let registration = Registration::of("new");
    let (target, signature) = registration.signed();
    let http = outbound::client(tls::client_config(None).unwrap(), PATIENCE).unwrap();
    let request = http
        .post(format!("http://{}{target}", sidecar.proxy))
        .header("signature", signature.unwrap())
        .headers(registration.headers)
        .body(registration.body);
    let reply = patiently(request.send()).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["snaptrade-sidecar-admission"], "evicted");
    assert_eq!(reply.headers()["snaptrade-sidecar-evicted"], "a");
    assert_eq!(simulator.users(), ["b", "c", "d", "e", "new"]);
    assert_eq!(simulator.count(CallKind::Register), 1);
}

//! Spans, as a collector gets them, and what of tracing SnapTrade sees.

mod admissions;
mod collector;
mod lost;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use snaptrade_sidecar::simulator::{Call, CallKind, Fault, FaultCall};

use crate::application::Application;
use crate::harness::{Harness, Registration, Reply, Sidecar, client, options, patiently};
use crate::program::{TWO_VARIABLES, run};
pub(crate) use collector::received;
use collector::{Received, Span};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STATE: &str = "vendor=one,other=two";
const ACCOUNTS: &str = "/api/v1/accounts?clientId=SIMULATOR&timestamp=1&userId=u&userSecret=hidden-needle";

/// A sidecar that traces, and where its spans go.
struct Traced {
    it: Harness,
    collector: Application,
}

impl Traced {
    /// Nothing is exported before the end, unless `env` says otherwise.
    async fn with(settings: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let collector = Application::start().await;
        let endpoint = collector.url("");
        // Of two the first is heeded.
        let preset = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ];
        let env = [env, &preset[..]].concat();
        let it = Harness::told(options(), settings, &env).await;
        Self { it, collector }
    }

    async fn get(&self, target: &str, headers: &[(&'static str, &str)]) -> Reply {
        get(&self.it, target, headers).await
    }

    /// Ends the sidecar, which exports what it has.
    async fn end(mut self) -> Received {
        self.it.stop().await;
        received(&mut self.collector).await
    }
}

async fn get(it: &Harness, target: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(*name, value.parse().unwrap());
    }
    it.call(Method::GET, target, all, Bytes::new()).await
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// The lines of a call with this name.
fn lines(call: &Call, name: &str) -> Vec<String> {
    let lines = call.headers.iter().filter(|(known, _)| known == name);
    lines
        .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        .collect()
}

fn one(spans: &[Span]) -> &Span {
    assert_eq!(spans.len(), 1, "{spans:#?}");
    &spans[0]
}

#[tokio::test]
async fn a_call_goes_on_as_a_part_of_its_callers_trace() {
    let it = Traced::with(&[], &[]).await;
    let caller = sampled();
    let headers = [
        ("traceparent", &*caller),
        ("tracestate", STATE),
        ("signature", "c2lnbmF0dXJlLW5lZWRsZQ=="),
    ];
    it.get(ACCOUNTS, &headers).await;
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    it.get(ACCOUNTS, &[("traceparent", &*unsampled), headers[1], headers[2]])
        .await;
    let [call, untouched] = &it.it.sim.calls()[..] else {
        panic!()
    };
    let received = it.end().await;

    let span = one(&received.spans);
    assert_eq!((&*span.trace, &*span.parent), (TRACE, PARENT));
    let others = |call: &Call| -> Vec<_> {
        let headers = call.headers.iter();
        headers
            .filter(|(name, _)| name != "traceparent")
            .cloned()
            .collect()
    };
    assert_eq!(others(call), others(untouched));
    assert_eq!(lines(call, "traceparent"), [span.line()]);
    assert_eq!(lines(call, "tracestate"), [STATE]);
    assert_eq!((&*span.name, span.kind), ("GET", SpanKind::Server));
    assert!(span.from > 0 && span.to >= span.from);
    let status = call.status.unwrap().to_string();
    let port = span.get("server.port").to_owned();
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", &*status),
        ("server.address", "127.0.0.1"),
        ("server.port", &*port),
        ("snaptrade_sidecar.route", "other"),
        ("snaptrade_sidecar.tenant", "default"),
        ("url.path", "/api/v1/accounts"),
        ("url.scheme", "http"),
    ];
    let mut attributes = span.attributes.clone();
    assert!(attributes.remove("http.response.header.x-request-id").is_some());
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(attributes, expected.into());
    assert!(!span.is_error);
    let export = &received.exports[0];
    assert_eq!((&export.method, &*export.target), (&Method::POST, "/v1/traces"));
    assert_eq!(export.header("content-type"), "application/x-protobuf");
    assert_eq!(received.resource["service.name"], "snaptrade-sidecar");
    no_secret_is_in(
        &received,
        &[
            "hidden-needle",
            "c2lnbmF0dXJlLW5lZWRsZQ==",
            "timestamp",
            "userSecret",
        ],
    );
}

fn no_secret_is_in(received: &Received, secrets: &[&str]) {
    for export in &received.exports {
        let text = String::from_utf8_lossy(&export.body);
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is told:\n{:#?}", received.spans);
        }
    }
}

#[tokio::test]
async fn a_call_that_says_nothing_clear_of_a_trace_begins_one() {
    let it = Traced::with(&[], &[]).await;
    let caller = sampled();
    it.get("/", &[]).await;
    it.get("/", &[("traceparent", "00-nonsense"), ("tracestate", STATE)])
        .await;
    it.get("/", &[("traceparent", &*caller), ("traceparent", &*caller)])
        .await;
    let calls = it.it.sim.calls();
    let received = it.end().await;
    assert_eq!(received.spans.len(), 3);
    for (span, call) in received.spans.iter().zip(&calls) {
        assert_eq!((&*span.name, &*span.parent), ("GET /", ""));
        assert_ne!(span.trace, TRACE);
        assert_eq!(lines(call, "traceparent"), [span.line()]);
    }
    assert_eq!(lines(&calls[1], "tracestate"), [STATE]);
}

#[tokio::test]
async fn r1_where_nothing_is_recorded_the_trace_passes_by_untouched() {
    let off = Harness::start().await;
    let on = Traced::with(&[], &[]).await;
    let never = Traced::with(&[], &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    // In the ways that a trace can be named, one that is none among them.
    let caller = sampled();
    let headers = [
        ("tracestate", STATE),
        ("traceparent", &*caller),
        ("traceparent", "00-nonsense"),
    ];
    let mut calls = Vec::new();
    for it in [&off, &never.it] {
        get(it, ACCOUNTS, &headers).await;
        get(it, ACCOUNTS, &[]).await;
        calls.extend(it.sim.calls());
    }
    for call in &calls {
        let is_bare = lines(call, "tracestate").is_empty();
        let expected = if is_bare {
            vec![]
        } else {
            vec![caller.clone(), "00-nonsense".to_owned()]
        };
        assert_eq!(lines(call, "traceparent"), expected);
    }
    on.get(ACCOUNTS, &[("traceparent", &*unsampled), ("tracestate", STATE)])
        .await;
    on.it.register_in(&unsampled).await;
    for call in on.it.sim.calls() {
        let expected = if call.kind == CallKind::List {
            vec![]
        } else {
            vec![unsampled.clone()]
        };
        assert_eq!(lines(&call, "traceparent"), expected, "{:?}", call.kind);
    }
    off.stop().await;
    assert!(never.end().await.exports.is_empty());
    assert!(on.end().await.exports.is_empty());
}

impl Harness {
    /// Registers a user as a part of a trace.
    async fn register_in(&self, traceparent: &str) -> Reply {
        let mut registration = Registration::of("new");
        let headers = &mut registration.headers;
        headers.insert("traceparent", traceparent.parse().unwrap());
        headers.insert("tracestate", STATE.parse().unwrap());
        self.send(&registration).await
    }
}

#[tokio::test]
async fn what_fails_is_told_by_a_word_in_its_span() {
    let it = Traced::with(&[], &[]).await;
    it.it
        .sim
        .inject(Fault::status(FaultCall::Register, 500, "{}").times(1));
    it.get("/%3Fpassword=hidden-needle", &[]).await;
    it.get("/accounts;password=hidden-needle/x", &[]).await;
    let mut registration = Registration::of("forged");
    registration.signature = Some("Zm9yZ2Vk");
    it.it.send(&registration).await;
    it.it.register("new").await;
    let received = it.end().await;
    let named =
        |name: &str| -> Vec<&Span> { received.spans.iter().filter(|span| span.name == name).collect() };
    let paths: Vec<&str> = named("GET").iter().map(|span| span.get("url.path")).collect();
    assert_eq!(paths, ["/", "/accounts"]);
    let [forged, failed] = named("POST /snapTrade/registerUser")[..] else {
        panic!("{:#?}", received.spans)
    };
    let of = |span: &Span, key: &str| span.get(&format!("snaptrade_sidecar.{key}")).to_owned();
    assert_eq!(of(forged, "admission.outcome"), "unmanaged");
    assert_eq!(of(forged, "admission.reason"), "signature-not-recognised");
    assert_eq!(
        (of(forged, "newcomer"), of(failed, "newcomer")),
        (String::new(), "new".to_owned())
    );
    no_secret_is_in(&received, &["hidden-needle", "Zm9yZ2Vk", "password"]);
}

#[tokio::test]
async fn a_call_without_an_answer_says_why_in_its_span() {
    let mut collector = Application::start().await;
    let endpoint = collector.url("/own/path");
    let env = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint)];
    // Nothing listens there.
    let it = Sidecar::told("http://127.0.0.1:1", &[], &env).await;
    let url = format!("http://{}/", it.proxy);
    let reply = patiently(client().get(url).send()).await.unwrap();
    assert_eq!(reply.status(), 502);
    it.stop().await;
    let received = received(&mut collector).await;
    let span = one(&received.spans);
    assert!(span.is_error);
    assert_eq!(span.get("error.type"), "sidecar_upstream_unreachable");
    assert_eq!(span.get("http.response.status_code"), "502");
    assert_eq!(span.get("snaptrade_sidecar.tenant"), "unknown");
    assert_eq!(received.exports[0].target, "/own/path");
}

#[tokio::test]
async fn check_says_where_spans_go_and_what_keeps_them_from_it() {
    let check = async |endpoint: &str| {
        let env = [&TWO_VARIABLES[..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]].concat();
        run(&["check"], &env).await
    };
    let good = check("http://collector:4318/?key=hidden-needle").await;
    assert_eq!(good.code, Some(0), "{}", good.err);
    let line = "spans are exported to http://collector:4318/v1/traces (OTEL_EXPORTER_OTLP_ENDPOINT)\n";
    assert!(good.err.contains(line), "{}", good.err);
    let bad = check("collector:4317").await;
    assert_eq!(bad.code, Some(1));
    assert_eq!(
        bad.err,
        "error: the configuration has a fault:\n- environment variable OTEL_EXPORTER_OTLP_ENDPOINT: is neither http nor https; \
         write the URL of a collector's OTLP port for HTTP, such as \"http://localhost:4318\", or unset it\n"
    );
}

#[tokio::test]
async fn a_caller_that_left_is_told_in_its_span() {
    let it = Traced::with(&[], &[]).await;
    it.it
        .sim
        .set(|options| options.round_trip = Duration::from_secs(30));
    let leaves = tokio::select! {
        _ = it.get("/", &[]) => false,
        () = it.it.until(|sim| !sim.calls().is_empty()) => true,
    };
    assert!(leaves);
    let received = it.end().await;
    let span = one(&received.spans);
    assert_eq!((span.get("error.type"), span.is_error), ("caller_gone", true));
    assert_eq!(span.get("http.response.status_code"), "");
}

#[tokio::test]
async fn the_variables_of_opentelemetry_are_heeded() {
    let env = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=needle%20one, x-two=2"),
        ("OTEL_SERVICE_NAME", "ours"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=theirs,deployment.environment.name=test",
        ),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let mut it = Traced::with(&[], &env[..5]).await;
    // Nobody decided about the first, the second's caller did.
    it.get("/", &[]).await;
    it.get("/", &[("traceparent", &*sampled())]).await;
    let calls = it.it.sim.calls();
    assert_eq!(lines(&calls[0], "traceparent"), [""; 0]);
    it.it.stop().await;
    let received = received(&mut it.collector).await;
    assert_eq!(one(&received.spans).parent, PARENT);
    assert_eq!(received.exports[0].header("api-key"), "needle one");
    assert_eq!(received.exports[0].header("x-two"), "2");
    assert_eq!(received.resource["service.name"], "ours");
    assert_eq!(received.resource["deployment.environment.name"], "test");

    // And without an end, soon.
    let mut it = Traced::with(&[], &env[5..]).await;
    it.get("/", &[]).await;
    assert!(!it.collector.next().await.body.is_empty());
    assert!(it.end().await.exports.is_empty());
}

//! The variables of OpenTelemetry.

use super::*;

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

fn scene(env: &[(&str, &str)]) -> Scene {
    env.iter().fold(Scene::minimal(), |scene, pair| scene.env(*pair))
}

fn tracing(env: &[(&str, &str)]) -> Tracing {
    let scene = scene(&[&[(ALL, "http://c:4318")][..], env].concat());
    assert_eq!(scene.warnings(), [""; 0]);
    scene.load().config.tracing.unwrap()
}

#[test]
fn the_path_of_traces_is_added_to_what_is_for_all_signals() {
    for (variable, written, read) in [
        (ALL, "http://c:4318", "http://c:4318/v1/traces"),
        (ALL, "http://c:4318/", "http://c:4318/v1/traces"),
        (ALL, "https://c/otlp/?key=k", "https://c/otlp/v1/traces?key=k"),
        (TRACES, "http://c:4318", "http://c:4318/"),
        (TRACES, "http://c:4318/x", "http://c:4318/x"),
    ] {
        let tracing = scene(&[(variable, written)]).load().config.tracing.unwrap();
        assert_eq!((tracing.endpoint.as_str(), tracing.variable), (read, variable));
        assert!(!tracing.target().contains("key"), "{}", tracing.target());
    }
    let both = tracing(&[(TRACES, "http://d/")]);
    assert_eq!(both.endpoint.as_str(), "http://d/");
    let from_file = Scene::minimal();
    let path = from_file.write(".env", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c\n");
    let sources = Sources {
        env_file: Some(path),
        ..from_file.sources.clone()
    };
    assert!(load(sources).unwrap().config.tracing.is_some());
}

#[test]
fn another_endpoint_waits_for_a_restart() {
    let config = |url: &str| scene(&[(ALL, url)]).load().config;
    let (old, new) = (config("http://c"), config("http://d"));
    let change = reload::change(&old, new, &reload::Bindings::default());
    assert!(change.is_nothing());
    assert_eq!(change.config.tracing, old.tracing);
    let waiting: Vec<String> = change.waiting.iter().map(ToString::to_string).collect();
    assert_eq!(
        waiting,
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT, or another of OpenTelemetry's variables, changed; that needs a restart"
        ]
    );
}

#[test]
fn without_an_endpoint_or_where_it_is_switched_off_there_are_no_spans() {
    let (endpoint, grpc) = (
        (ALL, "http://c"),
        "environment variable OTEL_EXPORTER_OTLP_PROTOCOL: is not http/protobuf",
    );
    for (env, warning) in [
        (&[][..], ""),
        (&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "x")], ""),
        (&[(ALL, " ")], ""),
        (&[(ALL, "not a url"), ("OTEL_SDK_DISABLED", "True")], ""),
        (&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], ""),
        (
            &[endpoint, ("OTEL_TRACES_EXPORTER", "console")],
            "environment variable OTEL_TRACES_EXPORTER: does not name otlp",
        ),
        (&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], grpc),
    ] {
        let scene = scene(env);
        assert_eq!(scene.load().config.tracing, None, "{env:?}");
        let warnings = scene.warnings();
        assert_eq!(warnings.len(), usize::from(!warning.is_empty()), "{warnings:?}");
        assert!(
            warnings.iter().all(|said| said.starts_with(warning)),
            "{warnings:?}"
        );
    }
    let own = [
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_TRACES_EXPORTER", "console, otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
    ];
    assert_eq!(tracing(&own).variable, ALL);
}

#[test]
fn an_endpoint_that_is_none_is_a_fault_with_a_remedy() {
    let remedy =
        "write the URL of a collector's OTLP port for HTTP, such as \"http://localhost:4318\", or unset it";
    for (url, what) in [
        ("localhost:4318", "is neither http nor https"),
        ("collector", "is not a URL"),
        ("grpc://c:4317", "is neither http nor https"),
        ("http://me:s3cret@c", "has user information"),
        ("http://c/#x", "has a fragment, which is never sent"),
    ] {
        for variable in [ALL, TRACES] {
            let faults = scene(&[(variable, url)]).faults();
            assert_eq!(
                faults,
                [format!("environment variable {variable}: {what}; {remedy}")]
            );
        }
    }
}

#[test]
fn spans_are_sent_neither_to_the_sidecar_nor_to_snaptrade() {
    let remedy = "give the URL of an OpenTelemetry collector";
    for (url, what) in [
        (
            "http://localhost:8080",
            "is the sidecar itself, by proxy.listen (127.0.0.1:8080)",
        ),
        (
            "http://127.0.0.1:9090/x",
            "is the sidecar itself, by ops.listen (127.0.0.1:9090)",
        ),
        ("https://API.snaptrade.com:443", "is SnapTrade, by proxy.upstream"),
    ] {
        let faults = scene(&[(ALL, url)]).faults();
        assert_eq!(faults, [format!("environment variable {ALL}: {what}; {remedy}")]);
    }
    for url in ["http://localhost:4318", "https://api.snaptrade.com:4318"] {
        assert!(scene(&[(ALL, url)]).load().config.tracing.is_some(), "{url}");
    }
}

#[test]
fn what_is_not_said_is_as_the_specification_has_it() {
    let preset = tracing(&[]);
    let times = (preset.timeout, preset.delay);
    assert_eq!(times, (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((preset.queue_max, preset.batch_max), (2_048, 512));
    assert_eq!(preset.sampler, Sampler::new(true, 1.0));
    let said = tracing(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
    ]);
    let times = (said.timeout, said.delay);
    assert_eq!(times, (Duration::from_millis(2), Duration::from_millis(3)));
    // No more can be sent at once than may wait.
    assert_eq!((said.queue_max, said.batch_max), (4, 4));
}

#[test]
fn samplers_are_those_of_the_specification() {
    for (sampler, argument, parent_based, ratio) in [
        ("always_on", "", false, 1.0),
        ("always_off", "0.5", false, 0.0),
        ("traceidratio", "0.25", false, 0.25),
        ("parentbased_always_on", "", true, 1.0),
        ("parentbased_always_off", "", true, 0.0),
        ("parentbased_traceidratio", "1e-3", true, 0.001),
        ("parentbased_traceidratio", "", true, 1.0),
    ] {
        let read = tracing(&[
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ]);
        assert_eq!(read.sampler, Sampler::new(parent_based, ratio), "{sampler}");
        assert!((read.sampler.ratio() - ratio).abs() < f64::EPSILON);
    }
}

#[test]
fn what_cannot_be_understood_is_warned_about_and_not_quoted() {
    let is_number = "is not a whole number from 1 to";
    for (name, value, what) in [
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            "is not a sampler that the sidecar has",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "is not heeded"),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "/ca.pem",
            "is not read; set proxy.upstream_ca_file",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", is_number),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", is_number),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999", is_number),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", is_number),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=b,secret",
            "has an entry that is not key=value",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret", "entry 2 is no header"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "a b=secret",
            "entry 1 is no header",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=secret%0A",
            "entry 1 is no header",
        ),
    ] {
        let warnings = scene(&[(ALL, "http://c"), (name, value)]).warnings();
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        let start = format!("environment variable {name}: {what}");
        assert!(
            warning.starts_with(&start) && !warning.contains("secret"),
            "{warning}"
        );
    }
    for argument in ["2", "-0.1", "NaN", "half"] {
        let env = [
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ];
        let warnings = scene(&[&[(ALL, "http://c")][..], &env].concat()).warnings();
        assert_eq!(
            warnings,
            ["environment variable OTEL_TRACES_SAMPLER_ARG: is not a number from 0 to 1; 1 it is"]
        );
    }
}

#[test]
fn r13_headers_for_the_collector_do_not_print() {
    let tracing = tracing(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x=1")]);
    assert_eq!(tracing.headers["authorization"], "Bearer s3cret");
    assert_eq!(tracing.headers["x"], "1");
    assert!(!format!("{tracing:?}").contains("s3cret"));
}

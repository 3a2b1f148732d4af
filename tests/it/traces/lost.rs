//! Spans that nobody takes.

use std::time::Duration;

use super::Traced;
use crate::application::Application;
use crate::harness::{client, options, patiently};
use crate::program::{remembering, simulator};

const LOST: &str = "spans are lost, calls are answered all the same: check the endpoint, and that a collector answers there by \
                    OTLP over HTTP. Said once until it works again; the metric spans_lost_total counts on";

#[tokio::test]
async fn r14_a_collector_that_does_not_answer_costs_spans_and_nothing_else() {
    let env = [
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ];
    let mut it = Traced::with(&[], &env).await;
    it.collector.answers(&[Application::HOLDS]);
    it.get("/", &[]).await;
    it.collector.next().await;
    // The first is on its way and two wait: there is no room for the others.
    for _ in 0..7 {
        assert_eq!(it.get("/", &[]).await.status, 200);
    }
    let metrics = it.it.ops_get("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains("\nsnaptrade_sidecar_spans_lost_total 5\n"),
        "{metrics}"
    );
    it.collector.release();
    it.collector.next().await;
    it.collector.next().await;
    // One that holds on at the end holds up nobody for long.
    it.collector.answers(&[Application::HOLDS]);
    it.get("/", &[]).await;
    it.collector.next().await;
    it.get("/", &[]).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), it.it.stop()).await;
    assert!(stopped.is_ok(), "the collector held up the end");
}

#[tokio::test]
async fn that_spans_are_lost_is_said_once_until_they_are_no_longer() {
    let gone = Application::start().await;
    let (address, endpoint) = (gone.addr, gone.url("/?key=hidden-needle"));
    drop(gone);
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=header-needle"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ];
    let sim = simulator(options()).await;
    let (mut program, ready) = remembering(&sim, "memory:", &env).await;
    let endpoint = format!("http://{address}/v1/traces");
    assert_eq!(ready["traces"], *endpoint);
    let url = format!("{}/", ready["proxy"].as_str().unwrap());
    let call = || async { patiently(client().get(&url).send()).await.unwrap().status() };
    assert_eq!(call().await, 200);
    let said = program.logged(LOST).await;
    assert_eq!(
        (&said["endpoint"], &said["level"]),
        (&endpoint.into(), &"WARN".into())
    );
    assert_eq!(said["variable"], "OTEL_EXPORTER_OTLP_ENDPOINT");
    for _ in 0..5 {
        assert_eq!(call().await, 200);
    }
    let mut back = Application::at(address).await;
    assert_eq!(call().await, 200);
    assert_eq!(back.next().await.header("api-key"), "header-needle");
    let again = program.logged("spans are exported again").await;
    assert!(again["lost"].as_u64().unwrap() >= 1);
    program.signal("TERM").await;
    let ended = program.end().await;
    assert_eq!(
        (ended.code, ended.logged(LOST).len()),
        (Some(0), 1),
        "{}",
        ended.err
    );
    for text in [&ended.out, &ended.err] {
        assert!(
            !text.contains("hidden-needle") && !text.contains("header-needle"),
            "{text}"
        );
    }
}

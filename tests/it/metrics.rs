//! `/metrics`: both formats, whole and without ids, and counts that move.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind};

use crate::harness::{FIVE, Harness, Reply, options};
use crate::ops::ask;

/// The samples of a text format by name and labels; fails where a family lacks its HELP or TYPE, or has two.
fn samples(text: &str) -> HashMap<&str, f64> {
    let mut types = HashMap::new();
    let mut helped = HashSet::new();
    let mut samples = HashMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.trim().is_empty(), "{line}");
            assert!(helped.insert(name), "told twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "told twice: {line}");
        } else if !line.starts_with("# UNIT ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let endings = ["", "_total", "_info", "_bucket", "_sum", "_count"];
            let of_family = |end: &&str| {
                name.strip_suffix(*end)
                    .is_some_and(|name| types.contains_key(name))
            };
            let family = endings
                .iter()
                .find(|end| of_family(end))
                .map(|end| name.strip_suffix(*end));
            let family = family
                .flatten()
                .unwrap_or_else(|| panic!("no TYPE before: {line}"));
            assert!(helped.contains(family), "no HELP before: {line}");
            assert!(
                samples.insert(series, value.parse().unwrap()).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

#[tokio::test]
async fn metrics_come_in_both_formats_and_move() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let before = it.ops_get("/metrics").await;
    let evicted = "snaptrade_sidecar_evictions_total{tenant=\"default\",outcome=\"evicted\"}";
    assert_eq!(
        samples(std::str::from_utf8(&before.body).unwrap()).get(evicted),
        Some(&0.0)
    );

    assert_eq!(it.register("needle-user").await.admission(), "evicted");
    it.sim
        .inject(Fault::new(FaultCall::Other, FaultKind::ResetBefore));
    let lost = it
        .call(
            Method::GET,
            "/accounts?userId=needle-user",
            HeaderMap::new(),
            Bytes::new(),
        )
        .await;
    assert_eq!(lost.status, 502);

    let classic = ask(&it, "GET", "/metrics", &[("accept", "text/plain")], None).await;
    let open_type = "application/openmetrics-text; version=1.0.0";
    let open = ask(&it, "GET", "/metrics", &[("accept", open_type)], None).await;
    assert_eq!(
        classic.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(open.header("content-type").unwrap().starts_with(open_type));
    let text = |reply: &Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    let (classic, open) = (text(&classic), text(&open));
    assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF"));
    for text in [&classic, &open] {
        let samples = samples(text);
        let value = |series: &str| {
            samples
                .get(&*format!("snaptrade_sidecar_{series}"))
                .copied()
                .unwrap_or_else(|| panic!("no {series} in:\n{text}"))
        };
        assert!((samples[evicted] - 1.0).abs() < f64::EPSILON);
        for (series, expected) in [
            ("registrations_total{tenant=\"default\",outcome=\"evicted\"}", 1.0),
            ("users{tenant=\"default\"}", 5.0),
            ("user_limit{tenant=\"default\"}", 5.0),
            ("admission_queue{tenant=\"default\"}", 0.0),
            ("admission_duration_seconds_count{outcome=\"evicted\"}", 1.0),
            (
                "management_calls_total{tenant=\"default\",call=\"delete_user\",outcome=\"ok\"}",
                1.0,
            ),
            (
                "requests_total{tenant=\"default\",route=\"register\",status=\"200\"}",
                1.0,
            ),
            ("upstream_errors_total{kind=\"broke_off\"}", 1.0),
        ] {
            assert!(
                (value(series) - expected).abs() < f64::EPSILON,
                "{series} in:\n{text}"
            );
        }
        assert!(text.contains("snaptrade_sidecar_build_info{version=\""), "{text}");
        assert!(text.contains("process_"), "{text}");
        for id in ["needle-user", "userId", "=\"a\""] {
            assert!(!text.contains(id), "{id} in:\n{text}");
        }
    }
    it.stop().await;
}

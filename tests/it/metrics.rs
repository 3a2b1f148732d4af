//! `/metrics`: both formats, whole and without ids, and counts that move.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{HeaderMap, Method};
use snaptrade_sidecar::simulator::{Fault, FaultCall, FaultKind};

use crate::harness::{Harness, options};
use crate::ops::ask;

/// The samples of a text format by name and labels; fails where a family lacks its HELP or TYPE, or has two.
fn samples(text: &str) -> HashMap<&str, &str> {
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
            assert!(value.parse::<f64>().is_ok(), "{line}");
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
            assert!(samples.insert(series, value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// What a session of one eviction, one lost call and one refusal leaves behind.
const COUNTS: [(&str, &str); 12] = [
    ("registrations_total{tenant=\"default\",outcome=\"evicted\"}", "1"),
    ("evictions_total{tenant=\"default\",outcome=\"evicted\"}", "1"),
    ("users{tenant=\"default\"}", "5"),
    ("user_limit{tenant=\"default\"}", "5"),
    ("admission_queue{tenant=\"default\"}", "0"),
    ("admission_duration_seconds_count{outcome=\"evicted\"}", "1"),
    (
        "management_calls_total{tenant=\"default\",call=\"delete_user\",outcome=\"ok\"}",
        "1",
    ),
    (
        "requests_total{tenant=\"default\",route=\"register\",status=\"200\"}",
        "1",
    ),
    ("upstream_errors_total{kind=\"broke_off\"}", "1"),
    ("refusals_total{tenant=\"default\",reason=\"list-failed\"}", "1"),
    ("refusals_total{tenant=\"default\",reason=\"fuse-blown\"}", "0"),
    ("key_refused{tenant=\"default\"}", "1"),
];

#[tokio::test]
async fn metrics_come_in_both_formats_and_move() {
    let users = ["needle-old", "b", "c", "d", "e"];
    let it = Harness::with_users(&users, options(), &[]).await;
    let before = it.ops_get("/metrics").await;
    let evicted = "snaptrade_sidecar_evictions_total{tenant=\"default\",outcome=\"evicted\"}";
    assert_eq!(
        samples(std::str::from_utf8(&before.body).unwrap()).get(evicted),
        Some(&"0")
    );

    assert_eq!(it.register("needle-new").await.admission(), "evicted");
    let broken = Fault::new(FaultCall::Other, FaultKind::ResetBefore);
    it.sim.inject(broken);
    let target = "/accounts?userId=needle-new";
    let lost = it.call(Method::GET, target, HeaderMap::new(), Bytes::new());
    assert_eq!(lost.await.status, 502);
    for _ in 0..2 {
        it.sim.inject(Fault::status(FaultCall::List, 401, "{}"));
    }
    assert_eq!(it.register("needle-newer").await.status, 400);

    let open_type = "application/openmetrics-text; version=1.0.0";
    for (accept, content_type) in [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            open_type,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let reply = ask(&it, "GET", "/metrics", &[("accept", accept)], None).await;
        assert_eq!(reply.header("content-type"), Some(content_type));
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_eq!(text.ends_with("# EOF\n"), accept == open_type);
        let samples = samples(&text);
        for (series, expected) in COUNTS {
            let value = samples.get(&*format!("snaptrade_sidecar_{series}"));
            assert_eq!(value, Some(&expected), "{series} in:\n{text}");
        }
        assert!(!text.contains("needle"), "a user's id is in:\n{text}");
    }
    it.stop().await;
}

#[tokio::test]
async fn the_metrics_are_those_that_the_readme_lists() {
    let it = Harness::start().await;
    assert_eq!(it.register("new").await.status, 200);
    it.sim
        .inject(Fault::new(FaultCall::Other, FaultKind::ResetBefore));
    let lost = it.call(Method::GET, "/accounts", HeaderMap::new(), Bytes::new());
    assert_eq!(lost.await.status, 502);
    let text = String::from_utf8(it.ops_get("/metrics").await.body.to_vec()).unwrap();
    let families = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE snaptrade_sidecar_"));
    let families: HashSet<&str> = families.map(|rest| rest.split(' ').next().unwrap()).collect();
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| metric (`snaptrade_sidecar_…`)").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let named = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let listed: HashSet<&str> = named.map(|name| name.split('{').next().unwrap()).collect();
    assert_eq!(families, listed);
    it.stop().await;
}

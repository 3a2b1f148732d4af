use super::*;

fn metrics() -> Metrics {
    Metrics::new([("default", 5), ("a\"b", 7)])
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|have| have == line)
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(has(text, line), "no {line} in\n{text}");
    }
}

#[test]
fn requests_are_counted_by_tenant_route_and_status() {
    let metrics = metrics();
    let took = Duration::from_millis(30);
    metrics.request(&metrics.place("default"), Route::Register, 200, took);
    metrics.request(&metrics.place("default"), Route::Register, 200, took);
    metrics.request(&metrics.place("default"), Route::Other, 599, took);
    metrics.request(&metrics.place("nobody's"), Route::Other, 999, took);
    metrics.request(&metrics.place("unknown"), Route::Other, 99, took);
    assert_lines(
        &metrics.encode(Format::OpenMetrics),
        &[
            r#"snaptrade_sidecar_requests_total{tenant="default",route="register",status="200"} 2"#,
            r#"snaptrade_sidecar_requests_total{tenant="default",route="other",status="599"} 1"#,
            r#"snaptrade_sidecar_requests_total{tenant="unknown",route="other",status="999"} 1"#,
            r#"snaptrade_sidecar_requests_total{tenant="unknown",route="other",status="99"} 1"#,
            r#"snaptrade_sidecar_request_duration_seconds_count{route="register"} 2"#,
            r#"snaptrade_sidecar_request_duration_seconds_bucket{le="0.025",route="register"} 0"#,
            r#"snaptrade_sidecar_request_duration_seconds_bucket{le="0.05",route="register"} 2"#,
            r#"snaptrade_sidecar_request_duration_seconds_bucket{le="+Inf",route="other"} 3"#,
        ],
    );
}

#[test]
fn known_series_exist_from_the_start_and_unknown_levels_do_not() {
    let text = metrics().encode(Format::OpenMetrics);
    assert_lines(
        &text,
        &[
            r#"snaptrade_sidecar_user_limit{tenant="default"} 5"#,
            r#"snaptrade_sidecar_user_limit{tenant="a\"b"} 7"#,
            r#"snaptrade_sidecar_evictions_total{tenant="default",outcome="evicted"} 0"#,
            r#"snaptrade_sidecar_registrations_total{tenant="default",outcome="refused"} 0"#,
            r#"snaptrade_sidecar_management_calls_total{tenant="default",call="list_users",outcome="error"} 0"#,
            r#"snaptrade_sidecar_pending_deletions{tenant="default"} 0"#,
            r#"snaptrade_sidecar_admission_queue{tenant="default"} 0"#,
            r#"snaptrade_sidecar_upstream_duration_seconds_count{route="list_users"} 0"#,
            "snaptrade_sidecar_connections_open 0",
            "# UNIT snaptrade_sidecar_request_duration_seconds seconds",
        ],
    );
    for absent in ["snaptrade_sidecar_users", "clock_skew", "rate_limit_remaining"] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(!text.contains(r#"tenant="unknown""#));
}

#[test]
fn levels_are_set_and_counts_grow() {
    let metrics = metrics();
    metrics.users("default", 4);
    metrics.users("default", 3);
    metrics.pending_deletions("default", 1);
    metrics.admission_queue("default", 2);
    metrics.place("default").set_remaining(&metrics, 249);
    metrics.clock_skew(-1.5);
    metrics.upstream_error("connect");
    metrics.registration("default", "evicted");
    metrics.admission("evicted", Duration::from_millis(340));
    metrics.eviction("default", "evicted");
    metrics.management_call("default", "delete_user", "ok");
    metrics
        .connections_open()
        .store(6, std::sync::atomic::Ordering::Relaxed);
    assert_lines(
        &metrics.encode(Format::OpenMetrics),
        &[
            r#"snaptrade_sidecar_users{tenant="default"} 3"#,
            r#"snaptrade_sidecar_pending_deletions{tenant="default"} 1"#,
            r#"snaptrade_sidecar_admission_queue{tenant="default"} 2"#,
            r#"snaptrade_sidecar_rate_limit_remaining{tenant="default"} 249"#,
            "snaptrade_sidecar_clock_skew_seconds{} -1.5",
            r#"snaptrade_sidecar_upstream_errors_total{kind="connect"} 1"#,
            r#"snaptrade_sidecar_registrations_total{tenant="default",outcome="evicted"} 1"#,
            r#"snaptrade_sidecar_admission_duration_seconds_bucket{le="0.35",outcome="evicted"} 1"#,
            r#"snaptrade_sidecar_evictions_total{tenant="default",outcome="evicted"} 1"#,
            r#"snaptrade_sidecar_management_calls_total{tenant="default",call="delete_user",outcome="ok"} 1"#,
            "snaptrade_sidecar_connections_open 6",
        ],
    );
}

#[test]
fn both_formats_carry_the_same_samples() {
    let metrics = metrics();
    metrics.request(&metrics.place("default"), Route::ApiStatus, 200, Duration::ZERO);
    let [openmetrics, classic] =
        [Format::OpenMetrics, Format::Prometheus].map(|format| metrics.encode(format));
    assert!(openmetrics.ends_with("# EOF\n"));
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    assert_lines(&openmetrics, &["# TYPE snaptrade_sidecar_requests counter"]);
    assert_lines(
        &classic,
        &[
            "# TYPE snaptrade_sidecar_requests_total counter",
            "# TYPE snaptrade_sidecar_request_duration_seconds histogram",
            "# TYPE snaptrade_sidecar_build_info gauge",
        ],
    );
    let samples = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("process_"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(samples(&openmetrics), samples(&classic));
    assert!(classic.contains(concat!(
        "snaptrade_sidecar_build_info{version=\"",
        env!("CARGO_PKG_VERSION")
    )));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured() {
    let text = metrics().encode(Format::Prometheus);
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("process_cpu_seconds_total ") >= 0.0);
    assert!(value("process_resident_memory_bytes ") > 1e5);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_threads ") >= 1.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let started = value("process_start_time_seconds ");
    assert!(started > now.as_secs_f64() - 86_400.0 && started < now.as_secs_f64() + 60.0);
}

#[test]
fn tenants_come_and_go_with_their_series() {
    let metrics = metrics();
    let took = Duration::from_millis(30);
    let (old, kept) = (metrics.place("default"), metrics.place("a\"b"));
    for place in [&old, &kept] {
        metrics.request(place, Route::Register, 200, took);
        metrics.request(place, Route::Other, 599, took);
    }
    metrics.users("default", 3);
    metrics.place("default").set_remaining(&metrics, 3);
    metrics.management_call("default", "list_users", "ok");
    metrics.set_tenants([("a\"b", 9), ("new", 1)]);
    // What was under way.
    metrics.request(&old, Route::Register, 201, took);
    metrics.request(&old, Route::Other, 598, took);
    metrics.users("default", 3);
    metrics.request(&kept, Route::Register, 200, took);
    let text = metrics.encode(Format::OpenMetrics);
    assert!(!text.contains("tenant=\"default\""), "{text}");
    assert_lines(
        &text,
        &[
            r#"snaptrade_sidecar_user_limit{tenant="a\"b"} 9"#,
            r#"snaptrade_sidecar_requests_total{tenant="a\"b",route="register",status="200"} 2"#,
            r#"snaptrade_sidecar_user_limit{tenant="new"} 1"#,
            r#"snaptrade_sidecar_evictions_total{tenant="new",outcome="evicted"} 0"#,
            r#"snaptrade_sidecar_config_reloads_total{outcome="applied"} 0"#,
        ],
    );
    metrics.set_tenants([("default", 5)]);
    metrics.request(&metrics.place("default"), Route::Register, 200, took);
    assert_lines(
        &metrics.encode(Format::OpenMetrics),
        &[r#"snaptrade_sidecar_requests_total{tenant="default",route="register",status="200"} 1"#],
    );
}

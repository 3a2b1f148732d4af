//! Who may ask the ops plane, from where, and by which name; over real sockets.

use serde_json::json;

use crate::harness::{FIVE, Harness, options};
use crate::ops::ask;

const STATUS: &str = "/api/snaptrade/status";
const REGISTER: &str = "/api/snaptrade/register";
const TOKEN: (&str, &str) = ("ops.token", "open-sesame");

#[tokio::test]
async fn without_a_token_nothing_can_be_changed() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    for headers in [&[][..], &[("authorization", "Bearer guessed")]] {
        let wanted = json!({"user_id": "new"});
        let reply = ask(&it, "POST", REGISTER, headers, Some(&wanted)).await;
        assert_eq!(reply.status, 403);
        assert_eq!(reply.json()["code"], "sidecar_token_not_configured");
        assert!(reply.json()["detail"].as_str().unwrap().contains("set ops.token"));
    }
    assert_eq!(it.kinds(), []);
    it.stop().await;
}

#[tokio::test]
async fn with_a_token_only_who_has_it_changes_anything() {
    let it = Harness::with_users(&FIVE, options(), &[TOKEN]).await;
    for (headers, code) in [
        (&[][..], "sidecar_token_missing"),
        (&[("authorization", "Bearer open-sesam")], "sidecar_token_wrong"),
        (&[("authorization", "Bearer open-sesame2")], "sidecar_token_wrong"),
        (&[("authorization", "Basic open-sesame")], "sidecar_token_missing"),
    ] {
        let wanted = json!({"user_id": "new"});
        let reply = ask(&it, "POST", REGISTER, headers, Some(&wanted)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (401, &code.into())
        );
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    assert_eq!(it.kinds(), []);
    it.stop().await;
}

#[tokio::test]
async fn only_readers_see_who_the_users_are() {
    let with_token = Harness::with_users(&FIVE, options(), &[TOKEN]).await;
    let without = Harness::with_users(&FIVE, options(), &[]).await;
    // The lists of the first look are from before there was anybody.
    for it in [&with_token, &without] {
        it.sim.remove_user("e");
        assert_eq!(it.register("e").await.status, 200);
    }
    let right = ("authorization", "Bearer open-sesame");
    for (it, header, sees) in [
        (&with_token, Some(right), true),
        (&with_token, Some(("authorization", "Bearer wrong")), false),
        (&with_token, None, false),
        (&without, None, true),
        (&without, Some(("x-forwarded-for", "10.0.0.1")), false),
        (&without, Some(("forwarded", "for=10.0.0.1")), false),
        (&without, Some(("via", "1.1 proxy")), false),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let reply = ask(it, "GET", STATUS, &headers, None).await;
        assert_eq!(reply.status, 200);
        let status = reply.json();
        assert_eq!(
            (&status["current_count"], &status["status"]["at_limit"]),
            (&5.into(), &true.into())
        );
        let users = sees.then(|| json!(FIVE));
        assert_eq!(status["status"].get("users"), users.as_ref(), "{header:?}");
        let message = status["message"].as_str().unwrap();
        assert_eq!(message.contains("token"), !sees, "{message}");
    }
    with_token.stop().await;
    without.stop().await;
}

#[tokio::test]
async fn a_name_that_it_does_not_know_is_refused_but_for_probes_and_metrics() {
    let it = Harness::with(options(), &[("ops.hosts", "ops.internal")]).await;
    for (target, host, status) in [
        (STATUS, "rebound.example", 421),
        ("/", "rebound.example:9090", 421),
        ("/nowhere", "rebound.example", 421),
        ("/healthz", "rebound.example", 200),
        ("/readyz", "rebound.example", 200),
        ("/metrics", "rebound.example", 200),
        (STATUS, "localhost:1", 200),
        (STATUS, "[::1]:9090", 200),
        (STATUS, "OPS.internal", 200),
        (STATUS, "ops.internal.example", 421),
    ] {
        let reply = ask(&it, "GET", target, &[("host", host)], None).await;
        assert_eq!(reply.status, status, "{target} {host}");
        if status == 421 {
            assert_eq!(reply.json()["code"], "sidecar_unknown_host");
        }
    }
    it.stop().await;
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_others_may_not() {
    let origins = "https://app.example.com,https://*.vercel.app";
    let it = Harness::with(options(), &[TOKEN, ("ops.allowed_origins", origins)]).await;
    for (origin, status) in [
        ("https://app.example.com", 200),
        ("https://preview-1.vercel.app", 200),
        ("https://a.b.vercel.app", 403),
        ("https://vercel.app", 403),
        ("http://preview-1.vercel.app", 403),
        ("https://preview-1.vercel.app.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let reply = ask(&it, "GET", STATUS, &[("origin", origin)], None).await;
        assert_eq!(reply.status, status, "{origin}");
        let allowed = (status == 200).then_some(origin);
        assert_eq!(reply.header("access-control-allow-origin"), allowed);
        assert!(
            reply
                .header("vary")
                .unwrap()
                .to_ascii_lowercase()
                .contains("origin"),
            "{reply:?}"
        );
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let reply = ask(&it, "OPTIONS", REGISTER, &preflight, None).await;
        assert_eq!(reply.status, status, "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), allowed);
        let methods = reply.header("access-control-allow-methods").unwrap_or_default();
        assert_eq!(methods.contains("POST"), status == 200, "{methods}");
    }
    it.stop().await;
}

#[tokio::test]
async fn what_there_is_not_says_what_there_is() {
    let it = Harness::start().await;
    let unknown = ask(&it, "GET", "/snapTrade/listUsers?clientId=x", &[], None).await;
    assert_eq!(unknown.status, 404);
    let detail = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("calls meant for SnapTrade go to the proxy's address"),
        "{detail}"
    );
    assert!(
        detail.contains("GET /api/snaptrade/status") && !detail.contains("clientId"),
        "{detail}"
    );
    let wrong = ask(&it, "GET", REGISTER, &[], None).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("allow")),
        (405, Some("POST"))
    );
    assert_eq!(
        wrong.json()["detail"],
        format!("GET {REGISTER} is not possible; use POST.")
    );
    let tenant = ask(&it, "GET", "/api/snaptrade/status?tenant=nobody", &[], None).await;
    assert_eq!(
        (tenant.status.as_u16(), &tenant.json()["detail"]),
        (404, &"There is no such tenant. The tenants are: default.".into())
    );
    it.stop().await;
}

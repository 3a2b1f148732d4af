use axum::body::Body;

use super::*;
use crate::config::origin::OriginPattern;
use crate::types::Token;

fn config(token: Option<&str>) -> config::Ops {
    config::Ops {
        listen: "127.0.0.1:9090".parse().unwrap(),
        tls: None,
        token: token.map(Token::new),
        hosts: vec!["sidecar.internal".to_owned()],
        allowed_origins: vec![OriginPattern::parse("https://*.vercel.app").unwrap()],
    }
}

fn request(headers: &[(&str, &str)], target: &str) -> Request {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn status(headers: &[(&str, &str)], target: &str) -> u16 {
    check(&config(None), &request(headers, target)).map_or_else(|problem| problem.status.as_u16(), |()| 200)
}

#[test]
fn only_names_that_no_web_page_can_claim_are_answered() {
    for host in [
        "127.0.0.1:9090",
        "10.1.2.3",
        "[::1]:9090",
        "[fe80::1]",
        "localhost",
        "LOCALHOST.:9090",
        "Sidecar.Internal:80",
    ] {
        assert_eq!(status(&[("host", host)], "/"), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "x@localhost",
        "a.sidecar.internal",
        "2130706433",
        "[localhost]",
        "",
    ] {
        assert_eq!(status(&[("host", host)], "/api/snaptrade/status"), 421, "{host}");
        assert_eq!(status(&[("host", host)], "/metrics"), 200, "{host}");
    }
    assert_eq!(status(&[], "/"), 421);
    assert_eq!(status(&[("host", "localhost"), ("host", "localhost")], "/"), 421);
    assert_eq!(status(&[("host", "localhost")], "http://evil.example/"), 421);
    assert_eq!(status(&[("host", "evil.example")], "http://localhost/"), 200);
}

#[test]
fn pages_of_foreign_origins_are_refused() {
    let from = |origin| [("host", "127.0.0.1:9090"), ("origin", origin)];
    for origin in ["http://127.0.0.1:9090", "https://my-app.vercel.app"] {
        assert_eq!(status(&from(origin), "/"), 200, "{origin}");
    }
    for origin in [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "http://my-app.vercel.app",
        "https://vercel.app",
        "127.0.0.1:9090",
    ] {
        assert_eq!(status(&from(origin), "/"), 403, "{origin}");
        assert_eq!(status(&from(origin), "/healthz"), 403, "{origin}");
    }
    let mut two = from("https://my-app.vercel.app").to_vec();
    two.push(("origin", "http://evil.example"));
    assert_eq!(status(&two, "/"), 403);
}

fn ends(peer: &str, listener: &str) -> Ends {
    Ends {
        peer: peer.parse().unwrap(),
        listener: listener.parse().unwrap(),
    }
}

fn standing(token: Option<&str>, headers: &[(&str, &str)], ends: Option<&Ends>) -> Standing {
    Standing::of(&config(token), request(headers, "/").headers(), ends)
}

#[test]
fn without_a_token_only_this_machine_reads_and_nobody_changes() {
    let local = ends("127.0.0.1:5", "127.0.0.1:9090");
    assert_eq!(standing(None, &[], Some(&local)), Standing::Local);
    let mapped = ends("[::ffff:127.0.0.1]:5", "[::1]:9090");
    assert_eq!(standing(None, &[], Some(&mapped)), Standing::Local);
    for ends in [
        ends("10.0.0.2:5", "127.0.0.1:9090"),
        ends("127.0.0.1:5", "0.0.0.0:9090"),
        ends("127.0.0.1:5", "[::]:9090"),
        ends("10.0.0.2:5", "10.0.0.1:9090"),
    ] {
        assert_eq!(standing(None, &[], Some(&ends)), Standing::Remote, "{ends:?}");
    }
    assert_eq!(standing(None, &[], None), Standing::Remote);
    for header in [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-real-ip",
    ] {
        let headers = [(header, "127.0.0.1")];
        assert_eq!(
            standing(None, &headers, Some(&local)),
            Standing::Remote,
            "{header}"
        );
    }
    assert_eq!(Standing::Local.reads(), Ok(()));
    assert!(Standing::Remote.reads().is_err());
    for standing in [Standing::Local, Standing::Remote] {
        assert_eq!(standing.changes().unwrap_err().status, 403);
    }
}

#[test]
fn with_a_token_only_its_holder_reads_and_changes() {
    let local = ends("127.0.0.1:5", "127.0.0.1:9090");
    let with = |value: &str| standing(Some("t0ken"), &[("authorization", value)], Some(&local));
    assert_eq!(with("Bearer t0ken"), Standing::Token);
    assert_eq!(with("bearer  t0ken "), Standing::Token);
    for wrong in ["Bearer t0ke", "Bearer t0ken1", "Bearer T0ken", "Bearer x"] {
        assert_eq!(with(wrong), Standing::TokenWrong, "{wrong}");
    }
    for missing in ["", "Bearer", "Bearer ", "Basic t0ken", "t0ken"] {
        assert_eq!(with(missing), Standing::TokenMissing, "{missing}");
    }
    let twice = [("authorization", "Bearer t0ken"), ("authorization", "Bearer x")];
    assert_eq!(
        standing(Some("t0ken"), &twice, Some(&local)),
        Standing::TokenMissing
    );
    assert!(Standing::Token.reads().is_ok() && Standing::Token.changes().is_ok());
    for standing in [Standing::TokenMissing, Standing::TokenWrong] {
        assert!(standing.reads().is_err());
        assert_eq!(standing.changes().unwrap_err().status, 401);
    }
}

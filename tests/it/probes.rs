//! Health on the proxy's port.

use crate::between::Between;

#[tokio::test]
async fn probes_are_answered_here() {
    let mut it = Between::start().await;
    for path in ["/healthz", "/readyz", "/healthz?x"] {
        for method in ["GET", "HEAD"] {
            let mut caller = it.sends(format!("{method} {path} HTTP/1.1\r\n\r\n")).await;
            assert_eq!(caller.head().await.start, "HTTP/1.1 200 OK", "{method} {path}");
        }
    }
    it.nothing_was_forwarded().await;
}

#[tokio::test]
async fn r1_what_only_looks_like_a_probe_is_forwarded() {
    let mut it = Between::start().await;
    for start in [
        "POST /healthz",
        "DELETE /readyz",
        "GET /healthz/",
        "GET //healthz",
        "GET /Healthz",
        "GET /health%7A",
        "GET /api/v1/healthz",
    ] {
        let got = it.forwarded(format!("{start} HTTP/1.1\r\n\r\n")).await.head.start;
        assert_eq!(got, format!("{start} HTTP/1.1"));
    }
    let mut it = Between::with(&[("proxy.health_paths", "false")]).await;
    for start in ["GET /healthz", "GET /readyz", "HEAD /readyz"] {
        let got = it.forwarded(format!("{start} HTTP/1.1\r\n\r\n")).await.head.start;
        assert_eq!(got, format!("{start} HTTP/1.1"));
    }
}

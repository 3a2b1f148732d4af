//! The link to the Connection Portal, and its page.

use super::*;

const LOGIN: &str = "/snapTrade/login";

async fn login(sim: &Simulator, user: &str, secret: &str, body: &str) -> Answer {
    let parameters = format!("&userId={user}&userSecret={secret}");
    let call = (Method::POST, LOGIN, parameters.as_str(), body);
    send(signed_by(sim, Dialect::PYTHON, call)).await.unwrap()
}

/// What the page says to which the login's link leads.
async fn page(sim: &Simulator, login: &Answer) -> Answer {
    let link = login.json()["redirectURI"].as_str().unwrap().to_owned();
    let target = link.strip_prefix(&sim.url()).unwrap();
    send(unsigned(sim, Method::GET, target, "")).await.unwrap()
}

#[tokio::test]
async fn a_login_leads_to_a_page_that_names_the_user_and_the_way_back() {
    let sim = started(Options::default()).await;
    sim.add_user("ada");
    let body = r#"{"customRedirect":"https://app.example.com/?a=1&b=2"}"#;
    let secret = sim.secret_of("ada").unwrap();
    let first = login(&sim, "ada", &secret, body).await;
    assert!(!first.json()["sessionId"].as_str().unwrap().is_empty());
    let shown = page(&sim, &first).await;
    assert_eq!(
        (shown.status, shown.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let html = std::str::from_utf8(&shown.body).unwrap();
    assert!(html.contains(r#"<strong id="user">ada</strong>"#), "{html}");
    assert!(
        html.contains(r#"<a href="https://app.example.com/?a=1&amp;b=2">"#),
        "{html}"
    );

    let second = login(&sim, "ada", &secret, "").await;
    assert_ne!(second.json()["redirectURI"], first.json()["redirectURI"]);
    let html = page(&sim, &second).await.body;
    assert!(std::str::from_utf8(&html).unwrap().contains("close this page"));
    assert_eq!(sim.count(CallKind::Login), 2);
}

#[tokio::test]
async fn nobody_logs_in_without_the_secret_of_a_user() {
    let sim = started(Options::default()).await;
    sim.add_user("ada");
    let secret = sim.secret_of("ada").unwrap();
    for (user, secret) in [("ada", "wrong"), ("grace", secret.as_str())] {
        let refusal = login(&sim, user, secret, "").await.refusal();
        assert_eq!((refusal.0, refusal.1), (401, json!("1083")), "{user}");
    }
    let target = format!("{LOGIN}?userId=ada&userSecret={secret}");
    let unproven = send(unsigned(&sim, Method::POST, &target, "")).await.unwrap();
    assert_eq!(unproven.refusal().1, json!("1076"));
    let nowhere = unsigned(&sim, Method::GET, "/_simulator/portal/x", "");
    assert_eq!(send(nowhere).await.unwrap().status, 404);
}

#[tokio::test]
async fn the_page_runs_nothing_that_it_was_given() {
    let sim = started(Options::default()).await;
    let hostile = "<script>{way_back}{user}\"&";
    sim.add_user(hostile);
    let secret = sim.secret_of(hostile).unwrap();
    let encoded = "%3Cscript%3E%7Bway_back%7D%7Buser%7D%22%26";
    for back in ["javascript:alert(1)", "https://x/\\\"><script>{user}"] {
        let body = format!(r#"{{"customRedirect":"{back}"}}"#);
        let shown = page(&sim, &login(&sim, encoded, &secret, &body).await).await;
        let html = std::str::from_utf8(&shown.body).unwrap();
        assert!(
            html.contains("&lt;script&gt;{way_back}{user}&quot;&amp;"),
            "{html}"
        );
        assert!(
            !html.contains("<script") && !html.contains("javascript:"),
            "{html}"
        );
        assert!(
            shown
                .header("content-security-policy")
                .starts_with("default-src 'none'")
        );
    }
}

#[tokio::test]
async fn of_more_than_a_thousand_links_the_oldest_is_forgotten() {
    let sim = started(Options {
        rate_limit: 0,
        ..Options::default()
    })
    .await;
    sim.add_user("ada");
    let secret = sim.secret_of("ada").unwrap();
    let first = login(&sim, "ada", &secret, "").await;
    for _ in 0..999 {
        login(&sim, "ada", &secret, "").await;
    }
    assert_eq!(page(&sim, &first).await.status, 200);
    let last = login(&sim, "ada", &secret, "").await;
    assert_eq!(page(&sim, &first).await.status, 404);
    assert_eq!(page(&sim, &last).await.status, 200);
}

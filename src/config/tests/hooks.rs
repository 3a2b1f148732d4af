//! Webhooks and notices.

use super::*;

const NOTIFY: &str = "tenants.default.eviction.notify_url";
const SECRET: &str = "tenants.default.eviction.notify_secret";

fn one(scene: &Scene) -> String {
    let faults = scene.faults();
    let [fault] = faults.as_slice() else {
        panic!("{faults:#?}")
    };
    fault.clone()
}

#[test]
fn webhooks_and_notices_are_off_unless_asked_for() {
    let config = Scene::minimal().load().config;
    assert_eq!(config.webhooks.listen, None);
    assert!(config.webhooks.forward_url.is_none() && config.tenants[0].notify.is_none());
}

#[test]
fn what_is_asked_for_is_read() {
    let scene = Scene::minimal()
        .flag("webhooks.listen", "0.0.0.0:8070")
        .flag("webhooks.forward_url", "http://app:3000/hooks")
        .flag(NOTIFY, "https://app.example.com/evicted?v=1")
        .flag(SECRET, "sixteen characters");
    let Loaded {
        config,
        warnings,
        effective,
        ..
    } = scene.load();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.webhooks.listen, Some("0.0.0.0:8070".parse().unwrap()));
    let notify = config.tenants[0].notify.as_ref().unwrap();
    assert_eq!(notify.url.as_str(), "https://app.example.com/evicted?v=1");
    assert_eq!(notify.secret.expose(), "sixteen characters");
    assert!(!effective.to_string().contains("sixteen"), "r13: {effective}");
}

#[test]
fn r13_the_secret_of_notices_may_come_from_a_file_and_shows_nowhere() {
    let scene = Scene::minimal().flag(NOTIFY, "https://a.example");
    let path = scene.write("secret", "of the file, long enough\n");
    let scene = scene.flag(
        "tenants.default.eviction.notify_secret_file",
        path.to_str().unwrap(),
    );
    let config = scene.load().config;
    let secret = &config.tenants[0].notify.as_ref().unwrap().secret;
    assert_eq!(secret.expose(), "of the file, long enough");
    assert!(!format!("{config:?}").contains("of the file"));
}

#[test]
fn a_notify_url_without_a_secret_is_a_fault() {
    assert_eq!(
        one(&Scene::minimal().flag(NOTIFY, "https://a.example")),
        "tenants.default.eviction.notify_secret: is not set, but tenants.default.eviction.notify_url is; set it, or \
         notify_secret_file, to a random text that the application has too"
    );
}

#[test]
fn urls_that_are_none() {
    for (url, said) in [
        ("app.example.com", "is not a URL"),
        ("ftp://app.example.com", "is neither http nor https"),
        ("https://u:needle@app.example.com", "has user information"),
        ("https://app.example.com/#needle", "has a fragment"),
    ] {
        for key in ["webhooks.forward_url", NOTIFY] {
            let scene = Scene::minimal()
                .flag("webhooks.listen", "127.0.0.1:8070")
                .flag(key, url);
            let fault = one(&scene);
            assert!(
                fault.contains(&format!("{key} (command line): {said}")),
                "{fault}"
            );
            assert!(!fault.contains("needle"), "{fault}");
        }
    }
}

#[test]
fn settings_without_effect_are_warned_about() {
    let forward = Scene::minimal().flag("webhooks.forward_url", "http://app:3000");
    assert_eq!(
        forward.warnings(),
        ["webhooks.forward_url has no effect while webhooks.listen is empty: no webhook arrives"]
    );
    let secret = Scene::minimal().flag(SECRET, "long enough to be good");
    assert_eq!(
        secret.warnings(),
        [format!("{SECRET} has no effect while {NOTIFY} is empty")]
    );
    let short = Scene::minimal()
        .flag(NOTIFY, "http://app:3000")
        .flag(SECRET, "short");
    let said = format!("{SECRET} (command line): is shorter than 16 characters and can be guessed");
    assert_eq!(short.warnings(), [said]);
}

#[test]
fn webhooks_need_a_port_of_their_own_and_do_not_go_round() {
    let fault = one(&Scene::minimal().flag("webhooks.listen", "127.0.0.1:9090"));
    assert!(
        fault.contains("webhooks.listen (command line): 127.0.0.1:9090 is taken by ops.listen"),
        "{fault}"
    );
    for url in [
        "http://localhost:8070/webhooks/snaptrade",
        "http://127.0.0.1:8080",
    ] {
        let round = Scene::minimal()
            .flag("webhooks.listen", "127.0.0.1:8070")
            .flag("webhooks.forward_url", url);
        let fault = one(&round);
        assert!(
            fault.contains("webhooks.forward_url (command line): is the sidecar itself, by "),
            "{fault}"
        );
    }
}

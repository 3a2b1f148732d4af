use std::collections::BTreeMap;

use super::*;
use crate::config::keys::{KEYS, fill};
use crate::config::{Sources, load};

/// Complete, and every key can be set to something else beside it.
const BASE: [(&str, &str); 5] = [
    ("webhooks.listen", "127.0.0.1:9300"),
    ("tenants.t.client_id", "T"),
    ("tenants.t.consumer_key", "k"),
    ("tenants.t.eviction.notify_url", "https://app.example.com"),
    ("tenants.t.eviction.notify_secret", "a secret of the application"),
];

fn config(settings: &[(&str, &str)]) -> Config {
    let flags = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let sources = Sources {
        flags: flags.collect(),
        ..Sources::default()
    };
    load(sources).unwrap_or_else(|faults| panic!("{faults}")).config
}

fn with(more: &[(&str, &str)]) -> Config {
    config(&[&BASE, more].concat())
}

fn reload(old: &Config, new: Config) -> Change {
    let mut bindings = Bindings::default();
    bindings.bind(&old.tenants);
    change(old, new, &bindings)
}

/// One tenant each, by name and client id.
fn tenants(tenants: &[(&str, &str)]) -> Config {
    let settings: Vec<(String, &str)> = tenants
        .iter()
        .flat_map(|(name, client)| {
            [
                (format!("tenants.{name}.client_id"), *client),
                (format!("tenants.{name}.consumer_key"), "k"),
            ]
        })
        .collect();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, *value)).collect();
    config(&settings)
}

fn clients(config: &Config) -> Vec<(&str, &str)> {
    config
        .tenants
        .iter()
        .map(|tenant| (&*tenant.name, tenant.client_id.as_str()))
        .collect()
}

fn told(change: &Change) -> Vec<String> {
    change.waiting.iter().map(ToString::to_string).collect()
}

const TOKEN: &str = "a-token-that-is-new";

/// What every key is called in a change, and another value than in [`BASE`].
fn others(folder: &std::path::Path) -> BTreeMap<&'static str, (&'static str, String)> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = rcgen::generate_simple_self_signed(["ca".to_owned()])
        .unwrap()
        .cert
        .pem();
    let same = |key: &'static str, value: &str| (key, (key, value.to_owned()));
    let as_if = |key: &'static str, of: &'static str, value: String| (key, (of, value));
    let mut others = BTreeMap::from([
        same("proxy.listen", "127.0.0.1:8181"),
        same("proxy.upstream", "https://other.example.com"),
        same("proxy.upstream_ca_file", &file("ca", &ca)),
        same("proxy.max_header_bytes", "70000"),
        same("ops.listen", "127.0.0.1:9191"),
        same("ops.token", TOKEN),
        as_if("ops.token_file", "ops.token", file("token", TOKEN)),
        same("ops.hosts", "sidecar.internal"),
        same("ops.allowed_origins", "https://app.example.com"),
        same("webhooks.listen", "127.0.0.1:9393"),
        same("webhooks.forward_url", "https://app.example.com/hooks"),
        same("log.level", "debug"),
        same("registry.url", "sqlite://other.db"),
        as_if(
            "registry.url_file",
            "registry.url",
            file("url", "sqlite://other.db"),
        ),
        same("tenants.*.client_id", "OTHER"),
        same("tenants.*.consumer_key", "other"),
        as_if(
            "tenants.*.consumer_key_file",
            "tenants.*.consumer_key",
            file("key", "other"),
        ),
        same("tenants.*.eviction.order", "never-active"),
        same("tenants.*.eviction.evictable", "demo-*"),
        same("tenants.*.eviction.protect", "vip-*"),
        same("tenants.*.eviction.notify_url", "https://other.example.com"),
        same(
            "tenants.*.eviction.notify_secret",
            "another secret of the application",
        ),
        as_if(
            "tenants.*.eviction.notify_secret_file",
            "tenants.*.eviction.notify_secret",
            file("secret", "another secret of the application"),
        ),
        same("tenants.*.limit_error.phrases", "no room left"),
    ]);
    others.extend(other_identities(folder));
    for key in KEYS {
        use crate::config::value::Kind;
        let other = match key.kind {
            Kind::Count { .. } => "7".to_owned(),
            Kind::Span { .. } => "7s".to_owned(),
            Kind::Switch => "false".to_owned(),
            Kind::OneOf(words) => words[1].to_owned(),
            _ => continue,
        };
        others.entry(key.path).or_insert((key.path, other));
    }
    others
}

const IDENTITIES: [(&str, &str); 4] = [
    ("proxy.upstream_cert_file", "proxy.upstream_key_file"),
    ("proxy.tls_cert_file", "proxy.tls_key_file"),
    ("ops.tls_cert_file", "ops.tls_key_file"),
    ("webhooks.tls_cert_file", "webhooks.tls_key_file"),
];

fn other_identities(folder: &std::path::Path) -> Vec<(&'static str, (&'static str, String))> {
    let (cert, key) = identity(folder, "x");
    let both = |(cert_key, key_key)| {
        [
            (cert_key, (cert_key, cert.clone())),
            (key_key, (cert_key, key.clone())),
        ]
    };
    IDENTITIES.into_iter().flat_map(both).collect()
}

/// The files of a new certificate and its key.
fn identity(folder: &std::path::Path, name: &str) -> (String, String) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let texts = [("pem", own.cert.pem()), ("key", own.signing_key.serialize_pem())];
    let [cert, key] = texts.map(|(kind, text)| {
        let path = folder.join(format!("{name}.{kind}"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    (cert, key)
}

#[test]
fn every_key_takes_effect_or_is_said_to_wait_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let others = others(folder.path());
    let mut waiting = Vec::new();
    for key in KEYS {
        let (called, value) = others
            .get(key.path)
            .unwrap_or_else(|| panic!("{}: no other value", key.path));
        let (path, called) = (fill(key.path, Some("t")), fill(called, Some("t")));
        let old = with(&[]);
        // A secret is given in one form.
        let twin = path
            .strip_suffix("_file")
            .filter(|twin| BASE.iter().any(|(key, _)| key == twin));
        let base: Vec<_> = BASE.into_iter().filter(|(key, _)| Some(*key) != twin).collect();
        // A certificate and its key come together.
        let mate = IDENTITIES.iter().find_map(|(cert, key)| match &*path {
            path if path == *cert => Some((*key, &*others[key].1)),
            path if path == *key => Some((*cert, &*others[cert].1)),
            _ => None,
        });
        let new: Vec<_> = mate.into_iter().chain([(&*path, &**value)]).collect();
        let change = reload(&old, config(&[&base[..], &new].concat()));
        let in_tenant = change.tenants.iter().flat_map(|change| match &change.kind {
            Kind::Changed(keys) => keys.iter().map(|key| format!("tenants.t.{key}")).collect(),
            other => vec![format!("{other:?}")],
        });
        let applied: Vec<String> = change
            .keys
            .iter()
            .map(ToString::to_string)
            .chain(in_tenant)
            .collect();
        let waits: Vec<&str> = change.waiting.iter().map(|waiting| &*waiting.key).collect();
        if waits.is_empty() {
            assert_eq!(applied, [called], "{path}");
        } else {
            assert_eq!((waits, applied), (vec![&*called], Vec::new()), "{path}");
            assert_eq!(change.config, old, "{path}: applied although it waits");
            waiting.push(key.path);
        }
    }
    assert_eq!(
        waiting,
        [
            "proxy.listen",
            "proxy.upstream",
            "proxy.upstream_ca_file",
            "proxy.tls_cert_file",
            "proxy.tls_key_file",
            "proxy.connect_timeout",
            "proxy.max_connections",
            "proxy.max_headers",
            "proxy.max_header_bytes",
            "proxy.header_timeout",
            "proxy.body_idle_timeout",
            "proxy.worker_threads",
            "ops.listen",
            "ops.tls_cert_file",
            "ops.tls_key_file",
            "webhooks.listen",
            "webhooks.tls_cert_file",
            "webhooks.tls_key_file",
            "log.format",
            "registry.url",
            "registry.url_file",
            "tenants.*.client_id",
        ]
    );
}

#[test]
fn another_certificate_takes_effect_and_none_at_all_waits() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| {
        let (cert, key) = identity(folder.path(), name);
        let both = |(cert_key, key_key)| [(cert_key, cert.clone()), (key_key, key.clone())];
        let all: Vec<(&str, String)> = IDENTITIES.into_iter().flat_map(both).collect();
        with(&all.iter().map(|(key, file)| (*key, &**file)).collect::<Vec<_>>())
    });
    let change = reload(&old, new.clone());
    assert_eq!(change.keys, IDENTITIES.map(|(cert, _)| cert));
    assert!(told(&change).is_empty());
    assert_eq!(change.config, new);

    let change = reload(&old, with(&[]));
    assert_eq!(change.keys, ["proxy.upstream_cert_file"]);
    let waiting: Vec<&str> = change.waiting.iter().map(|waiting| &*waiting.key).collect();
    assert_eq!(
        waiting,
        [
            "proxy.tls_cert_file",
            "ops.tls_cert_file",
            "webhooks.tls_cert_file"
        ]
    );
    assert_eq!(change.config.proxy.tls, old.proxy.tls);
}

#[test]
fn what_waits_keeps_nothing_else_from_taking_effect() {
    let old = with(&[]);
    let change = reload(
        &old,
        with(&[("proxy.listen", "127.0.0.1:1"), ("tenants.t.max_users", "9")]),
    );
    assert_eq!(told(&change), ["proxy.listen changed; that needs a restart"]);
    assert_eq!(change.config.tenants[0].terms.max_users, 9);
    assert_eq!(change.config.proxy.listen, old.proxy.listen);
    // Told again and again, it still waits.
    assert_eq!(
        told(&reload(&change.config, with(&[("proxy.listen", "127.0.0.1:1")]))).len(),
        1
    );
}

#[test]
fn tenants_that_did_not_change_are_the_same_as_before() {
    let old = tenants(&[("a", "A"), ("b", "B")]);
    let change = reload(&old, tenants(&[("a", "A"), ("b", "B")]));
    assert!(change.is_nothing() && told(&change).is_empty());
    let same = old.tenants.iter().zip(&change.config.tenants);
    assert!(same.into_iter().all(|(old, new)| Arc::ptr_eq(old, new)));
}

#[test]
fn tenants_come_and_go() {
    let change = reload(
        &tenants(&[("b", "B"), ("c", "C")]),
        tenants(&[("a", "A"), ("c", "C")]),
    );
    let kinds: Vec<(&str, &Kind)> = change.tenants.iter().map(|t| (&*t.name, &t.kind)).collect();
    assert_eq!(kinds, [("a", &Kind::Added), ("b", &Kind::Removed)]);
    assert_eq!(clients(&change.config), [("a", "A"), ("c", "C")]);
}

#[test]
fn a_name_is_never_given_to_another_key_nor_a_key_to_another_name() {
    let old = tenants(&[("a", "A"), ("b", "B")]);
    for (new, in_force, keys) in [
        (
            &[("a", "X"), ("b", "B")][..],
            &[("a", "A"), ("b", "B")][..],
            &["tenants.a.client_id"][..],
        ),
        // Renamed: under its old name it goes on.
        (
            &[("c", "A"), ("b", "B")],
            &[("a", "A"), ("b", "B")],
            &["tenants.c"],
        ),
        (
            &[("a", "B"), ("b", "A")],
            &[("a", "A"), ("b", "B")],
            &["tenants.a.client_id", "tenants.b.client_id"],
        ),
        // What else there is, is done.
        (
            &[("a", "X"), ("c", "C")],
            &[("a", "A"), ("c", "C")],
            &["tenants.a.client_id"],
        ),
    ] {
        let change = reload(&old, tenants(new));
        assert_eq!(clients(&change.config), in_force, "{new:?}");
        let waits: Vec<&str> = change.waiting.iter().map(|waiting| &*waiting.key).collect();
        assert_eq!(waits, keys, "{new:?}");
    }
}

#[test]
fn a_name_keeps_its_key_even_while_it_is_not_there() {
    let both = tenants(&[("a", "A"), ("b", "B")]);
    let mut bindings = Bindings::default();
    bindings.bind(&both.tenants);
    let alone = change(&both, tenants(&[("b", "B")]), &bindings).config;
    let back = |new| change(&alone, new, &bindings);
    assert_eq!(clients(&back(tenants(&[("a", "A"), ("b", "B")])).config).len(), 2);
    for new in [[("a", "X"), ("b", "B")], [("c", "A"), ("b", "B")]] {
        let change = back(tenants(&new));
        assert_eq!(clients(&change.config), [("b", "B")], "{new:?}");
        assert_eq!(change.waiting.len(), 1, "{new:?}");
    }
}

#[test]
fn webhooks_are_not_sent_to_a_listener_that_is_still_there() {
    let old = with(&[]);
    let new = [
        ("webhooks.listen", "127.0.0.1:9301"),
        // Free after a restart, and the sidecar's own until then.
        ("webhooks.forward_url", "http://127.0.0.1:9300/hooks"),
    ];
    let change = reload(&old, config(&[&BASE[1..], &new[..]].concat()));
    assert_eq!(change.config, old);
    let waits: Vec<&str> = change.waiting.iter().map(|waiting| &*waiting.key).collect();
    assert_eq!(waits, ["webhooks.listen", "webhooks.forward_url"]);
}

#[test]
fn r13_a_change_names_no_secret() {
    let change = reload(
        &with(&[("ops.token", "s3cret-token-of-old")]),
        with(&[
            ("ops.token", "s3cret-token-of-new"),
            ("tenants.t.eviction.notify_secret", "s3cret s3cret s3cret"),
        ]),
    );
    assert!(!format!("{change:?}").contains("s3cret"), "{change:?}");
    assert_eq!(change.keys, ["ops.token"]);
}

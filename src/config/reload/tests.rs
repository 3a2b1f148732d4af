use super::*;
use crate::config::{Sources, load};

pub(in crate::config) mod keys;

use keys::IDENTITIES;

/// Complete, and every key can be set to something else beside it.
const BASE: [(&str, &str); 6] = [
    ("webhooks.listen", "127.0.0.1:9300"),
    ("tenants.t.client_id", "T"),
    ("tenants.t.consumer_key", "k"),
    ("tenants.t.max_users", "8"),
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

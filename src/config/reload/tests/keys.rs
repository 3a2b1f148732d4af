//! What a change of each key does, tried out: the others stay as they are.

use std::collections::BTreeMap;

use super::*;
use crate::config::keys::{KEYS, Key, fill};

const TOKEN: &str = "a-token-that-is-new";

type Others = BTreeMap<&'static str, (&'static str, String)>;

/// What every key is called in a change, and another value than in [`BASE`].
fn others(folder: &std::path::Path) -> Others {
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

pub(super) const IDENTITIES: [(&str, &str); 4] = [
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

/// When a change of a key is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Effect {
    Reload,
    Restart,
    /// Of one value for another a reload will do, from none and to none it takes a restart.
    RestartToBegin,
}

/// What a change does, beside what was before it.
struct Tried {
    old: Config,
    change: Change,
}

impl Tried {
    fn waits(&self) -> Vec<&str> {
        self.change.waiting.iter().map(|waiting| &*waiting.key).collect()
    }

    fn applied(&self) -> Vec<String> {
        let in_tenant = self.change.tenants.iter().flat_map(|change| match &change.kind {
            Kind::Changed(keys) => keys.iter().map(|key| format!("tenants.t.{key}")).collect(),
            other => vec![format!("{other:?}")],
        });
        let keys = self.change.keys.iter().map(ToString::to_string);
        keys.chain(in_tenant).collect()
    }
}

/// Sets this key, beside what is configured before and after.
fn tried(key: &Key, others: &Others, before: &[(&str, &str)]) -> Tried {
    let (_, value) = others
        .get(key.path)
        .unwrap_or_else(|| panic!("{}: no other value", key.path));
    let path = fill(key.path, Some("t"));
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
    let old = with(before);
    let change = reload(&old, config(&[&base[..], &new].concat()));
    Tried { old, change }
}

/// Of every key.
pub(in crate::config) fn effects() -> BTreeMap<&'static str, Effect> {
    let folder = tempfile::tempdir().unwrap();
    let others = others(folder.path());
    let (cert, own_key) = identity(folder.path(), "before");
    let effect = |key: &Key| {
        if tried(key, &others, &[]).waits().is_empty() {
            return Effect::Reload;
        }
        let pair = IDENTITIES
            .into_iter()
            .find(|(cert, own)| [*cert, *own].contains(&key.path));
        let replaced = pair.map(|(of_cert, of_key)| {
            let before = [(of_cert, &*cert), (of_key, &*own_key)];
            tried(key, &others, &before)
        });
        match replaced {
            Some(tried) if tried.waits().is_empty() => Effect::RestartToBegin,
            _ => Effect::Restart,
        }
    };
    KEYS.iter().map(|key| (key.path, effect(key))).collect()
}

#[test]
fn every_key_takes_effect_or_is_said_to_wait_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let others = others(folder.path());
    let mut waiting = Vec::new();
    for key in KEYS {
        let tried = tried(key, &others, &[]);
        let (path, called) = (key.path, fill(others[key.path].0, Some("t")));
        if tried.waits().is_empty() {
            assert_eq!(tried.applied(), [called], "{path}");
        } else {
            let (waits, applied) = (tried.waits(), tried.applied());
            assert_eq!((waits, applied), (vec![&*called], Vec::new()), "{path}");
            assert_eq!(
                tried.change.config, tried.old,
                "{path}: applied although it waits"
            );
            waiting.push(path);
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

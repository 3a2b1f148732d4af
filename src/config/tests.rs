//! Sources as a user gives them, and what comes of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::admission::policy::{Key, Mode, UnknownAge};

mod faults;
mod hooks;
mod otel;
mod precedence;
mod secrets;

const ID: (&str, &str) = ("SNAPTRADE_CLIENT_ID", "acme-id");
const KEY: (&str, &str) = ("SNAPTRADE_CONSUMER_KEY", "s3cret");

/// A directory with a configuration file and what else it needs.
struct Scene {
    directory: TempDir,
    sources: Sources,
}

impl Scene {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            sources: Sources::default(),
        }
    }

    /// A tenant and nothing else.
    fn minimal() -> Self {
        Self::new().env(ID).env(KEY)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }

    fn file(mut self, text: &str) -> Self {
        self.sources.file = Some(self.write("sidecar.toml", text));
        self
    }

    fn env(mut self, (name, value): (&str, &str)) -> Self {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Loaded {
        load(self.sources.clone()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The faults as they are shown, without the directory.
    fn faults(&self) -> Vec<String> {
        let faults = load(self.sources.clone()).unwrap_err();
        assert_eq!(
            faults.to_string().lines().count(),
            faults.faults().len() + 1,
            "{faults}"
        );
        faults
            .faults()
            .iter()
            .map(|fault| self.relative(&fault.to_string()))
            .collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.load()
            .warnings
            .iter()
            .map(|warning| self.relative(warning))
            .collect()
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn two_variables_are_a_complete_configuration() {
    let Loaded { config, warnings, .. } = Scene::minimal().load();
    assert_eq!(config.proxy.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.proxy.upstream.to_string(), "https://api.snaptrade.com");
    assert_eq!(config.proxy.response_timeout, Duration::from_mins(1));
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9090");
    assert!(config.ops.token.is_none());
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(config.registry.home, Home::Memory);
    assert_eq!(config.registry.journal_retention, Duration::from_hours(90 * 24));
    let [tenant] = config.tenants.as_slice() else {
        panic!("{:?}", config.tenants)
    };
    assert_eq!(&*tenant.name, "default");
    assert_eq!(tenant.client_id.as_str(), "acme-id");
    assert_eq!(tenant.consumer_key.expose(), "s3cret");
    assert_eq!(tenant.terms.mode, Mode::Enforce);
    assert_eq!(tenant.terms.max_users, 5);
    assert_eq!(tenant.phrases.len(), 3);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn every_key_of_a_file_arrives() {
    let scene = Scene::new();
    let ca = rcgen::generate_simple_self_signed(["ca.test".to_owned()])
        .unwrap()
        .cert
        .pem();
    let ca = scene.write("ca.pem", &ca);
    let text = format!(
        "[proxy]\nlisten = \"[::1]:1\"\nupstream = \"HTTP://127.0.0.1:2/\"\nupstream_ca_file = {ca:?}\n\
         max_connections = 3\nmax_requests = 5\nmax_headers = 20\nmax_header_bytes = 9000\n\
         max_registration_bytes = 2000\nhealth_paths = false\nworker_threads = 4\ndrain_delay = \"1m30s\"\n\
         [ops]\nhosts = [\"Sidecar.Internal\"]\nallowed_origins = [\"https://*.vercel.app\"]\ntoken = \"t0ken\"\n\
         [log]\nformat = \"json\"\nlevel = \"warn,snaptrade_sidecar=debug\"\n\
         [registry]\nurl = \"sqlite:///var/lib/x.db\"\njournal_retention = \"1d\"\n\
         [tenants.acme]\nclient_id = \"a\"\nconsumer_key = \"k\"\nmax_users = 7\non_list_error = \"reject\"\n\
         [tenants.acme.eviction]\nmode = \"observe\"\nprotect = [\"vip-*\"]\nmin_age = \"1d\"\n\
         order = [\"never-active\", \"oldest\"]\nunknown_age = \"list-order\"\nactive_within = \"90d\"\n\
         fuse = {{ evictions = 6, window = \"5m\" }}\n\
         [tenants.acme.limit_error]\nphrases = [\"  Too many \"]\n"
    );
    let config = scene.file(&text).load().config;
    assert_eq!(config.proxy.listen.to_string(), "[::1]:1");
    assert_eq!(config.proxy.upstream.to_string(), "http://127.0.0.1:2");
    assert_eq!(config.proxy.upstream_ca.unwrap().certificates.len(), 1);
    assert_eq!(
        (config.proxy.max_connections, config.proxy.worker_threads),
        (3, 4)
    );
    assert_eq!(
        (config.proxy.max_requests, config.proxy.max_registration_bytes),
        (5, 2_000)
    );
    assert_eq!(
        (config.proxy.max_headers, config.proxy.max_header_bytes),
        (20, 9_000)
    );
    assert!(!config.proxy.health_paths);
    assert_eq!(config.proxy.drain_delay, Duration::from_secs(90));
    assert_eq!(config.ops.hosts, ["sidecar.internal"]);
    assert!(config.ops.allowed_origins[0].matches("https://x.vercel.app"));
    assert_eq!(config.ops.token.unwrap().expose(), "t0ken");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "warn,snaptrade_sidecar=debug");
    assert_eq!(config.registry.home, Home::Sqlite("/var/lib/x.db".into()));
    assert_eq!(config.registry.journal_retention, Duration::from_hours(24));
    let tenant = &config.tenants[0];
    assert_eq!((tenant.terms.mode, tenant.terms.max_users), (Mode::Observe, 7));
    assert!(tenant.terms.policy.protect.matches("vip-1"));
    assert_eq!(tenant.terms.policy.min_age, Duration::from_hours(24));
    assert_eq!(tenant.terms.policy.order, [Key::NeverActive, Key::Oldest]);
    assert_eq!(tenant.terms.policy.unknown_age, UnknownAge::ListOrder);
    assert_eq!(tenant.terms.policy.active_within, Duration::from_hours(90 * 24));
    assert_eq!(tenant.terms.fuse.evictions, 6);
    assert_eq!(tenant.terms.fuse.window, Duration::from_mins(5));
    assert_eq!(tenant.phrases, ["Too many"]);
}

#[test]
fn the_fuse_is_a_section_or_variables_too() {
    const EVICTIONS: &str = "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__FUSE__EVICTIONS";
    let fuse = |scene: Scene| scene.load().config.tenants[0].terms.fuse;
    assert_eq!(fuse(Scene::minimal()).evictions, 60);
    let section = Scene::minimal().file("[tenants.default.eviction.fuse]\nwindow = \"2h\"\n");
    assert_eq!(fuse(section).window, Duration::from_hours(2));
    assert_eq!(fuse(Scene::minimal().env((EVICTIONS, "7"))).evictions, 7);
}

#[test]
fn an_order_names_each_known_key_once() {
    let scene = |order: &str| Scene::minimal().flag("tenants.default.eviction.order", order);
    assert_eq!(
        scene("oldest,youngest,oldest").faults(),
        [
            "tenants.default.eviction.order (command line): \"youngest\" is not a key of the order; choose of oldest, \
             least-recently-active, never-active, least-active, no-connections, broken-connections",
            "tenants.default.eviction.order (command line): has \"oldest\" twice; keep the first",
        ]
    );
    assert!(scene("[]").load().config.tenants[0].terms.policy.order.is_empty());
}

#[test]
fn the_reference_file_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/sidecar.toml");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let expected = reference();
    assert!(
        written == expected,
        "config/sidecar.toml differs from the table in src/config/keys.rs; put this text there:\n{expected}"
    );
}

#[test]
fn the_reference_file_changes_nothing() {
    let bare = Scene::minimal().load();
    let with_file = Scene::minimal().file(&reference()).load();
    assert_eq!(format!("{:?}", with_file.config), format!("{:?}", bare.config));
    assert!(with_file.warnings.is_empty(), "{:?}", with_file.warnings);
}

#[test]
fn every_key_has_its_variable_and_no_line_of_the_reference_is_too_long() {
    assert_eq!(
        env::variable_name("tenants.my-app.max_users"),
        "SNAPTRADE_SIDECAR__TENANTS__MY_APP__MAX_USERS"
    );
    for line in reference().lines() {
        assert!(line.chars().count() <= 160, "{line}");
    }
}

#[test]
fn warnings_refuse_nothing() {
    for upstream in [
        "http://localhost:1",
        "http://x.localhost",
        "http://127.9.9.9",
        "http://[::1]:1",
        "https://a.b",
    ] {
        assert!(
            Scene::minimal()
                .flag("proxy.upstream", upstream)
                .warnings()
                .is_empty(),
            "{upstream}"
        );
    }
    let scene = Scene::minimal()
        .flag("proxy.upstream", "http://snaptrade.internal")
        .flag("tenants.default.client_id", "PERS-1")
        .env(("SNAPTRADE_PROXY_LISTEN", "x"))
        .env(("SNAPTRADE_CONSUMER_KEY_FILE", "x"))
        .env(("SNAPTRADE_MAX_USERS", "6"))
        .env(("SNAPTRADE_BASE_URL", "x"))
        .env(("snaptrade_client_id", "x"))
        .env(("SNAPTRADE_SIDECAR_SERVICE_HOST", "10.0.0.1"))
        .env(("SNAPTRADE_SIDECAR_PORT", "tcp://10.0.0.1:80"));
    assert_eq!(
        scene.warnings(),
        [
            "environment variable SNAPTRADE_PROXY_LISTEN is not read; did you mean \
             SNAPTRADE_SIDECAR__PROXY__LISTEN?",
            "environment variable SNAPTRADE_CONSUMER_KEY_FILE is not read; did you mean \
             SNAPTRADE_SIDECAR__TENANTS__DEFAULT__CONSUMER_KEY_FILE?",
            "environment variable SNAPTRADE_MAX_USERS is not read; did you mean \
             SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS?",
            "environment variable snaptrade_client_id is not read; did you mean SNAPTRADE_CLIENT_ID?",
            "proxy.upstream: http://snaptrade.internal is not encrypted; secrets and signatures can be read on the way",
            "tenants.default.client_id: PERS-1 is a personal key, with which SnapTrade registers no users",
        ]
    );
}

#[test]
fn what_is_hardly_meant_is_warned_about() {
    const EVICTABLE: &str = "tenants.default.eviction.evictable";
    for (key, value, said) in [
        (
            EVICTABLE,
            "[]",
            "tenants.default.eviction.evictable is empty, so that nobody can ever be evicted; if that is meant, set \
             tenants.default.eviction.mode to \"off\"",
        ),
        (
            "tenants.default.eviction.protect",
            "a,*",
            "tenants.default.eviction.protect holds \"*\", so that nobody can ever be evicted; if that is meant, set \
             tenants.default.eviction.mode to \"off\"",
        ),
        (
            "tenants.default.settle_timeout",
            "31s",
            "tenants.default.settle_timeout is longer than tenants.default.admission_timeout, which ends the wait \
             before it",
        ),
        (
            "tenants.default.consumer_key",
            "\"s3cret\"",
            "tenants.default.consumer_key (command line): begins and ends with a quote, which is taken as a part of \
             it; leave the quotes out",
        ),
        (
            "ops.token",
            "open-sesame",
            "ops.token (command line): is shorter than 16 characters and can be guessed",
        ),
        (
            "ops.token",
            "changemechangeme",
            "ops.token (command line): has only 7 different characters and can be guessed; make a random one, such as \
             by openssl rand -hex 32",
        ),
    ] {
        assert_eq!(Scene::minimal().flag(key, value).warnings(), [said]);
    }
    let off = Scene::minimal()
        .flag(EVICTABLE, "[]")
        .flag("tenants.default.eviction.mode", "off");
    assert!(off.warnings().is_empty());
    assert_eq!(
        Scene::minimal()
            .env(("FRONTEND_URL", "localhost:3000"))
            .warnings(),
        [
            "environment variable FRONTEND_URL: is not an origin, and not added to ops.allowed_origins: it does not \
             begin with https:// or http://"
        ]
    );
}

#[test]
fn ops_beyond_loopback_without_a_token_is_fine() {
    assert!(
        Scene::minimal()
            .flag("ops.listen", "0.0.0.0:9090")
            .warnings()
            .is_empty()
    );
}

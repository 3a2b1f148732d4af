//! Every fault once: its key, its place and its remedy.

use super::*;

fn one(scene: &Scene) -> String {
    let faults = scene.faults();
    let [fault] = faults.as_slice() else {
        panic!("{faults:#?}")
    };
    fault.clone()
}

fn in_file(text: &str) -> String {
    one(&Scene::minimal().file(text))
}

fn by_flag(key: &str, value: &str) -> String {
    one(&Scene::minimal().flag(key, value))
}

#[test]
fn r15_all_faults_are_said_at_once_and_in_order() {
    let scene = Scene::new()
        .file(
            "[proxy]\nlisten = 8080\nlistn = \"x\"\nconnect_timeout = \"0s\"\n[tenants.b]\nclient_id = \"b\"\n\
             max_users = 0\n[tenants.b.eviction]\nprotect = [\n  \"a\",\n  \"[\",\n]\n",
        )
        .env(("SNAPTRADE_SIDECAR__LOG__LEVEL", "inof"))
        .env(("SNAPTRADE_SIDECAR__LOG__FORMAT", "yaml"))
        .flag("ops.listen", "nine");
    let faults = scene.faults();
    let starts = [
        "proxy.listen (sidecar.toml:2): is a whole number; ",
        "proxy.listn (sidecar.toml:3): unknown key; did you mean proxy.listen?",
        "proxy.connect_timeout (sidecar.toml:4): \"0s\" is too short; write at least \"1ms\"",
        "tenants.b.consumer_key (sidecar.toml:5): is not set; set the environment variable \
         SNAPTRADE_SIDECAR__TENANTS__B__CONSUMER_KEY, or consumer_key (or consumer_key_file) in [tenants.b]",
        "tenants.b.max_users (sidecar.toml:7): \"0\" is too small; write a whole number from 1 to 1000000",
        "tenants.b.eviction.protect (sidecar.toml:11): \"[\" has a [, which has no meaning in patterns here; ",
        "log.format (environment variable SNAPTRADE_SIDECAR__LOG__FORMAT): \"yaml\" is not a choice; ",
        "log.level (environment variable SNAPTRADE_SIDECAR__LOG__LEVEL): \"inof\" is not a log filter; ",
        "ops.listen (command line): \"nine\" is not an IP address and port; ",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\ndoes not start with\n{start}");
    }
}

#[test]
fn without_a_key_the_two_variables_are_named() {
    assert_eq!(
        one(&Scene::new()),
        "tenants: there is no SnapTrade API key; set the environment variables SNAPTRADE_CLIENT_ID and \
         SNAPTRADE_CONSUMER_KEY, or write a section [tenants.default] into the configuration file"
    );
    assert_eq!(
        one(&Scene::new().env(ID)),
        "tenants.default.consumer_key: is not set; set the environment \
         variable SNAPTRADE_CONSUMER_KEY, or consumer_key (or consumer_key_file) in [tenants.default]"
    );
    assert_eq!(
        one(&Scene::new().file("[tenants.default]\nconsumer_key = \"k\"")),
        "tenants.default.client_id (sidecar.toml:1): is not set; set the environment variable SNAPTRADE_CLIENT_ID, \
         or client_id in [tenants.default]"
    );
}

#[test]
fn the_reference_file_alone_lacks_only_the_api_key() {
    let faults = Scene::new().file(&reference()).faults();
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn a_faulty_value_is_not_called_missing_too() {
    let fault = one(&Scene::new().env(KEY).file("[tenants.default]\nclient_id = 5"));
    assert!(
        fault.contains("client_id (sidecar.toml:2): is a whole number"),
        "{fault}"
    );
    let fault = one(&Scene::new().file("[tenants._]\nclient_id = \"a\""));
    assert!(fault.contains("is not a name for a tenant"), "{fault}");
}

#[test]
fn a_file_that_is_none() {
    let fault = one(&Scene::new().file("a = \n[proxy]\nlisten = \"\""));
    assert!(fault.starts_with("sidecar.toml:1: is not TOML: "), "{fault}");
    let fault = in_file("[ops]\nhosts = []\nhosts = []");
    assert!(
        fault.starts_with("sidecar.toml:3: is not TOML: duplicate key"),
        "{fault}"
    );
    let mut scene = Scene::new();
    scene.sources.file = Some(scene.directory.path().join("none.toml"));
    let fault = one(&scene);
    assert!(
        fault.starts_with("none.toml: cannot be read: No such file"),
        "{fault}"
    );
}

#[test]
fn values_of_the_wrong_kind() {
    for (text, said) in [
        (
            "proxy = 1",
            "proxy (sidecar.toml:1): is a section, not a value; begin it with the line [proxy]",
        ),
        (
            "tenants = 1",
            "begin each tenant with a line such as [tenants.default]",
        ),
        (
            "[tenants]\na = 1",
            "tenants.a (sidecar.toml:2): is a section, not a value",
        ),
        (
            "[proxy]\nhealth_paths = \"yes\"",
            "is a text; write true or false",
        ),
        ("[ops]\nhosts = \"a\"", "is a text; write a list of texts"),
        (
            "[ops]\nhosts = [\"a\",\n1]",
            "is a whole number; write a list of texts",
        ),
        (
            "[proxy]\ndrain_delay = \"2h\"",
            "\"2h\" is too long; write at most \"1h\"",
        ),
        ("[proxy]\ndrain_delay = \"5\"", "\"5\" is not a length of time"),
        (
            "[proxy]\nmax_connections = -1",
            "\"-1\" is too small; write a whole number from 1 to 1000000",
        ),
        (
            "[proxy]\nmax_connections = 0xffffffff",
            "is too large; write a whole number from 1 to 1000000",
        ),
        (
            "[proxy.listen]\nx = 1",
            "proxy.listen (sidecar.toml:1): is a section",
        ),
        (
            "[tenants.default.evictions]\nmode = \"off\"",
            "did you mean [tenants.default.eviction]?",
        ),
        (
            "[eviction]\nmode = \"off\"",
            "did you mean [tenants.default.eviction]?",
        ),
        ("[default]\nx = 1", "did you mean [tenants.default]?"),
        ("[acme]\nmax_users = 1", "did you mean [tenants.acme]?"),
        ("[tenant]\nx = 1", "did you mean [tenants.default]?"),
        ("[foo]\nx = 1", "foo (sidecar.toml:1): unknown key; remove it"),
    ] {
        let fault = in_file(text);
        assert!(fault.contains(said), "{fault}\ndoes not say\n{said}");
    }
}

#[test]
fn values_that_cannot_be_used() {
    for (key, value, said) in [
        (
            "proxy.upstream",
            "api.snaptrade.com",
            "is not a URL; write scheme, host and port only",
        ),
        ("proxy.upstream", "ftp://a.b", "is neither http nor https"),
        ("proxy.upstream", "https://a.b/api/v1", "has a path or query"),
        ("proxy.upstream", "https://a.b?x", "has a path or query"),
        ("proxy.upstream", "https://", "has no valid host and port"),
        (
            "proxy.upstream",
            "https://a.b:99999",
            "has no valid host and port",
        ),
        ("proxy.upstream", "https://a.b:", "has no valid host and port"),
        ("proxy.upstream", "https://a b", "has no valid host and port"),
        (
            "proxy.upstream_ca_file",
            "/nonexistent.pem",
            "/nonexistent.pem cannot be read: No such file",
        ),
        (
            "proxy.upstream_ca_file",
            "Cargo.toml",
            "Cargo.toml holds no certificate",
        ),
        ("proxy.listen", "localhost:8080", "is not an IP address and port"),
        (
            "ops.listen",
            "0.0.0.0:8080",
            "0.0.0.0:8080 is taken by proxy.listen (127.0.0.1:8080)",
        ),
        ("ops.hosts", "a.b:80", "\"a.b:80\" is not a host name"),
        ("ops.hosts", "", "is empty; write [] for no entry, or unset it"),
        ("ops.hosts", "[1", "is not a TOML array"),
        ("ops.allowed_origins", "*", "is not an origin: "),
        ("log.level", "info,snaptrade=loud", "is not a log filter"),
        (
            "tenants.default.client_id",
            "a b",
            "has characters that no client id has",
        ),
        (
            "tenants.default.limit_error.phrases",
            "limit reached,full",
            "\"full\" is too short for a phrase",
        ),
        (
            "tenants.default.eviction.protect",
            "[\"\"]",
            "has an empty pattern",
        ),
        (
            "tenants.default.eviction.mode",
            "on",
            "choose one of enforce, on-limit-error, observe, off",
        ),
        ("tenants.a__b.max_users", "5", "is not a name for a tenant"),
        ("proxy.lisen", "", "did you mean proxy.listen?"),
    ] {
        let fault = by_flag(key, value);
        assert!(
            fault.contains(said) && fault.contains("(command line): "),
            "{fault}\ndoes not say\n{said}"
        );
    }
}

#[test]
fn an_upstream_that_is_the_sidecar_itself() {
    let scene = |listen: &str, upstream: &str| {
        Scene::minimal()
            .flag("proxy.listen", listen)
            .flag("proxy.upstream", upstream)
    };
    assert_eq!(
        one(&scene("127.0.0.1:8080", "http://127.0.0.1:8080")),
        "proxy.upstream (command line): http://127.0.0.1:8080 is the sidecar itself, by proxy.listen \
         (127.0.0.1:8080); give SnapTrade's origin, or another port"
    );
    for (listen, upstream) in [
        ("0.0.0.0:8080", "http://localhost:8080"),
        ("[::]:8080", "https://[::1]:8080"),
        ("127.0.0.1:80", "http://LOCALHOST."),
        ("127.0.0.1:443", "https://0.0.0.0"),
        ("10.0.0.7:1", "http://10.0.0.7:1"),
        ("10.0.0.7:1", "http://[::ffff:10.0.0.7]:1"),
        ("127.0.0.1:1", "http://127.0.0.1:9090"),
    ] {
        let fault = one(&scene(listen, upstream));
        assert!(fault.contains("is the sidecar itself"), "{fault}");
    }
    for (listen, upstream) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("10.0.0.7:8080", "http://127.0.0.1:8080"),
        ("10.0.0.7:8080", "http://10.0.0.8:8080"),
        ("0.0.0.0:443", "https://api.snaptrade.com"),
        ("127.0.0.1:0", "http://127.0.0.1:1"),
    ] {
        scene(listen, upstream).load();
    }
}

#[test]
fn who_asks_for_the_health_needs_no_keys() {
    let listen = |scene: &Scene| ops_listen(scene.sources.clone()).map(|listen| listen.to_string());
    let other_sections = "[proxy]\nlisten = 5\n[tenants._]\nx = 1\n[ops]\ntoken_file = \"/nonexistent\"\n";
    let scene = Scene::new().file(&format!("{other_sections}listen = \"127.0.0.1:7\""));
    assert_eq!(listen(&scene).unwrap(), "127.0.0.1:7");
    let scene = scene
        .env(("SNAPTRADE_SIDECAR_MODE", "x"))
        .env(("SNAPTRADE_SIDECAR__OPS__LISTEN", "0.0.0.0:8"));
    assert_eq!(listen(&scene).unwrap(), "0.0.0.0:8");
    for unclear in ["[ops]\nlisten = 5", "[ops]\nlisten = \"nine\"", "[ops"] {
        let faults = listen(&Scene::new().file(unclear)).unwrap_err();
        assert_eq!(faults.faults().len(), 1, "{faults}");
    }
}

#[test]
fn who_operates_needs_no_keys_but_the_token() {
    let token = |scene: &Scene| {
        let ops = ops(scene.sources.clone())?;
        Ok::<_, Faults>(ops.token.map(|token| token.expose().to_owned()))
    };
    let scene =
        Scene::new().file("[proxy]\nlisten = 5\n[ops]\ntoken = \"from-the-file-here\"\n[tenants._]\nx = 1\n");
    assert_eq!(token(&scene).unwrap().as_deref(), Some("from-the-file-here"));
    let scene = scene.env(("SNAPTRADE_SIDECAR__OPS__TOKEN", "from-the-environment"));
    assert_eq!(token(&scene).unwrap().as_deref(), Some("from-the-environment"));
    assert_eq!(token(&Scene::new()).unwrap(), None);
    for unclear in [
        "[ops]\ntoken = 5",
        "[ops]\ntoken_file = \"/nonexistent\"",
        "[ops]\nlisten = 5",
        "[ops",
    ] {
        let faults = token(&Scene::new().file(unclear)).unwrap_err();
        assert_eq!(faults.faults().len(), 1, "{faults}");
    }
}

#[test]
fn variables_that_are_wrong() {
    for (name, value, said) in [
        (
            "PORT",
            "http",
            "proxy.listen (environment variable PORT): \"http\" is not a port; set PORT to a number",
        ),
        (
            "SNAPTRADE_SIDECAR__PROXY__LISTN",
            "",
            "environment variable SNAPTRADE_SIDECAR__PROXY__LISTN: names no key; did you mean \
             SNAPTRADE_SIDECAR__PROXY__LISTEN?",
        ),
        (
            "SNAPTRADE_SIDECAR_EVICTION_MODE",
            "observe",
            "environment variable SNAPTRADE_SIDECAR_EVICTION_MODE: names no key; did you mean \
             SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__MODE?",
        ),
        (
            "SNAPTRADE_SIDECAR__EVICTION_MODE",
            "observe",
            "did you mean SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__MODE?",
        ),
        (
            "SNAPTRADE_SIDECAR__PROXY",
            "x",
            "SNAPTRADE_SIDECAR__PROXY: names no key; unset it; config/sidecar.toml lists every key",
        ),
        (
            "SNAPTRADE_SIDECAR__PROXY__MAX_CONNECTIONS",
            "many",
            "\"many\" is not a number; write a whole number from 1 to 1000000",
        ),
        (
            "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__EVICTABLE",
            " ",
            "write [] for no entry, or unset it",
        ),
    ] {
        let fault = one(&Scene::minimal().env((name, value)));
        assert!(fault.contains(said), "{fault}\ndoes not say\n{said}");
    }
    let mut scene = Scene::minimal();
    let garbled = <OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]);
    scene
        .sources
        .env
        .push(("SNAPTRADE_SIDECAR__LOG__LEVEL".into(), garbled));
    assert!(one(&scene).contains("is not valid UTF-8"), "{}", one(&scene));
}

#[test]
fn tenants_that_cannot_be_told_apart() {
    let tenant =
        |name: &str, id: &str| format!("[tenants.{name}]\nclient_id = \"{id}\"\nconsumer_key = \"k\"\n");
    let fault = in_file(&tenant("b", "acme-id"));
    assert_eq!(
        fault,
        "tenants.default.client_id (environment variable SNAPTRADE_CLIENT_ID): is the client id of tenants.b too; \
         keep one tenant for each SnapTrade API key"
    );
    let fault = in_file(&(tenant("a-b", "1") + &tenant("a_b", "2")));
    assert!(
        fault.starts_with("tenants.a_b (sidecar.toml:4): cannot be told from tenants.a-b"),
        "{fault}"
    );
}

#[test]
fn r15_a_registry_that_cannot_be_is_a_fault() {
    for (url, what) in [
        ("mysql://h/d", "begins with none of"),
        ("sqlite://", "names no file"),
        ("sqlite:x.db", "has no \"//\""),
        ("postgres:///d", "names no host"),
        ("postgres://h:99999/d", "cannot be read: invalid port number"),
        ("postgres://h/d?sslmod=require", "has a parameter that is none of"),
    ] {
        let fault = by_flag("registry.url", url);
        let start = format!("registry.url (command line): {what}");
        assert!(fault.starts_with(&start), "{fault}\ndoes not start with\n{start}");
    }
}

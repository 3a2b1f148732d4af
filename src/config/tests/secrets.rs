//! Secrets: from files, and never shown.

use super::*;

const KEY_FILE: &str = "tenants.default.consumer_key_file";

fn with_key_file(text: &str, mode: u32) -> Scene {
    let scene = Scene::new().env(ID);
    let path = scene.write("key", text);
    set_mode(&path, mode);
    scene.flag(KEY_FILE, path.to_str().unwrap())
}

#[test]
fn a_secret_may_come_from_a_file() {
    let scene = with_key_file("s3cret\r\n", 0o600);
    let Loaded {
        config,
        warnings,
        effective,
        ..
    } = scene.load();
    assert_eq!(config.tenants[0].consumer_key.expose(), "s3cret");
    assert!(warnings.is_empty(), "{warnings:?}");
    let line = format!(
        "consumer_key_file = \"{}\" # command line",
        scene.directory.path().join("key").display()
    );
    assert!(effective.to_string().contains(&line), "{effective}");
}

#[test]
fn a_secret_that_others_can_read_is_warned_about() {
    let said = "and every user of this machine can read it; chmod o-r";
    assert_eq!(
        with_key_file("k", 0o644).warnings(),
        [format!(
            "key holds a secret (tenants.default.consumer_key) {said} key"
        )]
    );
    let scene = Scene::minimal()
        .file("[ops]\ntoken = \"sixteen-and-more\"\n[registry]\nurl = \"postgres://u:p@h/d\"\n");
    assert!(scene.warnings().is_empty());
    set_mode(&scene.directory.path().join("sidecar.toml"), 0o644);
    assert_eq!(
        scene.warnings(),
        [format!(
            "sidecar.toml holds secrets (ops.token, registry.url) {said} sidecar.toml"
        )]
    );
}

#[test]
fn the_key_of_a_certificate_is_a_secret() {
    let own = rcgen::generate_simple_self_signed(["sidecar".to_owned()]).unwrap();
    let scene = Scene::minimal();
    let cert = scene.write("cert", &own.cert.pem());
    let key = scene.write("key", &own.signing_key.serialize_pem());
    let paths = [&cert, &key].map(|path| path.to_str().unwrap().to_owned());
    let scene = scene
        .flag("proxy.tls_cert_file", &paths[0])
        .flag("proxy.tls_key_file", &paths[1]);
    for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
        set_mode(&key, mode);
        let Loaded {
            config,
            warnings: said,
            ..
        } = scene.load();
        assert_eq!(said.len(), warnings, "{said:?}");
        assert!(
            said.iter()
                .all(|said| said.contains("holds a secret (proxy.tls_key_file)"))
        );
        let identity = config.proxy.tls.unwrap();
        assert_eq!(
            format!("{identity:?}"),
            format!("Identity {{ cert_file: {:?}, .. }}", paths[0])
        );
    }
}

#[test]
fn a_registrys_url_without_a_password_is_no_secret() {
    for url in ["memory:", "sqlite://x.db", "postgres://u@h/d"] {
        let scene = Scene::minimal().file(&format!("[registry]\nurl = \"{url}\""));
        set_mode(&scene.directory.path().join("sidecar.toml"), 0o644);
        assert!(scene.warnings().is_empty(), "{url}");
        let line = format!("url = \"{url}\" # ");
        let effective = scene.load().effective.to_string();
        assert!(effective.contains(&line), "{effective}");
        let scene = Scene::minimal();
        let path = scene.write("url", url);
        set_mode(&path, 0o644);
        let scene = scene.flag("registry.url_file", path.to_str().unwrap());
        assert!(scene.warnings().is_empty(), "{url}");
    }
}

#[test]
fn the_later_source_of_a_secret_wins_in_whichever_form() {
    let scene = with_key_file("of the file", 0o600).env(KEY);
    assert_eq!(
        scene.load().config.tenants[0].consumer_key.expose(),
        "of the file"
    );
    let scene = scene
        .flag("tenants.default.consumer_key_file", "")
        .flag("tenants.default.consumer_key", "of the flag");
    assert_eq!(
        scene.load().config.tenants[0].consumer_key.expose(),
        "of the flag"
    );
}

#[test]
fn both_forms_of_a_secret_in_one_source_are_a_fault() {
    let scene = Scene::minimal().file("[ops]\ntoken = \"t\"\ntoken_file = \"f\"");
    assert_eq!(
        scene.faults(),
        ["ops.token_file (sidecar.toml:3): is set beside ops.token; keep one of the two"]
    );
    let scene = with_key_file("k", 0o600).flag("tenants.default.consumer_key", "s3cret");
    assert_eq!(
        scene.faults(),
        [
            "tenants.default.consumer_key_file (command line): is set beside tenants.default.consumer_key; \
          keep one of the two"
        ]
    );
}

#[test]
fn what_check_prints_in_a_secrets_place_is_none() {
    let scene = Scene::minimal()
        .file("[ops]\ntoken = \"t0ken-s3cret\"\n[tenants.default.eviction]\nnotify_url = \"https://app.test/?k=s3cret\"\nnotify_secret = \"n0tice-s3cret-here\"");
    let printed = scene.load().effective.to_string();
    let scene = Scene::new().file(&printed);
    let remedy = |file: &str| format!("write the secret itself, or set {file} to a file that holds it");
    let told = |fault: &str| fault.replace(|c: char| c.is_ascii_digit(), "");
    let place = "(sidecar.toml:): ";
    let said = format!("{place}is \"[redacted]\", which `check` prints in a secret's place; ");
    assert_eq!(
        scene.faults().iter().map(|fault| told(fault)).collect::<Vec<_>>(),
        [
            format!("ops.token {said}{}", remedy("token_file")),
            format!(
                "tenants.default.consumer_key {said}{}",
                remedy("consumer_key_file")
            ),
            format!(
                "tenants.default.eviction.notify_url {place}has \"[redacted]\" after the \"?\", which `check` prints in a \
                 query's place; write the URL itself"
            ),
            format!(
                "tenants.default.eviction.notify_secret {said}{}",
                remedy("notify_secret_file")
            ),
        ]
    );
    // Another source may say it.
    let whole = printed.replace("[redacted]", "a-secret-for-now");
    let scene = Scene::minimal().file(&whole.replace(
        "consumer_key = \"a-secret-for-now\"",
        "consumer_key = \"[redacted]\"",
    ));
    assert_eq!(scene.load().config.tenants[0].consumer_key.expose(), "s3cret");
}

#[test]
fn white_space_around_a_secret_is_refused() {
    let said = "begins or ends with white space; leave that out";
    for text in [
        " s3cret",
        "s3cret\n",
        "s3cret\r",
        "\ts3cret",
        "s3cret\u{a0}",
        "\n",
    ] {
        let scene = Scene::new().env(ID).env(("SNAPTRADE_CONSUMER_KEY", text));
        assert_eq!(
            scene.faults(),
            [format!(
                "tenants.default.consumer_key (environment variable SNAPTRADE_CONSUMER_KEY): {said}"
            )]
        );
    }
    for key in [
        "ops.token",
        "registry.url",
        "tenants.default.eviction.notify_secret",
    ] {
        let scene = Scene::minimal().flag(key, "sixteen-and-more ");
        assert_eq!(scene.faults(), [format!("{key} (command line): {said}")]);
    }
    assert_eq!(
        with_key_file("s3 cret \r\n", 0o600).faults(),
        [format!("{KEY_FILE} (command line): what is in key {said}")]
    );
}

#[test]
fn secret_files_that_cannot_be_used() {
    let place = "tenants.default.consumer_key_file (command line): ";
    assert_eq!(
        with_key_file("\n", 0o600).faults(),
        [format!("{place}key is empty; write the secret into it")]
    );
    let faults = Scene::new().env(ID).flag(KEY_FILE, "/nonexistent").faults();
    assert!(
        faults[0].starts_with(&format!("{place}/nonexistent cannot be read: No such file")),
        "{faults:?}"
    );
    assert_eq!(faults.len(), 1, "{faults:?}");
    let faults = Scene::minimal().flag("ops.token", "s3 cret").faults();
    assert!(
        faults[0].starts_with("ops.token (command line): has spaces or characters"),
        "{faults:?}"
    );
}

#[test]
fn r13_no_secret_is_in_what_a_loaded_configuration_shows() {
    let scene = Scene::minimal()
        .file("[ops]\ntoken = \"t0ken-s3cret\"\n[registry]\nurl = \"postgres://u:s3cret@h/d\"\n[tenants.b]\nclient_id = \"b\"\nconsumer_key = \"b-s3cret\"");
    let loaded = scene.load();
    let sources = format!("{:?}", scene.sources);
    for shown in [format!("{loaded:?}"), loaded.effective.to_string(), sources] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert_eq!(loaded.effective.to_string().matches("[redacted]").count(), 3);
    assert!(
        loaded
            .effective
            .to_string()
            .contains("url = \"postgres://u@h/d\" # ")
    );
}

#[test]
fn the_registrys_url_may_come_from_a_file_although_it_has_a_default() {
    let scene = Scene::minimal();
    let path = scene.write("url", "sqlite://x.db\n");
    let scene = scene.flag("registry.url_file", path.to_str().unwrap());
    let loaded = scene.load();
    assert_eq!(loaded.config.registry.home, Home::Sqlite("x.db".into()));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let said = "url = \"\" # overridden by url_file\n";
    assert!(loaded.effective.to_string().contains(said));
}

#[test]
fn r15_a_fault_of_a_url_in_a_file_names_the_file() {
    let scene = Scene::minimal();
    let path = scene.write("url", "postgres://u@/d\n");
    let scene = scene.flag("registry.url_file", path.to_str().unwrap());
    assert_eq!(
        scene.faults(),
        [
            "registry.url_file (command line): the URL in url names no host; name one after the @, or the directory of a \
             socket, as in \"postgres://user:password@/database?host=/var/run/postgresql\""
        ]
    );
}

#[test]
fn what_a_start_in_memory_forgets_is_warned_about() {
    let scene =
        |key: &str, value: &str| Scene::minimal().flag(&format!("tenants.default.eviction.{key}"), value);
    for key in ["min_age", "active_within"] {
        assert_eq!(
            scene(key, "30d").warnings(),
            [format!(
                "tenants.default.eviction.{key} is 30d, and registry.url is memory:, which forgets everything: for that \
                 long after each start nobody can be evicted; set registry.url to a file or a database"
            )]
        );
        let quiet = [
            scene(key, "1h"),
            scene(key, "30d").flag("registry.url", "sqlite://x.db"),
            scene(key, "30d").flag("tenants.default.eviction.mode", "off"),
        ];
        assert!(quiet.iter().all(|scene| scene.warnings().is_empty()));
    }
}

#[test]
fn r13_no_secret_is_in_a_fault() {
    for text in [
        "[ops]\ntoken = s3cret",
        "[ops]\ntoken = \"s3cret",
        "[ops]\ntoken s3cret",
        "[ops]\ntoken = \"s3cret\\q\"",
        "[ops]\ntoken = '''s3cret",
        "[ops]\ntoken = \"s3cret\" s3cret",
        "[ops]\ntoken = [\"s3cret\"]",
        "[ops]\ntoken = { value = \"s3cret\" }",
        "[ops]\ntoken = \"s3cret\"\ntoken = \"s3cret\"",
        "[ops]\ntoken = \"s3cret\"\nlisten = 5",
        "[ops]\ntoken = \"s3cret s\"",
        "[ops]\ntokn = \"s3cret\"",
        "[proxy]\nmax_connections = \"s3cret\"",
        "[proxy]\nupstream = \"https://user:s3cret@a.b\"",
        "[proxy]\nupstream = \"s3cret\"",
        "[ops]\nallowed_origins = [\"https://user:s3cret@a.b\"]",
        "[registry]\nurl = \"postgres://u:s3cret@h/d?sslmode=x\"",
        "[registry]\nurl = \"postgres://u:s3cret@\"",
        "[registry]\nurl = \"mysql://u:s3cret@h/d\"",
        "[tenants.b]\nclient_id = \"s3cret s\"\nconsumer_key = \"s3cret\"",
    ] {
        let scene = Scene::minimal().file(text);
        let faults = load(scene.sources.clone()).unwrap_err();
        assert!(
            !format!("{faults} {faults:?}").contains("s3cret"),
            "{text}\n{faults}"
        );
    }
}

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
    let scene = with_key_file("s3cret \r\n", 0o600);
    let Loaded {
        config,
        warnings,
        effective,
    } = scene.load();
    assert_eq!(config.tenants[0].consumer_key.expose(), "s3cret ");
    assert!(warnings.is_empty(), "{warnings:?}");
    let line = format!(
        "consumer_key_file = \"{}\" # command line",
        scene.directory.path().join("key").display()
    );
    assert!(effective.to_string().contains(&line), "{effective}");
}

#[test]
fn a_secret_that_others_can_read_is_warned_about() {
    let said = "key holds a secret and every user of this machine can read it; chmod o-r key";
    assert_eq!(with_key_file("k", 0o644).warnings(), [said]);
    let scene = Scene::minimal().file("[ops]\ntoken = \"sixteen-and-more\"");
    assert!(scene.warnings().is_empty());
    set_mode(&scene.directory.path().join("sidecar.toml"), 0o644);
    assert_eq!(scene.warnings(), [said.replace("key", "sidecar.toml")]);
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
    assert_eq!(loaded.effective.to_string().matches("[redacted]").count(), 4);
}

#[test]
fn the_registrys_url_may_come_from_a_file_although_it_has_a_default() {
    let scene = Scene::minimal();
    let path = scene.write("url", "sqlite://x.db\n");
    let scene = scene.flag("registry.url_file", path.to_str().unwrap());
    let loaded = scene.load();
    assert_eq!(loaded.config.registry.home, Home::Sqlite("x.db".into()));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(loaded.effective.to_string().contains("url = \"memory:\"\n"));
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

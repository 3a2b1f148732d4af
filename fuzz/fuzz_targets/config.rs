//! Configurations: whatever is written, it either loads or says by key and place what is wrong (R15), and tells no
//! secret (R13). An input is a TOML file; after a line `%%%` it goes on with an `.env` file.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use snaptrade_sidecar::config::reload::{Bindings, change};
use snaptrade_sidecar::config::{Config, Faults, Loaded, Place, Sources, load};
use snaptrade_sidecar_fuzz::text;
use tempfile::TempDir;

/// What a corpus writes where a secret goes.
const SECRET: &str = "s3cr3t";
const SECRET_KEYS: [&str; 3] = ["consumer_key", "token", "notify_secret"];

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a temporary folder"));

fuzz_target!(|input: &[u8]| {
    let Some(input) = text(input) else {
        return;
    };
    let (file, variables) = input.split_once("\n%%%\n").unwrap_or((input, ""));
    match load(sources(file, variables)) {
        Ok(loaded) => {
            no_secret_is_told(file, variables, &format!("{loaded:?} {}", loaded.effective));
            a_key_has_one_tenant(&loaded.config);
            to_load_it_again_changes_nothing(&loaded, file, variables);
            what_is_shown_is_a_configuration(&loaded);
        }
        Err(faults) => {
            no_secret_is_told(file, variables, &format!("{faults:?} {faults}"));
            every_fault_has_a_place(&faults, file, variables);
        }
    }
});

fn sources(file: &str, variables: &str) -> Sources {
    let paths = ["sidecar.toml", ".env"].map(|name| FOLDER.path().join(name));
    for (path, content) in paths.iter().zip([file, variables]) {
        fs::write(path, content).expect("a file in the temporary folder");
    }
    let [file, env_file] = paths;
    Sources {
        file: Some(file),
        env_file: Some(env_file),
        ..Sources::default()
    }
}

fn every_fault_has_a_place(faults: &Faults, file: &str, variables: &str) {
    assert!(!faults.faults().is_empty());
    for fault in faults.faults() {
        assert!(!fault.what.is_empty() && !fault.remedy.is_empty(), "{fault}");
        match &fault.place {
            Place::File { path, line } => {
                let text = if path.ends_with(".env") { variables } else { file };
                assert!(
                    *line <= text.split('\n').count(),
                    "{fault}: there is no such line"
                );
            }
            Place::Variable(name) => assert!(!name.is_empty(), "{fault}"),
            Place::Default | Place::Flag => assert!(!fault.key.is_empty(), "neither key nor place: {fault}"),
        }
    }
}

fn a_key_has_one_tenant(config: &Config) {
    assert!(!config.tenants.is_empty());
    for pair in config.tenants.windows(2) {
        assert!(pair[0].name < pair[1].name);
    }
    for (at, tenant) in config.tenants.iter().enumerate() {
        let others = &config.tenants[at + 1..];
        assert!(others.iter().all(|other| other.client_id != tenant.client_id));
    }
}

fn to_load_it_again_changes_nothing(loaded: &Loaded, file: &str, variables: &str) {
    let again = load(sources(file, variables)).expect("what loaded once");
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.warnings, loaded.warnings);
    let mut bindings = Bindings::default();
    bindings.bind(&loaded.config.tenants);
    let change = change(&loaded.config, again.config, &bindings);
    assert!(change.is_nothing() && change.waiting.is_empty(), "{change:?}");
}

/// `check` prints what is in effect. Loaded in its turn, that is what it says, with a secret for what stands in its place, which is
/// refused as one.
fn what_is_shown_is_a_configuration(loaded: &Loaded) {
    let shown = loaded.effective.to_string();
    // A secret's file is named beside the secret, of which a file may give one only.
    if shown
        .lines()
        .any(|line| line.contains("_file = \"") && !line.contains("_file = \"\""))
    {
        return;
    }
    let whole = |text: &str| text.replace("[redacted]", SECRET);
    let again = load(sources(&whole(&shown), "")).unwrap_or_else(|faults| panic!("{shown}\n{faults}"));
    let said = |text: &str| whole(text).parse::<toml::Table>().expect("what is shown is TOML");
    assert_eq!(said(&again.effective.to_string()), said(&shown));
}

/// If the word stands nowhere but where a secret goes, nobody is told of it.
fn no_secret_is_told(file: &str, variables: &str, told: &str) {
    let Ok(table) = file.parse::<toml::Table>() else {
        return;
    };
    let hidden = secrets(&toml::Value::Table(table), false);
    if !variables.contains(SECRET) && file.matches(SECRET).count() == hidden {
        assert!(!told.contains(SECRET), "{told}");
    }
}

/// How often the word stands in values of keys that are secrets.
fn secrets(value: &toml::Value, is_secret: bool) -> usize {
    match value {
        toml::Value::String(text) if is_secret => text.matches(SECRET).count(),
        toml::Value::Array(items) => items.iter().map(|item| secrets(item, is_secret)).sum(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| secrets(value, is_secret || SECRET_KEYS.contains(&key.as_str())))
            .sum(),
        _ => 0,
    }
}

//! The chapter on every key, `docs/configuration.md`: made of the table in `keys` and of what a reload was seen to do with each,
//! by `WRITE=1 cargo test --lib reference`.

use std::fmt::Write as _;
use std::{env, fs};

use super::effective::default_of;
use super::env::{DEFAULT_TENANT, OWN_VARIABLES, variable_name};
use super::keys::{KEYS, Key, fill};
use super::reload::tests::keys::{Effect, effects};
use super::value::Kind;

const PREAMBLE: &str = "\
# Configuration

<!-- Made of the code by `WRITE=1 cargo test --lib reference`, which is also what to change. -->

None of the keys is needed: the environment variables `SNAPTRADE_CLIENT_ID` and `SNAPTRADE_CONSUMER_KEY` alone are a complete
configuration, for a key that allows five users. A file is given by `--config`, and
[config/sidecar.toml](../config/sidecar.toml) is one with every key and its default. An environment variable goes over the file, a
flag (`--set KEY=VALUE`) over both.

- `snaptrade-sidecar check` shows what is in effect and where each value came from, or every fault at once. An unknown key is a
  fault, and so is a variable that begins with `SNAPTRADE_SIDECAR` and names no key.
- Lengths of time are written `\"250ms\"`, `\"5s\"`, `\"1h30m\"` or `\"90d\"`. Paths are relative to the working directory. An empty text
  leaves a key unset, as does an empty variable. In a variable or a flag, a list is written with commas, or as in TOML.
- Of a tenant that is not called `default`, put its name in the place of `default` or `DEFAULT`; a `-` in it is a `_` in the variable.
- *Reload*: a change is taken up within seconds while the sidecar runs, or at once on SIGHUP. *Restart*: it waits for that, and a
  warning says so. More on both: [operating.md](operating.md#changing-the-configuration).
";

const OTHERS: &str = "
## Variables without a key

Traces have OpenTelemetry's own variables: [tracing.md](tracing.md#the-variables).

| variable | |
|---|---|
";

/// The whole chapter.
fn chapter() -> String {
    let effects = effects();
    let mut text = PREAMBLE.to_owned();
    let mut current = "";
    for key in KEYS {
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if section != current {
            current = section;
            let section = fill(section, Some(DEFAULT_TENANT));
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n## [{section}]\n\n| key, and its variable | takes | default | a change needs | |\n|---|---|---|---|---|\n"
            );
        }
        text += &row(key, effects[key.path]);
    }
    text += OTHERS;
    for (name, doc) in OWN_VARIABLES {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
    text
}

fn row(key: &Key, effect: Effect) -> String {
    let path = fill(key.path, Some(DEFAULT_TENANT));
    let effect = match effect {
        Effect::Reload => "a reload",
        Effect::Restart => "a restart",
        Effect::RestartToBegin => "a reload; to or from none, a restart",
    };
    format!(
        "| `{path}`<br>`{}` | {} | {} | {effect} | {} |\n",
        variable_name(&path),
        takes(key.kind),
        default(key),
        key.doc
    )
}

fn takes(kind: Kind) -> String {
    let bounds = kind.bounds();
    let bounds = bounds
        .as_deref()
        .map_or("", |bounds| bounds.trim_end_matches('.'));
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Secret => "a secret".to_owned(),
        Kind::Path => "a file".to_owned(),
        Kind::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Kind::Switch => "`true`, `false`".to_owned(),
        Kind::Count { .. } => format!("a number, {bounds}"),
        Kind::Span { .. } => format!("a length of time, {bounds}"),
        Kind::List => "a list of texts".to_owned(),
    }
}

fn default(key: &Key) -> String {
    match default_of(key).as_deref() {
        None | Some("\"\"") => "unset".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

#[test]
fn the_reference_in_the_documents_is_of_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = chapter();
    if env::var_os("WRITE").is_some() {
        fs::write(path, &text).unwrap();
    } else {
        assert!(
            fs::read_to_string(path).is_ok_and(|written| written == text),
            "docs/configuration.md is of other code; WRITE=1 cargo test --lib reference"
        );
    }
}

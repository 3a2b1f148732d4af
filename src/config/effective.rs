//! The table as TOML: with the values in effect, for `check`, or with the defaults, for `config/sidecar.toml`.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::env::DEFAULT_TENANT;
use super::fault::Place;
use super::home::home;
use super::keys::{KEYS, Key, fill, find};
use super::layers::{Layers, Setting};
use super::value::Value;

const PREAMBLE: &str = "\
# Every key of snaptrade-sidecar with its default. None is needed: the environment variables SNAPTRADE_CLIENT_ID and
# SNAPTRADE_CONSUMER_KEY alone are a complete configuration.
#
# Give the file with --config or SNAPTRADE_SIDECAR_CONFIG. An environment variable goes over the file, a flag over both;
# any key is a variable: tenants.default.max_users is SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS. A list is written
# there with commas, or as here. PORT, as platforms set it, means proxy.listen = \"0.0.0.0:$PORT\", unless a variable or
# flag sets proxy.listen. An application that `run` starts has PORT for itself, and what is not set of proxy.listen and
# ops.listen the system chooses: docs/deploy/run.md. FRONTEND_URL adds an entry to ops.allowed_origins. Traces are configured
# by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT: docs/tracing.md.
#
# Lengths of time are like \"250ms\", \"5s\", \"1h30m\" or \"90d\". Paths are relative to the working directory. An empty text
# leaves a key unset, as does an empty variable. Unknown keys are errors, and so are variables that begin with
# SNAPTRADE_SIDECAR and name no key. `snaptrade-sidecar check` shows what is in effect, and why.
#
# A running sidecar takes up what changes here within seconds, or at once on SIGHUP. docs/operating.md says what needs a
# restart.
";

/// That a limit is set tells more than its number.
pub(super) const MAX_USERS: &str = "tenants.*.max_users";

/// What is printed in the place of a secret, and refused as one.
pub(super) const REDACTED: &str = "[redacted]";

/// Of the secrets, the one with a default, and with more in it than a secret.
const REGISTRY: &str = "registry.url";
const REGISTRY_FILE: &str = "registry.url_file";

/// Every key in effect as TOML, secrets redacted, with the place of each value that is not the default.
#[derive(Clone, Debug)]
pub struct Effective(String);

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Effective {
    pub(super) fn of(layers: &Layers) -> Self {
        let entry = |tenant: Option<&str>, key: &'static Key| {
            let setting = layers.get(tenant, key).ok()?;
            if key.path == REGISTRY && names_file(layers) {
                return Some(format!("{} = \"\" # overridden by url_file\n", leaf(key)));
            }
            let value = match &setting.value {
                Value::Secret(url) if key.path == REGISTRY => registry(url),
                // Its query may be what an application knows its callers by.
                Value::Text(url) if key.path.ends_with("_url") => quoted(&without_query(url)),
                value => toml(value, &setting.place),
            };
            let line = format!("{} = {value}", leaf(key));
            Some(match origin(&setting) {
                Some(places) => format!("{line} # {places}\n"),
                // Whoever loads the print-out does not set it by that.
                None if key.path == MAX_USERS => {
                    format!("# {line}, and not set: a registration evicts one at most\n")
                }
                None => line + "\n",
            })
        };
        let mut text = sections(None, &|key| entry(None, key));
        for name in layers.tenants().keys() {
            text += &sections(Some(name), &|key| entry(Some(name), key));
        }
        Self(text.trim_start().to_owned())
    }
}

/// The text of `config/sidecar.toml`: every key with its default and what it is for.
pub fn reference() -> String {
    let entry = |key: &'static Key| {
        let value = default_of(key)?;
        let bounds = key
            .kind
            .bounds()
            .map(|bounds| format!(" {bounds}"))
            .unwrap_or_default();
        // To set it says that it is known, also where it is set to the default.
        let off = if key.path == MAX_USERS { "# " } else { "" };
        Some(format!("# {}{bounds}\n{off}{} = {value}\n", key.doc, leaf(key)))
    };
    [
        PREAMBLE,
        &sections(None, &entry),
        &sections(Some(DEFAULT_TENANT), &entry),
    ]
    .concat()
}

/// The default of a key, as it would be written.
pub(super) fn default_of(key: &Key) -> Option<String> {
    let value = key.kind.preset(key.preset).ok()?;
    Some(toml(&value, &Place::Default))
}

/// The sections of a tenant, or those that are nobody's, each after an empty line and with its header.
fn sections(tenant: Option<&str>, entry: &dyn Fn(&'static Key) -> Option<String>) -> String {
    let mut text = String::new();
    let mut current = "";
    for key in KEYS
        .iter()
        .filter(|key| key.path.contains('*') == tenant.is_some())
    {
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if section != current {
            // Writing to a string does not fail.
            let _ = write!(text, "\n[{}]\n", fill(section, tenant));
            current = section;
        }
        text.extend(entry(key));
    }
    text
}

fn leaf(key: &Key) -> &'static str {
    key.path.rsplit('.').next().unwrap_or(key.path)
}

/// Whether the registry's URL is in a file of its own, so that its key, which has a default, says nothing.
fn names_file(layers: &Layers) -> bool {
    let setting = find(REGISTRY_FILE).and_then(|key| layers.get(None, key).ok());
    setting.is_some_and(|setting| !setting.value.is_unset())
}

/// Where the registry is, without a password.
fn registry(url: &str) -> String {
    match home(url) {
        Ok(home) => quoted(&home.to_string()),
        // Empty, it is unset.
        Err(_) if url.is_empty() => quoted(url),
        Err(_) => quoted(REDACTED),
    }
}

fn without_query(url: &str) -> String {
    match url.split_once('?') {
        Some((url, _)) => format!("{url}?{REDACTED}"),
        None => url.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml(value: &Value, place: &Place) -> String {
    match value {
        Value::Text(text) | Value::Span { written: text, .. } => quoted(text),
        // A default stands in the reference for all to see.
        Value::Secret(text) if text.is_empty() || *place == Place::Default => quoted(text),
        Value::Secret(_) => quoted(REDACTED),
        Value::Switch(on) => on.to_string(),
        Value::Count(count) => count.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| quoted(&item.text)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// Where a value was written; a list may come from several places. `None` for a default.
fn origin(setting: &Setting) -> Option<String> {
    let mut places = BTreeSet::from([&setting.place]);
    if let Value::List(items) = &setting.value {
        places.extend(items.iter().map(|item| &item.place));
    }
    places.remove(&Place::Default);
    let places: Vec<String> = places.into_iter().map(ToString::to_string).collect();
    (!places.is_empty()).then(|| places.join(", "))
}

//! The environment and the flags as layers. Nothing is read from the process here: the caller hands it in.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::fault::{Fault, Place, Problem};
use super::keys::{Named, Slot, find, named, nearest_key};
use super::layers::{Layer, Layers, Setting, is_tenant_name, variable_part};
use super::origin::OriginPattern;
use super::reader::is_secret;
use super::strays::meant_by;
use super::value::{Item, Kind};

pub(super) const PREFIX: &str = "SNAPTRADE_SIDECAR__";
pub(super) const CLIENT_ID: &str = "SNAPTRADE_CLIENT_ID";
pub(super) const CONSUMER_KEY: &str = "SNAPTRADE_CONSUMER_KEY";
pub(super) const PORT: &str = "PORT";
pub(super) const CONFIG: &str = "SNAPTRADE_SIDECAR_CONFIG";
/// What an application that `run` starts finds the ops plane by, and the operator's commands that it starts.
pub const OPS_URL: &str = "SNAPTRADE_SIDECAR_OPS_URL";
const FRONTEND_URL: &str = "FRONTEND_URL";

/// What is read and no key's, and what it means; for the reference.
#[cfg(test)]
pub(super) const OWN_VARIABLES: [(&str, &str); 5] = [
    (
        CLIENT_ID,
        "`tenants.default.client_id`, as the application calls it",
    ),
    (CONSUMER_KEY, "`tenants.default.consumer_key`, likewise"),
    (
        PORT,
        "as hosting platforms set it: `proxy.listen = \"0.0.0.0:$PORT\"`, unless a variable or flag sets `proxy.listen`",
    ),
    (
        FRONTEND_URL,
        "adds the origin of this URL to `ops.allowed_origins`",
    ),
    (CONFIG, "the configuration file, as `--config` does"),
];

/// The tenant that the two variables without our prefix describe.
pub(super) const DEFAULT_TENANT: &str = "default";

pub(super) type Env = [(OsString, OsString)];

/// The variables that the application or its platform already has. An empty one counts as not set, because that is
/// how compose files and dashboards leave a variable out.
/// `port_is_ours` unless the application is started by this program.
pub(super) fn shorthand(env: &Env, port_is_ours: bool, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    let listen = |port: String| format!("0.0.0.0:{port}");
    for (name, path, tenant) in [
        (CLIENT_ID, "tenants.*.client_id", Some(DEFAULT_TENANT)),
        (CONSUMER_KEY, "tenants.*.consumer_key", Some(DEFAULT_TENANT)),
        (PORT, "proxy.listen", None),
    ] {
        if name == PORT && !port_is_ours {
            continue;
        }
        let Some(text) = variable(env, name, faults).filter(|text| !text.is_empty()) else {
            continue;
        };
        let Some(key) = find(path) else { continue };
        let slot = Slot {
            tenant: tenant.map(str::to_owned),
            key,
        };
        let text = if name == PORT { listen(text) } else { text };
        set(&mut layer, slot, &text, Place::Variable(name.to_owned()), faults);
    }
    layer
}

/// The configuration file that the environment names.
pub(super) fn config_file(env: &Env) -> Option<PathBuf> {
    let (_, path) = env
        .iter()
        .find(|(name, _)| name.as_os_str() == OsStr::new(CONFIG))?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Adds the application's own front end to the allowed origins. Its path, if it has one, is no part of an origin. What
/// else it may be is for other programs to judge, whose variable it is.
pub(super) fn add_frontend(layers: &mut Layers, env: &Env, warnings: &mut Vec<String>) {
    let url = env.iter().find(|(name, _)| name == FRONTEND_URL);
    let Some(url) = url
        .map(|(_, url)| url.to_string_lossy())
        .filter(|url| !url.is_empty())
    else {
        return;
    };
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let end = url[host_at..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| host_at + at);
    let text = url[..end].to_owned();
    if let Err(error) = OriginPattern::parse(&text) {
        let place = Place::Variable(FRONTEND_URL.to_owned());
        warnings.push(format!(
            "{place}: is not an origin, and not added to ops.allowed_origins: {error}"
        ));
        return;
    }
    layers.append(
        "ops.allowed_origins",
        Item {
            text,
            place: Place::Variable(FRONTEND_URL.to_owned()),
        },
    );
}

/// The variables that name a key each. `layers` holds what lies below, for the names of its tenants.
pub(super) fn variables(env: &Env, layers: &Layers, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (name, _) in env {
        let Some((name, parts)) = name
            .to_str()
            .and_then(|name| Some((name, name.strip_prefix(PREFIX)?)))
        else {
            continue;
        };
        let place = Place::Variable(name.to_owned());
        let path = path_of(parts, layers);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match named(&path) {
            Named::Key(slot) => {
                // Empty, it is not set, as compose's `${X:-}` means it.
                if let Some(text) = variable(env, name, faults).filter(|text| !text.is_empty()) {
                    set(&mut layer, slot, &text, place, faults);
                }
            }
            Named::Section | Named::Nothing => {
                let meant = nearest_key(&path).map(|meant| variable_name(&meant));
                faults.push(names_no_key(meant.or_else(|| meant_by(parts))).at("", place));
            }
        }
    }
    layer
}

/// A variable that is ours by its name and is not read: ignored, it could be the one that keeps users from eviction.
pub(super) fn names_no_key(meant: Option<String>) -> Problem {
    let remedy = meant.map_or_else(
        || "unset it; config/sidecar.toml lists every key".to_owned(),
        |meant| format!("did you mean {meant}?"),
    );
    Problem::new("names no key", remedy)
}

/// The overrides from the command line, each a key's path and its value.
pub(super) fn flags(flags: &[(String, String)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (path, text) in flags {
        let parts: Vec<&str> = path.split('.').collect();
        if let Named::Key(slot) = named(&parts) {
            set(&mut layer, slot, text, Place::Flag, faults);
        } else {
            let remedy = nearest_key(&parts).map_or_else(
                || "leave it out".to_owned(),
                |meant| format!("did you mean {meant}?"),
            );
            faults.push(Problem::new("unknown key", remedy).at(path, Place::Flag));
        }
    }
    layer
}

pub(super) fn set(layer: &mut Layer, slot: Slot, text: &str, place: Place, faults: &mut Vec<Fault>) {
    if let Some(name) = slot.tenant.as_deref().filter(|name| !is_tenant_name(name)) {
        let what = format!("{name:?} is not a name for a tenant");
        let remedy = "use letters and digits, with single - or _ between them";
        faults.push(Problem::new(what, remedy).at(slot.path(), place));
        return;
    }
    match slot.key.kind.text(text, &place) {
        Ok(value) => layer.settings.push((slot, Setting { value, place })),
        Err(problem) => faults.push(problem.at(slot.path(), place)),
    }
}

/// A tenant is called as the layers below call it; one that they do not know is called in lower case.
fn path_of(parts: &str, layers: &Layers) -> Vec<String> {
    let mut path: Vec<String> = parts.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, name, ..] = path.as_mut_slice()
        && section == "tenants"
        && let Some(known) = layers
            .tenants()
            .keys()
            .find(|known| variable_part(known) == variable_part(name))
    {
        name.clone_from(known);
    }
    path
}

/// The variable that sets a key.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", variable_part(&path.replace('.', "__")))
}

/// Whether such a variable sets a key that is a secret.
pub(super) fn is_secret_variable(name: &str, value: &str) -> bool {
    if name == CONSUMER_KEY {
        return true;
    }
    let parts = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase);
    let path = parts
        .as_deref()
        .map(|parts| parts.split("__").collect::<Vec<_>>());
    path.is_some_and(|path| {
        matches!(named(&path), Named::Key(slot)
            if matches!(slot.key.kind, Kind::Secret) && is_secret(slot.key.path, value))
    })
}

fn variable(env: &Env, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let (_, value) = env
        .iter()
        .find(|(known, _)| known.as_os_str() == OsStr::new(name))?;
    let text = value.to_str().map(str::to_owned);
    if text.is_none() {
        let problem = Problem::new("is not valid UTF-8", "set it to a text in UTF-8");
        faults.push(problem.at("", Place::Variable(name.to_owned())));
    }
    text
}

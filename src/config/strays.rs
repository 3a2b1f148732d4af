//! Variables that look like ours and are not read.

use std::ffi::OsString;

use super::env::{
    CLIENT_ID, CONFIG, CONSUMER_KEY, DEFAULT_TENANT, Env, OPS_URL, PORT, PREFIX, names_no_key, variable_name,
};
use super::fault::{Fault, Place};
use super::keys::{KEYS, closest, fill};

/// What begins so is ours, and has to be understood.
const OURS: &str = "SNAPTRADE_SIDECAR";
/// What begins so may be the application's own.
const VENDOR: &str = "SNAPTRADE_";
/// Read when the program is compiled, which a developer's shell may export.
const COMMIT: &str = "SNAPTRADE_SIDECAR_COMMIT";
/// Ours, and read, though they set no key.
const WITHOUT_KEY: [&str; 3] = [CONFIG, COMMIT, OPS_URL];

/// Refuses every variable that is ours by its beginning and was meant to name a key, without the `__` between the parts of
/// a key or otherwise. One that resembles no key, such as `SNAPTRADE_SIDECAR_URL`, may be the application's.
pub(super) fn refuse(env: &Env, faults: &mut Vec<Fault>) {
    for (name, _) in env {
        // A name that is not UTF-8 is ours too, if it begins like it; only its shown form differs.
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(OURS) else {
            continue;
        };
        if name.starts_with(PREFIX) || WITHOUT_KEY.contains(&&*name) || is_of_kubernetes(rest) {
            continue;
        }
        if let Some(meant) = meant_by(rest) {
            faults.push(names_no_key(Some(meant)).at("", Place::Variable(name.into_owned())));
        }
    }
}

/// Variables that are nearly one that is read: but for underscores or capitals, or for our prefix. Not a fault, because
/// the application may have variables of its own.
pub(super) fn near_misses(env: &Env) -> Vec<String> {
    let squash = |name: &str| name.replace('_', "").to_ascii_uppercase();
    let known: Vec<(String, String)> = keys()
        .map(|(_, path)| variable_name(&path))
        .chain([CLIENT_ID, CONSUMER_KEY, CONFIG].map(str::to_owned))
        .map(|name| (squash(&name), name))
        .collect();
    let squashed = |name: &str| {
        let wanted = squash(name);
        let (_, meant) = known.iter().find(|(squashed, _)| *squashed == wanted)?;
        Some(meant.clone())
    };
    let of_vendor = |name: &str| end_of_key(&spelled(name.strip_prefix(VENDOR)?));
    let missed = |(name, value): &(OsString, OsString)| {
        let name = name.to_str()?;
        let meant = match name.strip_prefix(OURS) {
            // Kubernetes has a URL there. Whatever else is there was meant for us.
            Some("_PORT") if !value.to_string_lossy().contains("://") => PORT.to_owned(),
            Some(rest) if rest.starts_with('_') && !name.starts_with(PREFIX) => {
                let is_ours = WITHOUT_KEY.contains(&name) || is_of_kubernetes(rest);
                let is_stranger = !is_ours && meant_by(rest).is_none();
                return is_stranger.then(|| format!("environment variable {name} is not read"));
            }
            Some(_) => return None,
            None if name == CLIENT_ID || name == CONSUMER_KEY => return None,
            None => squashed(name).or_else(|| of_vendor(name))?,
        };
        Some(format!(
            "environment variable {name} is not read; did you mean {meant}?"
        ))
    };
    env.iter().filter_map(missed).collect()
}

/// Whether Kubernetes sets such a variable for every service whose name begins with snaptrade-sidecar, as it does
/// without being asked: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_HTTP`, `…_PORT`, `…_PORT_8080_TCP`,
/// `…_PORT_8080_TCP_ADDR`. `rest` is what follows our name.
fn is_of_kubernetes(rest: &str) -> bool {
    let is_port = |(at, found): (usize, &str)| {
        let port = &rest[at + found.len()..];
        let after = port.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_protocol = |protocol: &str| {
            after
                .strip_prefix(protocol)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        after.len() < port.len() && ["_TCP", "_UDP", "_SCTP"].into_iter().any(is_protocol)
    };
    rest.starts_with('_')
        && (["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
            .iter()
            .any(|end| rest.ends_with(end))
            || rest.contains("_SERVICE_PORT_")
            || rest.match_indices("_PORT_").any(is_port))
}

/// The last part of a key that says nothing by itself: what ends in it is most likely the application's, which has to
/// know where the sidecar is.
const COMMON: &str = "url";

/// The variable that was most likely meant by one that ends in `rest`: by what its last parts say, or nearly say.
pub(super) fn meant_by(rest: &str) -> Option<String> {
    let rest = spelled(rest);
    // What an application calls the sidecar's own URL, rather than one of our keys that end so.
    if rest == "url" {
        return None;
    }
    end_of_key(&rest).or_else(|| key_at_end(&rest)).or_else(|| {
        let spellings: Vec<(String, String)> = keys()
            .flat_map(|(within, path)| [(within, path.clone()), (joined(&path), path)])
            .collect();
        let spellings = spellings.iter().map(|(spelling, path)| (spelling.as_str(), path));
        closest(&rest, spellings).map(|path| variable_name(path))
    })
}

/// `eviction_mode` and `mode` are the end of `tenants_default_eviction_mode`.
fn end_of_key(rest: &str) -> Option<String> {
    let ends = |path: &String| rest != COMMON && is_end(&joined(path), rest);
    keys()
        .map(|(_, path)| path)
        .find(ends)
        .map(|path| variable_name(&path))
}

/// `tenants_acme_max_users` ends in `max_users`; what is before it may name the tenant. The longest such key is meant.
fn key_at_end(rest: &str) -> Option<String> {
    let found = KEYS
        .iter()
        .filter_map(|key| {
            let within = joined(key.path.trim_start_matches("tenants.*."));
            let leaf = key.path.rsplit('.').next().unwrap_or(key.path);
            [within.as_str(), leaf]
                .into_iter()
                .find(|end| *end != COMMON && is_end(rest, end))
                .map(|end| (end.len(), key))
        })
        .rev()
        .max_by_key(|(length, _)| *length);
    let (length, key) = found?;
    let before = rest[..rest.len() - length].trim_end_matches('_');
    let tenant = before
        .strip_prefix("tenants_")
        .map(|name| name.trim_end_matches("_eviction"));
    Some(variable_name(&fill(key.path, tenant.or(Some(DEFAULT_TENANT)))))
}

fn is_end(whole: &str, end: &str) -> bool {
    whole
        .strip_suffix(end)
        .is_some_and(|before| !end.is_empty() && (before.is_empty() || before.ends_with('_')))
}

/// Every key of the tenant `default` and of nobody: as it is called within its tenant, and its path.
fn keys() -> impl Iterator<Item = (String, String)> {
    KEYS.iter().map(|key| {
        let within = joined(key.path.trim_start_matches("tenants.*."));
        (within, fill(key.path, Some(DEFAULT_TENANT)))
    })
}

fn joined(path: &str) -> String {
    path.replace('.', "_")
}

/// Lower case, with one `_` between two words.
fn spelled(rest: &str) -> String {
    let words = rest.split('_').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parts_say_what_was_meant() {
        for (rest, meant) in [
            ("_MODE", "TENANTS__DEFAULT__EVICTION__MODE"),
            ("_EVICTION_MODE", "TENANTS__DEFAULT__EVICTION__MODE"),
            ("_DEFAULT_MODE", "TENANTS__DEFAULT__EVICTION__MODE"),
            ("_TENANTS_ACME_EVICTION_MODE", "TENANTS__ACME__EVICTION__MODE"),
            ("_TENANTS_ACME_MODE", "TENANTS__ACME__EVICTION__MODE"),
            ("_TENANT_MAX_USERS", "TENANTS__DEFAULT__MAX_USERS"),
            ("MAX__USERS", "TENANTS__DEFAULT__MAX_USERS"),
            ("_MAX_USER", "TENANTS__DEFAULT__MAX_USERS"),
            ("_EVICTON_MODE", "TENANTS__DEFAULT__EVICTION__MODE"),
            ("_LISTEN", "PROXY__LISTEN"),
            ("_OPS_LISTEN", "OPS__LISTEN"),
            ("_PROTECT_TOKEN_FILE", "OPS__TOKEN_FILE"),
            ("_REGISTRY_URL", "REGISTRY__URL"),
        ] {
            assert_eq!(meant_by(rest), Some(format!("{PREFIX}{meant}")), "{rest}");
        }
        for rest in ["", "_", "_URL", "_BASE_URL", "_COLOUR"] {
            assert_eq!(meant_by(rest), None, "{rest}");
        }
    }

    #[test]
    fn what_kubernetes_sets_is_its_own() {
        for rest in [
            "_SERVICE_HOST",
            "_SERVICE_PORT",
            "_SERVICE_PORT_HTTP",
            "_PORT",
            "_PORT_8080_TCP",
            "_PORT_8080_TCP_ADDR",
            "_PORT_53_UDP_PROTO",
            "_OPS_SERVICE_HOST",
            "_OPS_PORT_9090_TCP_PORT",
        ] {
            assert!(is_of_kubernetes(rest), "{rest}");
        }
        for rest in [
            "SERVICE_HOST_X",
            "_HOST",
            "PORT",
            "_PORT_TCP",
            "_PORT_80_TCPX",
            "_PORTS",
            "_PORT_80",
        ] {
            assert!(!is_of_kubernetes(rest), "{rest}");
        }
    }

    #[test]
    fn a_port_that_is_no_url_was_meant_for_us() {
        let of = |value: &str| near_misses(&[("SNAPTRADE_SIDECAR_PORT".into(), value.into())]);
        assert!(of("tcp://10.0.0.1:80").is_empty());
        assert_eq!(
            of("3000"),
            ["environment variable SNAPTRADE_SIDECAR_PORT is not read; did you mean PORT?"]
        );
    }
}

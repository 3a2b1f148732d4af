//! What differs where the program starts the application itself (`run`).

use std::ffi::OsStr;

use super::env::{PREFIX, set};
use super::fault::{Fault, Place};
use super::keys::{Named, named};
use super::layers::Layer;

/// Nobody but the application has to find the proxy, and it is told. A port that is always the same would be taken where two
/// applications of one machine are started so.
const DEFAULTS: [(&str, &str); 2] = [("proxy.listen", "127.0.0.1:0"), ("ops.listen", "127.0.0.1:0")];

/// The drain begins when the application has been told to end and lasts until it has; no balancer has to notice it first.
const OVERRIDES: [(&str, &str); 1] = [("proxy.drain_delay", "0s")];

/// The operator's, of no use to the application: keys of which the variables are kept from it.
const WITHHELD: [&[&str]; 2] = [&["ops", "token"], &["registry", "url"]];

/// What holds where no source says otherwise.
pub(super) fn defaults(faults: &mut Vec<Fault>) -> Layer {
    layer(&DEFAULTS, faults)
}

/// What holds whatever the sources say.
pub(super) fn overrides(faults: &mut Vec<Fault>) -> Layer {
    layer(&OVERRIDES, faults)
}

fn layer(settings: &[(&str, &str)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (path, text) in settings {
        let path: Vec<&str> = path.split('.').collect();
        if let Named::Key(slot) = named(&path) {
            set(&mut layer, slot, text, Place::Default, faults);
        }
    }
    layer
}

/// Whether an application that the program starts gets such a variable: all but those that are secrets of the sidecar's own.
/// The consumer keys and what notices are signed with are the application's too.
pub fn is_for_application(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let Some(parts) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else {
        return true;
    };
    let path: Vec<&str> = parts.split("__").collect();
    !WITHHELD.contains(&path.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_one() {
        let mut faults = Vec::new();
        assert_eq!(defaults(&mut faults).settings.len(), DEFAULTS.len());
        assert_eq!(overrides(&mut faults).settings.len(), OVERRIDES.len());
        assert_eq!(faults, []);
        for path in WITHHELD {
            assert!(matches!(named(path), Named::Key(_)), "{path:?}");
        }
    }

    #[test]
    fn the_application_gets_all_but_the_operators_secrets() {
        for name in ["OPS__TOKEN", "ops__token", "REGISTRY__URL"] {
            assert!(!is_for_application(format!("{PREFIX}{name}").as_ref()), "{name}");
        }
        for name in [
            "PATH",
            "PORT",
            "SNAPTRADE_CONSUMER_KEY",
            "SNAPTRADE_SIDECAR__OPS__TOKEN_FILE",
            "SNAPTRADE_SIDECAR__OPS__LISTEN",
            "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__NOTIFY_SECRET",
        ] {
            assert!(is_for_application(name.as_ref()), "{name}");
        }
    }
}

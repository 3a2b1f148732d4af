//! The tenants, validated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::effective::MAX_USERS;
use super::env::{CLIENT_ID, CONSUMER_KEY, DEFAULT_TENANT, variable_name};
use super::fault::{Place, Problem};
use super::home::Home;
use super::hooks;
use super::keys::fill;
use super::layers::variable_part;
use super::reader::Reader;
use super::{Registry, Tenant, span};
use crate::admission::Terms;
use crate::admission::fuse::Fuse;
use crate::admission::patterns::Patterns;
use crate::admission::policy::{Key, Mode, OnListError, Policy, UnknownAge};
use crate::types::{ClientId, ConsumerKey};

/// Shorter, a phrase would be found in errors that are about something else.
const PHRASE_CHARS_MIN: usize = 5;
/// For which nobody can be evicted after a start, without a warning.
const FORGOTTEN_MAX: Duration = Duration::from_hours(1);

/// `complete` says that every source could be read, so that what is missing is missing.
pub(super) fn tenants(reader: &mut Reader<'_>, complete: bool) -> Vec<Arc<Tenant>> {
    let layers = reader.layers;
    if layers.tenants().is_empty() && complete && !reader.is_faulty("tenants") {
        let remedy = format!(
            "set the environment variables {CLIENT_ID} and {CONSUMER_KEY}, \
             or write a section [tenants.{DEFAULT_TENANT}] into the configuration file"
        );
        reader.fault(
            "tenants",
            Place::Default,
            Problem::new("there is no SnapTrade API key", remedy),
        );
    }
    let mut tenants = Vec::new();
    for (name, place) in layers.tenants() {
        reader.tenant = Some(name);
        tenants.extend(tenant(reader, name, place, complete).map(Arc::new));
        reader.tenant = None;
    }
    distinct_names(reader);
    distinct_clients(reader);
    tenants
}

fn tenant(reader: &mut Reader<'_>, name: &str, place: &Place, complete: bool) -> Option<Tenant> {
    let client_id = client_id(reader, name, place, complete);
    let consumer_key = consumer_key(reader, name, place, complete);
    let phrases = reader.list("tenants.*.limit_error.phrases", phrase);
    let terms = terms(reader);
    let signature_max_age = reader.span("tenants.*.signature_max_age");
    let manage_timeout = reader.span("tenants.*.manage_timeout");
    let queue_max = reader.count("tenants.*.queue_max");
    let replay_window = reader.span("tenants.*.replay_window");
    let notify = hooks::notify(reader);
    Some(Tenant {
        name: Arc::from(name),
        client_id: client_id?,
        consumer_key: consumer_key?,
        terms,
        phrases,
        signature_max_age,
        manage_timeout,
        queue_max,
        replay_window,
        notify,
    })
}

fn client_id(reader: &mut Reader<'_>, name: &str, place: &Place, complete: bool) -> Option<ClientId> {
    const KEY: &str = "tenants.*.client_id";
    let (text, written) = reader.text(KEY);
    if text.is_empty() {
        if complete {
            reader.missing(
                KEY,
                section(place),
                Problem::new("is not set", ways_to_set(name, CLIENT_ID, "client_id")),
            );
        }
        return None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let remedy = "copy it from the SnapTrade dashboard, without spaces";
        reader.fault(
            KEY,
            written,
            Problem::new("has characters that no client id has", remedy),
        );
        return None;
    }
    if is_quoted(&text) {
        warn_of_quotes(reader, KEY, &written);
    }
    if text.starts_with("PERS-") {
        let path = reader.path(KEY);
        reader.warn(format!(
            "{path}: {text} is a personal key, with which SnapTrade registers no users"
        ));
    }
    Some(ClientId::new(text))
}

fn consumer_key(reader: &mut Reader<'_>, name: &str, place: &Place, complete: bool) -> Option<ConsumerKey> {
    const KEY: &str = "tenants.*.consumer_key";
    const FILE_KEY: &str = "tenants.*.consumer_key_file";
    let secret = reader.secret(KEY, FILE_KEY);
    let file_is_faulty = reader.is_faulty(&reader.path(FILE_KEY));
    if secret.is_none() && complete && !file_is_faulty {
        let remedy = ways_to_set(name, CONSUMER_KEY, "consumer_key (or consumer_key_file)");
        reader.missing(KEY, section(place), Problem::new("is not set", remedy));
    }
    let (key, written) = secret?;
    if is_quoted(&key) {
        warn_of_quotes(reader, KEY, &written);
    }
    Some(ConsumerKey::new(key))
}

/// The line where a tenant begins, if it is in a file. The variable that merely names it is not at fault for what it
/// lacks.
fn section(place: &Place) -> Place {
    match place {
        Place::File { .. } => place.clone(),
        _ => Place::Default,
    }
}

/// As `docker run --env-file` leaves them, which takes every character as it is.
fn is_quoted(text: &str) -> bool {
    let within = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    within('"') || within('\'')
}

fn warn_of_quotes(reader: &mut Reader<'_>, key: &str, place: &Place) {
    let path = reader.path(key);
    reader.warn(format!(
        "{path} ({place}): begins and ends with a quote, which is taken as a part of it; leave the quotes out"
    ));
}

/// How to give a tenant a key that it lacks: the short variable, where there is one, or the file.
fn ways_to_set(name: &str, short: &str, leaf: &str) -> String {
    let variable = if name == DEFAULT_TENANT {
        short.to_owned()
    } else {
        let key = leaf.split(' ').next().unwrap_or(leaf);
        variable_name(&format!("tenants.{name}.{key}"))
    };
    format!("set the environment variable {variable}, or {leaf} in [tenants.{name}]")
}

fn terms(reader: &mut Reader<'_>) -> Terms {
    let (mode, _) = reader.text("tenants.*.eviction.mode");
    let (on_list_error, _) = reader.text("tenants.*.on_list_error");
    let evictable = patterns(reader, "tenants.*.eviction.evictable");
    let protect = patterns(reader, "tenants.*.eviction.protect");
    let (unknown_age, _) = reader.text("tenants.*.eviction.unknown_age");
    // A key that has more users than the default allows may have as many as it likes: who of them would go is not to be guessed.
    let max_per_registration = if reader.is_set(MAX_USERS) {
        reader.count("tenants.*.eviction.max_per_registration")
    } else {
        1
    };
    let terms = Terms {
        // The table lets no other words through; those that delete least stand for the impossible rest.
        mode: match mode.as_str() {
            "enforce" => Mode::Enforce,
            "on-limit-error" => Mode::OnLimitError,
            "observe" => Mode::Observe,
            _ => Mode::Off,
        },
        on_list_error: match on_list_error.as_str() {
            "reject" => OnListError::Reject,
            _ => OnListError::Forward,
        },
        max_users: reader.count(MAX_USERS),
        max_per_registration,
        settle_timeout: reader.span("tenants.*.settle_timeout"),
        admission_timeout: reader.span("tenants.*.admission_timeout"),
        fuse: Fuse {
            evictions: reader.count("tenants.*.eviction.fuse.evictions"),
            window: reader.span("tenants.*.eviction.fuse.window"),
        },
        policy: Policy {
            order: order(reader),
            // As above, and the strictest of the rest.
            unknown_age: UnknownAge::from_token(&unknown_age).unwrap_or(UnknownAge::Protect),
            active_within: reader.span("tenants.*.eviction.active_within"),
            min_age: reader.span("tenants.*.eviction.min_age"),
            evictable,
            protect,
        },
    };
    doubts(reader, &terms);
    terms
}

/// What works, and hardly as it was meant.
fn doubts(reader: &mut Reader<'_>, terms: &Terms) {
    let Policy {
        evictable, protect, ..
    } = &terms.policy;
    let all = |pattern: &String| pattern.chars().all(|c| c == '*');
    let why = if evictable.sources().is_empty() {
        Some(format!(
            "{} is empty",
            reader.path("tenants.*.eviction.evictable")
        ))
    } else if protect.sources().iter().any(all) {
        Some(format!(
            "{} holds \"*\"",
            reader.path("tenants.*.eviction.protect")
        ))
    } else {
        None
    };
    if let Some(why) = why.filter(|_| terms.mode != Mode::Off) {
        reader.warn(format!(
            "{why}, so that nobody can ever be evicted; if that is meant, set {} to \"off\"",
            reader.path("tenants.*.eviction.mode")
        ));
    }
    if terms.settle_timeout > terms.admission_timeout {
        reader.warn(format!(
            "{} is longer than {}, which ends the wait before it",
            reader.path("tenants.*.settle_timeout"),
            reader.path("tenants.*.admission_timeout")
        ));
    }
}

/// What is not known protects, and in memory nothing is known after a start.
pub(super) fn forgetful(reader: &mut Reader<'_>, tenants: &[Arc<Tenant>], registry: Option<&Registry>) {
    if registry.is_none_or(|registry| registry.home != Home::Memory) {
        return;
    }
    for tenant in tenants.iter().filter(|tenant| tenant.terms.mode != Mode::Off) {
        let Policy {
            min_age,
            active_within,
            ..
        } = tenant.terms.policy;
        for (key, length) in [
            ("tenants.*.eviction.min_age", min_age),
            ("tenants.*.eviction.active_within", active_within),
        ] {
            if length > FORGOTTEN_MAX {
                reader.warn(format!(
                    "{} is {}, and registry.url is memory:, which forgets everything: for that long after each start \
                     nobody can be evicted; set registry.url to a file or a database",
                    fill(key, Some(&tenant.name)),
                    span::shown(length)
                ));
            }
        }
    }
}

/// The keys of the order. The same one twice is a slip: the second decides nothing.
fn order(reader: &mut Reader<'_>) -> Vec<Key> {
    let mut seen = Vec::new();
    reader.list("tenants.*.eviction.order", |text| {
        let key = Key::from_token(text).ok_or_else(|| {
            let choices = Key::ALL.map(Key::token).join(", ");
            Problem::new(
                format!("{text:?} is not a key of the order"),
                format!("choose of {choices}"),
            )
        })?;
        if seen.contains(&key) {
            return Err(Problem::new(format!("has {text:?} twice"), "keep the first"));
        }
        seen.push(key);
        Ok(key)
    })
}

fn patterns(reader: &mut Reader<'_>, key: &str) -> Patterns {
    const REMEDY: &str = "write patterns such as \"demo-*\": * is any number of characters, ? is one";
    let read = |text: &str| {
        if text.is_empty() {
            return Err(Problem::new("has an empty pattern, which matches nobody", REMEDY));
        }
        Patterns::misread(text).map_or(Ok(text.to_owned()), |misread| {
            let problem = format!("{text:?} has a {misread}, which has no meaning in patterns here");
            Err(Problem::new(problem, REMEDY))
        })
    };
    Patterns::new(&reader.list(key, read))
}

fn phrase(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() < PHRASE_CHARS_MIN {
        let remedy = format!("write at least {PHRASE_CHARS_MIN} characters, so that no other error is meant");
        return Err(Problem::new(
            format!("{text:?} is too short for a phrase"),
            remedy,
        ));
    }
    Ok(text.to_owned())
}

/// Names that differ only in capitals or in `-` and `_` would be one and the same in the environment.
fn distinct_names(reader: &mut Reader<'_>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, place) in reader.layers.tenants() {
        if let Some(other) = seen.insert(variable_part(name), name) {
            let what = format!("cannot be told from tenants.{other} in an environment variable");
            let problem = Problem::new(what, "rename one, or write both alike if one tenant is meant");
            reader.fault(&format!("tenants.{name}"), place.clone(), problem);
        }
    }
}

/// A call names its tenant by the client id.
fn distinct_clients(reader: &mut Reader<'_>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in reader.layers.tenants().keys() {
        reader.tenant = Some(name);
        let (id, place) = reader.text("tenants.*.client_id");
        if !id.is_empty()
            && let Some(other) = seen.insert(id, name)
        {
            let what = format!("is the client id of tenants.{other} too");
            let problem = Problem::new(what, "keep one tenant for each SnapTrade API key");
            reader.fault("tenants.*.client_id", place, problem);
        }
        reader.tenant = None;
    }
}

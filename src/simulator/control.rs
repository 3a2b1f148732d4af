//! The control endpoints, for tests that run in another process.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::arrived::Arrived;
use super::calls::CallKind;
use super::faults::{Fault, FaultKind};
use super::options::{Options, millis};
use super::portal::PAGES;
use super::replies::{Reply, error, json};
use super::state::State;

pub(super) const ROOT: &str = "/_simulator";

#[derive(Serialize)]
struct Shown<'a> {
    options: &'a Options,
    users: Vec<String>,
    listed: Vec<String>,
    calls: &'a BTreeMap<CallKind, usize>,
    deletions: usize,
    most_live: usize,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added<'a> {
    user_id: &'a str,
    user_secret: &'a str,
}

/// How long there is no network.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    #[serde(rename = "for_ms", with = "millis")]
    duration: Duration,
}

pub(super) fn is_control(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn control(state: &mut State, call: &Arrived) -> Reply {
    let path = call.parts.uri.path();
    let rest = path.strip_prefix(ROOT).unwrap_or(path);
    let method = &call.parts.method;
    match (method, rest) {
        (&Method::GET, "" | "/") => shown(state),
        (&Method::POST, "/faults") => add_fault(state, &call.body.kept),
        (&Method::DELETE, "/faults") => {
            state.faults.clear();
            shown(state)
        }
        (&Method::PATCH, "/options") => change_options(state, &call.body.kept),
        (&Method::POST, "/cut") => cut(state, &call.body.kept),
        (&Method::DELETE, "/calls") => {
            state.clear_calls();
            shown(state)
        }
        (&Method::GET, _) if rest.starts_with(PAGES) => state.links.page(&rest[PAGES.len()..]),
        _ => match rest
            .strip_prefix("/users/")
            .map(|id| percent_decode_str(id).decode_utf8())
        {
            Some(Ok(id)) if method == Method::POST && !id.is_empty() => add_user(state, &id),
            Some(Ok(id)) if method == Method::DELETE && !id.is_empty() => remove_user(state, &id),
            _ => unknown(method, path),
        },
    }
}

fn shown(state: &State) -> Reply {
    json(
        200,
        &Shown {
            options: &state.options,
            users: state.live(),
            listed: state.users.listed(&state.options, Instant::now()),
            calls: state.calls.counts(),
            deletions: state.deletions,
            most_live: state.most_live,
            faults: state.faults.waiting(),
        },
    )
}

fn add_fault(state: &mut State, body: &[u8]) -> Reply {
    match serde_json::from_slice::<Fault>(body) {
        Ok(Fault {
            kind: FaultKind::Status { status, .. },
            ..
        }) if !is_final(status) => refused(&format!("status {status} cannot be that of a reply")),
        Ok(fault) => {
            state.faults.push(fault);
            shown(state)
        }
        Err(fault) => refused(&fault.to_string()),
    }
}

/// Changes the keys that are named and leaves the others.
fn change_options(state: &mut State, body: &[u8]) -> Reply {
    match patched(&state.options, body) {
        Ok(options) => {
            state.options = options;
            shown(state)
        }
        Err(fault) => refused(&fault),
    }
}

fn patched(options: &Options, body: &[u8]) -> Result<Options, String> {
    let text = |fault: serde_json::Error| fault.to_string();
    let patch: Map<String, Value> = serde_json::from_slice(body).map_err(text)?;
    let new_key = patch.contains_key("consumer_key");
    let mut whole = serde_json::to_value(options).map_err(text)?;
    if let Some(whole) = whole.as_object_mut() {
        whole.extend(patch);
    }
    let mut patched: Options = serde_json::from_value(whole).map_err(text)?;
    if !new_key {
        patched.consumer_key = options.consumer_key.clone();
    }
    let statuses = [
        ("limit_status", patched.limit_status),
        ("unknown_user_status", patched.unknown_user_status),
    ];
    match statuses.into_iter().find(|(_, status)| !is_final(*status)) {
        Some((key, status)) => Err(format!("{key} = {status} cannot be the status of a reply")),
        None => Ok(patched),
    }
}

fn cut(state: &State, body: &[u8]) -> Reply {
    match serde_json::from_slice::<Cut>(body) {
        Ok(Cut { duration }) => {
            state.cut.send_replace(duration);
            shown(state)
        }
        Err(fault) => refused(&fault.to_string()),
    }
}

fn add_user(state: &mut State, id: &str) -> Reply {
    match state.add_user(id) {
        Some(secret) => json(
            201,
            &Added {
                user_id: id,
                user_secret: &secret,
            },
        ),
        None => error(409, "simulator_exists", "This user exists already."),
    }
}

fn remove_user(state: &mut State, id: &str) -> Reply {
    if state.remove_user(id) {
        shown(state)
    } else {
        error(404, "simulator_unknown_user", "There is no such user.")
    }
}

fn is_final(status: u16) -> bool {
    (200..=999).contains(&status)
}

fn refused(why: &str) -> Reply {
    error(
        400,
        "simulator_invalid",
        &format!("The body is not understood: {why}"),
    )
}

fn unknown(method: &Method, path: &str) -> Reply {
    let detail = format!(
        "There is no {method} {path}. There are GET {ROOT}, POST and DELETE {ROOT}/faults, PATCH {ROOT}/options, \
         POST {ROOT}/cut, DELETE {ROOT}/calls, POST and DELETE {ROOT}/users/<id>."
    );
    error(404, "simulator_unknown_path", &detail)
}

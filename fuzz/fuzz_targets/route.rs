//! Which call a request is, and what its query says. An input is a method, a space, and a path with its query.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use snaptrade_sidecar::snaptrade::query::{self, Duplicate};
use snaptrade_sidecar::snaptrade::route::{PREFIX, Route, without_prefix};
use snaptrade_sidecar::types::Timestamp;
use snaptrade_sidecar_fuzz::{pairs, text};

const NOW: Timestamp = Timestamp(1_700_000_009);

fuzz_target!(|input: &[u8]| {
    let Some((method, target)) = text(input).and_then(|input| input.split_once(' ')) else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Ok(method) = Method::from_bytes(method.as_bytes()) {
        the_route_is_what_the_segments_say(&method, path);
    }
    for name in ["clientId", "timestamp", "userId", "userSecret"] {
        a_parameter_is_what_a_form_has(query, name);
    }
    only_the_timestamp_changes(query);
    any_text_is_one_value(path);
});

fn the_route_is_what_the_segments_say(method: &Method, path: &str) {
    let route = Route::classify(method, path);
    assert_eq!(route.label(), label(method.as_str(), path), "{method} {path}");
    let bare = without_prefix(path);
    if bare.starts_with('/') {
        let prefixed = format!("{PREFIX}{bare}");
        assert_eq!(without_prefix(&prefixed), bare);
        // The prefix goes once: a path that still begins with it is another with one more.
        if without_prefix(bare) == bare {
            assert_eq!(Route::classify(method, &prefixed), Route::classify(method, bare));
        }
    }
}

fn label(method: &str, path: &str) -> &'static str {
    let segments: Vec<&str> = path.split('/').collect();
    let segments = match &segments[..] {
        ["", "api", "v1", rest @ ..] if !rest.is_empty() => rest,
        ["", rest @ ..] => rest,
        _ => return "other",
    };
    match (method, segments) {
        ("POST", ["snapTrade", "registerUser"]) => "register",
        ("GET", ["snapTrade", "listUsers"]) => "list_users",
        ("DELETE", ["snapTrade", "deleteUser"]) => "delete_user",
        ("POST", ["snapTrade", "resetUserSecret"]) => "reset_secret",
        ("GET", [""]) => "api_status",
        _ => "other",
    }
}

fn a_parameter_is_what_a_form_has(query: &str, name: &str) {
    let all = pairs(query);
    let values: Vec<&String> = all
        .iter()
        .filter(|pair| pair.0 == name)
        .map(|pair| &pair.1)
        .collect();
    match (query::unique(query, name), &values[..]) {
        (Ok(None), []) => {}
        (Ok(Some(raw)), [value]) => match query::decode(raw) {
            Some(decoded) => assert_eq!(decoded, **value),
            None => assert!(value.contains('\u{fffd}'), "{value:?} could have been decoded"),
        },
        (Err(Duplicate), [_, _, ..]) => {}
        (found, _) => panic!("{name} is {found:?} here and {values:?} in a form"),
    }
    for parameter in query::parameters(query) {
        assert!(query[parameter.value_at..].starts_with(parameter.value));
    }
}

fn only_the_timestamp_changes(query: &str) {
    let replaced = query::replace_timestamp(query, NOW);
    let mut expected = pairs(query);
    match expected.iter_mut().find(|pair| pair.0 == "timestamp") {
        Some(pair) => pair.1 = NOW.to_string(),
        None => assert_eq!(replaced, query),
    }
    assert_eq!(pairs(&replaced), expected);
    assert_eq!(query::replace_timestamp(&replaced, NOW), replaced);
}

fn any_text_is_one_value(text: &str) {
    let encoded = query::encode(text);
    assert_eq!(query::decode(&encoded).as_deref(), Some(text));
    assert_eq!(
        pairs(&format!("a={encoded}")),
        [("a".to_owned(), text.to_owned())]
    );
}

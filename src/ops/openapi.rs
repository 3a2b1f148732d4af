//! What the ops plane's calls are, in OpenAPI 3.1, for tools that ask them: `openapi.json` is made of this and of the very types
//! that are answered, by `WRITE=1 cargo test --lib openapi`.

mod about;
mod calls;

use std::collections::BTreeSet;
use std::{env, fs};

use serde_json::Value;

use super::tests::{call, json, ops};
use super::{CALLS, router};

/// As anybody gets it, without the token.
async fn description() -> Value {
    let response = call(ops(Some("t0ken")), "GET", "/api/openapi.json", &[]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    json(response).await
}

/// What is said of each call, with its method and path.
fn described(description: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let calls = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, call)| (method.as_str(), path.as_str(), call))
    });
    calls.collect()
}

/// The paths that the framework answers at, as it shows them itself.
fn routed() -> BTreeSet<String> {
    let shown = format!("{:?}", router(ops(None)));
    let (own, _) = shown.split_once("fallback_router: ").unwrap();
    let (_, paths) = own.split_once("paths: {").unwrap();
    paths.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_description_is_of_this_code() {
    let text = about::text();
    if env::var_os("WRITE").is_some() {
        fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/openapi.json"),
            &text,
        )
        .unwrap();
    } else {
        assert!(
            text == include_str!("openapi.json"),
            "src/ops/openapi.json is of other code; WRITE=1 cargo test --lib openapi"
        );
    }
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let description = description().await;
    let calls = described(&description);
    let described: BTreeSet<_> = calls.iter().map(|(_, path, _)| (*path).to_owned()).collect();
    assert_eq!(described, routed());
    assert_eq!(calls.len(), CALLS.len());
    for path in described {
        let methods: BTreeSet<_> = calls
            .iter()
            .filter(|(_, of, _)| *of == path)
            .map(|(method, ..)| method.to_uppercase())
            .collect();
        let response = call(ops(None), "BREW", &path, &[]).await;
        assert_eq!(response.status(), 405);
        let allowed = response.headers()["allow"].to_str().unwrap();
        // Which the framework answers of itself where it answers GET.
        let allowed: BTreeSet<_> = allowed.split(',').filter(|method| *method != "HEAD").collect();
        assert!(
            methods.iter().map(String::as_str).eq(allowed),
            "{path}: {methods:?}"
        );
    }
}

#[tokio::test]
async fn every_call_has_a_name_of_its_own_and_says_what_it_answers() {
    let description = description().await;
    let mut names = BTreeSet::new();
    for (method, path, call) in described(&description) {
        let (name, summary) = (call["operationId"].as_str(), call["summary"].as_str());
        assert!(names.insert(name.unwrap()), "{path}: {name:?} is another's");
        assert!(!summary.unwrap().is_empty(), "{path}");
        let answers = call["responses"].as_object().unwrap();
        assert!(
            answers.contains_key("200") || answers.contains_key("308"),
            "{path}"
        );
        assert_eq!(
            answers.contains_key("401"),
            call["security"].as_array().is_some_and(|of| of.len() == 1),
            "{path}"
        );
        assert!(
            method == "get" || answers.contains_key("401"),
            "{path} changes something"
        );
        let parameters_named = path.matches('{').count();
        let in_path = call["parameters"].as_array().map_or(0, |parameters| {
            parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .count()
        });
        assert_eq!(parameters_named, in_path, "{path}");
    }
}

#[tokio::test]
async fn what_it_refers_to_is_there() {
    let description = description().await;
    let text = description.to_string();
    let referred: BTreeSet<_> = text
        .split("\"$ref\":\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(referred.len() > 20, "{referred:?}");
    for reference in &referred {
        assert!(description.pointer(reference).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses"] {
        for name in description["components"][kind].as_object().unwrap().keys() {
            let reference = format!("/components/{kind}/{name}");
            assert!(
                referred.contains(reference.as_str()),
                "nothing refers to {reference}"
            );
        }
    }
}

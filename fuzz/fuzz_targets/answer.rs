//! What a reply means. The first three lines of an input are a status, the id to be registered (or nothing), and the
//! phrases of a limit error, by `;`; the rest is the reply's body.
//!
//! A reply that is wrongly taken for the limit deletes a user, so that the reference says what that takes at least.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use snaptrade_sidecar::snaptrade::answer::{Answer, Deletion, classify_deletion, classify_registration};
use snaptrade_sidecar::types::UserId;
use snaptrade_sidecar_fuzz::{fields, text};

/// Whatever its status, such an error is about something else than users.
const OTHER_MATTERS: [&str; 6] = [
    "personal snaptrade keys are provisioned",
    "not available for personal keys",
    "throttled",
    "rate limit",
    "too many requests",
    "request limit",
];

fuzz_target!(|input: &[u8]| {
    let ([status, newcomer, phrases], body) = fields(input);
    let (Some(status), Some(newcomer), Some(phrases)) = (text(status), text(newcomer), text(phrases)) else {
        return;
    };
    let status: u16 = status.parse().unwrap_or(400);
    let phrases: Vec<String> = phrases.split(';').map(str::to_owned).collect();
    let newcomer = (!newcomer.is_empty()).then(|| UserId::new(newcomer));
    let answer = classify_registration(status, body, &phrases, newcomer.as_ref());
    deletions_go_by_their_status(status);
    match &answer {
        Answer::LimitReached => the_limit_is_said(status, body, &phrases, newcomer.as_ref()),
        Answer::Registered { user_id, secret } => {
            let object: Value = serde_json::from_slice(body).expect("a user out of no JSON");
            assert!((200..300).contains(&status));
            assert_eq!(object["userId"], user_id.as_str());
            assert_eq!(object["userSecret"], secret.expose());
            assert!(!user_id.as_str().is_empty() && !secret.expose().is_empty());
            let shown = format!(
                "{:?}",
                Answer::Registered {
                    user_id: UserId::new(""),
                    secret: secret.clone()
                }
            );
            assert_eq!(shown, "Registered { user_id: \"\", secret: [redacted] }");
        }
        _ => {}
    }
    if let Some(id) = &newcomer {
        an_echo_is_no_limit_error(status, &phrases, id);
    }
    capitals_say_the_same(status, body, &phrases, newcomer.as_ref(), &answer);
});

fn deletions_go_by_their_status(status: u16) {
    let expected = match status {
        403 => Deletion::Refused,
        404 => Deletion::NotFound,
        _ if status / 100 == 2 => Deletion::Accepted,
        _ if status / 100 == 4 && status != 408 && status != 429 => Deletion::Rejected,
        _ => Deletion::Unclear,
    };
    assert_eq!(classify_deletion(status), expected, "{status}");
}

/// What an eviction rests on: a refusal for other reasons than credentials, throttling or the call itself, in which one
/// of the phrases stands that is no part of the id.
fn the_limit_is_said(status: u16, body: &[u8], phrases: &[String], newcomer: Option<&UserId>) {
    assert!(
        status / 100 == 4 && ![401, 404, 408, 429].contains(&status),
        "{status}"
    );
    let object: Value = serde_json::from_slice(body).expect("a limit error out of no JSON");
    let codes = [&object["code"], &object["default_code"]];
    let is_code = |code: &str| {
        codes
            .iter()
            .any(|own| own.as_str() == Some(code) || own.as_u64().is_some_and(|own| own.to_string() == code))
    };
    assert!(
        !is_code("1010") && !is_code("1076"),
        "it says by its code what it is"
    );
    let id = newcomer.map_or_else(String::new, |id| id.as_str().to_lowercase());
    let said: Vec<String> = [&object["detail"], &object["default_detail"]]
        .into_iter()
        .filter_map(|detail| detail.as_str().map(str::to_lowercase))
        .collect();
    let is_said = |phrase: &str| {
        !phrase.is_empty() && !id.contains(phrase) && said.iter().any(|text| text.contains(phrase))
    };
    assert!(
        phrases.iter().any(|phrase| is_said(&phrase.to_lowercase())),
        "no phrase is in it"
    );
    if id.is_empty() {
        assert!(
            !OTHER_MATTERS.into_iter().any(is_said),
            "it is about something else"
        );
    }
}

/// However an id is called, an error that says nothing but the id is not about the limit.
fn an_echo_is_no_limit_error(status: u16, phrases: &[String], id: &UserId) {
    let echoed = id.as_str().to_lowercase();
    for detail in [id.as_str().to_owned(), format!("invalid: {id}"), format!("{id}?")] {
        let told = detail.to_lowercase();
        // One that begins or ends in the words around the id is said.
        let is_no_more_than_echoed = |phrase: &&String| {
            let phrase = phrase.to_lowercase();
            echoed.contains(&phrase) || !told.contains(&phrase)
        };
        let phrases: Vec<String> = phrases.iter().filter(is_no_more_than_echoed).cloned().collect();
        let body = json!({ "detail": detail }).to_string();
        let answer = classify_registration(status, body.as_bytes(), &phrases, Some(id));
        assert_ne!(answer, Answer::LimitReached, "{body}");
    }
}

fn capitals_say_the_same(status: u16, body: &[u8], phrases: &[String], id: Option<&UserId>, answer: &Answer) {
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    for key in ["detail", "default_detail"] {
        if let Some(Value::String(text)) = object.get_mut(key) {
            text.make_ascii_uppercase();
        }
    }
    let louder = classify_registration(status, object.to_string().as_bytes(), phrases, id);
    assert_eq!(louder, *answer, "{object}");
}

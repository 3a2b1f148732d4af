//! Signatures, bodies as they are signed, and what is proven by them. The first three lines of an input are a consumer
//! key, a path and a query; the rest is a body.
//!
//! What the simulator signs, with code of its own, has to verify, and nothing else.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use snaptrade_sidecar::simulator;
use snaptrade_sidecar::snaptrade::canonical::{Canonical, DEPTH_MAX, Escaping, NotCanonical};
use snaptrade_sidecar::snaptrade::proof::{CallView, prove};
use snaptrade_sidecar::snaptrade::query;
use snaptrade_sidecar::snaptrade::route::{PREFIX, without_prefix};
use snaptrade_sidecar::snaptrade::signature::SigningKey;
use snaptrade_sidecar::types::{ClientId, ConsumerKey, Timestamp};
use snaptrade_sidecar_fuzz::{dialects, fields, pairs, repeats_a_key, text};

const CLIENT: &str = "ACME";
const NOW: i64 = 1_700_000_000;
const AGE: u64 = 300;

struct Call<'i> {
    key: &'i str,
    path: &'i str,
    query: &'i str,
    body: &'i [u8],
}

fuzz_target!(|input: &[u8]| {
    let ([key, path, query], body) = fields(input);
    let (Some(key), Some(path), Some(query)) = (text(key), text(path), text(query)) else {
        return;
    };
    let call = Call {
        key,
        path,
        query,
        body,
    };
    match Canonical::read(body) {
        Ok(canonical) => {
            the_canonical_form_says_the_same(&canonical, body);
            what_is_signed_elsewhere_verifies(&call, &canonical);
        }
        Err(error) => a_body_is_refused_for_a_reason(&call, error),
    }
});

fn a_body_is_refused_for_a_reason(call: &Call<'_>, error: NotCanonical) {
    match error {
        NotCanonical::NotJson => {
            let signed = dialects()
                .next()
                .and_then(|dialect| signature(call, dialect, call.path));
            assert_eq!(signed, None, "another reader takes it for JSON");
        }
        NotCanonical::DuplicateKey => assert_ne!(repeats_a_key(call.body), Some(false)),
        NotCanonical::TooDeep => {
            let opened = call
                .body
                .iter()
                .filter(|byte| matches!(byte, b'[' | b'{'))
                .count();
            assert!(opened > DEPTH_MAX, "{opened} levels at most");
        }
    }
}

fn the_canonical_form_says_the_same(canonical: &Canonical, body: &[u8]) {
    for escaping in [Escaping::Ascii, Escaping::Utf8] {
        let content = canonical.content(escaping);
        if let (Ok(meant), false) = (serde_json::from_slice::<Value>(body), content == "null") {
            assert_eq!(serde_json::from_str::<Value>(content).ok(), Some(meant));
        }
        assert_ne!(repeats_a_key(content.as_bytes()), Some(true));
        let again = Canonical::read(content.as_bytes());
        assert!(
            again.is_ok_and(|again| again == *canonical),
            "{content} has another form"
        );
    }
    assert!(canonical.content(Escaping::Ascii).is_ascii());
}

fn what_is_signed_elsewhere_verifies(call: &Call<'_>, canonical: &Canonical) {
    let own = SigningKey::new(&ConsumerKey::new(call.key));
    let other = SigningKey::new(&ConsumerKey::new(format!("{}x", call.key)));
    let longer = format!("{}x", call.query);
    let bare = without_prefix(call.path);
    for dialect in dialects() {
        for path in [bare.to_owned(), format!("{PREFIX}{bare}")] {
            let given = signature(call, dialect, &path).expect("a body that is read here");
            let form = own.verify(call.path, call.query, canonical, given.as_bytes());
            let form = form.unwrap_or_else(|| panic!("not recognised: {dialect:?}, {path}"));
            assert_eq!(own.sign(form, call.path, call.query, canonical), given);
            assert_eq!(own.verify(call.path, &longer, canonical, given.as_bytes()), None);
            assert_eq!(
                other.verify(call.path, call.query, canonical, given.as_bytes()),
                None
            );
            proof_rests_on_client_and_time(call, &own, canonical, given.as_bytes());
            let mut forged = given.into_bytes();
            forged[0] = if forged[0] == b'A' { b'B' } else { b'A' };
            assert_eq!(own.verify(call.path, call.query, canonical, &forged), None);
        }
    }
}

fn proof_rests_on_client_and_time(
    call: &Call<'_>,
    key: &SigningKey,
    canonical: &Canonical,
    signature: &[u8],
) {
    let view = CallView {
        path: call.path,
        query: call.query,
        signature: Some(signature),
        body: call.body,
    };
    let age = Duration::from_secs(AGE);
    let proven = prove(key, &ClientId::new(CLIENT), view, Timestamp(NOW), age);
    let expected = proven_time(call.query);
    assert_eq!(proven.as_ref().ok().map(|proven| proven.timestamp.0), expected);
    if let Ok(proven) = proven {
        assert_eq!(proven.user_id.as_ref(), canonical.user_id());
    }
}

/// The timestamp of a query that names the client and a time near enough, each once.
fn proven_time(query: &str) -> Option<i64> {
    let all = pairs(query);
    let only = |name: &str| {
        let mut values = all
            .iter()
            .filter(|pair| pair.0 == name)
            .map(|pair| pair.1.as_str());
        values.next().filter(|_| values.next().is_none())
    };
    let time = only("timestamp").filter(|_| only("clientId") == Some(CLIENT))?;
    // As it is written: no client encodes a digit.
    let raw = query::unique(query, "timestamp").ok()??;
    let is_plain = raw == time && raw.bytes().all(|byte| byte.is_ascii_digit());
    let time: i64 = time.parse().ok().filter(|_| is_plain)?;
    (time.abs_diff(NOW) <= AGE).then_some(time)
}

fn signature(call: &Call<'_>, dialect: simulator::Dialect, path: &str) -> Option<String> {
    simulator::sign(call.key, dialect, path, call.query, call.body)
}

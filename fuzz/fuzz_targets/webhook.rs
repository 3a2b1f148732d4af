//! Webhooks. The first line of an input is a consumer key, the rest is a body.
//!
//! What is signed is the body's canonical form, and what is acted upon is read from the body: both have to say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use snaptrade_sidecar::simulator;
use snaptrade_sidecar::snaptrade::canonical::{Canonical, Escaping};
use snaptrade_sidecar::snaptrade::signature::SigningKey;
use snaptrade_sidecar::types::ConsumerKey;
use snaptrade_sidecar::webhooks::told;
use snaptrade_sidecar_fuzz::{dialects, fields, text};

fuzz_target!(|input: &[u8]| {
    let ([key], body) = fields(input);
    let (Some(key), Ok(canonical)) = (text(key), Canonical::read(body)) else {
        return;
    };
    let said = told(body);
    for escaping in [Escaping::Ascii, Escaping::Utf8] {
        let content = canonical.content(escaping);
        // An empty object is signed as nothing at all.
        if content != "null" {
            assert_eq!(told(content.as_bytes()), said, "{content}");
        }
    }
    if let Some(said) = &said {
        its_time_is_the_calendars(body, said);
    }
    what_is_signed_elsewhere_verifies(key, body, &canonical);
});

fn what_is_signed_elsewhere_verifies(key: &str, body: &[u8], canonical: &Canonical) {
    let own = SigningKey::new(&ConsumerKey::new(key));
    let other = SigningKey::new(&ConsumerKey::new(format!("{key}x")));
    let longer = [b"[", body, b"]"].concat();
    for dialect in dialects() {
        let given = simulator::sign_body(key, dialect, body).expect("a body that is read here");
        assert!(own.signs_body(canonical, given.as_bytes()), "{dialect:?}");
        assert!(!other.signs_body(canonical, given.as_bytes()), "with another key");
        if let Ok(another) = Canonical::read(&longer) {
            assert!(!own.signs_body(&another, given.as_bytes()), "of another body");
        }
    }
}

/// Counted by hand, where the time is written as `SnapTrade` writes it and the day is one that every month has.
fn its_time_is_the_calendars(body: &[u8], said: &str) {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(millis) = object["eventTimestamp"].as_str().and_then(millis) else {
        return;
    };
    let written = format!("at: Some(Millis({millis}))");
    assert!(said.contains(&written), "{said} has not {written}");
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ` as milliseconds since 1970.
fn millis(text: &str) -> Option<i64> {
    let shape = b"0000-00-00T00:00:00.000Z";
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *shape,
    };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
        return None;
    }
    let number = |at: usize, length: usize| text.get(at..at + length)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let is_usual = year >= 1970 && (1..=12).contains(&month) && (1..=28).contains(&day);
    if !is_usual || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
        + before[usize::try_from(month).ok()? - 1]
        + i64::from(is_leap && month > 2)
        + day
        - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + number(20, 3)?)
}

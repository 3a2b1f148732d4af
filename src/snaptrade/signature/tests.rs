use proptest::prelude::*;

use super::*;

const PATH: &str = "/snapTrade/registerUser";
const QUERY: &str = "clientId=ACME&timestamp=1700000000";
/// `encodeURI` turns it into `k%C3%A9y%20with%20space%25%3C%22%5B%5C%5D%5E%60%7B%7C%7D%3E`.
const KEY: &str = "kéy with space%<\"[\\]^`{|}>";
const FORMS: [Form; 8] = forms();

/// User ids with the signatures of their registration under [`KEY`], in the order of [`FORMS`]. Computed with Python's
/// `hmac` and `json.dumps(…, separators=(",", ":"), sort_keys=True)`, with and without `ensure_ascii`.
const KNOWN: [(&str, [&str; 8]); 6] = [
    (
        "plain-user",
        [
            "qQ6molGEIAjD0slPj41BF0iSfxlj5PBzD4qVoX5cesA=",
            "8iWgO6B2/ki1WZWBU2p66JuZjVAG/hY0t5CijXG/KgA=",
            "qQ6molGEIAjD0slPj41BF0iSfxlj5PBzD4qVoX5cesA=",
            "8iWgO6B2/ki1WZWBU2p66JuZjVAG/hY0t5CijXG/KgA=",
            "9d9lJ8h/T0OWp9v6vs7Ldl0t3v0FYzYhiwWdQJbdfY8=",
            "ObfvS+fqS0opffG3KLgoa1l3hWGeRvxQT3V282Q6Il0=",
            "9d9lJ8h/T0OWp9v6vs7Ldl0t3v0FYzYhiwWdQJbdfY8=",
            "ObfvS+fqS0opffG3KLgoa1l3hWGeRvxQT3V282Q6Il0=",
        ],
    ),
    (
        "zoë 名前",
        [
            "B9l+Hjns91n6RrD7Jg/VTrXPH8vm6PkrUBfh61czd9o=",
            "JCQeLp5L2CD5aoHjILj24g8MUg345ID7GeN5fDBxjeU=",
            "G67MzDqZODRiCBzFbgx7aZfRXgebZWqk52QAsDphaqc=",
            "2Yxn0fu9WtvQ4M5RrwO/Zq3YLj6bX8JtAjScstpLOu4=",
            "V3qyTH909adZmOWXz8v0jVjuxRHc6sGof/FsyJxyIZA=",
            "ukb+SBw2TB5dKiAv8iuVgobAJe+XyKgFpjkybgwHdaM=",
            "KR7iu/14q53nRZIALYk8f0VSfLydlopAJWT4U70yU74=",
            "H6xUNYpYlyT1EsODbd3Lr/4fTGlxUW/FyPdO2/8nRew=",
        ],
    ),
    (
        "a/b?c=d&e=f+g%20#h\"\\",
        [
            "HdIiU5NSmvVF+/UDXEbKRYpm76JMqkY4H+ppbOR+VW0=",
            "QnHC7YUxSbdaGbYJM0/iuUHYJ/J6r436QgWTEjJxMVA=",
            "HdIiU5NSmvVF+/UDXEbKRYpm76JMqkY4H+ppbOR+VW0=",
            "QnHC7YUxSbdaGbYJM0/iuUHYJ/J6r436QgWTEjJxMVA=",
            "q3e7zC6cn2orhuSfS0lpyoqRMpO9Ifov0nw7BwXZwnA=",
            "u62FpF6lq0ychzNeJjoq/fl4287iVf7ezOP8VV6XLhw=",
            "q3e7zC6cn2orhuSfS0lpyoqRMpO9Ifov0nw7BwXZwnA=",
            "u62FpF6lq0ychzNeJjoq/fl4287iVf7ezOP8VV6XLhw=",
        ],
    ),
    (
        "del\u{7f}",
        [
            "POCMxEx1+ovYUout+DerdvNHWh2juwppWyOmjrKyKvY=",
            "yGxy95HJApcp9IhEP/mFrxgBbCSM2kTHcFvOJAGjaVs=",
            "uUHqrRoQ4Jg53Z8p6y1sjtk4YB/uaegvdrrLfjhk0iU=",
            "Ijg0MaJUOrvJIeianqJoZpUVdZfok1OT3sXD0nCOdPI=",
            "o+LROaZg9b/Os79KtvIol+1vy4gW+xp6KVdseqfv88Y=",
            "SbDPcbAjO9G5SiPsRWQqJGmPJKcL6eIbcacFRDdv+as=",
            "9Jin4W2x0WsSOZOa2hclzimb88X1uZNmg6EPvG/ai8c=",
            "83mM7DFiQQVH09UyEiRKV8/xuhj/ovAX5l/yGSsZobk=",
        ],
    ),
    (
        "astral😀\u{10ffff}",
        [
            "raH16NcQS85pOBFbnhSCrWZ1SKJ7Y+IdG1RnZjDs/xI=",
            "K1v4fr/yVMRQgF8tIHbQhliM7WkjQL/b4TE6O9fs97E=",
            "eTTzJTh7czBzDsG0pCL3ii/aYeQipSpByGKEvsLQboc=",
            "QCeCZutDormiy4Gom5wqIfICQVWelrdZjxZndLhZWu4=",
            "giovR59UWhIOKS+7wMDfUGGqNe/5oWM4RDdTQUXuYFY=",
            "JKzw4Cn0k6p5Q4/WvxG8vaSIuUfe+G6B7g1OJredBNc=",
            "qgyLf1ZB20Zx8PufiCO6uqgYM7ZFEXEzZrQJrXC5Otg=",
            "fEyfsIn9COKL08FXtRPe/4RIMiW3iFa6YccpTlXUYrs=",
        ],
    ),
    (
        "<b>\u{2028}\u{8}\u{c}\u{a}\u{d}\u{9}\u{1}",
        [
            "V1XD/oAHrP08ypGb/DuWG3XXlp60VWLUzgkacMI0TTI=",
            "5mmKHLpItiUKX9PruQ+zH9zvH/QWDB8DvLdeQ7xq038=",
            "ute8QwmJJbg0Yui63Fr9SShUvqdOEx51w9izWq0DSpQ=",
            "AM6Q+phfBJ/ExTpwu4bqM81WHQErZ46MTNPlOjTGghM=",
            "1OwkWACs8zNo03//55DDOdVmdow1TuptCV5abQuY3lY=",
            "yUezE+Txw4AqJwWRk/f5KRDF1D4zjF+R0ovEw80Ia+M=",
            "+SfH5ujGA/cSUzdSniZdEBnmcRruNaudNMcAYY19hL0=",
            "o4T0OYyIMiPNqgHabN0FpYcY5w2d6MB9davkiy4SzbE=",
        ],
    ),
];

const fn form(prefixed: bool, escaping: Escaping, key_encoding: KeyEncoding) -> Form {
    Form {
        prefixed,
        escaping,
        key_encoding,
    }
}

const fn forms() -> [Form; 8] {
    use Escaping::{Ascii, Utf8};
    use KeyEncoding::{EncodeUri, Plain};
    [
        form(false, Ascii, Plain),
        form(false, Ascii, EncodeUri),
        form(false, Utf8, Plain),
        form(false, Utf8, EncodeUri),
        form(true, Ascii, Plain),
        form(true, Ascii, EncodeUri),
        form(true, Utf8, Plain),
        form(true, Utf8, EncodeUri),
    ]
}

fn key(text: &str) -> SigningKey {
    SigningKey::new(&ConsumerKey::new(text))
}

fn registration(id: &str) -> Canonical {
    Canonical::read(serde_json::json!({ "userId": id }).to_string().as_bytes()).unwrap()
}

#[test]
fn known_answers_are_signed_and_verified_under_both_path_forms() {
    for (id, signatures) in KNOWN {
        let body = registration(id);
        for (form, signature) in FORMS.into_iter().zip(signatures) {
            for path in [PATH.to_owned(), format!("{PREFIX}{PATH}")] {
                assert_eq!(
                    key(KEY).sign(form, &path, QUERY, &body),
                    signature,
                    "{id:?} {form:?}"
                );
                let found = key(KEY)
                    .verify(&path, QUERY, &body, signature.as_bytes())
                    .unwrap();
                assert_eq!(
                    (found.prefixed, found.key_encoding),
                    (form.prefixed, form.key_encoding)
                );
                assert_eq!(key(KEY).sign(found, &path, QUERY, &body), signature);
            }
        }
    }
}

#[test]
fn known_answers_of_calls_without_a_body() {
    let null = Canonical::null();
    assert_eq!(
        key("k3yPlain-_.").sign(Form::OURS, "/snapTrade/listUsers", QUERY, &null),
        "z1LMRA9fLkHm4OIDOUDuEb0RiOlbmIiv3KikNqdE4Nc="
    );
    // A key of characters that encodeURI leaves alone has one encoding; a quote in the query is escaped.
    let unchanged = form(true, Escaping::Ascii, KeyEncoding::EncodeUri);
    let query = format!("{QUERY}&userId=zo%C3%AB%20%2F+\"");
    assert_eq!(
        key("keep;,/?:@&=+$-_.!~*'()#").sign(unchanged, "/snapTrade/deleteUser", &query, &null),
        "tE/FJFiGBhdD5eLesOrQ0Q8fFO7DWW6ADIkDHhcuLVE="
    );
}

#[test]
fn r2_base64_is_strict() {
    let body = registration("plain-user");
    let good = KNOWN[0].1[0];
    assert!(key(KEY).verify(PATH, QUERY, &body, good.as_bytes()).is_some());
    for bad in [
        good.trim_end_matches('=').to_owned(),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('/', "_"),
        // The same 32 bytes with a stray bit set after them.
        good.replace("sA=", "sB="),
        String::new(),
        "====".to_owned(),
        good[..40].to_owned(),
    ] {
        if bad != good {
            assert_eq!(
                key(KEY).verify(PATH, QUERY, &body, bad.as_bytes()),
                None,
                "{bad:?}"
            );
        }
    }
    assert_eq!(key(KEY).verify(PATH, QUERY, &body, b"\xff\xfe"), None);
}

#[test]
fn r2_another_key_path_query_or_body_does_not_verify() {
    let body = registration("plain-user");
    let good = KNOWN[0].1[0].as_bytes();
    assert_eq!(key("other").verify(PATH, QUERY, &body, good), None);
    assert_eq!(key(KEY).verify("/snapTrade/deleteUser", QUERY, &body, good), None);
    assert_eq!(
        key(KEY).verify("/api/v1/api/v1/snapTrade/registerUser", QUERY, &body, good),
        None
    );
    assert_eq!(
        key(KEY).verify(PATH, "timestamp=1700000000&clientId=ACME", &body, good),
        None
    );
    assert_eq!(
        key(KEY).verify(PATH, QUERY, &registration("plain-users"), good),
        None
    );
    assert_eq!(key(KEY).verify(PATH, QUERY, &Canonical::null(), good), None);
}

/// Computed with Python's json, hmac and hashlib: both spellings of "ö", by both readings of the key.
#[test]
fn a_body_signed_alone_verifies_in_either_spelling_and_nothing_else_does() {
    let body = Canonical::read("{ \"userId\": \"böb\", \"a\": [1, {\"z\": null, \"b\": true}] }".as_bytes())
        .unwrap();
    let key = key("k y");
    for signature in [
        "ZkLlS+F+bXMskckMGv4uYnjlJ3vMaiz3aaWL/SCZ0/M=",
        "gaeNOETjFYhAYaPTlaH0HvQQTvhYKR0WrTKkyPtVn7o=",
        "/F0gjl8VBHo7maPOimoSID1z0yGnke40/5s07TX6+jE=",
        "Rcz5XWTXcUslxfEg+7Qx0++VTa//mkeTOcqlMX3x9KU=",
    ] {
        assert!(key.signs_body(&body, signature.as_bytes()), "{signature}");
        assert!(!key.signs_body(&Canonical::null(), signature.as_bytes()));
    }
    // A request's signature is none of its body.
    let of_request = key.sign(Form::OURS, PATH, QUERY, &body);
    for signature in [of_request.as_str(), "", "ZkLl", "=="] {
        assert!(!key.signs_body(&body, signature.as_bytes()), "{signature}");
    }
}

#[test]
fn r13_a_signing_key_prints_as_redacted() {
    assert_eq!(format!("{:?}", key(KEY)), "[redacted]");
}

fn path() -> impl Strategy<Value = String> {
    "(/api/v1)?/[a-zA-Z0-9%._/-]{0,20}"
}

proptest! {
    #[test]
    fn what_is_signed_in_any_form_verifies(
        secret in ".{0,80}", path in path(), query in ".{0,40}", id in ".*", index in 0_usize..8,
    ) {
        let (key, body) = (key(&secret), registration(&id));
        let signature = key.sign(FORMS[index], &path, &query, &body);
        let found = key.verify(&path, &query, &body, signature.as_bytes());
        prop_assert_eq!(found.map(|form| form.prefixed), Some(FORMS[index].prefixed));
        prop_assert_eq!(found.map(|form| key.sign(form, &path, &query, &body)), Some(signature));
    }

    #[test]
    fn any_changed_byte_fails(
        path in path(), query in "[ -~]{1,40}", id in "[ -~]{1,20}", index in 0_usize..8, at in any::<prop::sample::Index>(),
    ) {
        let key = key(KEY);
        let body = registration(&id);
        let signature = key.sign(FORMS[index], &path, &query, &body);
        let changed = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            String::from_utf8(bytes).unwrap()
        };
        let tag = signature.as_bytes();
        prop_assert_eq!(key.verify(&changed(&path), &query, &body, tag), None);
        prop_assert_eq!(key.verify(&path, &changed(&query), &body, tag), None);
        prop_assert_eq!(key.verify(&path, &query, &registration(&changed(&id)), tag), None);
        prop_assert_eq!(key.verify(&path, &query, &body, changed(&signature).as_bytes()), None);
    }
}

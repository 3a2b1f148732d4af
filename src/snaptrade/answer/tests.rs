use proptest::prelude::*;

use super::*;

fn phrases() -> Vec<String> {
    [
        "connection limit reached",
        "limit reached",
        "maximum number of connections",
    ]
    .map(String::from)
    .to_vec()
}

fn answer(status: u16, body: &str) -> Answer {
    classify_registration(status, body.as_bytes(), &phrases(), Some(&UserId::new("new")))
}

fn refusal(detail: &str, newcomer: &str) -> Answer {
    let body = serde_json::json!({ "detail": detail, "status_code": 400, "code": "1012" }).to_string();
    classify_registration(400, body.as_bytes(), &phrases(), Some(&UserId::new(newcomer)))
}

#[test]
fn a_registration_that_succeeded_yields_the_secret() {
    let body = r#"{"userId":"new","userSecret":"s3cret"}"#;
    let expected = Answer::Registered {
        user_id: UserId::new("new"),
        secret: UserSecret::new("s3cret"),
    };
    assert_eq!(answer(200, body), expected);
    assert_eq!(answer(201, body), expected);
    assert!(!format!("{expected:?}").contains("s3cret"));
    for body in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"userId":"new"}"#,
        r#"{"userId":1,"userSecret":"s"}"#,
        "<html>",
    ] {
        assert_eq!(answer(200, body), Answer::Unclear, "{body}");
    }
}

#[test]
fn every_limit_wording_is_recognised() {
    for detail in [
        "Connection Limit Reached",
        "CONNECTION LIMIT REACHED for this key.",
        "User limit reached",
        "You have the Maximum Number Of Connections allowed",
    ] {
        for status in [400, 402, 403, 409, 422] {
            for key in ["detail", "default_detail"] {
                let body = format!(r#"{{"{key}":"{detail}","status_code":{status},"code":"1012"}}"#);
                assert_eq!(answer(status, &body), Answer::LimitReached, "{status} {body}");
            }
        }
    }
}

#[test]
fn r9_nothing_else_is_taken_for_the_limit() {
    let limit = r#"{"detail":"limit reached"}"#;
    for (status, body, expected) in [
        (401, limit, Answer::Refused),
        (404, limit, Answer::Refused),
        (429, limit, Answer::Throttled),
        (500, limit, Answer::Unclear),
        (503, limit, Answer::Unclear),
        (408, limit, Answer::Unclear),
        (302, limit, Answer::Unclear),
        (
            400,
            r#"{"detail":"limit reached","code":"1010"}"#,
            Answer::AlreadyExists,
        ),
        (
            400,
            r#"{"detail":"limit reached","default_code":1010}"#,
            Answer::AlreadyExists,
        ),
        (
            401,
            r#"{"detail":"Unable to verify signature sent","code":"1076"}"#,
            Answer::BadSignature,
        ),
        (
            400,
            r#"{"detail":"limit reached","code":"1076"}"#,
            Answer::BadSignature,
        ),
        (
            401,
            r#"{"detail":"Invalid userID or userSecret provided","code":"1083"}"#,
            Answer::Refused,
        ),
        (
            400,
            r#"{"detail":"userId length limit is 100 characters","code":"1012"}"#,
            Answer::Refused,
        ),
        (
            403,
            r#"{"detail":"Rate limit reached","code":"0000"}"#,
            Answer::Throttled,
        ),
        (
            400,
            r#"{"detail":"Request was throttled: request limit reached"}"#,
            Answer::Throttled,
        ),
        (400, r#"{"detail":["limit reached"]}"#, Answer::Refused),
        (400, r#"{"message":"limit reached"}"#, Answer::Refused),
        (400, "limit reached", Answer::Refused),
        (400, r#"["limit reached"]"#, Answer::Refused),
        (400, "", Answer::Refused),
    ] {
        assert_eq!(answer(status, body), expected, "{status} {body}");
    }
}

#[test]
fn r9_a_personal_key_is_not_at_its_limit() {
    let detail = "Personal SnapTrade keys are provisioned with their user automatically at signup; limit reached. \
                  registerUser is not available for personal keys.";
    assert_eq!(refusal(detail, "new"), Answer::PersonalKey);
}

#[test]
fn r9_an_echoed_id_is_no_limit_error() {
    for (detail, newcomer) in [
        ("Invalid userId: limit reached", "limit reached"),
        ("Invalid userId 'LIMIT REACHED'.", "Limit Reached"),
        ("b'limit reached\\n' is not valid", "limit reached\n"),
        ("userId connection limit reached its length", "connection limit"),
        ("Invalid: my limit reached id", "my limit reached id"),
        ("limit x reached", "x"),
    ] {
        assert_eq!(refusal(detail, newcomer), Answer::Refused, "{detail}");
    }
    assert_eq!(
        refusal("maximum number of connections", "limit reached"),
        Answer::LimitReached
    );
}

/// Found by fuzzing: what stood in the place of the id was taken for a phrase.
#[test]
fn r9_where_the_id_was_no_phrase_is_found() {
    let body = br#"{"detail":"Invalid userId: new."}"#;
    for phrase in ["\u{fffd}", " .", ": ."] {
        let phrases = [phrase.to_owned()];
        let answer = classify_registration(400, body, &phrases, Some(&UserId::new("new")));
        assert_eq!(answer, Answer::Refused, "{phrase:?}");
    }
}

#[test]
fn a_short_id_does_not_hide_the_limit() {
    for newcomer in ["e", "a", "1", "lim", "it", "", " ", "é"] {
        assert_eq!(
            refusal("User limit reached", newcomer),
            Answer::LimitReached,
            "{newcomer:?}"
        );
    }
}

#[test]
fn without_phrases_there_is_no_limit() {
    let body = br#"{"detail":"limit reached"}"#;
    assert_eq!(classify_registration(400, body, &[], None), Answer::Refused);
    assert_eq!(
        classify_registration(400, body, &[String::new()], None),
        Answer::Refused
    );
    assert_eq!(
        classify_registration(400, body, &phrases(), None),
        Answer::LimitReached
    );
}

#[test]
fn r10_a_deletion_is_judged_by_its_status() {
    for (statuses, expected) in [
        (&[200, 202, 204][..], Deletion::Accepted),
        (&[403], Deletion::Refused),
        (&[404], Deletion::NotFound),
        (&[400, 401, 402, 405, 422], Deletion::Rejected),
        (&[100, 301, 408, 429, 500, 502, 503, 504, 999], Deletion::Unclear),
    ] {
        for status in statuses {
            assert_eq!(classify_deletion(*status), expected, "{status}");
        }
    }
}

proptest! {
    #[test]
    fn any_reply_is_classified(status in 0_u16..1000, body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = classify_registration(status, &body, &phrases(), Some(&UserId::new("new")));
        let _ = classify_deletion(status);
    }

    #[test]
    fn any_detail_and_id_are_classified(detail in "[a-cé İß😀]{0,12}", id in "[a-cé İß]{0,3}") {
        let _ = refusal(&detail, &id);
    }

    #[test]
    fn an_echo_alone_never_evicts(id in "(limit|reached|connection|[a-z ]){1,6}", quote in "['\": ]") {
        let detail = format!("Invalid userId {quote}{id}{quote} is not allowed");
        prop_assert_eq!(refusal(&detail, &id), Answer::Refused);
    }
}

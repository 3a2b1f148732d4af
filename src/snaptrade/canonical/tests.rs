use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn ascii(body: &str) -> String {
    Canonical::read(body.as_bytes())
        .unwrap()
        .content(Escaping::Ascii)
        .to_owned()
}

fn utf8(body: &str) -> String {
    Canonical::read(body.as_bytes())
        .unwrap()
        .content(Escaping::Utf8)
        .to_owned()
}

#[test]
fn why_there_is_no_form_is_said_without_a_word_of_the_body() {
    let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
    for (body, said) in [
        ("s3cr3t", "the body is not JSON"),
        (r#"{"s3cr3t":1,"s3cr3t":2}"#, "the body repeats a key"),
        (&deep, "the body nests deeper than 64 levels"),
    ] {
        let error = Canonical::read(body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
    assert!(!format!("{:?}", Canonical::read(br#"{"x":"s3cr3t"}"#)).contains("s3cr3t"));
}

#[test]
fn an_empty_body_and_an_empty_object_are_null() {
    for body in ["", "{}", " { } ", "null"] {
        assert_eq!(
            Canonical::read(body.as_bytes()).unwrap(),
            Canonical::null(),
            "{body:?}"
        );
    }
    assert_eq!(ascii("[]"), "[]");
    assert_eq!(ascii(r#"{"a":{}}"#), r#"{"a":{}}"#);
}

#[test]
fn keys_are_sorted_at_every_level_and_spaces_go() {
    assert_eq!(
        ascii(" { \"b\" : [ 1 , { \"d\" : true , \"c\" : null } ] , \"B\" : \"x y\" , \"a\" : -0 } "),
        r#"{"B":"x y","a":-0,"b":[1,{"c":null,"d":true}]}"#
    );
}

#[test]
fn numbers_stay_as_written() {
    let body = r"[1.0,1e5,1E+5,-0,12345678901234567890123,0.10]";
    assert_eq!(ascii(body), body);
}

#[test]
fn strings_are_spelled_as_each_language_spells_them() {
    // Expected: Python's json.dumps(…, separators=(",", ":"), sort_keys=True) and Node's JSON.stringify.
    let body = r#"{"userId":"\u00e9\ud83d\ude00\u007f\u2028\/\"\\\b\f\n\r\t\u0001\u001F~ "}"#;
    assert_eq!(
        ascii(body),
        r#"{"userId":"\u00e9\ud83d\ude00\u007f\u2028/\"\\\b\f\n\r\t\u0001\u001f~ "}"#
    );
    assert_eq!(
        utf8(body),
        "{\"userId\":\"é😀\u{7f}\u{2028}/\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f~ \"}"
    );
}

#[test]
fn astral_keys_sort_by_code_point_in_python_and_by_code_unit_in_javascript() {
    let body = "{\"\u{ffff}\":1,\"😀\":2}";
    assert_eq!(ascii(body), r#"{"\uffff":1,"\ud83d\ude00":2}"#);
    assert_eq!(utf8(body), "{\"😀\":2,\"\u{ffff}\":1}");
}

#[test]
fn r2_a_repeated_key_at_any_level_is_an_error() {
    for body in [
        r#"{"userId":"a","userId":"a"}"#,
        r#"{"userId":"a","x":1,"user\u0049d":"b"}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"[[{"b":1,"b":2}]]"#,
    ] {
        assert_eq!(
            Canonical::read(body.as_bytes()),
            Err(NotCanonical::DuplicateKey),
            "{body}"
        );
    }
}

#[test]
fn what_is_not_json_is_an_error() {
    for body in [
        &b" "[..],
        b"{",
        b"{}x",
        b"{}{}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"{\"a\":01}",
        b"{\"a\":NaN}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":[\"\\udc00\\ud800\"]}",
        b"{\"\\ud83dx\":1}",
    ] {
        assert_eq!(Canonical::read(body), Err(NotCanonical::NotJson), "{body:?}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Canonical::read(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        Canonical::read(nested(DEPTH_MAX + 1).as_bytes()),
        Err(NotCanonical::TooDeep)
    );
    assert_eq!(
        Canonical::read(nested(30_000).as_bytes()),
        Err(NotCanonical::TooDeep)
    );
}

#[test]
fn the_user_id_is_a_top_level_string() {
    let id = |body: &str| Canonical::read(body.as_bytes()).unwrap().user_id().cloned();
    assert_eq!(id(r#"{"userId":"a\u00e9"}"#), Some(UserId::new("aé")));
    for body in [
        r#"{"userId":""}"#,
        r#"{"userId":1}"#,
        r#"{"userId":null}"#,
        r#"{"x":{"userId":"a"}}"#,
        r#"[{"userId":"a"}]"#,
        r#""userId""#,
        r#"{"userid":"a"}"#,
        "",
    ] {
        assert_eq!(id(body), None, "{body}");
    }
}

#[test]
fn debug_shows_the_id_and_no_content() {
    let body = Canonical::read(br#"{"userId":"user-7","other":"s3cret"}"#).unwrap();
    let shown = format!("{body:?}");
    assert!(shown.contains("user-7") && !shown.contains("s3cret"), "{shown}");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,3}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn reading_canonical_content_changes_nothing(value in json()) {
        let once = Canonical::read(value.to_string().as_bytes()).unwrap();
        for escaping in [Escaping::Ascii, Escaping::Utf8] {
            let again = Canonical::read(once.content(escaping).as_bytes()).unwrap();
            prop_assert_eq!(&again, &once);
        }
        prop_assert!(once.content(Escaping::Ascii).is_ascii());
    }

    #[test]
    fn canonical_content_means_the_same(value in json()) {
        prop_assume!(value != Value::Object(serde_json::Map::new()));
        let read = Canonical::read(value.to_string().as_bytes()).unwrap();
        for escaping in [Escaping::Ascii, Escaping::Utf8] {
            prop_assert_eq!(&serde_json::from_str::<Value>(read.content(escaping)).unwrap(), &value);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Canonical::read(&body);
    }
}

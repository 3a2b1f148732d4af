//! Both answers to each thing that nobody knows of the vendor.

use super::*;

/// A key that is full, with one deletion that has not settled.
async fn settling(options: Options) -> Simulator {
    let sim = started(Options {
        user_limit: 2,
        settle_time: Duration::from_hours(1),
        ..options
    })
    .await;
    for id in ["b", "a"] {
        assert_eq!(register(&sim, id).await.status, 200);
    }
    assert_eq!(send(deletion(&sim, "b")).await.unwrap().status, 200);
    sim
}

#[tokio::test]
async fn tombstones_count_or_do_not() {
    let sim = settling(Options {
        tombstones_count: true,
        ..Options::default()
    })
    .await;
    assert_eq!(register(&sim, "c").await.status, 400);
    sim.set(|options| options.tombstones_count = false);
    assert_eq!(register(&sim, "c").await.status, 200);
    assert_eq!(sim.most_live(), 2);
}

#[tokio::test]
async fn tombstones_reserve_their_id_or_do_not() {
    let sim = settling(Options {
        tombstones_reserve_id: true,
        ..Options::default()
    })
    .await;
    assert_eq!(register(&sim, "b").await.refusal().1, json!("1010"));
    sim.set(|options| options.tombstones_reserve_id = false);
    assert_eq!(register(&sim, "b").await.status, 200);
    assert_eq!(list(&sim).await, json!(["b_deleted", "a", "b"]));
}

#[tokio::test]
async fn a_deletion_or_a_registration_may_lag() {
    let sim = settling(Options {
        delete_lag: Duration::from_hours(1),
        ..Options::default()
    })
    .await;
    assert_eq!(list(&sim).await, json!(["b", "a"]));
    assert_eq!(register(&sim, "c").await.status, 400);
    sim.set(|options| {
        options.delete_lag = Duration::ZERO;
        options.list_lag = Duration::from_hours(1);
    });
    assert_eq!(list(&sim).await, json!(["b_deleted"]));
}

#[tokio::test]
async fn the_list_has_any_order() {
    let sim = settling(Options {
        list_order: ListOrder::NewestFirst,
        ..Options::default()
    })
    .await;
    assert_eq!(list(&sim).await, json!(["a", "b_deleted"]));
    sim.set(|options| options.list_order = ListOrder::OldestFirst);
    assert_eq!(list(&sim).await, json!(["b_deleted", "a"]));
}

#[tokio::test]
async fn the_limit_error_has_any_status_code_words_field_and_encoding() {
    let sim = started(Options {
        user_limit: 0,
        ..Options::default()
    })
    .await;
    sim.set(|options| {
        options.limit_status = 403;
        options.limit_code = "9".to_owned();
        options.limit_detail = "limit reached".to_owned();
        options.limit_field = LimitField::DefaultDetail;
        options.gzip_errors = true;
    });
    let plain = register(&sim, "a").await;
    assert_eq!(plain.status, 403);
    let expected = json!({"default_detail": "limit reached", "status_code": 403, "default_code": "9"});
    assert_eq!(plain.json(), expected);

    let mut request = registration(&sim, "a");
    request
        .headers_mut()
        .insert("accept-encoding", "br, gzip".parse().unwrap());
    let packed = send(request).await.unwrap();
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(packed.header("content-length"), packed.body.len().to_string());
    assert_eq!(packed.body, gzip::gzip(&plain.body));
}

#[tokio::test]
async fn a_timestamp_ages_or_does_not() {
    let sim = started(Options::default()).await;
    let old = || {
        let query = "clientId=SIMULATOR&timestamp=1000";
        let signature = sign(KEY, Dialect::PYTHON, LIST, query, b"").unwrap();
        let mut request = unsigned(&sim, Method::GET, &format!("{LIST}?{query}"), "");
        request
            .headers_mut()
            .insert("signature", signature.parse().unwrap());
        request
    };
    assert_eq!(send(old()).await.unwrap().status, 200);
    sim.set(|options| options.timestamp_freshness = Some(300));
    assert_eq!(send(old()).await.unwrap().refusal().1, json!("1076"));
    assert_eq!(send(listing(&sim)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_signature_may_be_sent_twice_or_not() {
    let sim = started(Options::default()).await;
    let request = deletion(&sim, "nobody");
    for code in ["1083", "1083"] {
        assert_eq!(send(request.clone()).await.unwrap().refusal().1, code);
    }
    sim.set(|options| options.reject_replayed_signatures = true);
    assert_eq!(send(request).await.unwrap().refusal().1, "1076");
}

#[tokio::test]
async fn an_unknown_user_has_any_status() {
    let sim = started(Options {
        unknown_user_status: 404,
        ..Options::default()
    })
    .await;
    assert_eq!(send(deletion(&sim, "nobody")).await.unwrap().status, 404);
}

#[tokio::test]
async fn too_many_calls_are_throttled() {
    let sim = started(Options {
        rate_limit: 2,
        ..Options::default()
    })
    .await;
    let first = send(listing(&sim)).await.unwrap();
    assert_eq!(
        (
            first.header("x-ratelimit-limit"),
            first.header("x-ratelimit-remaining")
        ),
        ("2", "1")
    );
    register(&sim, "a").await;
    let refused = register(&sim, "b").await;
    let (status, code, detail) = refused.refusal();
    assert_eq!((status, code), (429, json!("0000")));
    let reset = refused.header("x-ratelimit-reset");
    assert_eq!(
        detail,
        format!("Request was throttled. Expected available in {reset} seconds.")
    );
    assert_eq!(
        (
            refused.header("retry-after"),
            refused.header("x-ratelimit-remaining")
        ),
        (reset, "0")
    );
    assert_eq!(sim.users(), ["a"]);
    let status = unsigned(&sim, Method::GET, "/", "");
    assert_eq!(send(status).await.unwrap().json()["online"], true);
}

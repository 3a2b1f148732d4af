//! What every home promises of users.

use std::collections::BTreeMap;

use snaptrade_sidecar::admission::known::{Connections, Known, Source};
use snaptrade_sidecar::registry::{Activity, ConnectionEvent, Registry, Version};
use snaptrade_sidecar::types::{Millis, UserId};

use super::{T, intent, user, users};

promises!(
    a_user_is_known_from_its_first_sight,
    a_registration_makes_a_new_user,
    who_is_gone_is_forgotten,
    what_is_told_late_changes_nothing_that_came_after,
    who_is_gone_is_not_brought_back_by_a_registration_from_before,
    protection_outlives_the_user,
    calls_add_up,
    connections_are_counted,
    protection_is_of_an_id,
    tenants_are_paused_one_by_one,
    any_id_is_kept_as_it_is,
    more_users_than_go_at_once,
    changes_say_no_more_than_changed,
);

async fn known(registry: &Registry) -> BTreeMap<UserId, Known> {
    registry.users(T).await.unwrap().into_iter().collect()
}

fn seen_at(at: i64) -> Known {
    Known {
        first_seen: Millis(at),
        ..Known::default()
    }
}

fn active(id: &str, last: i64, calls: u64) -> Activity {
    Activity {
        tenant: T.to_owned(),
        user: user(id),
        last: Millis(last),
        calls,
    }
}

async fn a_user_is_known_from_its_first_sight(registry: &Registry) {
    assert_eq!(registry.users(T).await.unwrap(), []);
    registry.seen(T, &users(&["a", "b"]), Millis(1)).await.unwrap();
    registry.seen(T, &users(&["b", "c"]), Millis(2)).await.unwrap();
    registry.seen(T, &[], Millis(3)).await.unwrap();
    registry.seen("other", &users(&["a"]), Millis(4)).await.unwrap();
    let expected = [("a", 1), ("b", 1), ("c", 2)].map(|(id, at)| (user(id), seen_at(at)));
    assert_eq!(known(registry).await, BTreeMap::from(expected));
}

async fn a_registration_makes_a_new_user(registry: &Registry) {
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    registry.active(&[active("a", 5, 2)]).await.unwrap();
    let added = ConnectionEvent::Added;
    registry
        .connection(T, &user("a"), "c", added, Millis(6))
        .await
        .unwrap();
    registry
        .registered(T, &user("a"), Millis(7), Source::Own)
        .await
        .unwrap();
    registry
        .registered(T, &user("b"), Millis(8), Source::Webhook)
        .await
        .unwrap();
    let all = known(registry).await;
    let registered = |at, source| Known {
        registered: Some((Millis(at), source)),
        ..seen_at(at)
    };
    assert_eq!(all[&user("a")], registered(7, Source::Own));
    assert_eq!(all[&user("b")], registered(8, Source::Webhook));
    // None of the connections that it had before count.
    registry
        .connection(T, &user("a"), "d", added, Millis(9))
        .await
        .unwrap();
    let connections = Connections {
        working: 1,
        broken: 0,
    };
    assert_eq!(known(registry).await[&user("a")].connections, Some(connections));
}

async fn who_is_gone_is_forgotten(registry: &Registry) {
    registry.seen(T, &users(&["a", "b"]), Millis(1)).await.unwrap();
    let added = ConnectionEvent::Added;
    registry
        .connection(T, &user("a"), "c", added, Millis(2))
        .await
        .unwrap();
    registry
        .gone(T, &users(&["a", "stranger"]), Millis(i64::MAX))
        .await
        .unwrap();
    assert_eq!(known(registry).await, BTreeMap::from([(user("b"), seen_at(1))]));
    registry.seen(T, &users(&["a"]), Millis(3)).await.unwrap();
    assert_eq!(known(registry).await[&user("a")], seen_at(3));
}

async fn what_is_told_late_changes_nothing_that_came_after(registry: &Registry) {
    let (a, all) = (user("a"), users(&["a"]));
    let registered = async |at| registry.registered(T, &a, Millis(at), Source::Own).await.unwrap();
    let since = async || known(registry).await.get(&a).and_then(|known| known.registered);
    registered(5).await;
    let added = ConnectionEvent::Added;
    registry.connection(T, &a, "c", added, Millis(6)).await.unwrap();
    registry.gone(T, &all, Millis(4)).await.unwrap();
    registered(3).await;
    assert_eq!(since().await, Some((Millis(5), Source::Own)));
    assert!(known(registry).await[&a].connections.is_some());
    registry.protect(T, &a, true, Millis(6)).await.unwrap();
    registry.gone(T, &all, Millis(4)).await.unwrap();
    assert_eq!(since().await, Some((Millis(5), Source::Own)));
    registry.gone(T, &all, Millis(5)).await.unwrap();
    assert_eq!(since().await, None);
}

async fn who_is_gone_is_not_brought_back_by_a_registration_from_before(registry: &Registry) {
    let since = async |id| {
        let known = registry.user(T, &user(id)).await.unwrap();
        known.map(|known| known.registered.map(|(at, _)| at.0))
    };
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    registry.protect(T, &user("c"), true, Millis(1)).await.unwrap();
    let before = registry.changes(T, None).await.unwrap().version;
    // Whether it was known or not, or is protected by hand; and told again late, it was gone at the same time.
    for at in [5, 3] {
        let ids = users(&["a", "b", "c", "b"]);
        registry.gone(T, &ids, Millis(at)).await.unwrap();
    }
    let mut gone = registry.changes(T, Some(before)).await.unwrap().gone;
    gone.sort();
    assert_eq!(gone, users(&["a", "b", "c"]));
    for id in ["a", "b", "c"] {
        let late = async |at| {
            registry
                .registered_before(T, &user(id), Millis(at))
                .await
                .unwrap();
        };
        late(4).await;
        assert_eq!(since(id).await, (id == "c").then_some(None), "{id}");
        // At the same millisecond it may be the one or the other; as a user of known age, it is kept for longer.
        late(5).await;
        assert_eq!(since(id).await, Some(Some(5)), "{id}");
        late(2).await;
        assert_eq!(since(id).await, Some(Some(5)), "{id}");
    }
    // Told at once, it is believed, by whichever clock: of two replicas, either may be ahead.
    registry.gone(T, &users(&["a"]), Millis(9)).await.unwrap();
    registry
        .registered(T, &user("a"), Millis(8), Source::Own)
        .await
        .unwrap();
    assert_eq!(since("a").await, Some(Some(8)));
    registry
        .registered_before("other", &user("a"), Millis(1))
        .await
        .unwrap();
    assert!(registry.user("other", &user("a")).await.unwrap().is_some());
}

async fn protection_outlives_the_user(registry: &Registry) {
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    registry.protect(T, &user("a"), true, Millis(1)).await.unwrap();
    registry
        .registered(T, &user("a"), Millis(2), Source::Own)
        .await
        .unwrap();
    registry.active(&[active("a", 3, 1)]).await.unwrap();
    let before = registry.changes(T, None).await.unwrap().version;
    registry.gone(T, &users(&["a"]), Millis(i64::MAX)).await.unwrap();
    let left = known(registry).await[&user("a")];
    assert!(left.protected);
    assert_eq!((left.registered, left.last_active, left.calls), (None, None, 0));
    let changes = registry.changes(T, Some(before)).await.unwrap();
    assert_eq!(changes.users, [(user("a"), left)]);
    registry.protect(T, &user("a"), false, Millis(4)).await.unwrap();
    registry.gone(T, &users(&["a"]), Millis(i64::MAX)).await.unwrap();
    assert_eq!(known(registry).await, BTreeMap::new());
}

async fn calls_add_up(registry: &Registry) {
    registry.active(&[]).await.unwrap();
    registry.seen(T, &users(&["a", "b"]), Millis(1)).await.unwrap();
    let mut elsewhere = active("a", 99, 99);
    "other".clone_into(&mut elsewhere.tenant);
    let batch = [
        active("a", 5, 2),
        active("stranger", 9, 9),
        active("a", 4, 1),
        elsewhere,
    ];
    registry.active(&batch).await.unwrap();
    registry.active(&[active("a", 3, 1)]).await.unwrap();
    let all = known(registry).await;
    assert_eq!(
        (all[&user("a")].calls, all[&user("a")].last_active),
        (4, Some(Millis(5)))
    );
    assert_eq!(all[&user("b")], seen_at(1));
    assert_eq!(all.len(), 2);
}

async fn connections_are_counted(registry: &Registry) {
    use ConnectionEvent::{Added, Broken, Deleted, Fixed};
    registry.seen(T, &users(&["a"]), Millis(1)).await.unwrap();
    assert_eq!(known(registry).await[&user("a")].connections, None);
    for (connection, event, working, broken) in [
        ("c1", Added, 1, 0),
        ("c2", Broken, 1, 1),
        ("c1", Broken, 0, 2),
        ("c1", Broken, 0, 2),
        ("c2", Fixed, 1, 1),
        ("c1", Deleted, 1, 0),
        ("c3", Deleted, 1, 0),
        ("c2", Deleted, 0, 0),
    ] {
        registry
            .connection(T, &user("a"), connection, event, Millis(2))
            .await
            .unwrap();
        registry
            .connection(T, &user("stranger"), connection, event, Millis(2))
            .await
            .unwrap();
        let found = known(registry).await;
        assert_eq!(
            found[&user("a")].connections,
            Some(Connections { working, broken }),
            "{connection} {event:?}"
        );
        assert_eq!(found.len(), 1);
    }
}

async fn protection_is_of_an_id(registry: &Registry) {
    registry.protect(T, &user("a"), true, Millis(1)).await.unwrap();
    registry
        .registered(T, &user("a"), Millis(2), Source::Own)
        .await
        .unwrap();
    let protected = known(registry).await[&user("a")];
    assert!(protected.protected);
    assert_eq!(protected.first_seen, Millis(2));
    registry.protect(T, &user("a"), false, Millis(3)).await.unwrap();
    let free = known(registry).await[&user("a")];
    assert!(!free.protected);
    assert_eq!(free.registered, Some((Millis(2), Source::Own)));
}

async fn tenants_are_paused_one_by_one(registry: &Registry) {
    assert!(!registry.is_paused(T).await.unwrap());
    registry.pause(T, true).await.unwrap();
    registry.pause("other", false).await.unwrap();
    assert!(registry.is_paused(T).await.unwrap());
    assert!(!registry.is_paused("other").await.unwrap());
    assert_eq!(registry.paused().await.unwrap(), [T]);
    registry.pause(T, false).await.unwrap();
    assert!(!registry.is_paused(T).await.unwrap());
}

async fn any_id_is_kept_as_it_is(registry: &Registry) {
    let ids = users(&[
        "", " a", "A", "a", "é", "e\u{301}", "a\0b", "\\0", "\\", "'; --", "\"", "日本", "a,b{}",
    ]);
    registry.seen(T, &ids, Millis(1)).await.unwrap();
    for id in &ids {
        registry.active(&[active(id.as_str(), 2, 1)]).await.unwrap();
    }
    let found = known(registry).await;
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(found.values().all(|known| known.calls == 1), "{found:?}");
    for id in ids {
        assert_eq!(registry.user(T, &id).await.unwrap(), found.get(&id).copied());
        registry.record(intent(1, id.as_str())).await.unwrap();
        assert_eq!(
            registry.journal(T, None, 1).await.unwrap()[0].entry.user,
            Some(id.clone())
        );
        registry
            .gone(T, std::slice::from_ref(&id), Millis(i64::MAX))
            .await
            .unwrap();
        assert_eq!(registry.user(T, &id).await.unwrap(), None);
    }
    assert_eq!(registry.users(T).await.unwrap(), []);
}

async fn more_users_than_go_at_once(registry: &Registry) {
    let ids: Vec<UserId> = (0..20_001)
        .map(|number| user(&format!("user-{number}")))
        .collect();
    registry.seen(T, &ids, Millis(1)).await.unwrap();
    registry.seen(T, &ids, Millis(2)).await.unwrap();
    let found = known(registry).await;
    assert_eq!(found.len(), ids.len());
    assert!(found.values().all(|known| known.first_seen == Millis(1)));
    registry.gone(T, &ids[1..], Millis(i64::MAX)).await.unwrap();
    assert_eq!(known(registry).await.len(), 1);
}

async fn changes_say_no_more_than_changed(registry: &Registry) {
    let mut copy: BTreeMap<UserId, Known> = BTreeMap::new();
    let mut version = None;
    let mut steps = 0;
    let mut catch_up = async |registry: &Registry| {
        let changes = registry.changes(T, version).await.unwrap();
        if changes.is_whole {
            copy.clear();
        }
        for user in &changes.gone {
            copy.remove(user);
        }
        copy.extend(changes.users.iter().cloned());
        assert_eq!(copy, known(registry).await, "after step {steps}");
        assert!(version.is_none_or(|before| before <= changes.version));
        steps += 1;
        version = Some(changes.version);
        changes
    };
    assert!(catch_up(registry).await.is_whole);
    registry
        .seen(T, &users(&["a", "b", "c"]), Millis(1))
        .await
        .unwrap();
    catch_up(registry).await;
    // Nothing new, and so nothing to tell.
    registry.seen(T, &users(&["c", "a"]), Millis(2)).await.unwrap();
    registry.seen("other", &users(&["x"]), Millis(2)).await.unwrap();
    let none = catch_up(registry).await;
    assert_eq!((none.is_whole, none.users.len(), none.gone.len()), (false, 0, 0));
    registry.active(&[active("a", 3, 1)]).await.unwrap();
    catch_up(registry).await;
    registry
        .gone(T, &users(&["b", "c"]), Millis(i64::MAX))
        .await
        .unwrap();
    catch_up(registry).await;
    registry.gone(T, &users(&["a"]), Millis(i64::MAX)).await.unwrap();
    registry
        .registered(T, &user("a"), Millis(4), Source::Own)
        .await
        .unwrap();
    catch_up(registry).await;
    registry.protect(T, &user("a"), true, Millis(5)).await.unwrap();
    catch_up(registry).await;
    let added = ConnectionEvent::Added;
    registry
        .connection(T, &user("a"), "c", added, Millis(6))
        .await
        .unwrap();
    catch_up(registry).await;
    // From a version that was never reached, which is another registry's.
    assert!(
        registry
            .changes(T, Some(Version(1_000_000)))
            .await
            .unwrap()
            .is_whole
    );
}

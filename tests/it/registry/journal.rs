//! What every home promises of the journal, of webhooks and of turns.

use std::time::Duration;

use snaptrade_sidecar::registry::{Entry, EntryId, Event, Hold, Intended, Recorded, Registry};
use snaptrade_sidecar::types::{Millis, UserId};

use super::{T, entry, intended, intent, user};

promises!(
    r7_an_entry_comes_back_as_it_was,
    r7_an_intent_is_open_until_its_outcome,
    r7_the_first_outcome_of_an_intent_stands,
    r5_no_intent_is_recorded_against_an_operator,
    r6_withdrawn_and_refused_deletions_are_none,
    r7_pruning_never_forgets_an_open_intent,
    the_journal_is_read_page_by_page,
    a_webhook_is_new_once,
    r8_a_turn_can_be_had_again,
);
async fn r7_an_entry_comes_back_as_it_was(registry: &Registry) {
    for event in Event::ALL {
        let full = Entry {
            user: Some(user("victim")),
            newcomer: Some(user("newcomer")),
            outcome: Some("outcome".to_owned()),
            reason: Some("a\\b\0".to_owned()),
            users: Some(0),
            limit: Some(u32::MAX),
            request_id: Some("id".to_owned()),
            intent: Some(EntryId(99)),
            ..entry(i64::MAX, event)
        };
        for entry in [entry(1, event), full] {
            let id = registry.record(entry.clone()).await.unwrap();
            let found = registry.journal(T, None, 1).await.unwrap();
            assert_eq!(found, [Recorded { id, entry }]);
        }
    }
}

async fn r5_no_intent_is_recorded_against_an_operator(registry: &Registry) {
    let mut hold = registry.turn(T, Duration::from_secs(5)).await.unwrap();
    let for_somebody = |victim: &str| Entry {
        newcomer: Some(user("new")),
        ..intent(1, victim)
    };
    let mut barred = async |entry| registry.intend(&mut hold, entry).await.unwrap() == Intended::Barred;
    registry.protect(T, &user("a"), true, Millis(1)).await.unwrap();
    assert!(barred(for_somebody("a")).await);
    assert!(barred(intent(1, "a")).await);
    assert!(!barred(for_somebody("b")).await);
    registry.pause(T, true).await.unwrap();
    assert!(barred(for_somebody("c")).await);
    // Who paused it may still evict by hand.
    assert!(!barred(intent(1, "c")).await);
    registry.pause(T, false).await.unwrap();
    assert!(!barred(for_somebody("d")).await);
    assert!(hold.is_held().await);
    assert_eq!(registry.open_intents(T).await.unwrap().len(), 3);
}

async fn r7_an_intent_is_open_until_its_outcome(registry: &Registry) {
    let mut hold = registry.turn(T, Duration::from_secs(5)).await.unwrap();
    let first = intended(registry, &mut hold, intent(1, "a")).await;
    let second = intended(registry, &mut hold, intent(2, "b")).await;
    assert!(hold.is_held().await);
    assert!(first < second);
    let open = async || -> Vec<(EntryId, UserId, Millis)> {
        let open = registry.open_intents(T).await.unwrap().into_iter();
        open.map(|intent| {
            assert_eq!(intent.replica, "replica-1");
            (intent.id, intent.victim, intent.at)
        })
        .collect()
    };
    let both = [(first, user("a"), Millis(1)), (second, user("b"), Millis(2))];
    assert_eq!(open().await, both);
    assert!(registry.open_intents("other").await.unwrap().is_empty());
    // Only an outcome closes it, and only the one that it names.
    let naming = |event, intent| Entry {
        intent,
        outcome: Some("evicted".to_owned()),
        ..entry(3, event)
    };
    registry.record(naming(Event::Notice, Some(first))).await.unwrap();
    registry.record(naming(Event::Outcome, None)).await.unwrap();
    registry
        .record(naming(Event::Outcome, Some(EntryId(12_345))))
        .await
        .unwrap();
    assert_eq!(open().await, both);
    registry
        .record(naming(Event::Outcome, Some(first)))
        .await
        .unwrap();
    registry
        .record(naming(Event::Outcome, Some(first)))
        .await
        .unwrap();
    assert_eq!(open().await, both[1..]);
}

async fn r7_the_first_outcome_of_an_intent_stands(registry: &Registry) {
    for (first, second) in [("withdrawn", "evicted"), ("evicted", "withdrawn")] {
        let id = registry.record(intent(1, "a")).await.unwrap();
        let outcome = |outcome: &str| Entry {
            user: Some(user("a")),
            intent: Some(id),
            outcome: Some(outcome.to_owned()),
            ..entry(2, Event::Outcome)
        };
        // A replica that lost its turn may be the last to say what became of it, and each may say it twice.
        let stands = registry.record(outcome(first)).await.unwrap();
        for later in [first, second] {
            assert_eq!(registry.record(outcome(later)).await.unwrap(), id);
        }
        let last = registry.journal(T, None, 1).await.unwrap();
        let entry = outcome(first);
        assert_eq!(last, [Recorded { id: stands, entry }]);
        assert!(registry.open_intents(T).await.unwrap().is_empty());
    }
    // Only the one that was made counts for the fuse.
    assert_eq!(registry.deletions(T, Millis(0)).await.unwrap(), [Millis(1)]);
}

async fn r6_withdrawn_and_refused_deletions_are_none(registry: &Registry) {
    let mut ids = Vec::new();
    for (at, outcome) in [
        (1, Some("evicted")),
        (2, Some("withdrawn")),
        (3, Some("unsettled")),
        (4, Some("refused")),
        (5, None),
    ] {
        let id = registry.record(intent(at, "a")).await.unwrap();
        ids.push(id);
        if let Some(outcome) = outcome {
            let outcome = Entry {
                intent: Some(id),
                outcome: Some(outcome.to_owned()),
                ..entry(at, Event::Outcome)
            };
            registry.record(outcome).await.unwrap();
        }
    }
    let since = async |at| registry.deletions(T, Millis(at)).await.unwrap();
    assert_eq!(since(0).await, [Millis(1), Millis(3), Millis(5)]);
    assert_eq!(since(3).await, [Millis(3), Millis(5)]);
    assert_eq!(since(6).await, []);
    assert_eq!(registry.deletions("other", Millis(0)).await.unwrap(), []);
}

async fn r7_pruning_never_forgets_an_open_intent(registry: &Registry) {
    let closed = registry.record(intent(1, "a")).await.unwrap();
    let open = registry.record(intent(1, "b")).await.unwrap();
    let outcome = Entry {
        intent: Some(closed),
        outcome: Some("evicted".to_owned()),
        ..entry(2, Event::Outcome)
    };
    registry.record(outcome).await.unwrap();
    let late = registry.record(entry(10, Event::Reload)).await.unwrap();
    assert!(registry.is_new_webhook("w", Millis(1)).await.unwrap());
    assert_eq!(registry.prune(Millis(10)).await.unwrap(), 2);
    let left = registry.journal(T, None, 9).await.unwrap().into_iter();
    assert_eq!(left.map(|recorded| recorded.id).collect::<Vec<_>>(), [late, open]);
    assert_eq!(registry.open_intents(T).await.unwrap().len(), 1);
    assert!(registry.is_new_webhook("w", Millis(11)).await.unwrap());
    assert_eq!(registry.prune(Millis(10)).await.unwrap(), 0);
}

async fn the_journal_is_read_page_by_page(registry: &Registry) {
    for at in 0..5 {
        registry.record(entry(at, Event::Registration)).await.unwrap();
        let elsewhere = Entry {
            tenant: "other".to_owned(),
            ..entry(at, Event::Registration)
        };
        registry.record(elsewhere).await.unwrap();
    }
    let mut read = Vec::new();
    let mut before = None;
    loop {
        let page = registry.journal(T, before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        assert!(page.len() <= 2);
        read.extend(page.iter().map(|recorded| recorded.entry.at.0));
    }
    assert_eq!(read, [4, 3, 2, 1, 0]);
    assert!(registry.journal(T, None, 0).await.unwrap().is_empty());
}

async fn a_webhook_is_new_once(registry: &Registry) {
    for (webhook, is_new) in [
        ("a", true),
        ("a", false),
        ("b\0", true),
        ("b\0", false),
        ("a", false),
    ] {
        assert_eq!(
            registry.is_new_webhook(webhook, Millis(1)).await.unwrap(),
            is_new,
            "{webhook:?}"
        );
    }
}

async fn r8_a_turn_can_be_had_again(registry: &Registry) {
    let mut others: Option<Hold> = None;
    for _ in 0..3 {
        let mut hold = registry.turn(T, Duration::from_secs(5)).await.unwrap();
        assert!(hold.is_held().await);
        // Another tenant's is another turn.
        others = Some(registry.turn("other", Duration::from_secs(5)).await.unwrap());
        drop((hold, others.take()));
    }
    assert!(others.is_none());
    assert!(registry.is_up());
}

//! What every home promises of the hours in which users called.

use snaptrade_sidecar::admission::known::Source;
use snaptrade_sidecar::registry::{Activity, Hour, Registry};
use snaptrade_sidecar::types::Millis;

use super::{T, user, users};

promises!(
    calls_add_up_by_the_hour,
    hours_are_read_page_by_page,
    hours_are_forgotten_with_the_journal,
);

const HOUR: i64 = 3_600_000;

fn activity(tenant: &str, id: &str, last: i64, calls: u64) -> Activity {
    Activity {
        tenant: tenant.to_owned(),
        user: user(id),
        last: Millis(last),
        calls,
    }
}

fn hour(id: &str, began: i64, last: i64, calls: u64) -> Hour {
    Hour {
        began: Millis(began),
        user: user(id),
        last: Millis(last),
        calls,
    }
}

async fn calls_add_up_by_the_hour(registry: &Registry) {
    registry
        .seen(T, &users(&["a", "b\0\\"]), Millis(0))
        .await
        .unwrap();
    registry.seen("other", &users(&["a"]), Millis(0)).await.unwrap();
    let first = [
        activity(T, "a", 7, 2),
        activity(T, "a", 5, 1),
        activity(T, "b\0\\", HOUR - 1, 1),
        activity(T, "stranger", 7, 1),
        activity("other", "a", 8, 9),
    ];
    registry.active(&first).await.unwrap();
    registry.active(&[activity(T, "a", 6, 4)]).await.unwrap();
    registry.active(&[activity(T, "a", HOUR, 1)]).await.unwrap();
    let found = registry.hours(T, None, 9).await.unwrap();
    let expected = [
        hour("a", HOUR, HOUR, 1),
        hour("b\0\\", 0, HOUR - 1, 1),
        hour("a", 0, 7, 7),
    ];
    assert_eq!(found, expected);
    assert_eq!(registry.hours("nobody", None, 9).await.unwrap(), []);
    // What happened is what happened, whoever is gone or there anew.
    registry.gone(T, &users(&["a"]), Millis(9)).await.unwrap();
    registry
        .registered(T, &user("a"), Millis(10), Source::Own)
        .await
        .unwrap();
    assert_eq!(registry.hours(T, None, 9).await.unwrap(), expected);
}

async fn hours_are_read_page_by_page(registry: &Registry) {
    let ids = ["", "a", "a\0", "b", "é"];
    registry.seen(T, &users(&ids), Millis(0)).await.unwrap();
    for began in [0, HOUR, 2 * HOUR] {
        let batch: Vec<_> = ids.iter().map(|id| activity(T, id, began, 1)).collect();
        registry.active(&batch).await.unwrap();
    }
    let whole = registry.hours(T, None, 100).await.unwrap();
    assert_eq!(whole.len(), 3 * ids.len());
    assert!(whole.is_sorted_by(|one, next| one.began >= next.began));
    for limit in [1, 2, 4] {
        let (mut read, mut last) = (Vec::new(), None);
        loop {
            let page = registry.hours(T, last.as_ref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            last = page.last().cloned();
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert_eq!(read, whole, "by {limit}");
    }
}

async fn hours_are_forgotten_with_the_journal(registry: &Registry) {
    registry.seen(T, &users(&["a"]), Millis(0)).await.unwrap();
    registry.active(&[activity(T, "a", 1, 1)]).await.unwrap();
    registry.active(&[activity(T, "a", HOUR + 1, 1)]).await.unwrap();
    // By when it began; and it is no entry.
    assert_eq!(registry.prune(Millis(HOUR)).await.unwrap(), 0);
    assert_eq!(
        registry.hours(T, None, 9).await.unwrap(),
        [hour("a", HOUR, HOUR + 1, 1)]
    );
}

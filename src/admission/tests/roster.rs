//! What a roster takes from its lists, and what it makes of what is remembered.

use super::super::roster::*;
use super::*;
use crate::admission::known::{Known, Source};

const SETTLE: Duration = Duration::from_secs(20);

fn ids(names: &[&str]) -> Vec<UserId> {
    names.iter().map(UserId::new).collect()
}

fn bare(roster: &Roster) -> Vec<&str> {
    roster.bare().map(UserId::as_str).collect()
}

#[test]
fn r3_a_list_is_fresh_for_two_seconds_and_gone_with_the_lock() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.take(ids(&["a"]), now, now, Millis(0), SETTLE).unwrap();
    assert!(roster.is_fresh(now + LIST_AGE_MAX));
    assert!(!roster.is_fresh(now + LIST_AGE_MAX + Duration::from_millis(1)));
    roster.forget_list();
    assert!(!roster.is_fresh(now));
}

#[test]
fn r3_own_changes_count_although_the_list_lags() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster
        .take(ids(&["a", "b"]), now, now, Millis(0), SETTLE)
        .unwrap();
    roster.registered(&id("c"), now, Millis(0));
    roster.removed(&id("a"), now);
    roster
        .take(ids(&["a", "b"]), now, now, Millis(0), SETTLE)
        .unwrap();
    assert_eq!(bare(&roster), ["b", "c"]);
    roster
        .take(ids(&["a", "b"]), now + SETTLE, now + SETTLE, Millis(0), SETTLE)
        .unwrap();
    assert_eq!(bare(&roster), ["a", "b"]);
}

#[test]
fn r3_an_empty_list_is_believed_only_after_the_settle_time() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    assert!(roster.take(ids(&[]), now, now, Millis(0), SETTLE).is_ok());
    roster.take(ids(&["a"]), now, now, Millis(0), SETTLE).unwrap();
    assert!(roster.take(ids(&[]), now, now, Millis(0), SETTLE).is_err());
    assert!(!roster.is_fresh(now));
    assert!(
        roster
            .take(ids(&[]), now + SETTLE, now + SETTLE, Millis(0), SETTLE)
            .is_ok()
    );
}

#[test]
fn r3_who_was_missing_before_does_not_make_an_empty_list_doubtful() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster
        .take(ids(&["a", "b"]), now, now, Millis(0), SETTLE)
        .unwrap();
    roster.take(ids(&["a"]), now, now, Millis(0), SETTLE).unwrap();
    roster.removed(&id("a"), now);
    assert!(roster.take(ids(&[]), now, now, Millis(0), SETTLE).is_ok());
}

#[test]
fn r3_who_is_remembered_makes_an_empty_list_doubtful() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.remember(vec![(id("a"), Known::default())], Vec::new());
    assert!(roster.take(ids(&[]), now, now, Millis(0), SETTLE).is_err());
}

#[test]
fn a_tombstone_is_fresh_for_the_settle_time_only() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    for at in [now, now + SETTLE] {
        roster
            .take(ids(&["a", "b_deleted", "_deleted"]), at, at, Millis(0), SETTLE)
            .unwrap();
        assert_eq!(bare(&roster), ["a", "_deleted"]);
        assert_eq!(roster.fresh_tombstones(at, SETTLE), usize::from(at == now));
    }
}

#[test]
fn whom_we_registered_is_known_until_the_lists_missed_it_for_the_settle_time() {
    for (missed, is_known) in [(19_999 * MS, true), (SETTLE, false)] {
        let (mut roster, now) = (Roster::default(), Instant::now());
        roster.registered(&id("c"), now, Millis(0));
        roster
            .take(ids(&["a", "c"]), now, now, Millis(0), SETTLE)
            .unwrap();
        let then = now + missed;
        roster.take(ids(&["a"]), then, then, Millis(0), SETTLE).unwrap();
        // The registry was not told of it.
        roster.remember(Vec::new(), Vec::new());
        assert_eq!(roster.known(&id("c")).is_some(), is_known);
    }
}

#[test]
fn r10_whose_deletion_did_not_show_counts_no_more_and_everybody_else_does() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster
        .take(ids(&["a", "b", "c"]), now, now, Millis(0), SETTLE)
        .unwrap();
    roster.await_deletion(id("b"), now, now, true);
    roster.doom();
    assert_eq!(bare(&roster), ["a", "c"]);
    assert_eq!(roster.going(), [id("b")]);
    assert!(roster.may_still_be(&id("b")) && !roster.may_still_be(&id("a")));
    // Whom we saw go and a list names again is gone: that list lags.
    roster.removed(&id("c"), now);
    roster
        .take(ids(&["a", "b", "c"]), now, now, Millis(0), SETTLE)
        .unwrap();
    assert_eq!(roster.going(), [id("b"), id("c")]);
    assert!(roster.may_still_be(&id("b")) && !roster.may_still_be(&id("c")));
}

#[test]
fn r4_whom_the_application_deletes_without_an_answer_neither_counts_nor_goes_until_that_is_over() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    let take = |roster: &mut Roster, users: &[&str], at: Instant| {
        roster.take(ids(users), at, at, Millis(0), SETTLE).unwrap();
    };
    let calls = || vec![(id("b"), now)];
    take(&mut roster, &["a", "b"], now);
    roster.note_unanswered(calls(), now);
    assert_eq!((bare(&roster), roster.going()), (vec!["a"], vec![id("b")]));
    assert!(roster.is_fresh(now));
    let soon = now + 2 * MS;
    take(&mut roster, &["a", "b"], soon);
    roster.note_unanswered(calls(), soon);
    assert_eq!(
        (bare(&roster), roster.candidates(Millis(0)).len()),
        (vec!["a"], 1)
    );
    // It may be there all the same: nobody goes for its own registration, or for one that SnapTrade may take for that.
    assert!(roster.is_there(&id("b")) && roster.lists_alike(&id("B ")));
    assert!(roster.known(&id("b")).is_some());
    take(&mut roster, &["a"], soon);
    assert!(!roster.is_there(&id("b")));
    // A list that missed it for once proves nothing.
    take(&mut roster, &["a", "b"], soon);
    assert_eq!(bare(&roster), ["a"]);
    // It was not deleted, or the settle time is over. The list that is in hand lacks it.
    roster.note_unanswered(Vec::new(), soon + MS);
    assert!(!roster.is_fresh(soon + MS));
    take(&mut roster, &["a", "b"], soon + MS);
    assert!(roster.is_fresh(soon + MS));
    assert_eq!(bare(&roster), ["a", "b"]);
}

#[test]
fn r4_whom_we_just_registered_and_the_application_deletes_without_an_answer_does_not_count() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.registered(&id("b"), now, Millis(0));
    roster.note_unanswered(vec![(id("b"), now + MS)], now + MS);
    let then = now + 2 * MS;
    roster.take(ids(&["a"]), then, then, Millis(2), SETTLE).unwrap();
    assert_eq!((bare(&roster), roster.going()), (vec!["a"], vec![id("b")]));
}

#[test]
fn r8_of_whom_it_is_known_after_all_an_unanswered_deletion_says_no_more() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    let names = ["new", "back", "gone", "went", "other"];
    let calls: Vec<_> = names[..4].iter().map(|name| (id(name), now)).collect();
    roster.take(ids(&names), now, now, Millis(0), SETTLE).unwrap();
    // A second call was answered before the first was heard of.
    roster.removed(&id("went"), now + MS);
    roster.note_unanswered(calls.clone(), now);
    assert_eq!(bare(&roster), ["other"]);
    let (then, clock) = (now + 5 * MS, Millis(5));
    roster.registered(&id("new"), then, clock);
    roster.removed(&id("gone"), then);
    // Another replica registered it a millisecond after it was sent.
    let again = Known {
        registered: Some((Millis(1), Source::Own)),
        ..Known::default()
    };
    roster.update(&[], vec![(id("back"), again)], Vec::new(), then);
    roster.welcome_back(then, clock);
    for at in [then, then + MS] {
        roster.note_unanswered(calls.clone(), at);
        roster.take(ids(&names), at, at, clock, SETTLE).unwrap();
        assert_eq!(bare(&roster), ["new", "back", "other"]);
        assert!(!roster.may_still_be(&id("gone")) && !roster.may_still_be(&id("went")));
    }
    // The next one says as much as the first did.
    let later = then + 2 * MS;
    roster.note_unanswered(vec![(id("new"), later), (id("new"), now)], later);
    roster.take(ids(&names), later, later, clock, SETTLE).unwrap();
    assert_eq!(bare(&roster), ["back", "other"]);
}

#[test]
fn r10_deletions_under_way_are_the_one_that_is_awaited_and_those_that_did_not_show() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    assert_eq!(roster.under_way(), 0);
    roster.await_deletion(id("a"), now, now, true);
    assert_eq!(roster.under_way(), 1);
    roster.doom();
    roster.await_deletion(id("b"), now, now, true);
    assert_eq!(roster.under_way(), 2);
}

#[test]
fn of_whom_it_was_told_to_forget_it_knows_nothing() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.remember(vec![(id("a"), Known::default())], Vec::new());
    roster
        .take(ids(&["a", "b"]), now, now, Millis(0), SETTLE)
        .unwrap();
    roster.forget();
    assert_eq!((roster.known(&id("a")), roster.known(&id("b"))), (None, None));
    assert!(roster.take_newly_seen().is_empty());
}

#[test]
fn whom_the_registry_had_and_knows_no_more_another_replica_deleted() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    for name in ["a", "b"] {
        roster.registered(&id(name), now, Millis(0));
    }
    roster.written(&id("b"));
    roster.remember(Vec::new(), Vec::new());
    assert!(roster.known(&id("a")).is_some());
    assert_eq!(roster.known(&id("b")), None);
}

#[test]
fn r8_whom_another_replica_registered_since_it_went_is_there_again() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    let names = ["back", "gone", "back-too", "doomed", "other"];
    roster.take(ids(&names), now, now, Millis(0), SETTLE).unwrap();
    roster.removed(&id("back"), now);
    roster.removed(&id("gone"), now);
    roster.await_deletion(id("back-too"), now, now, true);
    roster.doom();
    roster.await_deletion(id("doomed"), now, now, true);
    roster.doom();
    // What the registry tells five seconds later: some were registered a millisecond after they went, the others before.
    let registered = |name: &str, at| {
        let registered = Some((Millis(at), Source::Own));
        (
            id(name),
            Known {
                registered,
                ..Known::default()
            },
        )
    };
    let told = vec![
        registered("back", 1),
        registered("gone", 0),
        registered("back-too", 1),
        registered("doomed", 0),
    ];
    roster.update(&[], told, Vec::new(), now);
    let (then, clock) = (now + 5_000 * MS, Millis(5_000));
    roster.welcome_back(then, clock);
    roster.take(ids(&names), then, then, clock, SETTLE).unwrap();
    assert_eq!(bare(&roster), ["back", "back-too", "other"]);
}

#[test]
fn r5_of_whom_nothing_is_remembered_any_more_counts_as_seen_just_now() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    roster.take(ids(&["a"]), now, now, Millis(0), SETTLE).unwrap();
    roster.update(&[id("a")], Vec::new(), Vec::new(), now);
    assert_eq!(roster.candidates(Millis(7))[0].known.first_seen, Millis(7));
}

#[test]
fn whom_the_last_list_missed_a_settle_time_ago_may_be_there_again() {
    for (ago, vanished) in [(19_999 * MS, 1), (SETTLE, 0)] {
        let (mut roster, now) = (Roster::default(), Instant::now());
        roster.remember(vec![(id("a"), Known::default())], Vec::new());
        for at in [now, now + SETTLE] {
            roster.take(ids(&["b"]), at, at, Millis(0), SETTLE).unwrap();
        }
        assert_eq!(roster.take_vanished(now + SETTLE + ago).len(), vanished);
    }
}

#[test]
fn a_slot_is_free_lately_until_somebody_is_registered_after_it() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    let all = ids(&["a", "b", "c"]);
    roster.take(all, now, now, Millis(0), SETTLE).unwrap();
    assert_eq!(roster.freed_lately(), None);
    roster.removed(&id("a"), now);
    assert_eq!(roster.freed_lately(), Some(now));
    roster.registered(&id("d"), now + MS, Millis(1));
    assert_eq!(roster.freed_lately(), None);
    roster.removed(&id("b"), now + 2 * MS);
    assert_eq!(roster.freed_lately(), Some(now + 2 * MS));
    // At the very same moment it is taken.
    roster.registered(&id("e"), now + 2 * MS, Millis(2));
    assert_eq!(roster.freed_lately(), None);
}

#[test]
fn of_a_protected_user_that_is_gone_only_that_is_kept() {
    let (mut roster, now) = (Roster::default(), Instant::now());
    let known = Known {
        first_seen: Millis(7),
        registered: Some((Millis(8), Source::Own)),
        last_active: Some(Millis(9)),
        calls: 3,
        protected: true,
        ..Known::default()
    };
    roster.remember(vec![(id("a"), known)], Vec::new());
    roster.removed(&id("a"), now);
    let kept = Known {
        first_seen: Millis(7),
        protected: true,
        ..Known::default()
    };
    assert_eq!(roster.known(&id("a")), Some(&kept));
}

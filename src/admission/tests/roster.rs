//! What a roster takes from its lists, and what it makes of what is remembered.

use super::super::roster::*;
use super::*;
use crate::admission::known::Known;

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
fn r10_another_replicas_deletion_of_a_user_given_up_here_is_not_taken_to_have_happened() {
    let mut bench = Bench::new();
    bench.roster.doom(&id("a"), bench.now);
    bench.after(Duration::from_secs(1));
    // It had not given the user up, and sent a second deletion.
    bench.roster.unresolved = Some(Unresolved {
        victim: id("a"),
        since: bench.now,
    });
    let full = || listed(&["a", "b", "c"]);
    assert!(matches!(bench.run([Event::Begun, full()]), Step::Pause(_)));
    assert_eq!(bench.admission.take_notes(), []);
    assert_eq!(bench.run([Event::Woken, listed(&["b", "c"])]), FORWARD);
    assert!(bench.admission.take_notes().contains(&Note::Evicted(id("a"))));
}

#[test]
fn r10_a_deletion_that_another_replica_gave_up_is_not_sent_again_and_told_by_it_alone() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    bench.on(Event::Deleted(Deletion::Unclear));
    bench.roster.settled_elsewhere();
    bench.next_registration("newer");
    bench.roster.forget_list();
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    bench.on(Event::Replied(Reply::Other));
    bench.next_registration("newest");
    bench.roster.forget_list();
    assert_eq!(bench.run([Event::Begun, listed(&["b", "c"])]), FORWARD);
    assert_eq!(bench.admission.take_notes(), []);
    assert_eq!(bench.roster.under_way(), 0);
}

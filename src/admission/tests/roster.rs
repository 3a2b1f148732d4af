//! What a roster takes from its lists, and what it makes of what is remembered.

use super::super::roster::*;
use super::*;

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

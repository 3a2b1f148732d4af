//! What the machine knows, how it may be wrong, and that doubt deletes nobody.

use super::*;
use crate::admission::known::{Known, Source};

const INTENT: Event = Event::IntentRecorded(true);

impl Bench {
    /// Registers a user when so many others are listed, and lets a minute pass.
    fn registers(&mut self, name: &str, others: &[&str]) {
        self.roster.forget_list();
        self.next_registration(name);
        let reply = Event::Replied(Reply::Registered(id(name)));
        assert_eq!(self.run([Event::Begun, listed(others)]), FORWARD);
        self.on(reply);
        self.after(Duration::from_mins(1));
    }
}

#[test]
fn r3_a_lists_age_counts_from_when_it_was_asked_for() {
    let mut bench = Bench::new();
    assert_eq!(bench.on(Event::Begun), Step::List);
    bench.after(1900 * MS);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), intent("a"));
    bench.after(200 * MS);
    assert_eq!(bench.on(INTENT), Step::List);
    bench.after(2100 * MS);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), Step::Pause(100 * MS));
}

#[test]
fn r3_a_user_counts_under_the_id_that_snaptrade_gave_it() {
    let mut bench = Bench::new();
    bench.next_registration("Bob ");
    bench.run([
        Event::Begun,
        listed(&["a"]),
        Event::Replied(Reply::Registered(id("bob"))),
    ]);
    bench.roster.forget_list();
    bench.next_registration("new");
    assert_eq!(bench.run([Event::Begun, listed(&["a", "bob"])]), FORWARD);
}

#[test]
fn r4_an_id_that_is_listed_in_another_case_makes_room_only_if_snaptrade_wants_it() {
    let mut bench = Bench::new();
    bench.next_registration(" B");
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::AlreadyListed));
    assert_eq!(
        bench.run([Event::Replied(Reply::LimitReached), listed(&["a", "b", "c"])]),
        intent("a")
    );
    assert_eq!(bench.admission.reason(), None);
}

#[test]
fn a_list_that_misses_a_user_for_once_does_not_make_it_the_oldest() {
    let mut bench = Bench::new();
    bench.registers("a", &[]);
    bench.registers("b", &["a"]);
    bench.registers("c", &["a", "b"]);
    bench.roster.forget_list();
    bench.next_registration("d");
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.run([INTENT, Event::Deleted(Deletion::Refused)]);
    bench.after(3000 * MS);
    // The list of a replica that lags.
    assert_eq!(bench.run([INTENT, listed(&["a", "b"])]), FORWARD);
    bench.next_registration("e");
    assert_eq!(bench.run([Event::Begun, listed(&["c", "b", "a"])]), intent("a"));
}

#[test]
fn r3_a_departure_between_intent_and_deed_is_looked_into() {
    for departed in ["a", "b"] {
        let mut bench = Bench::new();
        bench.run([Event::Begun, listed(&["a", "b", "c"])]);
        bench.after(MS);
        bench.roster.removed(&id(departed), bench.now);
        bench.roster.doubt(bench.now);
        assert_eq!(bench.on(INTENT), Step::List);
        assert_eq!(bench.on(listed(&["a", "b", "c"])), FORWARD);
    }
}

#[test]
fn r3_a_list_that_was_asked_for_before_a_doubt_is_no_ground() {
    let mut bench = Bench::new();
    assert_eq!(bench.on(Event::Begun), Step::List);
    bench.after(MS);
    bench.roster.doubt(bench.now);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), Step::Pause(100 * MS));
    assert_eq!(bench.on(Event::Woken), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), intent("a"));
}

#[test]
fn r3_a_victim_that_was_not_there_makes_the_list_doubtful() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    assert_eq!(
        bench.on(Event::Deleted(Deletion::NotFound)),
        Step::Pause(100 * MS)
    );
    assert_eq!(bench.on(Event::Woken), Step::List);
    assert_eq!(bench.on(listed(&["b", "c"])), FORWARD);

    // Still listed, it is one that cannot be deleted.
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.run([Event::Deleted(Deletion::NotFound), Event::Woken]);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), intent("b"));
}

#[test]
fn r3_a_user_seen_go_does_not_come_back_with_a_list_that_lags() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.run([Event::Deleted(Deletion::Accepted), listed(&["b", "c"])]);
    bench.on(Event::Replied(Reply::Other));
    bench.roster.forget_list();
    bench.next_registration("newer");
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
}

#[test]
fn r4_all_evictions_of_a_registration_count_together() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c", "d", "e"]), INTENT]);
    // One went, another came: three more would be four.
    let more = listed(&["a_deleted", "b", "c", "d", "e", "f"]);
    assert_eq!(bench.run([Event::Deleted(Deletion::Accepted), more]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::TooManyOver));
}

#[test]
fn r4_nobody_is_deleted_past_the_deadline() {
    let mut bench = Bench::new();
    bench.after(Duration::from_secs(29));
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.after(1000 * MS);
    assert_eq!(bench.on(INTENT), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::TimedOut));
}

#[test]
fn r4_nobody_is_registered_whose_caller_left_before_anything_was_done() {
    let mut bench = Bench::new();
    bench.here.caller_gone = true;
    assert_eq!(
        bench.run([Event::Begun, listed(&["a"])]),
        Step::Finish(Ending::Abandoned)
    );
}

#[test]
fn r10_three_refusals_are_enough() {
    let mut bench = Bench::new();
    bench.terms.max_users = 5;
    let mut step = bench.run([Event::Begun, listed(&["a", "b", "c", "d", "e"])]);
    for victim in ["a", "b", "c"] {
        assert_eq!(step, intent(victim));
        bench.on(INTENT);
        step = bench.on(Event::Deleted(Deletion::Refused));
    }
    assert_eq!(step, FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::NobodyEvictable));
}

#[test]
fn a_limit_of_one_is_one() {
    let mut bench = Bench::new();
    bench.terms.max_users = 1;
    bench.run([Event::Begun, listed(&["a"]), INTENT]);
    assert_eq!(
        bench.run([Event::Deleted(Deletion::Accepted), listed(&[])]),
        FORWARD
    );
    bench.on(registered());

    bench.next_registration("newer");
    bench.roster.forget_list();
    bench.roster.tombstones_count = true;
    bench.run([Event::Begun, listed(&["new"]), INTENT]);
    let buried = listed(&["new_deleted"]);
    assert_eq!(
        bench.run([Event::Deleted(Deletion::Accepted), buried]),
        Step::Pause(100 * MS)
    );
    assert_eq!(bench.run([Event::Woken, listed(&[])]), FORWARD);
}

#[test]
fn a_departure_that_only_grew_old_freed_nothing() {
    let mut bench = Bench::new();
    bench.roster.removed(&id("a"), bench.now);
    // It is back, under the same id.
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    bench.run([Event::Replied(Reply::LimitReached), listed(&["a", "b", "c"])]);
    bench.after(Duration::from_secs(20));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), ANSWERED);
    assert!(!bench.admission.retried());
}

#[test]
fn that_tombstones_count_is_learnt_from_a_retry_that_succeeded_and_nothing_else() {
    for (reply, learnt) in [
        (registered(), true),
        (Event::Replied(Reply::LimitReached), false),
        (Event::Replied(Reply::Other), false),
    ] {
        let mut bench = Bench::new();
        let buried = listed(&["a", "x_deleted"]);
        bench.run([
            Event::Begun,
            buried.clone(),
            Event::Replied(Reply::LimitReached),
            buried,
        ]);
        assert!(!bench.roster.tombstones_count);
        assert_eq!(bench.run([Event::Woken, listed(&["a"])]), RETRY);
        bench.on(reply);
        assert_eq!(bench.roster.tombstones_count, learnt);
    }
}

#[test]
fn a_victim_that_is_registered_anew_was_gone() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.on(Event::Deleted(Deletion::Unclear));
    bench.roster.registered(&id("a"), bench.now, bench.here.clock);
    assert_eq!(bench.roster.unresolved, None);
}

#[test]
fn an_empty_id_is_nobody_who_could_go() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, listed(&["", "b", "c"])]), intent("b"));
}

#[test]
fn r9_nobody_goes_for_a_slot_that_was_freed_just_after_the_limit_error() {
    // The tombstone of the admission's own eviction took it.
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
        Event::Deleted(Deletion::Accepted),
        listed(&["a_deleted", "b", "c"]),
    ]);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    assert_eq!(bench.on(listed(&["b", "c"])), RETRY);
    bench.on(registered());
    assert!(bench.roster.tombstones_count);

    // Somebody else's deletion freed it.
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b"]),
        Event::Replied(Reply::LimitReached),
    ]);
    assert_eq!(bench.on(listed(&["b"])), RETRY);
    bench.on(registered());
    assert!(!bench.roster.tombstones_count);
}

#[test]
fn r9_a_deletion_that_may_still_happen_is_not_sent_again_and_its_user_counts_no_more() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.on(Event::Deleted(Deletion::Accepted));
    bench.after(Duration::from_secs(20));
    assert_eq!(bench.on(listed(&["a", "b", "c"])), FORWARD);
    assert_eq!(bench.admission.unsettled(), Some(&id("a")));
    assert_eq!(bench.admission.take_notes(), [Note::EvictionUnsettled(id("a"))]);
    bench.on(Event::Replied(Reply::Other));
    assert_eq!(bench.roster.under_way(), 1);

    bench.next_registration("newer");
    bench.roster.forget_list();
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    // SnapTrade still counts it: it is waited for.
    bench.run([Event::Replied(Reply::LimitReached), listed(&["a", "b", "c"])]);
    assert_eq!(bench.run([Event::Woken, listed(&["b", "c"])]), RETRY);
    assert_eq!(bench.admission.take_notes(), [Note::Evicted(id("a"))]);
    assert_eq!(bench.roster.under_way(), 0);
}

#[test]
fn r4_nobody_goes_for_one_whose_deletion_may_never_have_happened() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.on(Event::Deleted(Deletion::Unclear));
    bench.after(Duration::from_secs(20));
    bench.run([listed(&["a", "b", "c", "d"]), Event::Replied(Reply::Other)]);
    // It is still listed: SnapTrade will say that it exists.
    bench.next_registration("a");
    let list = listed(&["a", "b", "c", "d"]);
    assert_eq!(bench.run([Event::Begun, list]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::AlreadyListed));
}

#[test]
fn a_deletion_that_never_happened_is_forgotten_in_the_end() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.on(Event::Deleted(Deletion::Unclear));
    bench.after(Duration::from_secs(20));
    bench.run([listed(&["a", "b", "c"]), Event::Replied(Reply::Other)]);
    bench.after(Duration::from_secs(80));
    bench.next_registration("newer");
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), intent("a"));
}

#[test]
fn observe_says_once_whom_it_would_evict() {
    let mut bench = Bench::new();
    bench.terms.mode = Mode::Observe;
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);
    let notes = bench.admission.take_notes();
    assert!(
        matches!(notes.as_slice(), [Note::WouldEvict(victim, _)] if *victim == id("a")),
        "{notes:?}"
    );
}

#[test]
fn many_users_are_taken_in_without_comparing_each_with_each() {
    let mut bench = Bench::new();
    bench.terms.max_users = 200_000;
    let many: Vec<UserId> = (0..100_000).map(|n| id(&format!("user-{n}"))).collect();
    bench.on(Event::Begun);
    let began = Instant::now();
    for _ in 0..3 {
        bench.on(Event::Listed(Some(many.clone())));
    }
    // Each with each would be thirty thousand million comparisons.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_changed_in_the_registry_is_taken_over_and_the_rest_stays() {
    let mut bench = Bench::new();
    let known = |first_seen, protected| Known {
        first_seen: Millis(first_seen),
        protected,
        ..Known::default()
    };
    let all = [("a", 1), ("b", 2), ("c", 3)].map(|(name, at)| (id(name), known(at, false)));
    bench.roster.remember(all.to_vec(), Vec::new());
    let anew = Known {
        registered: Some((Millis(4), Source::Own)),
        ..known(4, false)
    };
    let changed = vec![(id("b"), known(2, true)), (id("d"), anew)];
    bench
        .roster
        .update(&[id("c"), id("d")], changed, vec![Millis(9)], bench.now);
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "d"])]), intent("a"));
    let facts: Vec<_> = bench.roster.candidates(Millis(10));
    let facts: Vec<_> = facts
        .iter()
        .map(|user| (user.id.as_str(), user.known.first_seen.0, user.known.protected))
        .collect();
    assert_eq!(facts, [("a", 1, false), ("b", 2, true), ("d", 4, false)]);
    assert_eq!(bench.roster.deletions(), [Millis(9)]);
}

//! What others do: the application, another replica, an operator, a clock.

use super::*;
use crate::admission::known::{Known, Source};

const INTENT: Event = Event::IntentRecorded(true);

fn known_since(first_seen: i64) -> Known {
    Known {
        first_seen: Millis(first_seen),
        ..Known::default()
    }
}

#[test]
fn r4_nobody_goes_for_a_slot_that_was_freed_and_is_not_counted_yet() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"]), INTENT]);
    bench.on(Event::Deleted(Deletion::Accepted));
    assert_eq!(bench.on(listed(&["b", "c"])), FORWARD);
    // The list shows room, and SnapTrade has not counted yet that a is gone.
    bench.run([Event::Replied(Reply::LimitReached), listed(&["b", "c"])]);
    assert_eq!(bench.admission.evicted(), [id("a")]);
    bench.after(Duration::from_secs(4));
    assert!(matches!(
        bench.run([Event::Woken, listed(&["b", "c"])]),
        Step::Pause(_)
    ));
    bench.after(Duration::from_secs(1));
    assert_eq!(bench.run([Event::Woken, listed(&["b", "c"])]), RETRY);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);

    // By then it has counted, and the limit is another than was said.
    bench.next_registration("later");
    bench.roster.forget_list();
    bench.run([Event::Begun, listed(&["b", "c"])]);
    assert_eq!(
        bench.run([Event::Replied(Reply::LimitReached), listed(&["b", "c"])]),
        intent("b")
    );
    bench.run([Event::IntentRecorded(false), Event::Replied(Reply::Other)]);

    // Where somebody came for who went, the limit is another than was said.
    bench.next_registration("newer");
    bench.roster.registered(&id("d"), bench.now, bench.here.clock);
    bench.run([Event::Begun, listed(&["b", "d"])]);
    bench.after(MS);
    assert_eq!(
        bench.run([Event::Replied(Reply::LimitReached), listed(&["b", "d"])]),
        intent("b")
    );
}

#[test]
fn r4_a_freed_slot_is_waited_for_where_the_list_shows_room_or_does_not_count() {
    let full = || [Event::Replied(Reply::LimitReached), listed(&["a", "b", "c"])];
    let freed = |mode| {
        let mut bench = Bench::new();
        bench.terms.mode = mode;
        bench.roster.removed(&id("z"), bench.now);
        bench
    };
    // Somebody came past the sidecar, and has it.
    let mut counting = freed(Mode::Enforce);
    assert_eq!(counting.run([Event::Begun, listed(&["a", "b"])]), FORWARD);
    assert_eq!(counting.run(full()), intent("a"));
    let mut erring = freed(Mode::OnLimitError);
    assert_eq!(erring.on(Event::Begun), FORWARD);
    assert!(matches!(erring.run(full()), Step::Pause(_)));
}

/// The application deletes c, and has no answer yet.
fn deleting_c(mode: Mode) -> Bench {
    let mut bench = Bench::new();
    bench.terms.mode = mode;
    bench
        .roster
        .note_unanswered(vec![(id("c"), bench.now)], bench.now);
    bench
}

#[test]
fn r4_it_is_waited_for_whether_the_slot_of_whom_the_application_deletes_is_free() {
    let waiting = || {
        let mut bench = deleting_c(Mode::Enforce);
        let step = bench.run([Event::Begun, listed(&["a", "b", "c"])]);
        assert!(matches!(step, Step::Pause(_)), "{step:?}");
        bench.after(5_000 * MS);
        let step = bench.run([Event::Woken, listed(&["a", "b", "c"])]);
        assert!(matches!(step, Step::Pause(_)), "{step:?}");
        bench.after(5_000 * MS);
        bench
    };
    let mut gone = waiting();
    assert_eq!(gone.run([Event::Woken, listed(&["a", "b"])]), FORWARD);
    // It was there all the time.
    let mut there = waiting();
    there.roster.note_unanswered(Vec::new(), there.now);
    assert_eq!(there.run([Event::Woken, listed(&["a", "b", "c"])]), intent("a"));
    // Not past the deadline; and not where there is room in any case, or nobody goes.
    let mut late = waiting();
    late.after(late.terms.admission_timeout);
    assert_eq!(late.run([Event::Woken, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(late.admission.reason(), Some(Reason::TimedOut));
    let mut roomy = deleting_c(Mode::Enforce);
    assert_eq!(roomy.run([Event::Begun, listed(&["a", "c"])]), FORWARD);
    let mut observed = deleting_c(Mode::Observe);
    assert_eq!(observed.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(observed.admission.take_notes(), []);
}

#[test]
fn r4_after_a_limit_error_room_is_made_if_whom_the_application_deletes_is_there_after_all() {
    let waiting = || {
        let mut bench = deleting_c(Mode::OnLimitError);
        let refused = [Event::Begun, Event::Replied(Reply::LimitReached)];
        assert_eq!(bench.run(refused), Step::List);
        assert!(matches!(bench.on(listed(&["a", "b", "c"])), Step::Pause(_)));
        bench.after(5_000 * MS);
        bench
    };
    // The slot is free, and nobody goes for it. That deletions take slots here, it does not show.
    let mut gone = waiting();
    assert_eq!(gone.run([Event::Woken, listed(&["a", "b"])]), RETRY);
    assert_eq!(gone.on(registered()), ANSWERED);
    assert!(!gone.roster.tombstones_count);
    let mut there = waiting();
    assert_eq!(there.on(Event::Woken), Step::List);
    // The list was asked for before that was known.
    there.after(MS);
    there.roster.note_unanswered(Vec::new(), there.now);
    assert!(matches!(there.on(listed(&["a", "b", "c"])), Step::Pause(_)));
    there.after(100 * MS);
    assert_eq!(there.run([Event::Woken, listed(&["a", "b", "c"])]), intent("a"));
    there.run([INTENT, Event::Deleted(Deletion::Accepted)]);
    assert_eq!(there.on(listed(&["b", "c"])), RETRY);
}

#[test]
fn past_its_first_deletion_an_admission_goes_on_after_one_that_was_not_sent() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c", "d"]), INTENT]);
    let step = bench.run([Event::Deleted(Deletion::Accepted), listed(&["b", "c", "d"])]);
    assert_eq!((step, bench.on(INTENT)), (intent("b"), Step::Delete(id("b"))));
    bench.here.caller_gone = true;
    assert!(matches!(
        bench.on(Event::Deleted(Deletion::Unsent)),
        Step::Pause(_)
    ));
    assert_eq!(bench.run([Event::Woken, listed(&["b", "c", "d"])]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::CallerGone));
    assert_eq!(bench.admission.evicted(), [id("a")]);
}

#[test]
fn r4_whom_the_application_deleted_by_way_of_another_replica_is_on_its_way_out_here_too() {
    let mut bench = Bench::new();
    let old = |name: &str| (id(name), known_since(1));
    bench
        .roster
        .remember(["a", "b", "x"].map(old).to_vec(), Vec::new());
    bench.terms.policy.min_age = Duration::from_mins(1);
    bench.roster.update(&[id("x")], Vec::new(), Vec::new(), bench.now);
    // SnapTrade lists late.
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "x"])]), FORWARD);

    // Registered anew over there, it counts at once.
    bench.next_registration("newer");
    bench.after(Duration::from_secs(1));
    let anew = Known {
        registered: Some((bench.here.clock, Source::Own)),
        ..known_since(bench.here.clock.0)
    };
    bench.after(MS);
    bench
        .roster
        .update(&[], vec![(id("x"), anew)], Vec::new(), bench.now);
    bench.roster.welcome_back(bench.now, bench.here.clock);
    bench.roster.forget_list();
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "x"])]), intent("a"));
}

#[test]
fn r5_protection_by_hand_outlives_the_user() {
    let mut bench = Bench::new();
    let protected = Known {
        protected: true,
        ..known_since(1)
    };
    let all = vec![
        (id("x"), protected),
        (id("a"), known_since(2)),
        (id("b"), known_since(3)),
    ];
    bench.roster.remember(all, Vec::new());
    bench.roster.removed(&id("x"), bench.now);
    // Registered again past the sidecar: the registry tells of no change.
    bench.after(Duration::from_secs(20));
    bench.run([Event::Begun, listed(&["a", "b"]), Event::Replied(Reply::Other)]);
    bench.next_registration("newer");
    bench.roster.forget_list();
    let step = bench.run([Event::Begun, listed(&["x", "a", "b"])]);
    assert_ne!(step, intent("x"));
    assert!(matches!(step, Step::RecordIntent(..)), "{step:?}");
}

#[test]
fn r10_a_clock_that_was_set_back_brings_nobody_back() {
    let mut bench = Bench::new();
    let registered = Known {
        registered: Some((bench.here.clock, Source::Own)),
        ..known_since(1)
    };
    let all = ["a", "b", "c"].map(|name| (id(name), registered));
    bench.roster.remember(all.to_vec(), Vec::new());
    bench.roster.await_deletion(id("a"), bench.now, bench.now, true);
    bench.roster.doom();
    bench.after(Duration::from_secs(1));
    bench.here.clock = Millis(bench.here.clock.0 - 3_600_000);
    bench.roster.welcome_back(bench.now, bench.here.clock);
    assert_eq!(bench.roster.under_way(), 1);
}

#[test]
fn r7_a_victim_that_is_registered_anew_had_gone() {
    let mut bench = Bench::new();
    bench.roster.await_deletion(id("new"), bench.now, bench.now, true);
    bench.terms.mode = Mode::OnLimitError;
    assert_eq!(bench.run([Event::Begun, registered()]), ANSWERED);
    assert_eq!(bench.admission.take_notes(), [Note::EvictionOvertaken(id("new"))]);
    assert_eq!(bench.roster.unresolved, None);
}

#[test]
fn r10_another_replicas_deletion_of_a_user_given_up_here_is_not_taken_to_have_happened() {
    let mut bench = Bench::new();
    bench.roster.await_deletion(id("a"), bench.now, bench.now, true);
    bench.roster.doom();
    bench.after(Duration::from_secs(1));
    // It had not given the user up, and sent a second deletion.
    bench.roster.await_deletion(id("a"), bench.now, bench.now, true);
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

#[test]
fn r4_after_a_limit_error_as_many_go_as_are_too_many_or_nobody() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        Event::Listed(None),
        Event::Replied(Reply::LimitReached),
    ]);
    assert_eq!(bench.on(listed(&["a", "b", "c", "d"])), intent("a"));
    bench.run([INTENT, Event::Deleted(Deletion::Accepted)]);
    assert_eq!(bench.on(listed(&["b", "c", "d"])), intent("b"));
    bench.run([INTENT, Event::Deleted(Deletion::Accepted)]);
    assert_eq!(bench.on(listed(&["c", "d"])), RETRY);

    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        Event::Listed(None),
        Event::Replied(Reply::LimitReached),
    ]);
    assert_eq!(bench.on(listed(&["a", "b", "c", "d", "e", "f"])), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::TooManyOver));
}

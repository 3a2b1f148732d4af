//! 429: what is throttled is asked again when it is welcome, if there is time; and looking slows down while few calls are left.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn throttled(seconds: u32) -> Event {
    Event::Throttled(SECOND * seconds)
}

fn pause(seconds: u32) -> Step {
    Step::Pause(SECOND * seconds)
}

/// Up to the deletion of "a".
fn deleting() -> Bench {
    let mut bench = Bench::new();
    let steps = [
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ];
    assert_eq!(bench.run(steps), Step::Delete(id("a")));
    bench
}

#[test]
fn a_list_that_is_throttled_is_asked_for_again_when_it_is_welcome() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, throttled(7)]), pause(7));
    assert_eq!(bench.after(7 * SECOND).on(Event::Woken), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), intent("a"));
}

#[test]
fn who_wakes_too_early_waits_on() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, throttled(7)]), pause(7));
    assert_eq!(bench.after(2 * SECOND).on(Event::Woken), pause(5));
}

#[test]
fn nobody_asks_without_end_who_is_told_to_come_back_at_once() {
    let mut bench = Bench::new();
    bench.on(Event::Begun);
    let mut calls = 0;
    while let Step::Pause(time) = bench.on(throttled(0)) {
        assert_eq!(bench.after(time).on(Event::Woken), Step::List);
        calls += 1;
    }
    assert_eq!(bench.admission.reason(), Some(Reason::ListFailed));
    assert!(calls < 25, "{calls}");
}

#[test]
fn what_is_welcome_too_late_is_not_waited_for() {
    for (on_list_error, step) in [
        (OnListError::Forward, FORWARD),
        (OnListError::Reject, Step::Finish(Ending::Refused)),
    ] {
        let mut bench = Bench::new();
        bench.terms.on_list_error = on_list_error;
        assert_eq!(bench.run([Event::Begun, throttled(30)]), step);
        assert_eq!(bench.admission.reason(), Some(Reason::ListFailed));
    }
}

#[test]
fn a_limit_error_brings_no_call_that_is_not_welcome() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, throttled(60)]), FORWARD);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::ListFailed));
}

#[test]
fn r10_a_throttled_deletion_is_settled_by_looking_and_never_sent_again() {
    let mut bench = deleting();
    assert_eq!(bench.on(throttled(7)), pause(7));
    assert_eq!(bench.after(7 * SECOND).on(Event::Woken), Step::List);
    // It did not happen, most likely, and yet nobody can tell.
    assert_eq!(bench.on(listed(&["a", "b", "c"])), Step::Pause(200 * MS));
    bench.after(13 * SECOND).on(Event::Woken);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::DeletionUnsettled));

    let mut bench = deleting();
    bench.on(throttled(7));
    bench.after(7 * SECOND).on(Event::Woken);
    assert_eq!(bench.on(listed(&["b", "c"])), FORWARD);
    assert_eq!(bench.admission.evicted(), [id("a")]);
}

#[test]
fn r10_a_deletion_is_given_all_the_time_there_is_although_nobody_may_look() {
    let mut bench = deleting();
    assert_eq!(bench.on(Event::Deleted(Deletion::Accepted)), Step::List);
    assert_eq!(bench.on(throttled(60)), pause(30));
    assert_eq!(bench.after(30 * SECOND).on(Event::Woken), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::DeletionUnsettled));
    assert_eq!(bench.admission.unsettled(), Some(&id("a")));
}

#[test]
fn r4_nobody_waits_for_a_caller_who_left_or_for_the_end_of_the_program() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, throttled(7)]);
    bench.here.caller_gone = true;
    assert_eq!(bench.on(Event::Woken), Step::Finish(Ending::Abandoned));

    let mut bench = Bench::new();
    bench.run([Event::Begun, throttled(7)]);
    bench.here.stopping = true;
    assert_eq!(bench.on(Event::Woken), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::Stopping));

    // One past its first deletion sees itself through.
    let mut bench = deleting();
    bench.on(throttled(7));
    (bench.here.caller_gone, bench.here.stopping) = (true, true);
    assert_eq!(bench.on(Event::Woken), pause(7));
}

#[test]
fn looking_slows_down_while_few_calls_are_left_and_looks_when_it_is_decided() {
    let mut bench = deleting();
    bench.here.pace = 8 * SECOND;
    assert_eq!(bench.on(Event::Deleted(Deletion::Accepted)), Step::List);
    let waiting = || listed(&["a", "b", "c"]);
    assert_eq!(bench.on(waiting()), pause(8));
    bench.after(8 * SECOND).on(Event::Woken);
    assert_eq!(bench.on(waiting()), pause(8));
    bench.after(8 * SECOND).on(Event::Woken);
    // The settle time is over then.
    assert_eq!(bench.on(waiting()), pause(4));
    bench.after(4 * SECOND).on(Event::Woken);
    assert_eq!(bench.on(waiting()), FORWARD);
}

#[test]
fn what_vanished_before_anybody_could_look_made_the_room_that_was_missing() {
    let mut bench = deleting();
    bench.run([
        Event::Deleted(Deletion::Accepted),
        listed(&["a_deleted", "b", "c"]),
    ]);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    assert_eq!(bench.on(throttled(7)), pause(7));
    bench.after(7 * SECOND).on(Event::Woken);
    // With the tombstone gone there is room, and nobody else has to go.
    assert_eq!(bench.on(listed(&["b", "c"])), RETRY);
    bench.on(registered());
    assert!(bench.roster.tombstones_count);
}

//! The rules as tables: events in, steps out.

mod elsewhere;
mod knowledge;
mod memory;
mod policies;
mod reasons;
mod roster;
mod scale;
mod throttling;

use super::*;
use crate::admission::patterns::Patterns;
use crate::admission::policy::{Decided, Key, Standing, UnknownAge};

const MS: Duration = Duration::from_millis(1);

struct Bench {
    terms: Terms,
    roster: Roster,
    admission: Admission,
    here: Circumstances,
    now: Instant,
    /// Of the last intent; the steps themselves come without it, so that most tests need not care.
    why: Option<Why>,
}

/// What stands in a step for whatever decided.
const ONLY: Why = Why {
    decided: Decided::Last,
    tied: Vec::new(),
};

fn intent(victim: &str) -> Step {
    Step::RecordIntent(id(victim), ONLY)
}

fn id(name: &str) -> UserId {
    UserId::new(name)
}

fn listed(names: &[&str]) -> Event {
    Event::Listed(Some(names.iter().map(UserId::new).collect()))
}

fn registered() -> Event {
    Event::Replied(Reply::Registered(id("new")))
}

fn patterns(sources: &[&str]) -> Patterns {
    Patterns::new(&sources.iter().map(ToString::to_string).collect::<Vec<_>>())
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            terms: Terms {
                mode: Mode::Enforce,
                max_users: 3,
                on_list_error: OnListError::Forward,
                policy: Policy {
                    order: vec![Key::Oldest],
                    unknown_age: UnknownAge::Oldest,
                    evictable: patterns(&["*"]),
                    protect: patterns(&[]),
                    min_age: Duration::ZERO,
                    active_within: Duration::ZERO,
                },
                max_per_registration: 3,
                fuse: Fuse {
                    evictions: 60,
                    window: Duration::from_hours(1),
                },
                settle_timeout: Duration::from_secs(20),
                admission_timeout: Duration::from_secs(30),
            },
            roster: Roster::default(),
            admission: Admission::new(Some(id("new")), now),
            here: Circumstances {
                clock: Millis(1_000_000_000_000),
                ..Circumstances::default()
            },
            now,
            why: None,
        }
    }

    fn on(&mut self, event: Event) -> Step {
        let step = self
            .admission
            .on(event, self.now, self.here, &self.terms, &mut self.roster);
        let Step::RecordIntent(victim, why) = step else {
            return step;
        };
        self.why = Some(why);
        Step::RecordIntent(victim, ONLY)
    }

    /// Feeds the events in turn and returns the last step.
    fn run(&mut self, events: impl IntoIterator<Item = Event>) -> Step {
        events.into_iter().map(|event| self.on(event)).last().unwrap()
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.here.clock = self.here.clock.plus(time);
        self
    }

    fn next_registration(&mut self, name: &str) {
        self.admission = Admission::new(Some(id(name)), self.now);
    }
}

const FORWARD: Step = Step::Forward { retry: false };
const RETRY: Step = Step::Forward { retry: true };
const ANSWERED: Step = Step::Finish(Ending::Answered);

#[test]
fn a_free_slot_costs_a_list_and_the_registration() {
    let mut bench = Bench::new();
    assert_eq!(bench.on(Event::Begun), Step::List);
    assert_eq!(bench.on(listed(&["a", "b"])), FORWARD);
    assert_eq!(bench.on(registered()), ANSWERED);
}

#[test]
fn at_the_limit_the_first_goes_and_its_end_is_confirmed() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), intent("a"));
    assert_eq!(bench.on(Event::IntentRecorded(true)), Step::Delete(id("a")));
    assert_eq!(bench.on(Event::Deleted(Deletion::Accepted)), Step::List);
    assert_eq!(bench.on(listed(&["a_deleted", "b", "c"])), FORWARD);
    assert_eq!(bench.admission.evicted(), [id("a")]);
    assert_eq!(bench.on(registered()), ANSWERED);
}

#[test]
fn r3_a_confirmed_list_serves_the_next_admission_of_the_same_hold() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b"]), registered()]);
    bench.next_registration("newer");
    // `new` was registered since, and no list has named it yet.
    assert_eq!(bench.on(Event::Begun), intent("a"));
}

#[test]
fn r3_no_eviction_rests_on_a_list_over_two_seconds_old() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.after(2001 * MS);
    assert_eq!(bench.on(Event::IntentRecorded(true)), Step::List);
    assert_eq!(bench.admission.take_notes(), [Note::EvictionWithdrawn(id("a"))]);
}

#[test]
fn r3_a_failed_list_evicts_nobody() {
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, Event::Listed(None)]), FORWARD);
    let mut bench = Bench::new();
    bench.terms.on_list_error = OnListError::Reject;
    assert_eq!(
        bench.run([Event::Begun, Event::Listed(None)]),
        Step::Finish(Ending::Refused)
    );
}

#[test]
fn r3_an_unclear_registration_ends_the_trust_in_the_list() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b"]), Event::Replied(Reply::Unclear)]);
    bench.next_registration("newer");
    assert_eq!(bench.on(Event::Begun), Step::List);
}

#[test]
fn r4_nobody_is_evicted_in_vain() {
    let full = || [Event::Begun, listed(&["a", "b", "new"])];
    assert_eq!(Bench::new().run(full()), FORWARD);

    let mut no_id = Bench::new();
    no_id.admission = Admission::new(None, no_id.now);
    assert_eq!(no_id.on(Event::Begun), FORWARD);
    assert_eq!(no_id.on(Event::Replied(Reply::LimitReached)), ANSWERED);

    let mut gone = Bench::new();
    gone.here.caller_gone = true;
    assert_eq!(
        gone.run([Event::Begun, listed(&["a", "b", "c"])]),
        Step::Finish(Ending::Abandoned)
    );

    let mut stopping = Bench::new();
    stopping.here.stopping = true;
    assert_eq!(stopping.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
}

#[test]
fn r4_a_caller_that_leaves_between_intent_and_deletion_costs_nobody() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.here.caller_gone = true;
    assert_eq!(
        bench.on(Event::IntentRecorded(true)),
        Step::Finish(Ending::Abandoned)
    );
}

#[test]
fn an_admission_past_its_first_deletion_finishes_without_its_caller() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    bench.here.caller_gone = true;
    assert_eq!(
        bench.run([Event::Deleted(Deletion::Accepted), listed(&["b", "c"])]),
        FORWARD
    );
}

#[test]
fn r4_an_account_far_above_its_limit_loses_nobody() {
    let forty: Vec<String> = (0..40).map(|n| format!("user-{n}")).collect();
    let forty: Vec<&str> = forty.iter().map(String::as_str).collect();
    let mut bench = Bench::new();
    assert_eq!(bench.run([Event::Begun, listed(&forty)]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::TooManyOver));
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);
}

#[test]
fn r5_with_too_few_to_evict_nobody_is() {
    let mut bench = Bench::new();
    bench.terms.policy.protect = patterns(&["b", "c", "d"]);
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c", "d"])]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::NobodyEvictable));
}

#[test]
fn r7_an_intent_that_cannot_be_recorded_deletes_nobody() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    assert_eq!(bench.on(Event::IntentRecorded(false)), FORWARD);
}

#[test]
fn r9_a_limit_error_is_retried_once_after_making_room() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b"])]);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    assert_eq!(bench.on(listed(&["a", "b"])), intent("a"));
    bench.run([Event::IntentRecorded(true), Event::Deleted(Deletion::Accepted)]);
    assert_eq!(bench.on(listed(&["b"])), RETRY);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);
    assert_eq!(bench.admission.evicted(), [id("a")]);
}

#[test]
fn r9_where_tombstones_take_slots_they_are_waited_for_and_remembered() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "x_deleted", "b"]),
        Event::Replied(Reply::LimitReached),
    ]);
    assert!(matches!(
        bench.on(listed(&["a", "x_deleted", "b"])),
        Step::Pause(_)
    ));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b"])]), RETRY);
    bench.on(registered());

    bench.next_registration("newer");
    bench.roster.forget_list();
    assert!(matches!(
        bench.run([Event::Begun, listed(&["a", "y_deleted", "new"])]),
        Step::Pause(_)
    ));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "new"])]), FORWARD);
}

#[test]
fn a_tombstone_that_only_grew_old_freed_nothing() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "x_deleted", "b"]),
        Event::Replied(Reply::LimitReached),
    ]);
    bench.on(listed(&["a", "x_deleted", "b"]));
    bench.after(Duration::from_secs(20));
    assert_eq!(
        bench.run([Event::Woken, listed(&["a", "x_deleted", "b"])]),
        ANSWERED
    );
    assert!(!bench.admission.retried());
}

#[test]
fn r10_an_unclear_deletion_is_settled_by_looking() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    assert_eq!(bench.on(Event::Deleted(Deletion::Unclear)), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), Step::Pause(100 * MS));
    assert_eq!(bench.on(Event::Woken), Step::List);
    assert_eq!(bench.on(Event::Listed(None)), Step::Pause(200 * MS));
    bench.after(Duration::from_secs(20));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::DeletionUnsettled));
    assert_eq!(bench.admission.take_notes(), [Note::EvictionUnsettled(id("a"))]);
}

#[test]
fn r10_a_plain_refusal_frees_the_next_and_a_rejection_nobody() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    assert_eq!(bench.on(Event::Deleted(Deletion::Refused)), intent("b"));
    bench.on(Event::IntentRecorded(true));
    assert_eq!(bench.on(Event::Deleted(Deletion::Rejected)), FORWARD);
}

#[test]
fn r10_after_a_deletion_that_did_not_happen_a_limit_error_takes_no_second_victim() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
        Event::Deleted(Deletion::Unclear),
    ]);
    bench.after(Duration::from_secs(20));
    assert_eq!(bench.on(listed(&["a", "b", "c"])), FORWARD);
    // It may still happen, and is waited for.
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), Step::Pause(100 * MS));
    bench.after(Duration::from_secs(10));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::DeletionUnsettled));
}

#[test]
fn r10_an_unresolved_deletion_is_settled_before_anything_else() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    bench.on(Event::Deleted(Deletion::Unclear));
    bench.after(Duration::from_secs(10));
    bench.admission.arrived -= Duration::from_secs(20);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), FORWARD);
    bench.on(Event::Replied(Reply::Other));

    bench.next_registration("newer");
    assert!(matches!(
        bench.run([Event::Begun, listed(&["a", "b", "c"])]),
        Step::Pause(_)
    ));
    assert_eq!(bench.run([Event::Woken, listed(&["b", "c"])]), FORWARD);
    assert!(bench.admission.evicted().is_empty());
}

#[test]
fn observe_decides_and_deletes_nobody() {
    let mut bench = Bench::new();
    bench.terms.mode = Mode::Observe;
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), FORWARD);
    let why = Why {
        decided: Decided::Key(Key::Oldest, Standing::AgeUnknown { place: 1 }),
        tied: Vec::new(),
    };
    assert_eq!(bench.admission.take_notes(), [Note::WouldEvict(id("a"), why)]);
}

#[test]
fn on_limit_error_counts_nothing_ahead() {
    let mut bench = Bench::new();
    bench.terms.mode = Mode::OnLimitError;
    assert_eq!(bench.on(Event::Begun), FORWARD);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    let many = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(bench.on(listed(&many)), intent("a"));
}

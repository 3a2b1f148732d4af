//! What is remembered between admissions, how it reaches the policy, and how many evictions the fuse lets through.

use super::*;
use crate::admission::known::{Known, Source};

const INTENT: Event = Event::IntentRecorded(true);
const MINUTE: Duration = Duration::from_mins(1);

fn known(first_seen: Millis) -> Known {
    Known {
        first_seen,
        ..Known::default()
    }
}

fn of(users: &[(&str, Known)]) -> Vec<(UserId, Known)> {
    users.iter().map(|(name, known)| (id(name), *known)).collect()
}

impl Bench {
    /// A moment before now.
    fn ago(&self, time: Duration) -> Millis {
        self.here.clock.minus(time)
    }

    fn registered_ago(&self, time: Duration) -> Known {
        Known {
            registered: Some((self.ago(time), Source::Own)),
            ..known(self.ago(time))
        }
    }

    /// One registration that has somebody evicted, or not, and the last step before its answer.
    fn admits(&mut self, name: &str, list: &[&str]) -> Step {
        self.roster.forget_list();
        self.next_registration(name);
        let step = self.run([Event::Begun, listed(list)]);
        if let Step::RecordIntent(victim, _) = &step {
            let left: Vec<&str> = list.iter().copied().filter(|id| *id != victim.as_str()).collect();
            let forward = self.run([INTENT, Event::Deleted(Deletion::Accepted), listed(&left)]);
            assert_eq!(forward, FORWARD);
        }
        self.on(Event::Replied(Reply::Other));
        step
    }
}

#[test]
fn what_the_registry_remembers_decides() {
    let mut bench = Bench::new();
    let users = [
        ("a", bench.registered_ago(MINUTE)),
        ("b", bench.registered_ago(5 * MINUTE)),
        ("c", bench.registered_ago(3 * MINUTE)),
    ];
    bench.roster.remember(of(&users), Vec::new());
    assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c"])]), intent("b"));
    let registered = Standing::Registered(bench.ago(5 * MINUTE));
    let why = bench.why.unwrap();
    assert_eq!(why.decided, Decided::Key(Key::Oldest, registered));
}

#[test]
fn r5_by_hand_by_age_and_by_activity_they_stay() {
    let mut bench = Bench::new();
    bench.terms.policy.min_age = 2 * MINUTE;
    bench.terms.policy.active_within = 3 * MINUTE;
    let old = bench.registered_ago(9 * MINUTE);
    let users = [
        (
            "by-hand",
            Known {
                protected: true,
                ..old
            },
        ),
        ("young", bench.registered_ago(MINUTE)),
        (
            "active",
            Known {
                last_active: Some(bench.ago(MINUTE)),
                ..old
            },
        ),
        ("just-seen", known(bench.ago(MINUTE))),
        ("idle", bench.registered_ago(4 * MINUTE)),
    ];
    bench.roster.remember(of(&users), Vec::new());
    bench.terms.max_users = users.len();
    let list = listed(&users.map(|(name, _)| name));
    assert_eq!(bench.run([Event::Begun, list]), intent("idle"));
}

#[test]
fn r5_a_user_that_nobody_remembers_is_as_young_as_its_first_sight() {
    let mut bench = Bench::new();
    bench.terms.policy.min_age = MINUTE;
    bench.roster.remember(Vec::new(), Vec::new());
    assert_eq!(bench.admits("d", &["a", "b", "c"]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::NobodyEvictable));
    bench.after(MINUTE);
    assert_eq!(bench.admits("d", &["a", "b", "c"]), intent("a"));
}

#[test]
fn whom_we_registered_is_young_although_the_registry_missed_it() {
    let mut bench = Bench::new();
    bench.next_registration("a");
    bench.run([
        Event::Begun,
        listed(&["b", "c"]),
        Event::Replied(Reply::Registered(id("a"))),
    ]);
    bench.roster.remember(
        of(&[("b", bench.registered_ago(MINUTE)), ("a", known(Millis(0)))]),
        Vec::new(),
    );
    assert_eq!(
        bench.roster.candidates(bench.here.clock).last().unwrap().id,
        id("a")
    );
    bench.after(Duration::from_secs(3));
    assert_eq!(bench.admits("d", &["a", "b"]), FORWARD);
    bench.terms.max_users = 2;
    assert_eq!(bench.admits("e", &["a", "b"]), intent("b"));
}

#[test]
fn r14_without_its_memory_it_evicts_nobody() {
    let mut bench = Bench::new();
    bench.here.knows = false;
    assert_eq!(bench.admits("new", &["a", "b", "c"]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::RegistryDown));
    assert!(Reason::RegistryDown.wants_attention());

    bench.here.knows = true;
    bench.next_registration("newer");
    bench.roster.forget_list();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.here.knows = false;
    assert_eq!(bench.on(INTENT), FORWARD);
    assert_eq!(bench.admission.take_notes(), [Note::EvictionWithdrawn(id("a"))]);
    assert!(bench.roster.deletions().is_empty());
}

#[test]
fn r6_a_blown_fuse_deletes_nobody_and_closes_by_itself() {
    let mut bench = Bench::new();
    bench.terms.fuse.evictions = 2;
    let began = bench.here.clock;
    assert_eq!(bench.admits("n1", &["a", "b", "c"]), intent("a"));
    bench.after(25 * MINUTE);
    assert_eq!(bench.roster.blown_until(bench.terms.fuse, bench.here.clock), None);
    assert_eq!(bench.admits("n2", &["b", "c", "d"]), intent("b"));
    bench.after(25 * MINUTE);
    assert_eq!(bench.admits("n3", &["c", "d", "e"]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::FuseBlown));
    let closes = bench.roster.blown_until(bench.terms.fuse, bench.here.clock);
    assert_eq!(closes, Some(began.plus(60 * MINUTE)));

    // Nor after a limit error.
    bench.next_registration("n4");
    bench.run([
        Event::Begun,
        listed(&["c", "d"]),
        Event::Replied(Reply::LimitReached),
    ]);
    assert_eq!(bench.on(listed(&["c", "d"])), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::FuseBlown));

    bench.after(10 * MINUTE);
    assert_eq!(bench.admits("n5", &["c", "d", "e"]), intent("c"));
}

#[test]
fn r6_what_other_replicas_deleted_counts_and_half_of_the_room_is_not_made() {
    let mut bench = Bench::new();
    bench.terms.fuse.evictions = 3;
    bench
        .roster
        .remember(Vec::new(), vec![bench.ago(MINUTE), bench.ago(2 * MINUTE)]);
    assert_eq!(bench.admits("n1", &["a", "b", "c", "d"]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::FuseBlown));
    assert_eq!(bench.admits("n2", &["a", "b", "c"]), intent("a"));
}

#[test]
fn r6_an_intent_that_was_withdrawn_or_refused_does_not_count() {
    let mut bench = Bench::new();
    bench.terms.fuse.evictions = 1;
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.after(Duration::from_secs(3));
    // The list is too old: withdrawn, and looked anew.
    assert_eq!(bench.on(INTENT), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), intent("a"));
    bench.on(INTENT);
    assert_eq!(bench.on(Event::Deleted(Deletion::Refused)), intent("b"));
    bench.on(INTENT);
    assert_eq!(bench.roster.deletions(), [bench.here.clock]);
    // Unclear counts.
    bench.on(Event::Deleted(Deletion::Unclear));
    assert_eq!(bench.roster.deletions().len(), 1);
}

#[test]
fn newly_seen_are_those_that_were_not_remembered() {
    let mut bench = Bench::new();
    bench.terms.max_users = 9;
    bench.roster.remember(of(&[("a", known(Millis(0)))]), Vec::new());
    bench.run([Event::Begun, listed(&["a", "b", "x_deleted", "c"])]);
    assert_eq!(bench.roster.take_newly_seen(), [id("b"), id("c")]);
    bench.on(Event::Replied(Reply::Registered(id("new"))));
    bench.admits("newer", &["a", "b", "c", "new", "d"]);
    assert_eq!(bench.roster.take_newly_seen(), [id("d")]);
    let (now, clock) = (bench.now, bench.here.clock);
    bench
        .roster
        .note_seen(&[id("e"), id("a")], &[id("y_deleted")], false, now, clock);
    assert_eq!(bench.roster.take_newly_seen(), [id("e")]);
    bench.roster.note_seen(&[id("f")], &[], true, now, clock);
    assert!(bench.roster.take_newly_seen().is_empty());
}

#[test]
fn vanished_is_who_is_missing_from_every_list_for_the_settle_time() {
    let mut bench = Bench::new();
    let everybody = [
        ("a", known(Millis(0))),
        ("b", known(Millis(0))),
        ("c", known(Millis(0))),
    ];
    bench.roster.remember(of(&everybody), Vec::new());
    bench.admits("n", &["a"]);
    // However long ago, one list proves nothing.
    bench.after(MINUTE);
    assert!(bench.roster.take_vanished(bench.now).is_empty());
    bench.roster.remember(of(&everybody), Vec::new());
    bench.admits("n", &["a", "b"]);
    assert_eq!(bench.roster.take_vanished(bench.now), [id("c")]);
    bench.after(MINUTE);
    bench.admits("n", &["a"]);
    // It is missing anew.
    assert!(bench.roster.take_vanished(bench.now).is_empty());
    bench.after(MINUTE);
    bench.admits("n", &["a"]);
    // That was long ago.
    assert!(bench.roster.take_vanished(bench.now + MINUTE).is_empty());
    assert_eq!(bench.roster.take_vanished(bench.now), [id("b")]);
}

#[test]
fn whom_a_list_misses_for_once_was_seen_before() {
    let mut bench = Bench::new();
    bench.terms.policy.min_age = 3 * MINUTE;
    for list in [["a", "b", "c"].as_slice(), &["b", "c"], &["a", "b", "c"]] {
        assert_eq!(bench.admits("new", list), FORWARD);
        bench.after(MINUTE);
    }
    assert_eq!(bench.admits("new", &["a", "b", "c"]), intent("a"));
}

#[test]
fn who_was_missing_until_we_registered_it_has_not_vanished() {
    let mut bench = Bench::new();
    bench
        .roster
        .remember(of(&[("new", known(Millis(0)))]), Vec::new());
    bench.admits("n", &["a"]);
    bench.after(MINUTE);
    bench.roster.forget_list();
    bench.next_registration("new");
    bench.run([Event::Begun, listed(&["a"]), registered()]);
    assert!(bench.roster.take_vanished(bench.now).is_empty());
}

#[test]
fn whom_we_just_registered_has_not_vanished() {
    let mut bench = Bench::new();
    bench.on(Event::Begun);
    bench.run([listed(&["a"]), Event::Replied(Reply::Registered(id("new")))]);
    bench.after(Duration::from_secs(10));
    bench.admits("newer", &["a"]);
    assert!(bench.roster.take_vanished(bench.now).is_empty());
    assert!(bench.roster.lists(&id("new")));
}

#[test]
fn r5_an_id_that_is_protected_by_hand_stays_so_when_it_is_registered_anew() {
    let mut bench = Bench::new();
    let by_hand = Known {
        protected: true,
        ..known(bench.ago(MINUTE))
    };
    bench.roster.remember(of(&[("new", by_hand)]), Vec::new());
    bench.run([Event::Begun, listed(&["b"]), registered()]);
    let candidates = bench.roster.candidates(bench.here.clock);
    let new = candidates.last().unwrap();
    assert_eq!((&new.id, new.known.protected), (&id("new"), true));
    assert_eq!(new.known.first_seen, bench.here.clock);
}

#[test]
fn people_see_the_whole_roster() {
    let mut bench = Bench::new();
    bench.on(Event::Begun);
    bench.run([
        listed(&["a", "", "x_deleted"]),
        Event::Replied(Reply::Registered(id("new"))),
    ]);
    let candidates = bench.roster.candidates(bench.here.clock);
    let shown: Vec<(&str, bool)> = candidates
        .iter()
        .map(|user| (user.id.as_str(), user.is_listed))
        .collect();
    assert_eq!(shown, [("a", true), ("", true), ("new", false)]);
    let known = candidates[2].known;
    assert_eq!(known.registered, Some((bench.here.clock, Source::Own)));
    let ranking = bench.terms.policy.ranking(&candidates, bench.here.clock);
    assert_eq!(ranking[0].user, id("a"));
    assert_eq!(ranking.len(), 3);
}

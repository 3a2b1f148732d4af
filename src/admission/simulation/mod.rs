//! Many admissions against a model of SnapTrade, from one seed, with the rules checked at every step.
//!
//! `SIMULATION_SEED=n cargo test --lib simulation` replays one seed, printing its steps; `SIMULATION_SEEDS=n` runs so many.

mod checks;
mod scene;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::known::{Known, Source};
use super::roster::Roster;
use super::*;
use world::{Dice, World};

const SEEDS: u64 = 12_000;
/// What the clock on the wall shows at first.
const CLOCK: Millis = Millis(1_700_000_000_000);
const STEPS_MAX: usize = 400;

struct Caller {
    newcomer: UserId,
    arrives: Instant,
    leaves: Option<Instant>,
}

/// What the rules need to remember about the lock's present hold.
#[derive(Default)]
struct Witness {
    /// The last good list, when it was fetched, and whether anything unclear happened since.
    list: Option<(Instant, Vec<UserId>)>,
    intent: Option<UserId>,
    open_deletion: Option<(Instant, UserId)>,
    /// When the application last deleted somebody itself, and all whom it did.
    doubted: Option<Instant>,
    departed: Vec<UserId>,
    /// When deletions were sent that were not refused.
    deletions: Vec<Millis>,
}

/// What the rules need to remember about one admission.
#[derive(Default)]
struct Course {
    /// Deletions that took effect, or may have.
    deleted: usize,
    /// SnapTrade itself said that there is no room.
    limit_hit: bool,
    /// A deletion was rejected, so that none may follow.
    rejected: bool,
    /// Whom SnapTrade would not delete.
    refused: Vec<UserId>,
}

struct Run {
    dice: Dice,
    world: World,
    terms: Terms,
    roster: Roster,
    witness: Witness,
    /// What is remembered, as whoever drives the machine keeps it.
    registry: BTreeMap<UserId, Known>,
    began: Instant,
    /// Whether it could be read at the beginning of this hold of the lock.
    knows: bool,
    stops_at: Option<Instant>,
    /// When SnapTrade takes the next call.
    welcome: Instant,
    /// Few calls are left: how much of a pause is asked for.
    pace: Duration,
    deletions: usize,
    registered: usize,
    verbose: bool,
}

impl Run {
    fn all(&mut self) {
        let (clean, free) = (
            self.is_clean(),
            self.terms.max_users.saturating_sub(self.world.live()),
        );
        let mut queue = self.callers();
        let count = queue.len();
        self.take_lock();
        while let Some(caller) = queue.pop_front() {
            if self.world.now < caller.arrives {
                // Nobody waited: the lock was let go, and with it the list.
                self.pass(caller.arrives - self.world.now);
                self.take_lock();
            }
            self.one(&caller);
        }
        if clean {
            assert_eq!(self.registered, count, "R8: everybody is registered");
            assert_eq!(
                self.deletions,
                count.saturating_sub(free),
                "R8: one eviction for each slot"
            );
            assert!(
                self.world.most_live <= self.terms.max_users,
                "R8: never more users than the limit"
            );
        }
    }

    fn clock(&self) -> Millis {
        CLOCK.plus(self.world.now - self.began)
    }

    /// A hold of the lock begins, with what is remembered. Meanwhile users may have called.
    fn take_lock(&mut self) {
        self.roster.forget_list();
        self.witness.list = None;
        let clock = self.clock();
        for known in self.registry.values_mut() {
            if self.dice.percent(20) {
                known.last_active = Some(clock);
                known.calls += 1;
            }
        }
        let others = self.world.nature.other_hands;
        if self.dice.percent(others) {
            // By another replica, which had the lock meanwhile.
            self.witness.deletions.push(clock);
        }
        self.knows = !self.dice.percent(self.world.nature.faults / 2);
        if self.knows {
            let known = self.registry.iter().map(|(id, known)| (id.clone(), *known));
            self.roster
                .remember(known.collect(), self.witness.deletions.clone());
        }
    }

    /// Writes down what a step told of the users.
    fn write_down(&mut self, admission: &mut Admission) {
        let clock = self.clock();
        for note in admission.take_notes() {
            if let Note::Evicted(victim) = note {
                self.registry.remove(&victim);
            }
        }
        for id in self.roster.take_newly_seen() {
            self.registry.entry(id).or_insert(Known {
                first_seen: clock,
                ..Known::default()
            });
        }
        for id in self.roster.take_vanished(self.world.now) {
            self.registry.remove(&id);
        }
    }

    fn one(&mut self, caller: &Caller) {
        let mut admission = Admission::new(Some(caller.newcomer.clone()), caller.arrives);
        self.pace = if self.dice.percent(20) {
            self.dice.millis(10_000)
        } else {
            Duration::ZERO
        };
        // Whoever comes next asks for itself.
        self.welcome = self.world.now;
        let (mut event, mut sent, mut course) = (Event::Begun, 0, Course::default());
        for _ in 0..STEPS_MAX {
            let here = self.here(caller);
            let step = admission.on(event.clone(), self.world.now, here, &self.terms, &mut self.roster);
            self.write_down(&mut admission);
            if self.verbose {
                eprintln!("{:?} {event:?} {here:?} -> {step:?}", caller.newcomer);
            }
            event = match step {
                Step::List => self.list(),
                Step::Pause(time) => {
                    self.check_pause(time, caller);
                    self.pass(time);
                    Event::Woken
                }
                Step::RecordIntent(victim, _) => {
                    self.check_choice(&victim, &course);
                    let slow = if self.dice.percent(10) { 1700 } else { 0 };
                    let time = Duration::from_millis(slow) + self.dice.millis(400);
                    self.pass(time);
                    let recorded = !self.dice.percent(self.world.nature.faults / 4);
                    self.witness.intent = recorded.then_some(victim);
                    Event::IntentRecorded(recorded)
                }
                Step::Delete(victim) => {
                    self.check_deletion(&victim, caller, here);
                    self.check_need(&course);
                    self.delete(victim, &mut course)
                }
                Step::Forward { retry } => {
                    sent += 1;
                    assert_eq!(retry, sent == 2, "R9: sent at most twice");
                    assert!(!retry || course.limit_hit, "R9: only a limit error is retried");
                    let reply = self.register(caller);
                    course.limit_hit = reply == Reply::LimitReached;
                    Event::Replied(reply)
                }
                Step::Finish(ending) => {
                    assert!(
                        ending != Ending::Abandoned || course.deleted == 0,
                        "nobody is deleted for nothing"
                    );
                    assert!(ending != Ending::Answered || sent > 0);
                    return;
                }
            };
        }
        panic!("an admission did not end");
    }

    fn here(&self, caller: &Caller) -> Circumstances {
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= self.world.now);
        Circumstances {
            caller_gone: past(caller.leaves),
            stopping: past(self.stops_at),
            clock: self.clock(),
            knows: self.knows,
            pace: self.pace,
        }
    }

    /// Lets time pass, in which the application may delete somebody itself.
    fn pass(&mut self, time: Duration) {
        if let Some(departed) = self.world.pass(time, &mut self.dice) {
            let now = self.world.now;
            self.witness.doubted = Some(now);
            self.witness
                .open_deletion
                .take_if(|(_, victim)| *victim == departed);
            self.registry.remove(&departed);
            self.roster.removed(&departed, now);
            self.roster.doubt(now);
            self.witness.departed.push(departed);
        }
    }

    fn list(&mut self) -> Event {
        assert!(self.world.now >= self.welcome, "no call before it is welcome");
        if let Some(wait) = self.world.throttles(&mut self.dice) {
            self.witness.list = None;
            self.welcome = self.world.now + wait;
            return Event::Throttled(wait);
        }
        let entries = self.world.list(&mut self.dice);
        let asked = self.world.now;
        if self.world.nature.faults > 0 {
            let slow = if self.dice.percent(10) { 4000 } else { 100 };
            let time = self.dice.millis(slow);
            self.pass(time);
        }
        self.witness.list = entries
            .clone()
            .filter(|list| !list.is_empty())
            .map(|list| (asked, list));
        if let (Some((_, victim)), Some(list)) = (&self.witness.open_deletion, &entries)
            && !list.contains(victim)
        {
            self.witness.open_deletion = None;
        }
        Event::Listed(entries)
    }

    fn delete(&mut self, victim: UserId, course: &mut Course) -> Event {
        assert!(self.world.now >= self.welcome, "no call before it is welcome");
        let sent = self.world.now;
        let clock = self.clock();
        // Most likely it was not done then, but that is nowhere written.
        let throttled = if self.world.nature.faults > 0 {
            self.world.throttles(&mut self.dice)
        } else {
            None
        };
        let deletion = match throttled {
            Some(_) if self.dice.percent(80) => Deletion::Unclear,
            Some(_) => {
                self.world.delete(&victim, &mut self.dice);
                Deletion::Unclear
            }
            None => self.world.delete(&victim, &mut self.dice),
        };
        let time = self.dice.millis(300);
        self.pass(time);
        course.rejected |= deletion == Deletion::Rejected;
        if matches!(deletion, Deletion::Accepted | Deletion::Unclear) {
            course.deleted += 1;
            self.deletions += 1;
            self.witness.deletions.push(clock);
            self.witness.open_deletion = Some((sent, victim));
            self.witness.list = None;
        } else if deletion != Deletion::Unsent {
            course.refused.push(victim);
        }
        if let Some(wait) = throttled {
            self.welcome = sent + wait;
            return Event::Throttled(wait.saturating_sub(self.world.now - sent));
        }
        Event::Deleted(deletion)
    }

    fn register(&mut self, caller: &Caller) -> Reply {
        let time = self.dice.millis(300);
        self.pass(time);
        let reply = self.world.register(&caller.newcomer, &mut self.dice);
        match reply {
            Reply::Registered(_) => {
                self.registered += 1;
                let clock = self.clock();
                let known = self.registry.entry(caller.newcomer.clone()).or_default();
                *known = Known {
                    first_seen: clock,
                    registered: Some((clock, Source::Own)),
                    protected: known.protected,
                    ..Known::default()
                };
                if let Some((_, list)) = &mut self.witness.list {
                    list.push(caller.newcomer.clone());
                }
            }
            Reply::Unclear | Reply::LimitReached => self.witness.list = None,
            Reply::Other => {}
        }
        reply
    }
}

#[test]
fn simulation_of_many_seeds() {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        return Run::new(seed.parse().expect("SIMULATION_SEED is a number"), true).all();
    }
    let seeds = std::env::var("SIMULATION_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| Run::new(seed, false).all());
        assert!(
            run.is_ok(),
            "replay with: SIMULATION_SEED={seed} cargo test --lib simulation -- --nocapture"
        );
    }
}

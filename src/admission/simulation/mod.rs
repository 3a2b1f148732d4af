//! Many admissions against a model of SnapTrade, from one seed, with the rules checked at every step.
//!
//! `SIMULATION_SEED=n cargo test --lib simulation` replays one seed, printing its steps.

mod world;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::policy::{Mode, OnListError, Patterns, Policy};
use super::roster::{LIST_AGE_MAX, Roster};
use super::*;
use world::{Dice, Nature, World};

const SEEDS: u64 = 12_000;
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
}

struct Run {
    dice: Dice,
    world: World,
    terms: Terms,
    roster: Roster,
    witness: Witness,
    stops_at: Option<Instant>,
    deletions: usize,
    registered: usize,
    verbose: bool,
}

fn patterns(sources: &[&str]) -> Patterns {
    Patterns::new(&sources.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

impl Run {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut dice = Dice::new(seed);
        let clean = dice.percent(40);
        let max_users = dice.pick([1, 2, 3, 4, 5, 6]);
        // SnapTrade may allow more than the tenant's owner does.
        let limit = max_users + dice.pick([0, 0, 1, 3]);
        let nature = Nature {
            limit,
            tombstones_count: dice.percent(40),
            delete_lag: dice.millis(2000),
            settle: dice.millis(if clean { 8_000 } else { 30_000 }),
            list_lag: if clean { Duration::ZERO } else { dice.millis(1500) },
            faults: if clean { 0 } else { dice.below(30) },
            other_hands: if clean { 0 } else { dice.below(10) },
        };
        let modes = [Mode::Enforce, Mode::Enforce, Mode::OnLimitError, Mode::Observe];
        let mode = if clean { Mode::Enforce } else { dice.pick(modes) };
        let protect = if clean {
            patterns(&[])
        } else {
            patterns(&["vip-*"])
        };
        let terms = Terms {
            mode,
            max_users,
            on_list_error: if dice.percent(50) {
                OnListError::Forward
            } else {
                OnListError::Reject
            },
            policy: Policy {
                evictable: patterns(&["*"]),
                protect,
                min_age: Duration::ZERO,
            },
            max_per_registration: 3,
            settle_timeout: Duration::from_secs(20),
            admission_timeout: Duration::from_secs(if clean { 36_000 } else { 30 }),
        };
        let now = Instant::now();
        let there = if clean {
            dice.below(max_users as u64 + 1)
        } else {
            dice.below(max_users as u64 + 6)
        };
        let name = |n| {
            UserId::new(if n % 3 == 2 {
                format!("vip-{n}")
            } else {
                format!("user-{n}")
            })
        };
        let world = World::new(nature, now, (0..there).map(name));
        let stops_at = (!clean && dice.percent(10)).then(|| now + dice.millis(20_000));
        let (roster, witness) = (Roster::default(), Witness::default());
        Self {
            dice,
            world,
            terms,
            roster,
            witness,
            stops_at,
            deletions: 0,
            registered: 0,
            verbose,
        }
    }

    fn is_clean(&self) -> bool {
        self.world.nature.faults == 0
            && self.world.nature.other_hands == 0
            && self.terms.mode == Mode::Enforce
            && self.world.nature.list_lag == Duration::ZERO
            && self.stops_at.is_none()
            && self.terms.admission_timeout > Duration::from_secs(30)
    }

    fn callers(&mut self) -> VecDeque<Caller> {
        let clean = self.is_clean();
        let mut arrives = self.world.now;
        (0..=self.dice.below(9))
            .map(|n| {
                arrives += if self.dice.percent(60) {
                    Duration::ZERO
                } else {
                    self.dice.millis(3000)
                };
                let known = !clean && self.dice.percent(10);
                let newcomer = UserId::new(if known {
                    format!("user-{n}")
                } else {
                    format!("new-{n}")
                });
                let leaves = (!clean && self.dice.percent(20)).then(|| arrives + self.dice.millis(5000));
                Caller {
                    newcomer,
                    arrives,
                    leaves,
                }
            })
            .collect()
    }

    fn all(&mut self) {
        let (clean, free) = (
            self.is_clean(),
            self.terms.max_users.saturating_sub(self.world.live()),
        );
        let mut queue = self.callers();
        let count = queue.len();
        while let Some(caller) = queue.pop_front() {
            if self.world.now < caller.arrives {
                // Nobody waited: the lock was let go, and with it the list.
                self.roster.forget_list();
                self.witness.list = None;
                self.pass(caller.arrives - self.world.now);
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

    fn one(&mut self, caller: &Caller) {
        let mut admission = Admission::new(Some(caller.newcomer.clone()), caller.arrives);
        let (mut event, mut sent, mut course) = (Event::Begun, 0, Course::default());
        for _ in 0..STEPS_MAX {
            let here = self.here(caller);
            let step = admission.on(event.clone(), self.world.now, here, &self.terms, &mut self.roster);
            if self.verbose {
                eprintln!("{:?} {event:?} {here:?} -> {step:?}", caller.newcomer);
            }
            event = match step {
                Step::List => self.list(),
                Step::Pause(time) => {
                    assert!(time <= Duration::from_secs(2));
                    self.pass(time);
                    Event::Woken
                }
                Step::RecordIntent(victim) => {
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
            self.roster.removed(&departed, now);
            self.roster.doubt(now);
            self.witness.departed.push(departed);
        }
    }

    fn list(&mut self) -> Event {
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

    fn check_deletion(&mut self, victim: &UserId, caller: &Caller, here: Circumstances) {
        let now = self.world.now;
        assert_eq!(
            self.witness.intent.take().as_ref(),
            Some(victim),
            "R7: intent before deed"
        );
        let (at, list) = self
            .witness
            .list
            .as_ref()
            .expect("R3: no eviction without a confirmed list");
        assert!(now - *at <= LIST_AGE_MAX, "R3: a list at most two seconds old");
        assert!(
            self.witness.doubted.is_none_or(|doubted| *at >= doubted),
            "R3: no change since that is known of"
        );
        assert!(list.contains(victim), "R3: a victim is a listed user");
        assert!(
            !list.contains(&caller.newcomer) || self.witness.departed.contains(&caller.newcomer),
            "R4: the newcomer is not on the roster"
        );
        assert!(!here.caller_gone && !here.stopping, "R4: not in vain");
        assert!(
            !victim.as_str().starts_with("vip-") || self.is_clean(),
            "R5: protected"
        );
        assert!(self.terms.mode != Mode::Observe, "observe deletes nobody");
        let settled = |(since, _): &(Instant, UserId)| now >= *since + self.terms.settle_timeout;
        assert!(
            self.witness.open_deletion.as_ref().is_none_or(settled),
            "R10: one unresolved deletion"
        );
    }

    /// Without another hand, what the machine knows is what is so: then nobody goes while there is room.
    fn check_need(&self, course: &Course) {
        assert!(!course.rejected, "R10: none after one that was rejected");
        assert!(
            course.deleted < self.terms.max_per_registration,
            "R4: bounded evictions"
        );
        let undisturbed = self.world.nature.other_hands == 0 && self.terms.mode == Mode::Enforce;
        if undisturbed && !course.limit_hit {
            let over = (self.world.live() + 1).saturating_sub(self.terms.max_users);
            assert!(over > 0, "R4: nobody goes while there is room");
            let all_listed = self.world.nature.list_lag == Duration::ZERO;
            assert!(
                !all_listed || over + course.deleted <= self.terms.max_per_registration,
                "R4: an account far above its limit loses nobody"
            );
        }
    }

    fn delete(&mut self, victim: UserId, course: &mut Course) -> Event {
        let sent = self.world.now;
        let deletion = self.world.delete(&victim, &mut self.dice);
        let time = self.dice.millis(300);
        self.pass(time);
        course.rejected |= deletion == Deletion::Rejected;
        if matches!(deletion, Deletion::Accepted | Deletion::Unclear) {
            course.deleted += 1;
            self.deletions += 1;
            self.witness.open_deletion = Some((sent, victim));
            self.witness.list = None;
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
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| Run::new(seed, false).all());
        assert!(
            run.is_ok(),
            "replay with: SIMULATION_SEED={seed} cargo test --lib simulation -- --nocapture"
        );
    }
}

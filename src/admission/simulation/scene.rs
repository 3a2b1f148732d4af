//! What a seed begins with: SnapTrade, the tenant's terms, who is there and what is remembered of them, who comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::world::{Dice, Nature, World};
use super::{CLOCK, Caller, Run, Witness};
use crate::admission::Terms;
use crate::admission::fuse::Fuse;
use crate::admission::known::{Known, Source};
use crate::admission::patterns::Patterns;
use crate::admission::policy::{Key, Mode, OnListError, Policy, UnknownAge};
use crate::admission::roster::Roster;
use crate::types::UserId;

fn patterns(sources: &[&str]) -> Patterns {
    Patterns::new(&sources.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Half of the seeds that are not clean have a fuse so small that it blows.
fn terms(dice: &mut Dice, clean: bool, mode: Mode, max_users: usize) -> Terms {
    let span = |dice: &mut Dice| {
        if clean || dice.percent(60) {
            Duration::ZERO
        } else {
            dice.millis(20_000)
        }
    };
    let on_list_error = if dice.percent(50) {
        OnListError::Forward
    } else {
        OnListError::Reject
    };
    let others = [Key::LeastRecentlyActive, Key::NeverActive, Key::LeastActive];
    let unknown_age = dice.pick(UnknownAge::ALL);
    let policy = Policy {
        order: vec![dice.pick(others), Key::Oldest],
        unknown_age: if clean { UnknownAge::Oldest } else { unknown_age },
        evictable: patterns(&["*"]),
        protect: patterns(if clean { &[] } else { &["vip-*"] }),
        min_age: span(dice),
        active_within: span(dice),
    };
    let evictions = dice.pick([1, 2, 3, 4]);
    let small = !clean && dice.percent(50);
    Terms {
        mode,
        max_users,
        on_list_error,
        policy,
        max_per_registration: 3,
        fuse: Fuse {
            evictions: if small { evictions } else { 60 },
            window: Duration::from_secs(1) + dice.millis(30_000),
        },
        settle_timeout: Duration::from_secs(20),
        admission_timeout: Duration::from_secs(if clean { 36_000 } else { 30 }),
    }
}

/// What the registry remembers of a user that was there before, if anything.
fn remembered(dice: &mut Dice, clean: bool) -> Option<Known> {
    let ago = |dice: &mut Dice| CLOCK.minus(dice.millis(40_000));
    let (registered, last_active) = (ago(dice), ago(dice));
    let (is_registered, is_active) = (dice.percent(50), dice.percent(50));
    let known = Known {
        first_seen: ago(dice),
        registered: is_registered.then_some((registered, Source::Own)),
        last_active: is_active.then_some(last_active),
        calls: u32::try_from(dice.below(3)).unwrap(),
        connections: None,
        protected: !clean && dice.percent(15),
    };
    dice.percent(80).then_some(known)
}

impl Run {
    pub(super) fn new(seed: u64, verbose: bool) -> Self {
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
            throttling: dice.pick([0, 0, 5, 20]),
            other_hands: if clean { 0 } else { dice.below(10) },
        };
        let modes = [Mode::Enforce, Mode::Enforce, Mode::OnLimitError, Mode::Observe];
        let mode = if clean { Mode::Enforce } else { dice.pick(modes) };
        let terms = terms(&mut dice, clean, mode, max_users);
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
        let ids: Vec<UserId> = (0..there).map(name).collect();
        let registry = ids
            .iter()
            .filter_map(|id| Some((id.clone(), remembered(&mut dice, clean)?)))
            .collect();
        let world = World::new(nature, now, ids.into_iter());
        let stops_at = (!clean && dice.percent(10)).then(|| now + dice.millis(20_000));
        let (roster, witness) = (Roster::default(), Witness::default());
        Self {
            dice,
            world,
            terms,
            roster,
            witness,
            registry,
            began: now,
            knows: true,
            stops_at,
            welcome: now,
            pace: Duration::ZERO,
            deletions: 0,
            registered: 0,
            verbose,
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.world.nature.faults == 0
            && self.world.nature.other_hands == 0
            && self.terms.mode == Mode::Enforce
            && self.world.nature.list_lag == Duration::ZERO
            && self.stops_at.is_none()
            && self.terms.admission_timeout > Duration::from_secs(30)
    }

    pub(super) fn callers(&mut self) -> VecDeque<Caller> {
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
}

//! The rules, checked at every deletion that leaves a sidecar.

use std::time::Duration;

use tokio::time::Instant;

use super::witness::{Sent, Witness};
use crate::admission::policy::Mode;
use crate::admission::roster::LIST_AGE_MAX;
use crate::clock::machine::Machine;
use crate::registry::{Event, Recorded};

/// Within which a deletion leaves after its intent was committed, or not at all.
const INTENT_AGE_MAX: Duration = Duration::from_secs(1);

/// Within which a sidecar hears of what happens to itself.
const HEARD: Duration = Duration::from_millis(100);

/// What a deletion rests on.
pub(super) struct Ground<'d> {
    machine: &'d Machine,
    pub(super) victim: &'d str,
    pub(super) live: &'d [String],
    intent: &'d Recorded,
    /// When the intent was committed; of a journal in memory, that is not known.
    committed: Option<Instant>,
    pub(super) is_by_hand: bool,
}

impl Witness {
    /// A sidecar's deletion leaves its machine.
    pub(super) fn deletes(&mut self, machine: &Machine, victim: &str, live: &[String]) {
        let journal = self.journal_of(machine.name());
        self.note_refusals(machine.name(), &journal);
        let open = open_intents(&journal);
        let own = |recorded: &&&Recorded| recorded.entry.replica == machine.name() && is_of(recorded, victim);
        let intent = open.iter().filter(own).max_by_key(|recorded| recorded.id);
        match intent {
            None => self.fault(format!("R7: {victim} is deleted without an intent")),
            Some(intent) => {
                let ground = Ground {
                    machine,
                    victim,
                    live,
                    intent,
                    committed: self.committed.get(&intent.id).copied(),
                    is_by_hand: intent.entry.reason.as_deref() == Some("by hand"),
                };
                self.check_intent(&ground, &open);
                self.check_knowledge(&ground);
                self.check_protections(&ground);
                self.check_newcomer(&ground);
                self.check_need(&ground);
                self.check_order(&ground);
                self.check_number(&ground, &journal);
                self.check_fuse(&ground, &journal);
            }
        }
        self.counts.evictions += 1;
        self.sent.push(Sent {
            at: Instant::now(),
            machine: machine.name().to_owned(),
            victim: victim.to_owned(),
            intent: intent.map(|recorded| recorded.id),
            is_over: false,
        });
    }

    /// What SnapTrade refused, and whoever sent it knows of, comes to nothing.
    fn note_refusals(&mut self, machine: &str, journal: &[Recorded]) {
        for sent in self.sent.iter_mut().filter(|sent| !sent.is_over) {
            let is_its = |recorded: &&Recorded| {
                recorded.entry.intent.is_some() && recorded.entry.intent == sent.intent
            };
            let outcome = journal
                .iter()
                .find(is_its)
                .and_then(|recorded| recorded.entry.outcome.as_deref());
            // That it may still come true, only the one knows that gave it up.
            let is_anothers = sent.machine != machine && outcome == Some("unsettled");
            sent.is_over = outcome == Some("refused") || is_anothers;
        }
    }

    fn check_intent(&mut self, ground: &Ground<'_>, open: &[&Recorded]) {
        let Ground {
            machine,
            victim,
            intent,
            ..
        } = *ground;
        // Journals in memory are each their own.
        let home = if self.plan.is_shared { "" } else { machine.name() };
        let is_new = self.used.insert((home.to_owned(), intent.id));
        self.require(is_new, || {
            format!("R9: the deletion of {victim} is sent twice for one intent")
        });
        let age = ground.committed.map(|at| at.elapsed());
        self.require(age.is_none_or(|age| age <= INTENT_AGE_MAX), || {
            format!("R7: {victim} is deleted {age:?} after its intent was committed")
        });
        let others: Vec<&str> = open
            .iter()
            .filter(|recorded| recorded.id != intent.id)
            .filter_map(|recorded| Some(recorded.entry.user.as_ref()?.as_str()))
            .filter(|user| ground.live.iter().any(|live| live == user))
            .collect();
        self.require(others.is_empty(), || {
            format!(
                "R10: {victim} is deleted while it is open what became of {}",
                others.join(" ")
            )
        });
        let stopped = self.stopping.get(machine.name()).copied();
        let is_late = stopped.is_some_and(|at| ground.committed.is_none_or(|committed| committed > at));
        self.require(!is_late || !self.plan.is_shared, || {
            format!("R4: {victim} is deleted for an intent after SIGTERM")
        });
        let by_a_second = stopped.is_some_and(|at| at.elapsed() > INTENT_AGE_MAX);
        self.require(!by_a_second, || format!("R4: {victim} is deleted after SIGTERM"));
    }

    fn check_knowledge(&mut self, ground: &Ground<'_>) {
        let Ground { machine, victim, .. } = *ground;
        let listed = self.listed.get(machine.name()).copied();
        let age = listed.map(|at| at.elapsed());
        self.require(
            age.is_some_and(|age| age <= LIST_AGE_MAX + INTENT_AGE_MAX),
            || format!("R3: {victim} is deleted on a list that was asked for {age:?} ago"),
        );
        if self.plan.is_shared {
            let granted = super::granted(&self.registries, machine.name());
            let read = super::last_read(&self.registries, machine.name());
            self.require(read >= listed, || {
                format!("R14: {victim} is deleted although what is known was not read since the list")
            });
            let is_of_this_turn = granted.is_none_or(|granted| listed.is_some_and(|at| at >= granted));
            self.require(is_of_this_turn, || {
                format!("R3: {victim} is deleted on a list from before the turn")
            });
        }
        let departed = self.departures.get(machine.name()).copied();
        let committed = ground.committed.unwrap_or_else(Instant::now);
        let is_doubtful = departed.is_some_and(|at| Some(at) > listed && at < committed);
        self.require(!is_doubtful || !self.plan.is_shared, || {
            format!("R3: {victim} is deleted although the application deleted somebody since the list")
        });
    }

    fn check_protections(&mut self, ground: &Ground<'_>) {
        let Ground { victim, .. } = *ground;
        let policy = self.terms.policy.clone();
        self.require(!policy.protect.matches(victim), || {
            format!("R5: {victim} is protected by its id")
        });
        let by_hand = Self::since(self.protected.get(victim));
        self.require(by_hand.is_none_or(|time| time < Duration::from_secs(5)), || {
            format!("R5: {victim} is protected by hand, since {by_hand:?}")
        });
        let hardships = self.plan.hardships;
        if ground.is_by_hand || hardships.walls {
            return;
        }
        let age = Self::since(self.registered.get(victim));
        self.require(age.is_none_or(|age| age >= policy.min_age), || {
            format!("R5: {victim} is only {age:?} old")
        });
        let idle = Self::since(self.active.get(victim));
        let knows = self.plan.replicas == 1 && !hardships.crashes && !hardships.terms;
        self.require(
            !knows || idle.is_none_or(|idle| idle >= policy.active_within),
            || format!("R5: {victim} was active {idle:?} ago"),
        );
    }

    /// Somebody has to be there who gets the slot.
    fn check_newcomer(&mut self, ground: &Ground<'_>) {
        let Ground { victim, live, .. } = *ground;
        let Some(newcomer) = ground
            .intent
            .entry
            .newcomer
            .as_ref()
            .map(|user| user.as_str().to_owned())
        else {
            self.require(ground.is_by_hand, || {
                format!("R4: {victim} is deleted for nobody")
            });
            return;
        };
        self.require(!self.forged.contains(&newcomer), || {
            format!("R2: {victim} is deleted for {newcomer}, who has not the key")
        });
        // A program that is stopped does not see who leaves.
        let hardships = self.plan.hardships;
        let left = self.left.get(&newcomer).copied();
        let is_in_vain =
            left.is_some_and(|at| ground.committed.is_some_and(|committed| committed > at + HEARD));
        self.require(!is_in_vain || hardships.stops, || {
            format!("R4: {victim} is deleted for {newcomer}, whose caller left")
        });
        let since = self.registered.get(&newcomer).map(Instant::elapsed);
        let is_there = live.contains(&newcomer) && since.is_none_or(|since| since > Duration::from_secs(8));
        let is_there = is_there && !self.departed.contains(&newcomer);
        let is_listed = is_there && !self.doomed(live).contains(&newcomer) && !self.may_be_lied_to;
        self.require(!is_listed, || {
            format!("R4: {victim} is deleted for {newcomer}, who is there already")
        });
        let (arrived, paused) = (self.arrived.get(&newcomer).copied(), self.paused);
        let is_paused = paused.is_some_and(|paused| arrived.is_some_and(|at| at > paused + HEARD));
        self.require(!is_paused, || {
            format!("{victim} is deleted for {newcomer} although the tenant is paused")
        });
    }

    /// With nobody else's hand in it, what is needed is known: nobody goes while there is room.
    fn check_need(&mut self, ground: &Ground<'_>) {
        let Ground { victim, live, .. } = *ground;
        self.require(self.terms.mode != Mode::Observe || ground.is_by_hand, || {
            format!("{victim} is deleted although the mode is observe")
        });
        let hardships = self.plan.hardships;
        let forgets = !self.plan.is_shared && (hardships.crashes || hardships.terms);
        let newcomer = ground
            .intent
            .entry
            .newcomer
            .as_ref()
            .map_or("", |user| user.as_str());
        let was_refused = self.limit_said.contains(newcomer);
        // What a list showed before the error, and no more after it.
        let lost = self
            .lost
            .is_some_and(|at| at.elapsed() < self.terms.settle_timeout);
        let is_plain =
            !(lost || hardships.network || hardships.database || hardships.vendor || hardships.stops);
        let is_for_nothing = was_refused && self.had_room && is_plain && self.terms.mode == Mode::Enforce;
        self.require(!is_for_nothing, || {
            format!("R4: {victim} is deleted although there was room again when the users were listed")
        });
        let departures = hardships.departures && !self.knows_of_departures(ground);
        let disturbed =
            hardships.outsiders || departures || hardships.hands || forgets || self.may_be_lied_to;
        if ground.is_by_hand || was_refused || disturbed || self.terms.mode != Mode::Enforce {
            return;
        }
        let doomed = self.doomed(live);
        let (count, limit) = (
            live.len() - doomed.len(),
            self.plan.vendor.user_limit.min(self.terms.max_users),
        );
        self.require(count >= limit, || {
            format!(
                "R4: {victim} is deleted while there is room: {count} of {limit} users, and {doomed:?} going"
            )
        });
        self.require(!doomed.contains(victim), || {
            format!("R10: {victim} is deleted twice")
        });
    }

    /// Whether whom the application deleted, or may have, is in this machine's memory. What comes after the intent is too late.
    fn knows_of_departures(&self, ground: &Ground<'_>) -> bool {
        let hardships = self.plan.hardships;
        // By a clock that was set, nobody can prove who they are.
        let forgets = hardships.crashes || hardships.terms || hardships.walls;
        let departed = self.departures.get(ground.machine.name()).copied();
        let is_late = departed.is_some_and(|at| ground.committed.is_none_or(|committed| at >= committed));
        self.plan.replicas == 1 && !forgets && !is_late
    }

    /// One that is far above its limit is a wrong setting.
    fn check_number(&mut self, ground: &Ground<'_>, journal: &[Recorded]) {
        let newcomer = ground.intent.entry.newcomer.as_ref();
        let arrived = newcomer.and_then(|user| self.arrived.get(user.as_str()).copied());
        if self.plan.hardships.leavers || arrived.is_none() {
            return;
        }
        let is_for_it = |recorded: &&Recorded| {
            recorded.entry.event == Event::Intent
                && recorded.entry.newcomer.as_ref() == newcomer
                && self.committed.get(&recorded.id).copied() >= arrived
                && !matches!(outcome(journal, recorded), Some("withdrawn" | "refused"))
        };
        let (made, most) = (
            journal.iter().filter(is_for_it).count(),
            self.terms.max_per_registration,
        );
        self.require(made <= most, || {
            format!(
                "R4: {} is the deletion number {made} for one registration",
                ground.victim
            )
        });
    }

    fn check_fuse(&mut self, ground: &Ground<'_>, journal: &[Recorded]) {
        if ground.is_by_hand || self.plan.hardships.walls {
            return;
        }
        let fuse = self.terms.fuse;
        let now = ground.intent.entry.at;
        let counts = |recorded: &&Recorded| {
            recorded.entry.event == Event::Intent
                && fuse.counts(recorded.entry.at, now)
                && !matches!(outcome(journal, recorded), Some("withdrawn" | "refused"))
        };
        let made = journal.iter().filter(counts).count();
        self.require(made <= fuse.evictions, || {
            format!(
                "R6: {} is the deletion number {made} within the fuse's window",
                ground.victim
            )
        });
    }
}

fn is_of(recorded: &Recorded, user: &str) -> bool {
    recorded.entry.user.as_ref().is_some_and(|of| of.as_str() == user)
}

fn outcome<'j>(journal: &'j [Recorded], intent: &Recorded) -> Option<&'j str> {
    let closes = |recorded: &&Recorded| {
        recorded.entry.event == Event::Outcome && recorded.entry.intent == Some(intent.id)
    };
    journal.iter().find(closes)?.entry.outcome.as_deref()
}

pub(super) fn open_intents(journal: &[Recorded]) -> Vec<&Recorded> {
    let is_open =
        |recorded: &&Recorded| recorded.entry.event == Event::Intent && outcome(journal, recorded).is_none();
    journal.iter().filter(is_open).collect()
}

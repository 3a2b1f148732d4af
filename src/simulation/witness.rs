//! Who sees everything: what each machine sends, what SnapTrade does, what the database commits, what callers get. The rules are
//! checked as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::caller::HOP;
use super::moments::Moment;
use super::plan::{LIMIT_STATUS, Plan};
use crate::admission::Terms;
use crate::clock::machine::Machine;
use crate::registry::{Entry, EntryId, Event, Recorded, Registry};
use crate::simulator::{CallKind, Deed};

/// A deletion that a sidecar sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) machine: String,
    pub(super) victim: String,
    pub(super) intent: Option<EntryId>,
    /// SnapTrade refused it, or did it to the end.
    pub(super) is_over: bool,
}

/// A caller's registration, over all that was sent for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    pub(super) sent: usize,
    /// What SnapTrade answered last, whether or not that arrived.
    pub(super) last_status: Option<u16>,
    /// How many users there were when it was answered, and how many of them might still go.
    pub(super) live_then: usize,
    pub(super) doomed_then: usize,
}

pub(super) struct Witness {
    pub(super) plan: Arc<Plan>,
    pub(super) terms: Terms,
    pub(super) began: Instant,
    /// What is wrong, the first first.
    pub(super) faults: Vec<String>,
    /// Told of what somebody may be lurking for.
    pub(super) moments: UnboundedSender<Moment>,
    pub(super) is_verbose: bool,
    pub(super) trace: DefaultHasher,
    pub(super) steps: usize,
    /// The registry of each machine, which is asked at every deletion.
    pub(super) registries: BTreeMap<String, Arc<Registry>>,
    /// When each entry of the shared journal was committed.
    pub(super) committed: BTreeMap<EntryId, Instant>,
    /// By which deletions were sent, so that none is sent twice.
    pub(super) used: BTreeSet<(String, EntryId)>,
    pub(super) sent: Vec<Sent>,
    /// When each machine last asked who is there.
    pub(super) listed: BTreeMap<String, Instant>,
    /// When the application last had a machine delete somebody, and whom it deleted.
    pub(super) departures: BTreeMap<String, Instant>,
    pub(super) departed: BTreeSet<String>,
    /// Since when a machine is to stop.
    pub(super) stopping: BTreeMap<String, Instant>,
    pub(super) attempts: BTreeMap<String, Attempt>,
    /// By the number of the call: whom it registers.
    pub(super) callers: BTreeMap<String, String>,
    /// Users for whom SnapTrade said that there is no room.
    pub(super) limit_said: BTreeSet<String>,
    pub(super) registered: BTreeMap<String, Instant>,
    /// When callers last came for a user, and when they left.
    pub(super) arrived: BTreeMap<String, Instant>,
    pub(super) left: BTreeMap<String, Instant>,
    pub(super) forged: BTreeSet<String>,
    /// Since when the tenant is paused.
    pub(super) paused: Option<Instant>,
    /// Since when users are protected by hand, or were called for.
    pub(super) protected: BTreeMap<String, Instant>,
    /// Users whose protection by hand was asked for.
    pub(super) asked_for: BTreeSet<String>,
    pub(super) active: BTreeMap<String, Instant>,
    /// Users that were ever called for, whatever came of it.
    pub(super) called: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
    /// Whether SnapTrade would have registered somebody when the users were last listed.
    pub(super) had_room: bool,
    /// When somebody was deleted elsewhere whom a sidecar had just registered. It counts, as long as lists may lag.
    pub(super) lost: Option<Instant>,
    /// SnapTrade said that nobody is there, and it may not have been so.
    pub(super) may_be_lied_to: bool,
    pub(super) deletions: usize,
    pub(super) most_live: usize,
    pub(super) counts: Counts,
}

/// How often what happened, so that it can be told whether a seed was worth anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) registrations: usize,
    pub(super) evictions: usize,
    pub(super) troubles: usize,
    pub(super) answers: usize,
}

impl Witness {
    pub(super) fn new(plan: Arc<Plan>, moments: UnboundedSender<Moment>, is_verbose: bool) -> Self {
        Self {
            terms: plan.terms(),
            plan,
            began: Instant::now(),
            faults: Vec::new(),
            moments,
            is_verbose,
            trace: DefaultHasher::new(),
            steps: 0,
            registries: BTreeMap::new(),
            committed: BTreeMap::new(),
            used: BTreeSet::new(),
            sent: Vec::new(),
            listed: BTreeMap::new(),
            departures: BTreeMap::new(),
            departed: BTreeSet::new(),
            stopping: BTreeMap::new(),
            attempts: BTreeMap::new(),
            callers: BTreeMap::new(),
            limit_said: BTreeSet::new(),
            registered: BTreeMap::new(),
            arrived: BTreeMap::new(),
            left: BTreeMap::new(),
            forged: BTreeSet::new(),
            paused: None,
            protected: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            active: BTreeMap::new(),
            called: BTreeSet::new(),
            secrets: BTreeSet::new(),
            had_room: false,
            lost: None,
            may_be_lied_to: false,
            deletions: 0,
            most_live: 0,
            counts: Counts::default(),
        }
    }

    /// A step of the story. All of them together are what two runs of a seed are compared by.
    pub(super) fn tell(&mut self, what: &str) {
        let at = self.began.elapsed().as_millis();
        (at, what).hash(&mut self.trace);
        self.steps += 1;
        if self.is_verbose {
            eprintln!("{at:>7} ms  {what}");
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn fault(&mut self, what: String) {
        self.tell(&format!("WRONG: {what}"));
        self.faults.push(what);
    }

    pub(super) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fault(what());
        }
    }

    /// A machine writes to its connection with SnapTrade. `live` are the users there are now.
    pub(super) fn wrote(&mut self, machine: &Machine, bytes: &[u8], live: impl FnOnce() -> Vec<String>) {
        let text = String::from_utf8_lossy(bytes);
        let Some(head) = text.lines().next().filter(|head| head.ends_with("HTTP/1.1")) else {
            return;
        };
        let target = head.split(' ').nth(1).unwrap_or_default();
        let user = parameter(target, "userId").unwrap_or_default().to_owned();
        let number = text.lines().find_map(|line| line.strip_prefix("x-attempt: "));
        let is_to = |call: &str| head.starts_with(call);
        let is_ours = text
            .lines()
            .any(|line| line.starts_with(HOP) || line.starts_with("connection:"));
        self.require(!is_ours, || {
            format!("R1: what was for the sidecar alone goes on: {head}")
        });
        let name = machine.name().to_owned();
        let path = target.split('?').next().unwrap_or_default();
        self.tell(&format!(
            "{name} sends {} {path} {user} {}",
            &head[..4],
            number.unwrap_or("of its own")
        ));
        if is_to("GET /snapTrade/listUsers") {
            let _ = self.moments.send(Moment::Listed(name.clone()));
            self.listed.insert(name, Instant::now());
        } else if is_to("DELETE /snapTrade/deleteUser") && number.is_none() {
            self.deletes(machine, &user, &live());
        } else if is_to("POST /snapTrade/registerUser") {
            self.registers(number.unwrap_or_default());
        }
    }

    fn registers(&mut self, number: &str) {
        if let Some(user) = self.callers.get(number).cloned() {
            let _ = self.moments.send(Moment::Registering(user));
        }
        let attempt = self.attempts.entry(number.to_owned()).or_default();
        attempt.sent += 1;
        let Attempt {
            sent, last_status, ..
        } = *attempt;
        self.require(sent <= 2, || {
            format!("R9: registration {number} is sent {sent} times")
        });
        self.require(sent < 2 || last_status == Some(LIMIT_STATUS), || {
            format!("R9: registration {number} is sent again after {last_status:?}")
        });
    }

    /// SnapTrade did something.
    pub(super) fn did(&mut self, deed: &Deed<'_>) {
        let Deed {
            kind, user, status, ..
        } = *deed;
        let number = deed
            .headers
            .get("x-attempt")
            .and_then(|number| number.to_str().ok());
        let mut what = String::new();
        let _ = write!(
            what,
            "SnapTrade does {kind:?} {user} {} -> {status}",
            number.unwrap_or("-")
        );
        let _ = write!(what, ", live: {}", deed.live.join(" "));
        self.tell(&what);
        self.most_live = self.most_live.max(deed.live.len());
        match kind {
            CallKind::List if status == 200 => {
                let vendor = &self.plan.vendor;
                let tombstones = deed
                    .listed
                    .iter()
                    .filter(|entry| entry.ends_with("_deleted"))
                    .count();
                let taken = deed.live.len() + if vendor.tombstones_count { tombstones } else { 0 };
                self.had_room = taken < vendor.user_limit;
            }
            CallKind::Register => self.registration_done(number, user, status, deed.live),
            CallKind::Delete if number.is_none() => {
                self.deletions += usize::from(status == 200);
                self.require(status != 401 || !self.plan.is_calm, || {
                    format!("{user} is deleted twice")
                });
                if status != 200 {
                    self.over(user);
                }
            }
            _ => {}
        }
    }

    fn registration_done(&mut self, number: Option<&str>, user: &str, status: u16, live: &[String]) {
        if let Some(number) = number {
            let doomed = self.doomed(live).len();
            let attempt = self.attempts.entry(number.to_owned()).or_default();
            (attempt.last_status, attempt.live_then) = (Some(status), live.len());
            attempt.doomed_then = doomed;
        }
        self.counts.registrations += usize::from(status == 200);
        match status {
            200 => {
                self.over(user);
                self.had_room = false;
                self.departed.remove(user);
                self.registered.insert(user.to_owned(), Instant::now());
                self.active.remove(user);
            }
            LIMIT_STATUS => {
                self.limit_said.insert(user.to_owned());
            }
            _ => {}
        }
    }

    /// What was known of the users was in a memory that is gone.
    pub(super) fn forget(&mut self) {
        self.protected.clear();
        self.paused = None;
        self.active.clear();
    }

    /// The deletions of this user that were sent have nothing more to do.
    fn over(&mut self, user: &str) {
        for sent in self.sent.iter_mut().filter(|sent| sent.victim == user) {
            sent.is_over = true;
        }
    }

    /// The shared journal has a new entry.
    pub(super) fn commits(&mut self, id: EntryId, entry: &Entry) {
        let (user, outcome) = (entry.user.as_ref(), entry.outcome.as_deref());
        self.tell(&format!(
            "the journal takes {id} from {}: {} {} {} {} of {:?}",
            entry.replica,
            entry.event.token(),
            user.map_or("", |user| user.as_str()),
            outcome.unwrap_or_default(),
            entry.reason.as_deref().unwrap_or_default(),
            entry.intent
        ));
        self.committed.insert(id, Instant::now());
        if entry.event == Event::Intent {
            let _ = self.moments.send(Moment::Intended(entry.replica.clone()));
            let has_turn = super::granted(&self.registries, &entry.replica).is_some();
            self.require(has_turn, || {
                format!("R8: {} intends a deletion and has not the turn", entry.replica)
            });
        }
    }

    /// How long ago that was.
    pub(super) fn since(at: Option<&Instant>) -> Option<Duration> {
        at.map(Instant::elapsed)
    }

    /// Deletions that may still come true, of users that are live.
    pub(super) fn doomed(&self, live: &[String]) -> BTreeSet<String> {
        let doom = self.plan.doom();
        let is_open = |sent: &&Sent| !sent.is_over && sent.at.elapsed() < doom && live.contains(&sent.victim);
        let open = self.sent.iter().filter(is_open);
        open.map(|sent| sent.victim.clone()).collect()
    }

    pub(super) fn journal_of(&self, machine: &str) -> Vec<Recorded> {
        let registry = self.registries.get(machine);
        registry
            .map(|registry| super::journal(registry))
            .unwrap_or_default()
    }
}

pub(super) fn parameter<'t>(target: &'t str, name: &str) -> Option<&'t str> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

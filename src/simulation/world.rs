//! A world: SnapTrade, a database, a network, machines with sidecars, and callers.

mod callers;
mod verdicts;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::caller::{ANSWER_MAX, Answer, Call};
use super::plan::Plan;
use super::prints::Prints;
use super::sidecar::Sidecar;
use super::witness::Witness;
use crate::clock::dice::Dice;
use crate::clock::link::{Link, Weather};
use crate::clock::machine::Machine;
use crate::registry::Registry;
use crate::registry::simulated::{Server, Simulated};
use crate::simulator::Simulator;
use crate::types::Timestamp;
use crate::upstream::simulated::Network;

/// What the true clock shows at the beginning.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// What became of a seed.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) faults: Vec<String>,
    pub(super) digest: u64,
    pub(super) steps: usize,
    pub(super) registrations: usize,
    pub(super) evictions: usize,
    pub(super) troubles: usize,
    pub(super) answers: usize,
}

impl Told {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.registrations += other.registrations;
        self.evictions += other.evictions;
        self.troubles += other.troubles;
        self.answers += other.answers;
    }
}

/// A place in the rack: the sidecar that runs there now.
pub(super) struct Host {
    pub(super) sidecar: Sidecar,
    pub(super) to_vendor: Link,
    pub(super) to_database: Link,
}

pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) vendor: Arc<Simulator>,
    pub(super) database: Server,
    pub(super) hosts: RefCell<Vec<Host>>,
    pub(super) prints: Prints,
    network: Network,
    witness: Arc<Mutex<Witness>>,
    dice: RefCell<Dice>,
    began: Instant,
    calls: Cell<u64>,
    boots: Cell<usize>,
    is_healed: Rc<Cell<bool>>,
    /// By user: the callers that may leave as their registration is sent.
    pub(super) leaving: RefCell<BTreeMap<String, Rc<Notify>>>,
}

impl World {
    pub(super) async fn live(seed: u64, is_verbose: bool) -> Told {
        let mut dice = Dice::new(seed);
        let plan = Arc::new(Plan::draw(&mut dice));
        if is_verbose {
            eprintln!("{plan:#?}");
        }
        let (moments, coming) = unbounded_channel();
        let witness = Witness::new(Arc::clone(&plan), moments, is_verbose);
        let world = Self::new(dice, plan, witness);
        let _log = world.prints.take_log();
        spawn_local(Rc::clone(&world).lurk(coming));
        // Whoever is there has been for a while.
        sleep(Duration::from_secs(10)).await;
        for _ in 0..world.plan.replicas {
            let host = world.boot();
            world.hosts.borrow_mut().push(host);
        }
        world.act().await;
        world.end().await;
        let witness = world.witness();
        let counts = witness.counts;
        Told {
            faults: witness.faults.clone(),
            digest: witness.digest(),
            steps: witness.steps,
            registrations: counts.registrations,
            evictions: counts.evictions,
            troubles: counts.troubles,
            answers: counts.answers,
        }
    }

    fn new(mut dice: Dice, plan: Arc<Plan>, witness: Witness) -> Rc<Self> {
        let witness = Arc::new(Mutex::new(witness));
        let observer = Arc::clone(&witness);
        let wall = jiff::Timestamp::from_second(EPOCH.as_secs().cast_signed()).expect("it is in range");
        let vendor = Simulator::detached(
            plan.vendor.clone(),
            dice.next(),
            wall,
            Box::new(move |deed| locked(&observer).did(deed)),
        );
        let vendor = Arc::new(vendor);
        for user in &plan.there {
            vendor.add_user(user);
        }
        let (watcher, tapped) = (Arc::clone(&witness), Arc::clone(&vendor));
        let (network, mut accepted) = Network::enter(Arc::new(move |machine, bytes| {
            locked(&watcher).wrote(machine, bytes, || tapped.users());
        }));
        let (serving, mut luck) = (Arc::clone(&vendor), Dice::new(dice.next()));
        let (is_short, is_healed) = (plan.hardships.network, Rc::new(Cell::new(false)));
        let is_well = Rc::clone(&is_healed);
        spawn_local(async move {
            while let Some(end) = accepted.recv().await {
                // It closes connections whenever it likes.
                let bound = if luck.percent(50) { 300 } else { 3_000 };
                let short = Duration::from_millis(50) + luck.millis(bound);
                let is_short = is_short && !is_well.get();
                let life = if is_short { short } else { Duration::from_hours(1) };
                tokio::spawn(timeout(life, serving.serve(end, None)));
            }
        });
        let clerk = Arc::clone(&witness);
        let database = Server::new(Arc::new(move |id, entry| locked(&clerk).commits(id, entry)));
        Rc::new(Self {
            plan,
            vendor,
            database,
            hosts: RefCell::default(),
            prints: Prints::default(),
            network,
            witness,
            dice: RefCell::new(dice),
            began: Instant::now(),
            calls: Cell::new(0),
            boots: Cell::new(0),
            is_healed,
            leaving: RefCell::default(),
        })
    }

    pub(super) fn witness(&self) -> MutexGuard<'_, Witness> {
        locked(&self.witness)
    }

    pub(super) fn dice<T>(&self, draw: impl FnOnce(&mut Dice) -> T) -> T {
        draw(&mut self.dice.borrow_mut())
    }

    pub(super) fn tell(&self, what: &str) {
        self.witness().tell(what);
    }

    /// The true time.
    pub(super) fn wall(&self) -> SystemTime {
        UNIX_EPOCH + EPOCH + self.began.elapsed()
    }

    /// A new machine with a sidecar that starts now.
    pub(super) fn boot(&self) -> Host {
        self.boots.set(self.boots.get() + 1);
        let name = format!("sidecar-{}", self.boots.get());
        let machine = Machine::boot(&name, self.wall());
        let weather = |bad| if self.is_healed.get() { Weather::FINE } else { bad };
        let to_vendor = Link::new(weather(self.plan.network), self.dice(Dice::next));
        let to_database = Link::new(weather(self.plan.database), self.dice(Dice::next));
        self.network.attach(&machine, to_vendor.clone());
        let registry = if self.plan.is_shared {
            Registry::Simulated(Simulated::new(self.database.clone(), to_database.clone()))
        } else {
            Registry::memory()
        };
        self.mistype(self.boots.get());
        self.tell(&format!("{name} starts"));
        if !self.plan.is_shared {
            self.witness().forget();
        }
        let sidecar = Sidecar::start(machine, self.plan.config(), registry);
        self.witness()
            .registries
            .insert(name, Arc::clone(&sidecar.registry));
        Host {
            sidecar,
            to_vendor,
            to_database,
        }
    }

    /// Callers come and troubles happen, until all that came of it is over.
    async fn act(self: &Rc<Self>) {
        let mut tasks = JoinSet::new();
        for number in 0..self.plan.callers {
            tasks.spawn_local(Rc::clone(self).newcomer(number));
        }
        for _ in 0..self.plan.callers {
            tasks.spawn_local(Rc::clone(self).passer_by());
        }
        if self.plan.hardships.departures {
            tasks.spawn_local(Rc::clone(self).departure());
        }
        for _ in 0..self.plan.troubles {
            tasks.spawn_local(Rc::clone(self).trouble());
        }
        while tasks.join_next().await.is_some() {}
    }

    /// A moment at which something happens; calls like to come together.
    pub(super) fn moment(&self) -> Duration {
        let bound = u64::try_from(self.plan.time.as_millis()).unwrap_or(u64::MAX);
        self.dice(|dice| {
            if dice.percent(50) {
                dice.millis(2_000)
            } else {
                dice.millis(bound)
            }
        })
    }

    pub(super) fn any_sidecar(&self) -> Sidecar {
        let hosts = self.hosts.borrow();
        let place = self.dice(|dice| dice.below(hosts.len() as u64));
        hosts[usize::try_from(place).unwrap_or_default()].sidecar.clone()
    }

    pub(super) fn number(&self) -> u64 {
        self.calls.set(self.calls.get() + 1);
        self.calls.get()
    }

    /// Registers a user, and sees whether the answer is right.
    pub(super) async fn register(&self, user: &str, sidecar: &Sidecar) -> Option<Answer> {
        let call = Call::register(self.number(), user);
        let arrived = Instant::now();
        self.witness().arrived.insert(user.to_owned(), arrived);
        self.witness()
            .callers
            .insert(call.number.to_string(), user.to_owned());
        self.witness().left.remove(user);
        let answer = self.call(&call, sidecar, &format!("registers {user}")).await?;
        self.check_registration(user, &call, &answer);
        Some(answer)
    }

    /// Makes a call. Whoever stays is answered, unless the sidecar dies.
    pub(super) async fn call(&self, call: &Call, sidecar: &Sidecar, what: &str) -> Option<Answer> {
        let (number, name) = (call.number, sidecar.machine.name());
        self.tell(&format!("call {number} {what} at {name}"));
        let now = Timestamp::from(self.wall());
        let made = timeout(ANSWER_MAX, call.make(sidecar, now)).await;
        let is_dead = sidecar.machine.is_dead();
        let Ok(Some(answer)) = made else {
            let how = if made.is_ok() {
                "its connection broke"
            } else {
                "it got no answer"
            };
            self.tell(&format!("call {number}: {how}"));
            // A reply that breaks off on its way through is broken off.
            let hardships = self.plan.hardships;
            let is_managed =
                call.is_registration() && !call.is_forged && !hardships.hands && !hardships.walls;
            let may_break = is_dead || (made.is_ok() && !is_managed);
            self.witness().require(may_break, || {
                format!("call {number} {what}: {how}, and the sidecar lives")
            });
            return None;
        };
        let (status, admission) = (answer.status, answer.admission());
        self.tell(&format!("call {number} gets {status} {admission}"));
        self.witness().counts.answers += 1;
        if status != 200 {
            self.prints.add(&answer.body);
        }
        Some(answer)
    }

    pub(super) fn any_user(&self) -> Option<String> {
        let users = self.vendor.users();
        let place = self.dice(|dice| dice.below(users.len().max(1) as u64));
        users.get(usize::try_from(place).unwrap_or_default()).cloned()
    }

    pub(super) fn is_healed(&self) -> bool {
        self.is_healed.get()
    }

    /// Where this machine stands, if it was not replaced.
    pub(super) fn place_of(&self, machine: &str) -> Option<usize> {
        let hosts = self.hosts.borrow();
        hosts
            .iter()
            .position(|host| host.sidecar.machine.name() == machine)
    }

    /// All is well from now on.
    pub(super) fn heal(&self) {
        self.is_healed.set(true);
        self.vendor.clear_faults();
        self.database.set_down(false);
        for host in &*self.hosts.borrow() {
            for link in [&host.to_vendor, &host.to_database] {
                link.set_weather(Weather::FINE);
                link.mend();
            }
            host.sidecar.machine.resume();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A world: SnapTrade, a database, a network, machines with sidecars, and callers.

mod verdicts;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::caller::{ANSWER_MAX, Answer, Call};
use super::plan::Plan;
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
    network: Network,
    witness: Arc<Mutex<Witness>>,
    dice: RefCell<Dice>,
    began: Instant,
    calls: Cell<u64>,
    boots: Cell<u64>,
    is_healed: Rc<Cell<bool>>,
}

impl World {
    pub(super) async fn live(seed: u64, is_verbose: bool) -> Told {
        let mut dice = Dice::new(seed);
        let plan = Arc::new(Plan::draw(&mut dice));
        if is_verbose {
            eprintln!("{plan:#?}");
        }
        let world = Self::new(dice, plan, is_verbose);
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

    fn new(mut dice: Dice, plan: Arc<Plan>, is_verbose: bool) -> Rc<Self> {
        let witness = Arc::new(Mutex::new(Witness::new(Arc::clone(&plan), is_verbose)));
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
                let short = Duration::from_millis(50) + luck.millis(3_000);
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
            network,
            witness,
            dice: RefCell::new(dice),
            began: Instant::now(),
            calls: Cell::new(0),
            boots: Cell::new(0),
            is_healed,
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
        for _ in 0..self.plan.callers / 2 {
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

    async fn newcomer(self: Rc<Self>, number: u64) {
        sleep(self.moment()).await;
        let kind = self.dice(|dice| dice.pick(["new", "new", "new", "new", "vip"]));
        let user = if self.plan.is_calm {
            format!("new-{number}")
        } else {
            format!("{kind}-{number}")
        };
        let sidecar = self.any_sidecar();
        let leaves = self.plan.hardships.leavers && self.dice(|dice| dice.percent(40));
        if !leaves {
            let is_forged = !self.plan.is_calm && self.dice(|dice| dice.percent(10));
            if is_forged {
                self.forge(&user, &sidecar).await;
            } else {
                self.register(&user, &sidecar).await;
            }
            return;
        }
        let patience = self.dice(|dice| dice.millis(6_000));
        if timeout(patience, self.register(&user, &sidecar)).await.is_ok() {
            return;
        }
        self.tell(&format!("the caller for {user} leaves"));
        self.witness().left.insert(user.clone(), Instant::now());
        if self.dice(|dice| dice.percent(70)) {
            sleep(self.dice(|dice| dice.millis(30_000))).await;
            if let Some(answer) = self.register(&user, &sidecar).await {
                self.check_return(&user, &answer);
            }
        }
    }

    /// Somebody who has not the key registers a user.
    async fn forge(&self, user: &str, sidecar: &Sidecar) {
        self.witness().forged.insert(user.to_owned());
        let call = Call::register(self.number(), user).forged();
        let answer = self.call(&call, sidecar, &format!("forges {user}")).await;
        let status = answer.map(|answer| answer.status);
        self.witness().require(status != Some(200), || {
            format!("R2: {user} is registered without proof")
        });
    }

    /// Registers a user, and sees whether the answer is right.
    pub(super) async fn register(&self, user: &str, sidecar: &Sidecar) -> Option<Answer> {
        let call = Call::register(self.number(), user);
        let arrived = Instant::now();
        self.witness().arrived.insert(user.to_owned(), arrived);
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
        Some(answer)
    }

    /// A call for a user, which passes through whatever is broken.
    async fn passer_by(self: Rc<Self>) {
        sleep(self.moment()).await;
        let Some(user) = self.any_user() else { return };
        let sidecar = self.any_sidecar();
        let call = Call::accounts(self.number(), &user);
        let began = Instant::now();
        let answer = self.call(&call, &sidecar, &format!("is for {user}")).await;
        let hardships = self.plan.hardships;
        let is_clear = !(hardships.network || hardships.vendor || hardships.stops);
        if let Some(answer) = answer {
            let took = began.elapsed();
            let mut witness = self.witness();
            let is_prompt = answer.status == 200 && took < Duration::from_secs(2);
            witness.require(!is_clear || is_prompt, || {
                format!("R14: a call for {user} got {} after {took:?}", answer.status)
            });
            if answer.status == 200 {
                witness.active.insert(user, Instant::now());
            }
        }
    }

    pub(super) fn any_user(&self) -> Option<String> {
        let users = self.vendor.users();
        let place = self.dice(|dice| dice.below(users.len().max(1) as u64));
        users.get(usize::try_from(place).unwrap_or_default()).cloned()
    }

    /// The application deletes a user itself.
    async fn departure(self: Rc<Self>) {
        sleep(self.moment()).await;
        let Some(user) = self.any_user() else { return };
        let sidecar = self.any_sidecar();
        let call = Call::delete(self.number(), &user);
        self.call(&call, &sidecar, &format!("deletes {user}")).await;
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

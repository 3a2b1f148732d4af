//! What is done to the sidecars, to SnapTrade and to the database.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::TENANT;
use super::world::World;
use crate::clock::dice::Dice;
use crate::simulator::{Fault, FaultCall, FaultKind};
use crate::types::UserId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    CutOff,
    DatabaseCutOff,
    DatabaseDown,
    VendorFault,
    Crash,
    Stop,
    WallSet,
    Term,
    Outsider,
    Hand,
    /// The application deletes a user itself.
    Departure,
}

impl World {
    /// One trouble, from its beginning to its end.
    pub(super) async fn trouble(self: Rc<Self>) {
        sleep(self.moment()).await;
        let hardships = self.plan.hardships;
        let possible = [
            (hardships.network, Trouble::CutOff),
            (hardships.database && self.plan.is_shared, Trouble::DatabaseCutOff),
            (hardships.database && self.plan.is_shared, Trouble::DatabaseDown),
            (hardships.vendor, Trouble::VendorFault),
            (hardships.vendor, Trouble::VendorFault),
            (hardships.crashes, Trouble::Crash),
            (hardships.stops, Trouble::Stop),
            (hardships.walls, Trouble::WallSet),
            (hardships.terms, Trouble::Term),
            (hardships.outsiders, Trouble::Outsider),
            (hardships.hands, Trouble::Hand),
        ];
        let Some(trouble) = self.draw(&possible) else {
            return;
        };
        self.witness().counts.troubles += 1;
        let place = self.dice(|dice| dice.below(self.plan.replicas as u64));
        let place = usize::try_from(place).unwrap_or_default();
        self.befall(trouble, place).await;
    }

    /// One of those that there are.
    pub(super) fn draw(&self, among: &[(bool, Trouble)]) -> Option<Trouble> {
        let possible: Vec<Trouble> = among
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, trouble)| *trouble)
            .collect();
        let drawn = self.dice(|dice| dice.below(possible.len().max(1) as u64));
        possible.get(usize::try_from(drawn).unwrap_or_default()).copied()
    }

    pub(super) async fn befall(self: &Rc<Self>, trouble: Trouble, place: usize) {
        let time = self.dice(|dice| {
            if dice.percent(70) {
                dice.millis(6_000)
            } else {
                dice.millis(30_000)
            }
        });
        let (sidecar, to_vendor, to_database) = {
            let host = &self.hosts.borrow()[place];
            (
                host.sidecar.clone(),
                host.to_vendor.clone(),
                host.to_database.clone(),
            )
        };
        let name = sidecar.machine.name();
        self.tell(&format!("{trouble:?} befalls {name} for {time:?}"));
        match trouble {
            Trouble::CutOff => {
                to_vendor.cut();
                sleep(time).await;
                to_vendor.mend();
            }
            Trouble::DatabaseCutOff => {
                to_database.cut();
                sleep(time).await;
                to_database.mend();
            }
            Trouble::DatabaseDown => {
                self.database.set_down(true);
                sleep(time).await;
                self.database.set_down(false);
            }
            Trouble::VendorFault => self.inject(),
            Trouble::Crash => {
                sidecar.machine.kill();
                sleep(time).await;
                self.replace(place, name);
            }
            Trouble::Stop => {
                sidecar.machine.stop();
                sleep(time).await;
                sidecar.machine.resume();
            }
            Trouble::WallSet => {
                let by = self.dice(|dice| dice.pick([1, 40, 250, 1_000, 90_000]));
                let is_back = self.dice(|dice| dice.percent(50));
                sidecar.machine.set_wall(Duration::from_secs(by), is_back);
            }
            Trouble::Term => {
                self.witness().stopping.insert(name.to_owned(), Instant::now());
                sidecar.stopping.cancel();
                // As long as a drain may take.
                sleep(Duration::from_secs(1) + time.min(Duration::from_secs(25))).await;
                sidecar.machine.kill();
                self.replace(place, name);
            }
            Trouble::Outsider => self.outsider(),
            Trouble::Hand => self.by_hand(place, time).await,
            Trouble::Departure => self.depart(&sidecar).await,
        }
        self.tell(&format!("{trouble:?} is over for {name}"));
    }

    /// A new sidecar in the place of one that died, unless somebody did it meanwhile.
    fn replace(&self, place: usize, dead: &str) {
        if self.hosts.borrow()[place].sidecar.machine.name() == dead {
            let host = self.boot();
            self.hosts.borrow_mut()[place] = host;
        }
    }

    fn inject(&self) {
        let fault = self.dice(|dice| {
            let call = dice.pick([
                FaultCall::Register,
                FaultCall::Register,
                FaultCall::List,
                FaultCall::Delete,
                FaultCall::Delete,
            ]);
            Fault::new(call, fault_kind(dice, call)).times(dice.pick([1, 1, 1, 2, 4]))
        });
        self.tell(&format!("SnapTrade is about to suffer {fault:?}"));
        let is_lie = matches!(&fault.kind, FaultKind::Status { body, .. } if body == "[]");
        self.witness().may_be_lied_to |= is_lie;
        self.vendor.inject(fault);
    }

    /// Somebody else with the same key.
    fn outsider(&self) {
        if self.dice(|dice| dice.percent(50)) {
            let user = format!("other-{}", self.number());
            self.vendor.add_user(&user);
            self.tell(&format!("{user} was registered elsewhere"));
        } else if let Some(user) = self.any_user() {
            self.vendor.remove_user(&user);
            let mut witness = self.witness();
            let settle = witness.terms.settle_timeout;
            let is_new = witness
                .registered
                .get(&user)
                .is_some_and(|at| at.elapsed() < settle);
            if is_new {
                witness.lost = Some(Instant::now());
            }
            drop(witness);
            self.tell(&format!("{user} was deleted elsewhere"));
        }
    }

    /// An operator does something at this sidecar.
    async fn by_hand(self: &Rc<Self>, place: usize, time: Duration) {
        let sidecar = self.hosts.borrow()[place].sidecar.clone();
        let guard = std::sync::Arc::clone(&sidecar.guard);
        let Some(user) = self.any_user() else { return };
        let what = self.dice(|dice| dice.pick(["protect", "evict", "pause"]));
        self.tell(&format!("an operator has {user} or the tenant {what}ed"));
        let world = Rc::clone(self);
        // It ends with the machine, in the middle if that is when.
        spawn_local(sidecar.machine.run(async move {
            let id = UserId::new(&user);
            match what {
                "protect" => {
                    // Without an answer it may be so all the same.
                    world.witness().asked_for.insert(user.clone());
                    if guard.protect(&id, true).await.is_ok() {
                        world.witness().protected.insert(user.clone(), Instant::now());
                    }
                }
                "evict" => {
                    let done = guard.evict(id).await;
                    world.tell(&format!("{user} evicted by hand: {done:?}"));
                }
                _ => {
                    let paused = guard.pause(true).await;
                    // It may have been lifted before the answer came.
                    if paused.is_ok() && world.is_paused() {
                        world.witness().paused = Some(Instant::now());
                    }
                    world.tell(&format!("paused: {paused:?}"));
                }
            }
        }));
        sleep(time).await;
        if what == "pause" {
            self.resume_tenant().await;
        }
    }

    /// What the database says, which may be other than what the operator was told.
    fn is_paused(&self) -> bool {
        !self.plan.is_shared || self.database.is_paused(TENANT)
    }

    /// Until it is so, whatever is broken.
    pub(super) async fn resume_tenant(&self) {
        self.witness().paused = None;
        if self.plan.is_shared {
            self.database.set_paused(TENANT, false);
            return;
        }
        let sidecar = self.hosts.borrow()[0].sidecar.clone();
        let _ = sidecar.registry.pause(TENANT, false).await;
        sidecar.guard.refresh().await;
    }
}

fn fault_kind(dice: &mut Dice, call: FaultCall) -> FaultKind {
    let status = |status, body: &str, done| FaultKind::Status {
        status,
        body: body.to_owned(),
        content_type: None,
        done,
    };
    let refused = "{\"detail\":\"No.\",\"code\":\"0000\"}";
    match dice.below(14) {
        0 => status(500, refused, false),
        1 => status(502, refused, true),
        2 => status(503, "", dice.percent(50)),
        3 => status(429, refused, false),
        4 if call == FaultCall::List => status(200, "[]", true),
        4 => status(403, refused, false),
        5 if call == FaultCall::List => status(200, "[\"a\", ", true),
        5 => status(404, refused, false),
        6 => FaultKind::Delay(dice.millis(12_000)),
        7 => FaultKind::DelayAfter(dice.millis(12_000)),
        8 => FaultKind::ResetBefore,
        9 => FaultKind::ResetAfter,
        10 => FaultKind::CloseAfter,
        11 => FaultKind::Hang,
        12 => FaultKind::HangAfter,
        _ => FaultKind::TruncatedBody,
    }
}

//! Troubles that come at the very moment at which they hurt most: as a list is asked for, or an intent is committed.

use std::rc::Rc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::trouble::Trouble;
use super::world::World;

/// What just happened, and on which machine.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    Listed(String),
    Intended(String),
    /// Whose registration is sent.
    Registering(String),
}

impl World {
    /// Waits for moments, until all is healed.
    pub(super) async fn lurk(self: Rc<Self>, mut coming: UnboundedReceiver<Moment>) {
        while let Some(moment) = coming.recv().await {
            if self.is_healed() || self.plan.is_calm {
                continue;
            }
            match moment {
                Moment::Listed(machine) => {
                    let hardships = self.plan.hardships;
                    if hardships.departures && self.dice(|dice| dice.percent(12)) {
                        spawn_local(Rc::clone(&self).strike(machine, Some(Trouble::Departure)));
                    } else if self.dice(|dice| dice.percent(6)) {
                        spawn_local(Rc::clone(&self).strike(machine, self.draw(&self.possible())));
                    }
                }
                Moment::Intended(machine) => {
                    if self.dice(|dice| dice.percent(25)) {
                        spawn_local(Rc::clone(&self).strike(machine, self.draw(&self.possible())));
                    }
                }
                Moment::Registering(user) => self.seize(&user),
            }
        }
    }

    fn possible(&self) -> [(bool, Trouble); 4] {
        let hardships = self.plan.hardships;
        [
            (hardships.stops, Trouble::Stop),
            (hardships.database && self.plan.is_shared, Trouble::DatabaseCutOff),
            (hardships.crashes, Trouble::Crash),
            (hardships.terms, Trouble::Term),
        ]
    }

    /// Somebody else takes the slot that a registration is on its way to, or its caller leaves.
    fn seize(&self, user: &str) {
        let hardships = self.plan.hardships;
        if hardships.outsiders && self.dice(|dice| dice.percent(40)) {
            let other = format!("other-{}", self.number());
            self.vendor.add_user(&other);
            self.tell(&format!("{other} was registered elsewhere"));
        }
        let nudge = self.leaving.borrow_mut().remove(user);
        if let Some(nudge) = nudge.filter(|_| self.dice(|dice| dice.percent(60))) {
            nudge.notify_one();
        }
    }

    async fn strike(self: Rc<Self>, machine: String, trouble: Option<Trouble>) {
        let (Some(trouble), Some(place)) = (trouble, self.place_of(&machine)) else {
            return;
        };
        sleep(self.dice(|dice| dice.millis(40))).await;
        // It may be another machine's by now.
        if self.place_of(&machine) == Some(place) {
            self.befall(trouble, place).await;
        }
    }
}

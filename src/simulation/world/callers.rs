//! The application's users: they come, leave, come back and go.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::super::caller::{Answer, Call};
use super::super::sidecar::Sidecar;
use super::World;

impl World {
    pub(super) async fn newcomer(self: Rc<Self>, number: u64) {
        sleep(self.moment()).await;
        if !self.plan.is_calm && self.dice(|dice| dice.percent(5)) {
            self.nobody().await;
            return;
        }
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
            let again = self.any_user().filter(|_| !self.plan.is_calm);
            if is_forged {
                self.forge(&user, &sidecar).await;
            } else if let Some(again) = again.filter(|_| self.dice(|dice| dice.percent(12))) {
                self.register(&again, &sidecar).await;
            } else {
                self.register(&user, &sidecar).await;
            }
            return;
        }
        let patience = self.dice(|dice| dice.millis(6_000));
        let nudge = Rc::new(Notify::new());
        self.leaving.borrow_mut().insert(user.clone(), Rc::clone(&nudge));
        let answered = tokio::select! {
            _ = self.register(&user, &sidecar) => true,
            () = sleep(patience) => false,
            () = nudge.notified() => false,
        };
        if answered {
            return;
        }
        self.tell(&format!("the caller for {user} leaves"));
        self.witness().left.insert(user.clone(), Instant::now());
        if self.dice(|dice| dice.percent(70)) {
            self.come_back(&user, &sidecar).await;
        }
    }

    /// Whoever left registers the user after all, perhaps after having deleted it, and perhaps twice.
    async fn come_back(&self, user: &str, sidecar: &Sidecar) {
        sleep(self.dice(|dice| dice.millis(30_000))).await;
        let mut is_deleted = false;
        if self.plan.hardships.departures && self.dice(|dice| dice.percent(60)) {
            let answer = self.delete(user, sidecar).await;
            is_deleted = answer.is_some_and(|answer| answer.status == 200);
            sleep(self.dice(|dice| dice.millis(10_000))).await;
        }
        if let Some(answer) = self.register(user, sidecar).await {
            self.check_return(user, &answer, is_deleted);
        }
        if self.dice(|dice| dice.percent(30)) {
            self.register(user, sidecar).await;
        }
    }

    /// A registration without a usable id, which SnapTrade refuses.
    async fn nobody(&self) {
        let call = Call::register(self.number(), "");
        self.call(&call, &self.any_sidecar(), "registers nobody").await;
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

    /// A call for a user, which passes through whatever is broken.
    pub(super) async fn passer_by(self: Rc<Self>) {
        sleep(self.moment()).await;
        let Some(user) = self.any_user() else { return };
        let sidecar = self.any_sidecar();
        let call = Call::accounts(self.number(), &user);
        self.witness().called.insert(user.clone());
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

    /// The application deletes a user itself.
    pub(super) async fn departure(self: Rc<Self>) {
        sleep(self.moment()).await;
        let sidecar = self.any_sidecar();
        self.depart(&sidecar).await;
    }

    pub(in crate::simulation) async fn depart(&self, sidecar: &Sidecar) {
        if let Some(user) = self.any_user() {
            self.delete(&user, sidecar).await;
        }
    }

    async fn delete(&self, user: &str, sidecar: &Sidecar) -> Option<Answer> {
        let call = Call::delete(self.number(), user);
        let name = sidecar.machine.name().to_owned();
        self.witness().departures.insert(name, Instant::now());
        self.witness().departed.insert(user.to_owned());
        self.call(&call, sidecar, &format!("deletes {user}")).await
    }
}

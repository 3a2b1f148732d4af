//! The end of a seed: all is well again, and then everything has to work.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::checks::open_intents;
use super::sidecar::Sidecar;
use super::world::World;
use crate::admission::policy::Mode;

impl World {
    pub(super) async fn end(self: &Rc<Self>) {
        if self.plan.is_calm {
            self.check_economy();
        }
        self.heal();
        self.restart();
        self.resume_tenant().await;
        let most = self.witness().terms.max_users;
        // Somebody puts right what was registered past the limit. An empty list is not believed at once.
        let users = self.vendor.users();
        let over = users.len().saturating_sub(most);
        for user in users.iter().filter(|user| !self.is_protected(user)).take(over) {
            self.vendor.remove_user(user);
        }
        if users.is_empty() {
            self.vendor.add_user("other-0");
        }
        sleep(Duration::from_secs(5)).await;
        let sidecars: Vec<Sidecar> = self
            .hosts
            .borrow()
            .iter()
            .map(|host| host.sidecar.clone())
            .collect();
        for sidecar in sidecars {
            // As an operator's page does; only from now on is it known how old users are that nobody had seen.
            // One that failed shortly before is not tried again at once.
            while sidecar
                .machine
                .run(sidecar.guard.look(Duration::ZERO))
                .await
                .is_err()
            {
                sleep(Duration::from_secs(1)).await;
            }
        }
        // Until every deletion that was sent has come true or never will, and nobody is too young or active.
        sleep(self.plan.doom() + Duration::from_mins(1)).await;
        // Where lists lag, one replica does not see at once whom another registered, and SnapTrade may have to say it.
        // Where a clock was set forward, what happened meanwhile is in the future, which protects.
        let is_seen =
            !self.plan.hardships.walls && (self.plan.replicas == 1 || self.plan.vendor.list_lag.is_zero());
        if is_seen && self.witness().terms.mode == Mode::Enforce {
            self.check_that_all_works().await;
        }
        self.settle().await;
        self.check_journals();
        self.check_prints();
    }

    /// As the next start does.
    async fn settle(&self) {
        let sidecar = if self.plan.is_shared {
            self.boot().sidecar
        } else {
            self.any_sidecar()
        };
        let guard = std::sync::Arc::clone(&sidecar.guard);
        sidecar.machine.run(guard.settle()).await;
    }

    /// Whoever is to stop, or has a clock that is wrong, is put right by a restart. The others go on.
    fn restart(&self) {
        let hardships = self.plan.hardships;
        for place in 0..self.plan.replicas {
            let sidecar = self.hosts.borrow()[place].sidecar.clone();
            if sidecar.machine.is_dead() || sidecar.stopping.is_cancelled() || hardships.walls {
                sidecar.machine.kill();
                let mut host = self.boot();
                std::mem::swap(&mut self.hosts.borrow_mut()[place], &mut host);
            }
        }
        // Also those that started just now.
        self.heal();
    }

    /// Each registration took one slot, and no more users went than had to.
    fn check_economy(&self) {
        let mut witness = self.witness();
        let callers = usize::try_from(self.plan.callers).unwrap_or_default();
        let needed = (self.plan.there.len() + callers).saturating_sub(witness.terms.max_users);
        let deletions = witness.deletions;
        witness.require(deletions == needed, || {
            format!("R8: {deletions} evictions, {needed} needed")
        });
        let (most, max) = (witness.most_live, witness.terms.max_users);
        witness.require(most <= max, || format!("R8: {most} users at a time, of {max}"));
    }

    async fn check_that_all_works(self: &Rc<Self>) {
        let terms = self.witness().terms.clone();
        let users = self.vendor.users();
        let evictable = users.iter().filter(|user| !self.is_protected(user)).count();
        let room = terms.max_users.saturating_sub(users.len());
        let possible = if users.len() > terms.max_users {
            0
        } else {
            room + evictable
        };
        // An empty list is not believed at once.
        let newcomers = if users.is_empty() { 0 } else { possible.min(3) };
        let newcomers = newcomers.min(terms.fuse.evictions);
        self.tell(&format!(
            "all is well; {newcomers} come, with room for {room} of {}",
            terms.max_users
        ));
        let mut tasks = JoinSet::new();
        for number in 0..newcomers {
            let world = Rc::clone(self);
            tasks.spawn_local(async move {
                let user = format!("last-{number}");
                let sidecar = world.any_sidecar();
                let came = Instant::now();
                let answer = world.register(&user, &sidecar).await;
                let status = answer.as_ref().map(|answer| answer.status);
                let how = answer.as_ref().map_or("", |answer| answer.admission()).to_owned();
                let fault = || format!("R8: all is well, and {user} got {status:?} {how}");
                let got_in = status == Some(200);
                // Those before it may have taken all the time there is.
                let had_no_time = came.elapsed() >= world.witness().terms.admission_timeout;
                world.witness().require(got_in || had_no_time, fault);
                got_in
            });
        }
        let got_in = tasks.join_all().await;
        let fault = || "R8: all is well, and nobody gets in".to_owned();
        self.witness()
            .require(got_in.is_empty() || got_in.contains(&true), fault);
    }

    fn is_protected(&self, user: &str) -> bool {
        user.starts_with("vip-") || self.witness().asked_for.contains(user)
    }

    /// What was intended has an outcome, whoever died meanwhile.
    fn check_journals(&self) {
        let hosts = self.hosts.borrow();
        for host in &*hosts {
            let name = host.sidecar.machine.name();
            let journal = self.witness().journal_of(name);
            let open: Vec<String> = open_intents(&journal)
                .iter()
                .filter_map(|recorded| Some(recorded.entry.user.as_ref()?.to_string()))
                .collect();
            let fault = || format!("R7: at the end it is open what became of {}", open.join(" "));
            self.witness().require(open.is_empty(), fault);
        }
    }
}

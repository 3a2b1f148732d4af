//! Who goes first, as anybody can tell who saw everything.

use std::time::Duration;

use tokio::time::Instant;

use super::checks::Ground;
use super::witness::Witness;
use crate::admission::policy::Key;

/// Within which every sidecar knows of a call, of a user, and of an age.
const KNOWN: Duration = Duration::from_secs(7);

impl Witness {
    /// Nobody goes before one who clearly goes first. Only where nothing keeps a sidecar from knowing what the witness does.
    pub(super) fn check_order(&mut self, ground: &Ground<'_>) {
        let hardships = self.plan.hardships;
        let disturbed = hardships.network || hardships.database || hardships.vendor || hardships.stops;
        let forgets = hardships.crashes || hardships.terms || hardships.walls || hardships.outsiders;
        if disturbed || forgets || hardships.hands || hardships.departures || ground.is_by_hand {
            return;
        }
        let doomed = self.doomed(ground.live);
        let others = ground
            .live
            .iter()
            .filter(|user| *user != ground.victim && !doomed.contains(*user));
        let first = others.filter(|user| self.may_go(user)).find(|user| {
            let key = self.terms.policy.order.first();
            key.is_some_and(|key| self.goes_before(*key, user, ground.victim))
        });
        let first = first.cloned();
        self.require(first.is_none(), || {
            format!("R5: {} is deleted, and {first:?} goes first", ground.victim)
        });
    }

    /// Whether nothing protects this user, as every sidecar knows by now.
    fn may_go(&self, user: &str) -> bool {
        let policy = &self.terms.policy;
        let there = self.there_since(user).elapsed();
        let idle = self.active.get(user).map_or(there, Instant::elapsed);
        there > policy.min_age + KNOWN && idle > policy.active_within + KNOWN && !policy.protect.matches(user)
    }

    /// Since when, as far as a sidecar can know.
    fn there_since(&self, user: &str) -> Instant {
        // Before the first sidecar started, nobody looked.
        let first_seen = self.began + Duration::from_secs(10);
        self.registered.get(user).copied().unwrap_or(first_seen)
    }

    fn goes_before(&self, key: Key, user: &str, victim: &str) -> bool {
        let (registered, of_victim) = (self.registered.get(user), self.registered.get(victim));
        let called = self.active.get(victim).filter(|at| at.elapsed() > KNOWN);
        let has_called = self.called.contains(user);
        match key {
            // An unknown age is taken for the highest.
            Key::Oldest => of_victim.is_some() && registered < of_victim,
            Key::NeverActive => !has_called && called.is_some(),
            Key::LeastRecentlyActive => {
                let since = self.there_since(user) + Duration::from_secs(1);
                !has_called && called.is_some_and(|called| since < *called)
            }
            _ => false,
        }
    }
}

//! What a caller may be answered.

use super::super::caller::{Answer, Call};
use super::World;
use crate::admission::policy::Mode;

impl World {
    pub(super) fn check_registration(&self, user: &str, call: &Call, answer: &Answer) {
        let current = self.vendor.secret_of(user);
        let mut witness = self.witness();
        let hardships = self.plan.hardships;
        let is_replayed = answer.admission().contains("replayed");
        if let Some(secret) = answer.secret().filter(|_| answer.status == 200) {
            let is_new = witness.secrets.insert(secret.clone());
            witness.require(is_new, || format!("R12: the secret of {user} is given twice"));
            let is_alone = self.plan.replicas == 1 && !hardships.outsiders && !hardships.departures;
            let is_known_to_be_gone = is_replayed && is_alone && !hardships.network && !hardships.vendor;
            witness.require(!is_known_to_be_gone || current.as_ref() == Some(&secret), || {
                format!("R12: a secret of {user} is given that is worth nothing any more")
            });
        }
        let attempt = witness
            .attempts
            .get(&call.number.to_string())
            .cloned()
            .unwrap_or_default();
        let is_counted = !(hardships.outsiders
            // Whom the application deletes is no user any more, before the lists say so.
            || hardships.departures
            // Without their registry, replicas do not take turns.
            || (hardships.database && self.plan.replicas > 1)
            || hardships.hands)
            && self.plan.vendor.list_lag.is_zero()
            && witness.terms.mode == Mode::Enforce;
        // Where no deletion is late, nobody is on the way out either.
        let is_clear =
            is_counted && !(hardships.network || hardships.vendor || hardships.crashes || hardships.terms);
        let is_managed = !answer.admission().contains("reason=")
            && answer.status == 200
            && !is_replayed
            && !answer.admission().contains("retried");
        let (most, live) = (witness.terms.max_users, attempt.live_then);
        let doomed = if is_clear { 0 } else { attempt.doomed_then };
        witness.require(!is_counted || !is_managed || live - doomed <= most, || {
            format!("R8: with {user} there are {live} users of {most}, and {doomed} may still go")
        });
        if self.plan.is_calm {
            let (status, admission) = (answer.status, answer.admission());
            witness.require(status == 200, || format!("R8: {user} got {status} {admission}"));
        }
    }

    /// A caller that left came back: what was answered meanwhile was kept for it.
    pub(super) fn check_return(&self, user: &str, answer: &Answer, is_deleted: bool) {
        let current = self.vendor.secret_of(user);
        let secret = answer
            .secret()
            .filter(|_| answer.admission().contains("replayed"));
        let is_dead = is_deleted && secret.is_some() && secret != current;
        self.witness().require(!is_dead, || {
            format!("R12: a secret of {user} is given although the application deleted that user")
        });
        let hardships = self.plan.hardships;
        let loses = hardships.network || hardships.vendor || hardships.crashes || hardships.terms;
        let others = hardships.outsiders || hardships.departures || hardships.hands || hardships.database;
        let is_quiet = !(loses || others || is_deleted);
        // Of one who was there before, the secret was told to somebody else.
        let is_there = self.vendor.users().iter().any(|there| there == user)
            && self.witness().registered.contains_key(user);
        // By a clock that was set, nobody can prove who they are.
        let is_managed = !answer.admission().starts_with("unmanaged");
        let is_lost = answer.status == 400 && is_there && is_managed;
        self.witness().require(!is_quiet || !is_lost, || {
            format!("R12: the secret of {user} is lost")
        });
    }
}

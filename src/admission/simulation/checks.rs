//! The rules, checked at every intent and every deletion.

use std::time::{Duration, Instant};

use super::{Caller, Course, Run};
use crate::admission::Circumstances;
use crate::admission::policy::{Mode, Ranked, UnknownAge, Verdict};
use crate::admission::roster::LIST_AGE_MAX;
use crate::types::{Millis, UserId};

impl Run {
    pub(super) fn check_deletion(&mut self, victim: &UserId, caller: &Caller, here: Circumstances) {
        let now = self.world.now;
        assert_eq!(
            self.witness.intent.take().as_ref(),
            Some(victim),
            "R7: intent before deed"
        );
        let (at, list) = self
            .witness
            .list
            .as_ref()
            .expect("R3: no eviction without a confirmed list");
        assert!(now - *at <= LIST_AGE_MAX, "R3: a list at most two seconds old");
        assert!(
            self.witness.doubted.is_none_or(|doubted| *at >= doubted),
            "R3: no change since that is known of"
        );
        assert!(list.contains(victim), "R3: a victim is a listed user");
        assert!(
            !list.contains(&caller.newcomer) || self.witness.departed.contains(&caller.newcomer),
            "R4: the newcomer is not on the roster"
        );
        assert!(!here.caller_gone && !here.stopping, "R4: not in vain");
        assert!(here.knows, "R14: not without what is remembered");
        self.check_protections(victim);
        self.check_fuse();
        assert!(self.terms.mode != Mode::Observe, "observe deletes nobody");
        let settled = |(since, _): &(Instant, UserId)| now >= *since + self.terms.settle_timeout;
        assert!(
            self.witness.open_deletion.as_ref().is_none_or(settled),
            "R10: one unresolved deletion"
        );
    }

    /// No pause is longer than there is a reason for, nor goes on after the deadline.
    pub(super) fn check_pause(&self, time: Duration, caller: &Caller) {
        let now = self.world.now;
        let reason = Duration::from_secs(2)
            .max(self.pace)
            .max(self.welcome.saturating_duration_since(now));
        assert!(time <= reason, "a pause of {time:?}");
        let deadline = caller.arrives + self.terms.admission_timeout;
        assert!(now + time <= deadline, "a pause beyond the deadline");
    }

    /// Whoever is to go is the first that people are shown, but for those that SnapTrade would not delete.
    pub(super) fn check_choice(&self, victim: &UserId, course: &Course) {
        let candidates = self.roster.candidates(self.clock());
        let ranking = self.terms.policy.ranking(&candidates, self.clock());
        let may_go = |ranked: &&Ranked| {
            matches!(ranked.verdict, Verdict::Evictable(_)) && !course.refused.contains(&ranked.user)
        };
        let first = ranking.iter().find(may_go).map(|ranked| &ranked.user);
        assert_eq!(first, Some(victim), "R5: the first in the order");
    }

    fn check_protections(&self, victim: &UserId) {
        let (policy, clock) = (&self.terms.policy, self.clock());
        let known = self.registry.get(victim).expect("R5: a victim is remembered");
        let registered = known.registered.map(|(at, _)| at);
        let for_at_least = |since: Option<Millis>, time: Duration| {
            let since = since.unwrap_or(known.first_seen);
            clock.minus(time) >= since || time.is_zero()
        };
        assert!(
            !policy.protect.matches(victim.as_str()),
            "R5: protected by its id"
        );
        assert!(!known.protected, "R5: protected by hand");
        assert!(for_at_least(registered, policy.min_age), "R5: too young");
        assert!(
            for_at_least(known.last_active, policy.active_within),
            "R5: active"
        );
        let may_be_unknown = policy.unknown_age != UnknownAge::Protect;
        assert!(registered.is_some() || may_be_unknown, "R5: of unknown age");
    }

    fn check_fuse(&self) {
        let fuse = self.terms.fuse;
        let since = self.clock().minus(fuse.window);
        let counted = self.witness.deletions.iter().filter(|at| **at > since).count();
        assert!(counted < fuse.evictions, "R6: the fuse");
    }

    /// Without another hand, what the machine knows is what is so: then nobody goes while there is room.
    pub(super) fn check_need(&self, course: &Course) {
        assert!(!course.rejected, "R10: none after one that was rejected");
        assert!(
            course.deleted < self.terms.max_per_registration,
            "R4: bounded evictions"
        );
        let undisturbed = self.world.nature.other_hands == 0 && self.terms.mode == Mode::Enforce;
        if undisturbed && !course.limit_hit {
            let over = (self.world.live() + 1).saturating_sub(self.terms.max_users);
            assert!(over > 0, "R4: nobody goes while there is room");
            let all_listed = self.world.nature.list_lag == Duration::ZERO;
            assert!(
                !all_listed || over + course.deleted <= self.terms.max_per_registration,
                "R4: an account far above its limit loses nobody"
            );
        }
    }
}

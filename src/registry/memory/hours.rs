//! In which hours a tenant's users called.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::registry::{Activity, Hour, hours};
use crate::types::{Millis, UserId};

/// Beyond them the oldest go.
const KEPT_MAX: usize = 10_000;

/// By when they began and whose they are: the last call, and how many.
#[derive(Debug, Default)]
pub(super) struct Hours(BTreeMap<(Millis, UserId), (Millis, u64)>);

impl Hours {
    pub(super) fn add(&mut self, activity: &Activity) {
        let Hour {
            began,
            user,
            last,
            calls,
        } = hours::of(activity);
        let known = self.0.entry((began, user)).or_default();
        *known = (known.0.max(last), known.1.saturating_add(calls));
        if self.0.len() > KEPT_MAX {
            self.0.pop_first();
        }
    }

    pub(super) fn list(&self, before: Option<&Hour>, limit: usize) -> Vec<Hour> {
        let end = before.map_or(Bound::Unbounded, |hour| {
            Bound::Excluded((hour.began, hour.user.clone()))
        });
        let wanted = self.0.range((Bound::Unbounded, end)).rev().take(limit);
        let hour = |((began, user), (last, calls)): (&(Millis, UserId), &(Millis, u64))| Hour {
            began: *began,
            user: user.clone(),
            last: *last,
            calls: *calls,
        };
        wanted.map(hour).collect()
    }

    pub(super) fn prune(&mut self, before: Millis) {
        self.0 = self.0.split_off(&(before, UserId::new("")));
    }
}

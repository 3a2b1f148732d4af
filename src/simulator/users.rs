//! The users of the key, and what becomes of them as time passes.
//!
//! A deleted user lives on for `delete_lag`, is then a tombstone for `settle_time`, and is then gone. All of it is
//! worked out from the options of the moment, so a test may hold a deletion open and let it settle later.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::options::{ListOrder, Options};

#[derive(Debug)]
struct User {
    id: String,
    secret: String,
    registered_at: Instant,
    deleted_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    Tombstone,
    Gone,
}

impl User {
    fn stage(&self, options: &Options, now: Instant) -> Stage {
        let Some(deleted) = self.deleted_at else {
            return Stage::Live;
        };
        let since = now.duration_since(deleted);
        if since < options.delete_lag {
            Stage::Live
        } else if since < options.delete_lag.saturating_add(options.settle_time) {
            Stage::Tombstone
        } else {
            Stage::Gone
        }
    }

    fn is_live(&self, options: &Options, now: Instant) -> bool {
        self.stage(options, now) == Stage::Live
    }

    fn entry(&self, options: &Options, now: Instant) -> Option<String> {
        match self.stage(options, now) {
            Stage::Live => {
                (now.duration_since(self.registered_at) >= options.list_lag).then(|| self.id.clone())
            }
            Stage::Tombstone => Some(format!("{}_deleted", self.id)),
            Stage::Gone => None,
        }
    }
}

/// Why a registration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    Exists,
    LimitReached,
}

/// In order of registration.
#[derive(Debug, Default)]
pub(super) struct Users(Vec<User>);

impl Users {
    pub(super) fn register(
        &mut self,
        id: &str,
        secret: String,
        options: &Options,
        now: Instant,
    ) -> Result<(), NoRoom> {
        let mut counted = 0;
        for user in &self.0 {
            let stage = user.stage(options, now);
            let taken = stage == Stage::Live || stage == Stage::Tombstone && options.tombstones_reserve_id;
            if taken && user.id == id {
                return Err(NoRoom::Exists);
            }
            counted +=
                usize::from(stage == Stage::Live || stage == Stage::Tombstone && options.tombstones_count);
        }
        if counted >= options.user_limit {
            return Err(NoRoom::LimitReached);
        }
        self.add(id, secret, options, now);
        Ok(())
    }

    /// Adds a user whatever the limit; `false` if it is already there.
    pub(super) fn add(&mut self, id: &str, secret: String, options: &Options, now: Instant) -> bool {
        self.0.retain(|user| user.stage(options, now) != Stage::Gone);
        let new = self.find(id, options, now).is_none();
        if new {
            self.0.push(User {
                id: id.to_owned(),
                secret,
                registered_at: now,
                deleted_at: None,
            });
        }
        new
    }

    /// Queues a deletion. `None` without such a user, `Some(false)` if its deletion was queued before.
    pub(super) fn delete(&mut self, id: &str, options: &Options, now: Instant) -> Option<bool> {
        let user = self.find_mut(id, options, now)?;
        let first = user.deleted_at.is_none();
        user.deleted_at.get_or_insert(now);
        Some(first)
    }

    /// Takes a user away without a trace; `false` if it was not there.
    pub(super) fn remove(&mut self, id: &str, options: &Options, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|user| user.id != id || !user.is_live(options, now));
        self.0.len() < before
    }

    pub(super) fn secret(&self, id: &str, options: &Options, now: Instant) -> Option<&str> {
        self.find(id, options, now).map(|user| user.secret.as_str())
    }

    pub(super) fn change_secret(&mut self, id: &str, secret: String, options: &Options, now: Instant) {
        if let Some(user) = self.find_mut(id, options, now) {
            user.secret = secret;
        }
    }

    pub(super) fn live(&self, options: &Options, now: Instant) -> Vec<String> {
        let live = self.0.iter().filter(|user| user.is_live(options, now));
        live.map(|user| user.id.clone()).collect()
    }

    /// What listUsers says.
    pub(super) fn listed(&self, options: &Options, now: Instant) -> Vec<String> {
        let mut listed: Vec<String> = self
            .0
            .iter()
            .filter_map(|user| user.entry(options, now))
            .collect();
        match options.list_order {
            ListOrder::OldestFirst => {}
            ListOrder::NewestFirst => listed.reverse(),
            ListOrder::Alphabetical => listed.sort(),
            ListOrder::Shuffled(seed) => listed.sort_by_cached_key(|entry| {
                Sha256::new()
                    .chain_update(seed.to_le_bytes())
                    .chain_update(entry)
                    .finalize()
                    .to_vec()
            }),
        }
        listed
    }

    /// When the passing of time alone changes something next.
    pub(super) fn next_change(&self, options: &Options, now: Instant) -> Option<Instant> {
        let after = |at: Instant, delay: Duration| at.checked_add(delay).filter(|at| *at > now);
        let changes = self.0.iter().flat_map(|user| {
            let deletion = |delay| user.deleted_at.and_then(|at| after(at, delay));
            [
                after(user.registered_at, options.list_lag),
                deletion(options.delete_lag),
                deletion(options.delete_lag.saturating_add(options.settle_time)),
            ]
        });
        changes.flatten().min()
    }

    fn find(&self, id: &str, options: &Options, now: Instant) -> Option<&User> {
        self.0
            .iter()
            .find(|user| user.id == id && user.is_live(options, now))
    }

    fn find_mut(&mut self, id: &str, options: &Options, now: Instant) -> Option<&mut User> {
        self.0
            .iter_mut()
            .find(|user| user.id == id && user.is_live(options, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn registered(ids: &[&str], options: &Options, now: Instant) -> Users {
        let mut users = Users::default();
        for id in ids {
            users.register(id, String::new(), options, now).unwrap();
        }
        users
    }

    #[test]
    fn a_deleted_user_counts_while_it_lags_then_is_a_tombstone_then_gone() {
        let options = Options {
            user_limit: 1,
            delete_lag: SECOND,
            settle_time: SECOND,
            tombstones_reserve_id: true,
            ..Options::default()
        };
        let start = Instant::now();
        let mut users = registered(&["a"], &options, start);
        assert_eq!(users.delete("a", &options, start), Some(true));
        assert_eq!(users.delete("a", &options, start), Some(false));
        assert_eq!(users.listed(&options, start), ["a"]);
        assert_eq!(
            users.register("b", String::new(), &options, start),
            Err(NoRoom::LimitReached)
        );
        assert_eq!(users.next_change(&options, start), Some(start + SECOND));

        let buried = start + SECOND;
        assert_eq!(users.listed(&options, buried), ["a_deleted"]);
        assert_eq!(users.delete("a", &options, buried), None);
        assert_eq!(
            users.register("a", String::new(), &options, buried),
            Err(NoRoom::Exists)
        );
        let counting = Options {
            tombstones_count: true,
            ..options.clone()
        };
        assert_eq!(
            users.register("b", String::new(), &counting, buried),
            Err(NoRoom::LimitReached)
        );

        let gone = buried + SECOND;
        assert!(users.listed(&options, gone).is_empty());
        assert_eq!(users.next_change(&options, gone), None);
        assert_eq!(users.register("a", String::new(), &counting, gone), Ok(()));
    }

    #[test]
    fn a_new_user_is_listed_after_its_lag_but_counts_at_once() {
        let options = Options {
            user_limit: 1,
            list_lag: SECOND,
            ..Options::default()
        };
        let start = Instant::now();
        let mut users = registered(&["a"], &options, start);
        assert!(users.listed(&options, start).is_empty());
        assert_eq!(
            users.register("b", String::new(), &options, start),
            Err(NoRoom::LimitReached)
        );
        assert_eq!(users.listed(&options, start + SECOND), ["a"]);
    }

    #[test]
    fn the_order_of_the_list_is_as_told() {
        let start = Instant::now();
        let users = registered(&["c", "a", "d", "b"], &Options::default(), start);
        let listed = |list_order| {
            users
                .listed(
                    &Options {
                        list_order,
                        ..Options::default()
                    },
                    start,
                )
                .concat()
        };
        assert_eq!(listed(ListOrder::OldestFirst), "cadb");
        assert_eq!(listed(ListOrder::NewestFirst), "bdac");
        assert_eq!(listed(ListOrder::Alphabetical), "abcd");
        let shuffles: Vec<String> = (0..9).map(|seed| listed(ListOrder::Shuffled(seed))).collect();
        assert_eq!(shuffles[3], listed(ListOrder::Shuffled(3)));
        assert!(shuffles.iter().any(|order| *order != shuffles[0]));
    }
}

//! Which of a tenant's users changed lately.

use std::collections::{HashSet, VecDeque};

use crate::registry::Version;
use crate::types::{Millis, UserId};

/// Changes that are told one by one; who asks for more gets all users.
const CHANGES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Grows with each change.
    version: i64,
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    /// From then on.
    version: i64,
    user: UserId,
    /// When it was gone, if that is what changed.
    gone: Option<Millis>,
}

impl Log {
    pub(super) fn version(&self) -> Version {
        Version(self.version)
    }

    /// This user changed.
    pub(super) fn changed(&mut self, user: &UserId) {
        self.note(user, None);
    }

    /// This user was gone at that time.
    pub(super) fn gone(&mut self, user: &UserId, at: Millis) {
        self.note(user, Some(at));
    }

    fn note(&mut self, user: &UserId, gone: Option<Millis>) {
        self.version += 1;
        self.changes.push_back(Change {
            version: self.version,
            user: user.clone(),
            gone,
        });
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Who changed since then, and who of them was gone meanwhile; `None` if that is not known any more, or never was.
    pub(super) fn since(&self, since: Version) -> Option<(HashSet<&UserId>, HashSet<&UserId>)> {
        let oldest = self
            .changes
            .front()
            .map_or(self.version, |first| first.version - 1);
        if !(oldest..=self.version).contains(&since.0) {
            return None;
        }
        let changes = self.changes.iter().rev();
        let changes = changes.take_while(|change| change.version > since.0);
        let gone = changes.clone().filter(|change| change.gone.is_some());
        let gone = gone.map(|change| &change.user).collect();
        Some((changes.map(|change| &change.user).collect(), gone))
    }

    /// Whether the user was gone after `at`, as far as is known.
    pub(super) fn was_gone_after(&self, user: &UserId, at: Millis) -> bool {
        let is_it = |change: &Change| change.user == *user && change.gone > Some(at);
        self.changes.iter().any(is_it)
    }
}

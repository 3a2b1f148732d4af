//! Whom the application deletes while nobody knows whether they are gone.

use std::collections::HashMap;
use std::time::Instant;

use super::Roster;
use crate::types::UserId;

impl Roster {
    /// Takes in whose deletion by the application is under way, or had no answer lately, and when it was sent. As long as that is
    /// so they are set aside, and neither count nor go: a list that lags may name who is gone.
    pub fn note_unanswered(&mut self, calls: Vec<(UserId, Instant)>, now: Instant) {
        let mut latest: HashMap<UserId, Instant> = HashMap::new();
        for (id, sent) in calls {
            let at = latest.entry(id).or_insert(sent);
            *at = sent.max(*at);
        }
        self.cleared.retain(|id, _| latest.contains_key(id));
        latest.retain(|id, sent| self.cleared.get(id).is_none_or(|since| *sent >= *since));
        // The list that is in hand lacks them.
        if self.unanswered.keys().any(|id| !latest.contains_key(id)) {
            self.doubt(now);
        }
        let before = std::mem::take(&mut self.unanswered);
        let is_new = latest.keys().any(|id| !before.contains_key(id));
        for (id, sent) in latest {
            let known = before.get(&id).filter(|gone| gone.at == sent).copied();
            let departure = known.unwrap_or_else(|| self.departure(&id, sent));
            self.unanswered.insert(id, departure);
        }
        if let Some((_, entries)) = &mut self.listed
            && is_new
        {
            let unanswered = &self.unanswered;
            self.lingering
                .extend(entries.extract_if(.., |entry| unanswered.contains_key(entry)));
        }
    }

    /// What became of this user is known: deletions that were sent before say nothing more of it.
    pub(super) fn clear(&mut self, id: &UserId, now: Instant) {
        self.unanswered.remove(id);
        self.cleared.insert(id.clone(), now);
    }

    /// Whether the application is deleting this user, or tried to and had no answer.
    pub fn is_unanswered(&self, id: &UserId) -> bool {
        self.unanswered.contains_key(id)
    }

    /// How many of them the last list named.
    pub(in crate::admission) fn listed_unanswered(&self) -> usize {
        let is_unanswered = |id: &&UserId| self.unanswered.contains_key(*id);
        self.lingering.iter().filter(is_unanswered).count()
    }
}

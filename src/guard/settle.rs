//! What a process that ended in the middle left open: intents whose deletion may or may not have been sent (R7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Guard;
use super::book::Book;
use crate::admission::Note;
use crate::admission::roster::Roster;
use crate::types::UserId;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

impl Guard {
    /// Settles the intents that are open in the registry, by looking and never by deleting again. What cannot be settled now
    /// is settled by the next admission, before anything else.
    pub async fn settle(self: &Arc<Self>) {
        match self.means.registry.open_intents(self.tenant()).await {
            Ok(open) if open.is_empty() => return,
            Ok(open) => {
                let (tenant, intents) = (self.tenant(), open.len());
                tracing::warn!(
                    tenant,
                    intents,
                    "evictions were cut short the last time; looking what became of them"
                );
            }
            Err(error) => {
                let tenant = self.tenant();
                tracing::warn!(tenant, %error, "the registry could not be read");
                return;
            }
        }
        let mut held = self.held.lock().await;
        loop {
            let patience = self.terms().admission_timeout;
            let (mut book, roster) = Book::open(self, None, &mut held, patience).await;
            let Some(victim) = roster.unresolved.as_ref().map(|open| open.victim.clone()) else {
                break;
            };
            if !book.is_open() || !self.settle_one(&victim, &mut book, roster).await {
                break;
            }
        }
        held.hand_over(false);
    }

    /// Whether it is settled.
    pub(super) async fn settle_one(&self, victim: &UserId, book: &mut Book<'_>, roster: &mut Roster) -> bool {
        let settle_timeout = self.terms().settle_timeout;
        loop {
            if self.list_into(roster).await.is_err() {
                return false;
            }
            let now = Instant::now();
            let Some(since) = roster.unresolved.as_ref().map(|open| open.since) else {
                return true;
            };
            let note = if !roster.lists(victim) {
                roster.removed(victim, now);
                Note::Evicted(victim.clone())
            } else if now >= since + settle_timeout {
                roster.doom(victim, since);
                Note::EvictionUnsettled(victim.clone())
            } else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            roster.unresolved = None;
            book.note(std::slice::from_ref(&note)).await;
            self.tell(&note, "");
            return true;
        }
    }
}

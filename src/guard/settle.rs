//! What a process that ended in the middle left open: intents whose deletion may or may not have been sent (R7).

use std::sync::Arc;
use std::time::Duration;

use super::Guard;
use super::book::Book;
use crate::admission::Note;
use crate::admission::roster::{Roster, Unresolved};
use crate::clock;

/// The pauses between two looks whether a deletion happened.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Guard {
    /// Settles the intents that are open in the registry, by looking and never by deleting again. What cannot be settled now
    /// is settled by the next admission, before anything else.
    pub async fn settle(self: &Arc<Self>) {
        match self.means.registry.open_intents(self.client_id()).await {
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
        let mut held = self.state.held.lock().await;
        loop {
            let patience = self.terms().admission_timeout;
            let (mut book, roster) = Book::open(self, None, &mut held, patience).await;
            if !book.is_open() || self.settle_one(&mut book, roster).await.is_none() {
                break;
            }
        }
        held.hand_over(false);
    }

    /// Looks until the roster's unresolved deletion is settled, and records what became of it. `None` if nobody could tell
    /// within `settle_timeout`: then it stays open.
    pub(super) async fn settle_one(&self, book: &mut Book<'_>, roster: &mut Roster) -> Option<Note> {
        let Unresolved {
            victim,
            since,
            is_sent,
            ..
        } = roster.unresolved.clone()?;
        let mut pause = PAUSE_MIN;
        let note = loop {
            let looked = self.list_into(roster).await;
            let has_looked = looked.is_ok();
            let now = clock::now();
            if has_looked && !roster.is_there(&victim) {
                roster.removed(&victim, now);
                break Note::Evicted(victim);
            }
            if now >= since + self.terms().settle_timeout {
                if !has_looked {
                    return None;
                }
                roster.doom();
                let note = if is_sent {
                    Note::EvictionUnsettled
                } else {
                    Note::EvictionUnknown
                };
                break note(victim);
            }
            let told = looked.err().and_then(|error| error.retry_after);
            let settled = (since + self.terms().settle_timeout) - now;
            let wait = pause.max(self.pace()).max(told.unwrap_or_default());
            tokio::time::sleep(wait.min(settled)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        roster.unresolved = None;
        book.note(std::slice::from_ref(&note)).await;
        self.tell(&note, "");
        Some(note)
    }
}

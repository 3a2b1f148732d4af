//! What other programs do with the first client id's users, and what is told of all users by webhook.

use std::time::Duration;

use tokio::time::Instant;

use super::arrived::Arrived;
use super::record::{self, Line};
use super::state::State;
use super::webhooks::Webhook;

impl State {
    /// What another program does with the same key; `None` if the user is already there.
    pub(super) fn add_user(&mut self, id: &str) -> Option<String> {
        let (secret, now) = (self.new_uuid(), Instant::now());
        let added = self.users.add(id, secret.clone(), &self.options, now);
        self.note_live(now);
        if added {
            self.tell_of_first("USER_REGISTERED", id);
            self.note_other(&Line::Added {
                at_ms: record::now(),
                user: id,
            });
        }
        added.then_some(secret)
    }

    /// What another program undoes; `false` if there is no such user.
    pub(super) fn remove_user(&mut self, id: &str) -> bool {
        let removed = self.users.remove(id, &self.options, Instant::now());
        if removed {
            self.tell_of_first("USER_DELETED", id);
            self.note_other(&Line::Removed {
                at_ms: record::now(),
                user: id,
            });
        }
        removed
    }

    /// Sends a webhook about a user of the call's client id.
    pub(super) fn tell(&mut self, call: &Arrived, kind: &'static str, user: &str, after: Duration) {
        let client = call.parameter("clientId").unwrap_or_default();
        self.send(&client, kind, user, after);
    }

    fn tell_of_first(&mut self, kind: &'static str, user: &str) {
        let client = self.options.client_id.clone();
        self.send(&client, kind, user, Duration::ZERO);
    }

    /// Sends a webhook, if anybody wants it.
    fn send(&mut self, client: &str, kind: &'static str, user: &str, after: Duration) {
        let id = self.new_uuid();
        if let Some(webhook) = Webhook::new(&self.options, client, &id, (kind, user), after) {
            // Full, it loses this one, as a network may.
            let _ = self.outbox.try_send(webhook);
        }
    }
}

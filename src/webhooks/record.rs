//! What follows from a webhook here: once, if it is fresh, and in the order of the events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::event::{News, apart};
use super::{Tenant, Webhook, Webhooks, lock};
use crate::admission::known::Source;
use crate::clock;
use crate::guard::Guard;
use crate::registry::RegistryError;
use crate::types::{Millis, UserId};

/// How far an event may be from the clock to be believed by itself; `SnapTrade` advises the same.
const AGE_MAX: Duration = Duration::from_mins(5);
/// A registration of ours and an event this much later are two registrations: an event is believed within [`AGE_MAX`] on
/// either side of the clock.
const SAME_REGISTRATION: Duration = Duration::from_mins(10);
/// How far `SnapTrade`'s clock may be from ours without anybody's harm.
const SKEW_MAX: Duration = Duration::from_secs(30);
/// For the registry; its answer is awaited by `SnapTrade`.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks. After an outage many webhooks come late at once, and the calls to `SnapTrade` are limited.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Webhooks whose handling failed, and connections whose last event is known, at once.
const REMEMBERED_MAX: usize = 1_000;

/// What became of a webhook here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Handled,
    /// It came before.
    Repeated,
    /// It is too far from the clock, or something later is known: the users are looked at anew.
    Late,
    /// It lacks what makes it news; likewise.
    Malformed,
    /// Of a type that is of no use here.
    Unknown,
    /// The registry failed; likewise.
    Unrecorded,
}

impl Outcome {
    pub(super) fn token(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Unrecorded => "unrecorded",
        }
    }
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        Json(serde_json::json!({ "outcome": self.token() })).into_response()
    }
}

impl Webhooks {
    /// Takes in what a webhook says.
    pub(super) async fn record(&self, webhook: &Webhook) -> Outcome {
        let Webhook {
            tenant, guard, event, ..
        } = webhook;
        if !event.is_known() {
            return Outcome::Unknown;
        }
        let recorded = tokio::time::timeout(RECORD_TIMEOUT, self.recorded(webhook)).await;
        let slow = || RegistryError("the registry did not answer within 5 seconds".to_owned());
        let outcome = recorded.map_err(|_| slow()).flatten().unwrap_or_else(|error| {
            let tenant = guard.tenant();
            tracing::error!(tenant, %error, "what a webhook says could not be recorded; the users are looked at instead");
            Outcome::Unrecorded
        });
        if matches!(outcome, Outcome::Late | Outcome::Malformed | Outcome::Unrecorded) {
            tenant.look(guard);
        }
        outcome
    }

    async fn recorded(&self, webhook: &Webhook) -> Result<Outcome, RegistryError> {
        let Webhook {
            tenant, guard, event, ..
        } = webhook;
        let Some((id, at, news)) = event.news() else {
            return Ok(Outcome::Malformed);
        };
        // Of one key only: no other's may make this one's webhook a repeated one.
        let id = format!("{}:{id}", guard.client_id());
        let _turn = tenant.turn.lock().await;
        let now = Millis::from(clock::wall());
        if !self.begin(tenant, &id, now).await? {
            return Ok(Outcome::Repeated);
        }
        let outcome = if apart(now, at) > AGE_MAX {
            Outcome::Late
        } else {
            self.apply(webhook, &news, at, now).await?
        };
        lock(&tenant.owed).remove(&id);
        Ok(outcome)
    }

    /// Whether this webhook is to be handled. Its id counts as known from here on, so that it is owed until it was.
    pub(super) async fn begin(&self, tenant: &Tenant, id: &str, now: Millis) -> Result<bool, RegistryError> {
        let is_new = self.registry.is_new_webhook(id, now).await?;
        let mut owed = lock(&tenant.owed);
        // Past the bound, what is retried counts as repeated; the look that every failure causes makes up for it.
        if is_new && owed.len() < REMEMBERED_MAX {
            owed.insert(id.to_owned());
        }
        Ok(is_new || owed.contains(id))
    }

    /// Changes what is known. Events may arrive in another order than they happened.
    async fn apply(
        &self,
        webhook: &Webhook,
        news: &News<'_>,
        at: Millis,
        now: Millis,
    ) -> Result<Outcome, RegistryError> {
        let Webhook { tenant, guard, .. } = webhook;
        let (key, registry) = (guard.client_id(), &self.registry);
        match *news {
            News::Registered(user) => {
                if self.is_another_registration(key, user, at).await? {
                    registry
                        .registered(key, user, at.min(now), Source::Webhook)
                        .await?;
                }
            }
            News::Deleted(user) => {
                let known = registry.user(key, user).await?;
                let registered = known.and_then(|known| known.registered);
                // Whether that registration is the deleted one is not known, and a look tells.
                if registered.is_some_and(|(since, _)| at.since(since) <= SKEW_MAX) {
                    return Ok(Outcome::Late);
                }
                // By when it was: told late, it takes nothing from who was registered anew meanwhile.
                registry
                    .gone(key, std::slice::from_ref(user), at.min(now))
                    .await?;
                guard.departed(user.clone());
                drop(guard.doubt());
            }
            News::Connection(user, connection, event) => {
                if tenant.is_overtaken(connection, at) {
                    return Ok(Outcome::Late);
                }
                registry.connection(key, user, connection, event, at).await?;
                tenant.note_connection(connection, at, now);
            }
        }
        Ok(Outcome::Handled)
    }

    /// Whether this is not the registration that is known already. Of that, our own time is the better one.
    async fn is_another_registration(
        &self,
        tenant: &str,
        user: &UserId,
        at: Millis,
    ) -> Result<bool, RegistryError> {
        let known = self.registry.user(tenant, user).await?;
        Ok(match known.and_then(|known| known.registered) {
            None => true,
            Some((since, Source::Own)) => at.since(since) > SAME_REGISTRATION,
            Some((since, Source::Webhook)) => at > since,
        })
    }
}

impl Tenant {
    /// Casts doubt on every list there is, and asks for one. Whoever wants that while it is awaited shares it, so that one
    /// who sends the same again and again cannot keep the guard in doubt.
    fn look(self: &Arc<Self>, guard: &Arc<Guard>) {
        if self.is_look_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let (tenant, guard) = (Arc::clone(self), Arc::clone(guard));
        tokio::spawn(async move {
            let mut last = tenant.last_look.lock().await;
            if let Some(last) = *last {
                tokio::time::sleep_until(last + LOOK_PAUSE).await;
            }
            tenant.is_look_due.store(false, Ordering::Release);
            *last = Some(Instant::now());
            drop(guard.doubt());
            // A failure is logged where it happens.
            let _ = guard.look(Duration::ZERO).await;
        });
    }

    /// Whether a later event of this connection is known.
    fn is_overtaken(&self, connection: &str, at: Millis) -> bool {
        lock(&self.connections)
            .get(connection)
            .is_some_and(|last| *last > at)
    }

    fn note_connection(&self, connection: &str, at: Millis, now: Millis) {
        let mut connections = lock(&self.connections);
        if connections.len() >= REMEMBERED_MAX {
            // What is older comes late anyway.
            connections.retain(|_, last| apart(now, *last) <= AGE_MAX);
        }
        if connections.len() < REMEMBERED_MAX {
            connections.insert(connection.to_owned(), at);
        }
    }
}

//! What a webhook says.

use std::time::Duration;

use serde_json::{Map, Value};

use super::record::Outcome;
use crate::registry::ConnectionEvent;
use crate::types::{Millis, UserId};

/// Ids of webhooks and connections are UUIDs; longer ones are not remembered.
const ID_BYTES_MAX: usize = 200;
/// Of a type that is not known, for the log.
const TYPE_CHARS_MAX: usize = 60;

/// A webhook's content. What is missing, or not as it should be, is `None`.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) client_id: Option<String>,
    pub(super) id: Option<String>,
    kind: Kind,
    user: Option<UserId>,
    at: Option<Millis>,
    connection: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    UserRegistered,
    UserDeleted,
    Connection(ConnectionEvent),
    Other(String),
}

/// What a webhook says that is of use here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News<'e> {
    Registered(&'e UserId),
    Deleted(&'e UserId),
    Connection(&'e UserId, &'e str, ConnectionEvent),
}

impl Event {
    /// `None` if the body is no object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let id = |name: &str| {
            text(name)
                .filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)
                .map(str::to_owned)
        };
        Some(Self {
            client_id: text("clientId").map(str::to_owned),
            id: id("webhookId"),
            kind: Kind::of(text("eventType").unwrap_or_default()),
            user: text("userId").filter(|id| !id.is_empty()).map(UserId::new),
            at: text("eventTimestamp").and_then(millis),
            connection: id("brokerageAuthorizationId"),
        })
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self.kind, Kind::Other(_))
    }

    /// Its id, its time and what it says, if all of that is there.
    pub(super) fn news(&self) -> Option<(&str, Millis, News<'_>)> {
        let user = self.user.as_ref()?;
        let news = match &self.kind {
            Kind::UserRegistered => News::Registered(user),
            Kind::UserDeleted => News::Deleted(user),
            Kind::Connection(event) => News::Connection(user, self.connection.as_deref()?, *event),
            Kind::Other(_) => return None,
        };
        Some((self.id.as_deref()?, self.at?, news))
    }

    /// What it lacks to be news, by its name in the body.
    fn lacks(&self) -> &'static str {
        if self.id.is_none() {
            "webhookId"
        } else if self.user.is_none() {
            "userId"
        } else if self.at.is_none() {
            "eventTimestamp"
        } else {
            "brokerageAuthorizationId"
        }
    }

    pub(super) fn log(&self, tenant: &str, outcome: Outcome) {
        let (webhook, kind) = (self.id.as_deref(), self.kind.token());
        let user = self.user.as_ref().map(UserId::as_str);
        if outcome == Outcome::Malformed {
            let lacks = self.lacks();
            tracing::warn!(
                tenant,
                webhook,
                kind,
                user,
                lacks,
                "a webhook is malformed: what it lacks is missing, or not as SnapTrade writes it; the users are listed anew"
            );
        }
        let outcome = outcome.token();
        if outcome == "unknown" || outcome == "repeated" {
            tracing::debug!(tenant, webhook, kind, user, outcome, "webhook");
        } else {
            tracing::info!(tenant, webhook, kind, user, outcome, "webhook");
        }
    }
}

impl Kind {
    fn of(token: &str) -> Self {
        match token {
            "USER_REGISTERED" => Self::UserRegistered,
            "USER_DELETED" => Self::UserDeleted,
            "CONNECTION_ADDED" => Self::Connection(ConnectionEvent::Added),
            "CONNECTION_DELETED" => Self::Connection(ConnectionEvent::Deleted),
            "CONNECTION_BROKEN" => Self::Connection(ConnectionEvent::Broken),
            "CONNECTION_FIXED" => Self::Connection(ConnectionEvent::Fixed),
            other => Self::Other(other.chars().take(TYPE_CHARS_MAX).collect()),
        }
    }

    fn token(&self) -> &str {
        match self {
            Self::UserRegistered => "USER_REGISTERED",
            Self::UserDeleted => "USER_DELETED",
            Self::Connection(ConnectionEvent::Added) => "CONNECTION_ADDED",
            Self::Connection(ConnectionEvent::Deleted) => "CONNECTION_DELETED",
            Self::Connection(ConnectionEvent::Broken) => "CONNECTION_BROKEN",
            Self::Connection(ConnectionEvent::Fixed) => "CONNECTION_FIXED",
            Self::Other(token) => token,
        }
    }
}

/// For the fuzzer: what a body says, as text.
#[cfg(fuzzing)]
pub fn told(body: &[u8]) -> Option<String> {
    Event::read(body).map(|event| format!("{event:?}, {:?}, lacks {}", event.news(), event.lacks()))
}

/// ISO 8601; in UTC where it says no offset, as Python's `isoformat` leaves it.
fn millis(text: &str) -> Option<Millis> {
    let local = || {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
    };
    let time: Option<jiff::Timestamp> = text.parse().ok().or_else(local);
    time.map(|time| Millis(time.as_millisecond()))
}

/// How far two moments are apart.
pub(super) fn apart(a: Millis, b: Millis) -> Duration {
    a.since(b).max(b.since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(more: &str) -> Event {
        let body = format!(
            "{{\"webhookId\":\"w\",\"clientId\":\"C\",\"userId\":\"u\",\"eventTimestamp\":\"1970-01-01T00:00:01Z\"{more}}}"
        );
        Event::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn each_event_is_told_by_its_type() {
        let user = UserId::new("u");
        let connected = ",\"brokerageAuthorizationId\":\"b\"";
        for (kind, more, news) in [
            ("USER_REGISTERED", "", News::Registered(&user)),
            ("USER_DELETED", "", News::Deleted(&user)),
            (
                "CONNECTION_ADDED",
                connected,
                News::Connection(&user, "b", ConnectionEvent::Added),
            ),
            (
                "CONNECTION_DELETED",
                connected,
                News::Connection(&user, "b", ConnectionEvent::Deleted),
            ),
            (
                "CONNECTION_BROKEN",
                connected,
                News::Connection(&user, "b", ConnectionEvent::Broken),
            ),
            (
                "CONNECTION_FIXED",
                connected,
                News::Connection(&user, "b", ConnectionEvent::Fixed),
            ),
        ] {
            let event = event(&format!(",\"eventType\":\"{kind}\"{more}"));
            assert_eq!(event.news(), Some(("w", Millis(1_000), news)), "{kind}");
            assert_eq!(event.kind.token(), kind);
        }
        let other = event(",\"eventType\":\"ACCOUNT_HOLDINGS_UPDATED\"");
        assert!(!other.is_known() && other.news().is_none());
        assert!(!event("").is_known());
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_no_news() {
        for (body, lacks) in [
            (
                r#"{"eventType":"USER_DELETED","userId":"u","eventTimestamp":"1970-01-01T00:00:01Z"}"#,
                "webhookId",
            ),
            (
                r#"{"eventType":"USER_DELETED","userId":7,"eventTimestamp":"1970-01-01T00:00:01Z","webhookId":"w"}"#,
                "userId",
            ),
            (
                r#"{"eventType":"USER_DELETED","userId":"","eventTimestamp":"1970-01-01T00:00:01Z","webhookId":"w"}"#,
                "userId",
            ),
            (
                r#"{"eventType":"USER_DELETED","userId":"u","eventTimestamp":"now","webhookId":"w"}"#,
                "eventTimestamp",
            ),
            (
                r#"{"eventType":"CONNECTION_ADDED","userId":"u","eventTimestamp":"1970-01-01T00:00:01Z","webhookId":"w"}"#,
                "brokerageAuthorizationId",
            ),
        ] {
            let event = Event::read(body.as_bytes()).unwrap();
            assert!(event.is_known() && event.news().is_none(), "{body}");
            assert_eq!(event.lacks(), lacks, "{body}");
        }
        assert!(Event::read(b"[]").is_none());
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for text in [
            "2022-01-24T16:25:16.112Z",
            "2022-01-24T16:25:16.112000+00:00",
            "2022-01-24T17:25:16.112+01:00",
            "2022-01-24T16:25:16.112",
        ] {
            assert_eq!(millis(text), Some(Millis(1_643_041_516_112)), "{text}");
        }
        assert_eq!(millis("yesterday"), None);
    }
}

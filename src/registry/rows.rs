//! What is stored, as rows of either database.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{
    Activity, DEPARTED_MAX, Entry, EntryId, Event, Hour, OpenIntent, Recorded, RegistryError, Version,
};
use crate::admission::known::{Connections, Known, Source};
use crate::types::{Millis, UserId};

/// Id, first seen, registered, source, last active, calls, working and broken connections, protected.
pub(super) type UserRow = (
    String,
    i64,
    Option<i64>,
    Option<String>,
    Option<i64>,
    i64,
    Option<i64>,
    Option<i64>,
    bool,
);

/// Id, at, tenant, event, user, newcomer, outcome, reason, users, limit, request id, intent, replica, status, took.
pub(super) type EntryRow = (
    i64,
    i64,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    String,
    Option<i64>,
    Option<i64>,
);

/// When it began, whose, the last call, and how many.
pub(super) type HourRow = (i64, String, i64, i64);

/// A text as it is stored. PostgreSQL stores no NUL, SQLite's JSON none either, and an id may be any string.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A text as it was before it was stored.
pub(super) fn told(stored: String) -> String {
    if !stored.contains('\\') {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|c| if c == '0' { '\0' } else { c })),
            other => text.push(other),
        }
    }
    text
}

/// The next stored text after this one, by the order of their bytes: no stored text has a NUL.
pub(super) fn next(stored: &str) -> String {
    format!("{stored}\u{1}")
}

pub(super) fn user_id(stored: String) -> UserId {
    UserId::new(told(stored))
}

pub(super) fn user(row: UserRow) -> (UserId, Known) {
    let (id, first_seen, registered, source, last_active, calls, working, broken, protected) = row;
    let source = match source.as_deref() {
        Some("own") => Source::Own,
        _ => Source::Webhook,
    };
    let count = |count| u16::try_from(count).unwrap_or(u16::MAX);
    let known = Known {
        first_seen: Millis(first_seen),
        registered: registered.map(|at| (Millis(at), source)),
        last_active: last_active.map(Millis),
        calls: u32::try_from(calls.max(0)).unwrap_or(u32::MAX),
        connections: working.zip(broken).map(|(working, broken)| Connections {
            working: count(working),
            broken: count(broken),
        }),
        protected,
    };
    (user_id(id), known)
}

pub(super) fn recorded(row: EntryRow) -> Result<Recorded, RegistryError> {
    let (
        id,
        at,
        tenant,
        event,
        user,
        newcomer,
        outcome,
        reason,
        users,
        limit,
        request_id,
        intent,
        replica,
        status,
        took,
    ) = row;
    let Some(event) = Event::from_token(&event) else {
        let what = format!("the journal's entry {id} is a {event:?}, which this version does not know");
        return Err(RegistryError(format!("{what}; run the version that wrote it")));
    };
    let count = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    let entry = Entry {
        at: Millis(at),
        tenant,
        event,
        user: user.map(user_id),
        newcomer: newcomer.map(user_id),
        outcome: outcome.map(told),
        reason: reason.map(told),
        users: users.map(count),
        limit: limit.map(count),
        request_id: request_id.map(told),
        intent: intent.map(EntryId),
        replica: told(replica),
        status: status.and_then(|status| u16::try_from(status).ok()),
        took_ms: took.map(count),
    };
    Ok(Recorded {
        id: EntryId(id),
        entry,
    })
}

pub(super) fn open_intent((id, victim, at, replica): (i64, String, i64, String)) -> OpenIntent {
    OpenIntent {
        id: EntryId(id),
        victim: user_id(victim),
        at: Millis(at),
        replica: told(replica),
    }
}

pub(super) fn hour((began, user, last, calls): HourRow) -> Hour {
    Hour {
        began: Millis(began),
        user: user_id(user),
        last: Millis(last),
        calls: u64::try_from(calls).unwrap_or(0),
    }
}

/// Where hours are read on from, as they are stored.
pub(super) fn end(before: Option<&Hour>) -> (i64, String) {
    before.map_or((i64::MAX, String::new()), |hour| {
        (hour.began.0, stored(hour.user.as_str()).into_owned())
    })
}

/// The version since which changes can be told: not one that was never reached, or whose departed are forgotten.
pub(super) fn useful(since: Option<Version>, version: Version) -> Option<Version> {
    since.filter(|since| (version.0 - DEPARTED_MAX..=version.0).contains(&since.0))
}

/// A batch by tenants, since each tenant's users are changed by themselves.
pub(super) fn by_tenant(batch: &[Activity]) -> BTreeMap<&str, Vec<&Activity>> {
    let mut by_tenant: BTreeMap<&str, Vec<&Activity>> = BTreeMap::new();
    for activity in batch {
        by_tenant.entry(&activity.tenant).or_default().push(activity);
    }
    by_tenant
}

pub(super) fn calls(activity: &Activity) -> i64 {
    i64::try_from(activity.calls).unwrap_or(i64::MAX)
}

/// Whether an entry is an intent that waits for its outcome.
pub(super) fn is_open(entry: &Entry) -> bool {
    entry.event == Event::Intent && entry.user.is_some()
}

/// The intent that an entry closes.
pub(super) fn closes(entry: &Entry) -> Option<i64> {
    let intent = entry.intent.filter(|_| entry.event == Event::Outcome);
    intent.map(|id| id.0)
}

/// Whether an outcome says that nobody was deleted for its intent.
pub(super) fn is_undone(entry: &Entry) -> bool {
    matches!(entry.outcome.as_deref(), Some("withdrawn" | "refused"))
}

/// Binds an entry to a query's first fifteen places: at, tenant, event, user, newcomer, outcome, reason, users, limit,
/// request id, intent, replica, is open, status, took. A macro, since the two databases' queries are of different types.
macro_rules! bind_entry {
    ($query:expr, $entry:expr) => {{
        let entry: &$crate::registry::Entry = $entry;
        let text = |text: &Option<String>| text.as_deref().map(|text| rows::stored(text).into_owned());
        let id =
            |id: &Option<$crate::types::UserId>| id.as_ref().map(|id| rows::stored(id.as_str()).into_owned());
        $query
            .bind(entry.at.0)
            .bind(&*entry.tenant)
            .bind(entry.event.token())
            .bind(id(&entry.user))
            .bind(id(&entry.newcomer))
            .bind(text(&entry.outcome))
            .bind(text(&entry.reason))
            .bind(entry.users.map(i64::from))
            .bind(entry.limit.map(i64::from))
            .bind(text(&entry.request_id))
            .bind(entry.intent.map(|id| id.0))
            .bind(rows::stored(&entry.replica).into_owned())
            .bind(rows::is_open(entry))
            .bind(entry.status.map(i64::from))
            .bind(entry.took_ms.map(i64::from))
    }};
}
pub(super) use bind_entry;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was() {
        for text in ["", "ada", "a\0b", "\\", "\\0", "a\\\0\\0", "\0\0", "ü%'\""] {
            assert!(!stored(text).contains('\0'));
            assert_eq!(told(stored(text).into_owned()), text);
        }
    }

    #[test]
    fn no_text_is_passed_over_between_two_pages() {
        let texts = [
            "", "\u{1}", "a", "a\0", "a\u{1}", "a\u{1}b", "aa", "b", "é", "日本",
        ];
        let texts = texts.map(|text| stored(text).into_owned());
        for read in &texts {
            for text in &texts {
                assert_eq!(text > read, *text >= next(read), "{text:?} after {read:?}");
            }
        }
    }
}

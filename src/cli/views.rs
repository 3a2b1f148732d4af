//! The ops plane's answers as people read them.

use std::fmt::Write as _;

use serde::Deserialize;

use super::table::{or_dash, sentence, shown, table, to_the_second};
use crate::ops::answers::{Entry, Evicted, Evictions, Paused, Protected, User, Users};

/// The summary, `GET /`.
#[derive(Deserialize)]
pub(super) struct Summary {
    status: String,
    version: String,
    uptime_seconds: u64,
    upstream: String,
    registry: String,
    tenants: Vec<Tenant>,
    problems: Vec<String>,
}

#[derive(Deserialize)]
struct Tenant {
    name: String,
    mode: String,
    #[serde(default)]
    paused: bool,
    users: Option<usize>,
    max_users: usize,
    pending_deletions: usize,
    queued: usize,
    registrations: u64,
    evictions: u64,
}

pub(super) fn status(summary: &Summary) -> String {
    let head = [
        "tenant",
        "mode",
        "users",
        "deleting",
        "queued",
        "registrations",
        "evictions",
    ];
    let rows: Vec<Vec<String>> = summary.tenants.iter().map(tenant).collect();
    let mut text = format!(
        "{}{}: version {}, up {}, upstream {}, registry {}\n{}",
        shown(&summary.status),
        but(summary.problems.len()),
        shown(&summary.version),
        uptime(summary.uptime_seconds),
        shown(&summary.upstream),
        shown(&summary.registry),
        table(&head, &rows)
    );
    for problem in &summary.problems {
        let _ = writeln!(text, "problem: {}", sentence(problem));
    }
    text
}

/// The status is the process's own: that it is well does not mean that all is.
fn but(problems: usize) -> String {
    match problems {
        0 => String::new(),
        1 => ", with a problem".to_owned(),
        several => format!(", with {several} problems"),
    }
}

fn tenant(tenant: &Tenant) -> Vec<String> {
    let users = tenant
        .users
        .map_or_else(|| "?".to_owned(), |users| users.to_string());
    vec![
        shown(&tenant.name),
        mode(&tenant.mode, tenant.paused),
        format!("{users}/{}", tenant.max_users),
        tenant.pending_deletions.to_string(),
        tenant.queued.to_string(),
        tenant.registrations.to_string(),
        tenant.evictions.to_string(),
    ]
}

fn mode(mode: &str, paused: bool) -> String {
    let mode = sentence(mode);
    if paused { format!("{mode} (paused)") } else { mode }
}

/// The two largest units: `3d 4h`.
pub(super) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

pub(super) fn users(answer: &Users) -> String {
    let head = [
        "#",
        "user",
        "since",
        "known by",
        "last active",
        "calls",
        "connections",
        "why",
    ];
    let rows: Vec<Vec<String>> = answer.users.iter().map(user).collect();
    format!(
        "tenant {}: {} of {} users, mode {}\n{}",
        shown(&answer.tenant),
        answer.count,
        answer.limit,
        mode(&answer.mode, answer.paused),
        table(&head, &rows)
    )
}

fn user(user: &User) -> Vec<String> {
    let place = user.place.map(|place| place.to_string());
    // Where it is not known when a user was registered, it is at least as old as its first sight.
    let since = user.registered_at.as_deref().unwrap_or(&user.first_seen);
    let last_active = user.last_active.as_deref();
    let connections = user.connections.as_ref();
    vec![
        place.unwrap_or_else(|| "-".to_owned()),
        shown(&user.user_id),
        to_the_second(since),
        user.known_by
            .as_deref()
            .map_or_else(|| "first sight".to_owned(), sentence),
        last_active.map_or_else(|| "-".to_owned(), to_the_second),
        user.calls.to_string(),
        connections.map_or_else(
            || "-".to_owned(),
            |count| format!("{} working, {} broken", count.working, count.broken),
        ),
        sentence(&user.why),
    ]
}

pub(super) fn evictions(answer: &Evictions) -> String {
    let head = [
        "id", "at", "event", "outcome", "user", "newcomer", "users", "reason",
    ];
    let rows: Vec<Vec<String>> = answer.entries.iter().map(entry).collect();
    let mut text = if rows.is_empty() {
        "nothing\n".to_owned()
    } else {
        table(&head, &rows)
    };
    if let Some(before) = answer.next_before {
        let _ = writeln!(text, "older: --before {before}");
    }
    text
}

fn entry(entry: &Entry) -> Vec<String> {
    let limit = |users| match entry.limit {
        Some(limit) => format!("{users}/{limit}"),
        None => format!("{users}"),
    };
    vec![
        entry.id.to_string(),
        to_the_second(&entry.at),
        sentence(&entry.event),
        entry.outcome.as_deref().map_or_else(|| "-".to_owned(), sentence),
        or_dash(entry.user_id.as_deref()),
        or_dash(entry.newcomer.as_deref()),
        entry.users.map_or_else(|| "-".to_owned(), limit),
        entry.reason.as_deref().map_or_else(|| "-".to_owned(), sentence),
    ]
}

pub(super) fn evicted(answer: &Evicted) -> String {
    let user = shown(&answer.user_id);
    match answer.outcome.as_str() {
        "evicted" => format!("{user} is deleted"),
        _ => format!(
            "{user}: the deletion was sent, and SnapTrade still lists this user; it may still go, so take it as gone"
        ),
    }
}

pub(super) fn protected(answer: &Protected) -> String {
    let user = shown(&answer.user_id);
    let told = if answer.protected {
        format!("{user} is protected: it is not evicted")
    } else {
        format!("done: {user} has no protection by hand")
    };
    noted(told, answer.note.as_deref())
}

/// With what the sidecar has to say beside it.
fn noted(told: String, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{told}\nnote: {}", sentence(note)),
        None => told,
    }
}

pub(super) fn paused(answer: &Paused) -> String {
    let tenant = shown(&answer.tenant);
    let told = if answer.paused {
        format!("tenant {tenant} is paused: registrations are forwarded as they come, and nobody is evicted")
    } else {
        format!("done: tenant {tenant} is not paused, and its registrations are managed as its mode says")
    };
    noted(told, answer.note.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::answers::Connections;

    fn ada() -> User {
        User {
            user_id: "ada".to_owned(),
            place: Some(1),
            evictable: true,
            why: "oldest (registered 2026-01-31T09:00:00Z)".to_owned(),
            registered_at: Some("2026-01-31T09:00:00Z".to_owned()),
            known_by: Some("own".to_owned()),
            first_seen: "2026-01-31T09:00:00.5Z".to_owned(),
            last_active: None,
            calls: 0,
            connections: None,
            protected_by_hand: false,
        }
    }

    #[test]
    fn the_status_of_the_process_is_not_told_without_the_problems() {
        for (problems, told) in [
            (&[][..], "ok: version 1.0, up 5s"),
            (&["One."], "ok, with a problem: version "),
            (&["One.", "Another."], "ok, with 2 problems: version "),
        ] {
            let summary = serde_json::json!({
                "status": "ok", "version": "1.0", "uptime_seconds": 5, "upstream": "https://a.b", "registry": "memory:",
                "tenants": [], "problems": problems,
            });
            let text = status(&serde_json::from_value(summary).unwrap());
            assert!(text.starts_with(told), "{text}");
            assert_eq!(text.matches("\nproblem: ").count(), problems.len(), "{text}");
        }
    }

    #[test]
    fn users_are_a_table_in_the_order_of_eviction() {
        let vip = User {
            user_id: "vip\n\u{e9}".to_owned(),
            place: None,
            evictable: false,
            why: "protected: by-hand".to_owned(),
            registered_at: None,
            known_by: None,
            last_active: Some("2026-02-01T00:00:00.001Z".to_owned()),
            calls: 12,
            connections: Some(Connections {
                working: 1,
                broken: 2,
            }),
            protected_by_hand: true,
            ..ada()
        };
        let answer = Users {
            tenant: "default".to_owned(),
            limit: 5,
            count: 2,
            mode: "enforce".to_owned(),
            paused: true,
            counted_at: "2026-02-01T00:00:00Z".to_owned(),
            matching: 2,
            users: vec![ada(), vip],
        };
        assert_eq!(
            users(&answer),
            "\
tenant default: 2 of 5 users, mode enforce (paused)
#  user         since                 known by     last active           calls  connections          why
1  ada          2026-01-31T09:00:00Z  own          -                     0      -                    oldest (registered 2026-01-31T09:00:00Z)
-  vip\\n\\u{e9}  2026-01-31T09:00:00Z  first sight  2026-02-01T00:00:00Z  12     1 working, 2 broken  protected: by-hand
"
        );
    }

    #[test]
    fn the_journal_is_a_table_that_says_how_to_see_more() {
        let entry = Entry {
            id: 7,
            at: "2026-01-31T09:00:00.5Z".to_owned(),
            event: "intent".to_owned(),
            user_id: Some("ada".to_owned()),
            newcomer: Some("b c".to_owned()),
            outcome: None,
            reason: Some("oldest".to_owned()),
            users: Some(5),
            limit: Some(5),
            status: None,
            took_ms: None,
            request_id: None,
            intent: None,
            replica: "one".to_owned(),
        };
        let answer = Evictions {
            tenant: "default".to_owned(),
            entries: vec![entry],
            next_before: Some(7),
        };
        assert_eq!(
            evictions(&answer),
            "\
id  at                    event   outcome  user  newcomer  users  reason
7   2026-01-31T09:00:00Z  intent  -        ada   \"b c\"     5/5    oldest
older: --before 7
"
        );
    }

    #[test]
    fn an_empty_page_of_the_journal_says_so() {
        let page = |next_before| Evictions {
            tenant: "default".to_owned(),
            entries: Vec::new(),
            next_before,
        };
        assert_eq!(evictions(&page(None)), "nothing\n");
        assert_eq!(evictions(&page(Some(7))), "nothing\nolder: --before 7\n");
    }

    #[test]
    fn uptime_is_told_in_its_two_largest_units() {
        for (seconds, told) in [(0, "0s"), (61, "1m 1s"), (3_660, "1h 1m"), (90_000, "1d 1h")] {
            assert_eq!(uptime(seconds), told);
        }
    }
}

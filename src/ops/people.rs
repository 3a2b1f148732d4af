//! Who a tenant's users are, who would go next, and what was done.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{StatusCode, Uri, header};
use serde::Serialize;

use super::Ops;
use super::access::Standing;
use super::answers::{Connections, Entry, Evictions, Next, User, Users};
use super::problem::Problem;
use super::status::{LIST_AGE_MAX, not_listed};
use crate::admission::known::Source;
use crate::admission::policy::{Ranked, Verdict};
use crate::guard::{Guard, Unable};
use crate::registry::{EntryId, Event, Recorded, RegistryError};
use crate::snaptrade::query;
use crate::types::{Millis, UserId};

/// Entries of one answer.
pub(super) const ENTRIES_MAX: usize = 1000;
pub(super) const ENTRIES: usize = 100;
/// Entries read at once, and how often, to find those that are wanted.
const READ_AT_ONCE: usize = 500;
const READS_MAX: usize = 20;
/// Seconds until a registry that is down has probably been tried again.
const RETRY_AFTER: u32 = 5;

/// What is in a path, unless it is not text.
pub(super) type InPath<T> = Result<Path<T>, PathRejection>;

pub(super) fn in_path<T>(path: InPath<T>) -> Result<T, Problem> {
    path.map(|Path(parts)| parts).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "sidecar_bad_path",
            "A name in the path is not UTF-8; percent-encode each byte of it as UTF-8.",
        )
    })
}

/// The tenant in the path, for one who may read.
pub(super) fn readable(ops: &Ops, standing: Standing, path: InPath<String>) -> Result<Arc<Guard>, Problem> {
    standing.sees()?;
    ops.tenant_called(&in_path(path)?)
}

/// With `limit` the first so many, with `search` those whose ids have it in them.
pub(super) async fn users(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let guard = &readable(&ops, standing, path)?;
    let wanted = Wanted::of(uri.query().unwrap_or_default())?;
    let (ranking, counted_at) = ranking(guard).await?;
    // Another replica may have paused it.
    guard.refresh().await;
    let count = ranking.len();
    let (matching, users) = wanted.among(ranking);
    Ok(answer(Users {
        tenant: guard.tenant().to_owned(),
        limit: guard.terms().max_users,
        count,
        mode: guard.terms().mode.token().to_owned(),
        paused: guard.is_paused(),
        counted_at: time(counted_at),
        matching,
        users,
    }))
}

pub(super) async fn next(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
) -> Result<Response, Problem> {
    let guard = &readable(&ops, standing, path)?;
    let (ranking, _) = ranking(guard).await?;
    Ok(answer(Next {
        tenant: guard.tenant().to_owned(),
        next: placed(ranking).next().filter(|user| user.evictable),
    }))
}

pub(super) async fn evictions(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let guard = &readable(&ops, standing, path)?;
    let asked = Asked::of(uri.query().unwrap_or_default())?;
    let (entries, next_before) = asked
        .find(guard)
        .await
        .map_err(|error| registry_down("The journal cannot be read", &error))?;
    Ok(answer(Evictions {
        tenant: guard.tenant().to_owned(),
        entries,
        next_before,
    }))
}

pub(super) fn answer(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn ranking(guard: &Guard) -> Result<(Vec<Ranked>, Millis), Problem> {
    guard.ranking(LIST_AGE_MAX).await.map_err(|unable| match unable {
        Unable::Look(error) => not_listed(&error),
        other => registry_down("What is known of the users cannot be read", &other),
    })
}

pub(super) fn registry_down(what: &str, error: &dyn std::error::Error) -> Problem {
    let detail =
        format!("{what}: {error}. Calls are forwarded meanwhile; try again when the registry is back.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sidecar_registry_down", detail).retry_after(RETRY_AFTER)
}

fn placed(ranking: Vec<Ranked>) -> impl Iterator<Item = User> {
    let users = ranking.into_iter().enumerate();
    users.map(|(at, ranked)| user(at + 1, &ranked))
}

fn user(place: usize, ranked: &Ranked) -> User {
    let (known, registered) = (ranked.known, ranked.known.registered);
    let (place, why) = match &ranked.verdict {
        Verdict::Evictable(why) => (Some(place), why.to_string()),
        Verdict::Protected(protection) => (None, format!("protected: {}", protection.token())),
    };
    User {
        user_id: ranked.user.as_str().to_owned(),
        place,
        evictable: place.is_some(),
        why,
        registered_at: registered.map(|(at, _)| time(at)),
        known_by: registered.map(|(_, source)| Source::token(source).to_owned()),
        first_seen: time(known.first_seen),
        last_active: known.last_active.map(time),
        calls: known.calls.into(),
        connections: known.connections.map(|count| Connections {
            working: count.working.into(),
            broken: count.broken.into(),
        }),
        protected_by_hand: known.protected,
    }
}

/// In RFC 3339. A time outside of its calendar, which no clock shows, reads as the epoch.
pub(super) fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// Which users are wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    limit: u32,
    /// In lower case.
    search: Option<String>,
}

impl Wanted {
    fn of(query: &str) -> Result<Self, Problem> {
        let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, "sidecar_bad_query", detail);
        let limit = query::unique(query, "limit")
            .map(|limit| limit.map_or(Some(u32::MAX), |limit| limit.parse().ok()));
        let Ok(Some(limit)) = limit else {
            return Err(bad("The limit is none; give a number, at most 4294967295, once."));
        };
        let search = query::unique(query, "search").map(|search| search.map(query::decode));
        let Ok(None | Some(Some(_))) = &search else {
            return Err(bad(
                "What is searched for is no text; give a part of an id, once, as UTF-8.",
            ));
        };
        let search = search.ok().flatten().flatten();
        Ok(Self {
            limit,
            search: search.map(|search| search.to_lowercase()),
        })
    }

    /// How many there are of them, and the first.
    fn among(&self, ranking: Vec<Ranked>) -> (usize, Vec<User>) {
        let is_wanted = |user: &User| {
            let search = self.search.as_ref();
            search.is_none_or(|search| user.user_id.to_lowercase().contains(search))
        };
        let mut wanted: Vec<User> = placed(ranking).filter(is_wanted).collect();
        let matching = wanted.len();
        wanted.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        (matching, wanted)
    }
}

/// Which entries of the journal are wanted.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    limit: usize,
    before: Option<EntryId>,
    /// Those too that tell of no eviction.
    all: bool,
}

impl Asked {
    fn of(query: &str) -> Result<Self, Problem> {
        let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, "sidecar_bad_query", detail);
        let given = |name, remedy| {
            query::unique(query, name)
                .map_err(|_| bad(format!("The query names {name} more than once; {remedy}.")))
        };
        let limit_remedy = "give a number from 1 to 1000";
        let limit = match given("limit", limit_remedy)? {
            None => ENTRIES,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=ENTRIES_MAX).contains(limit))
                .ok_or_else(|| bad(format!("The limit is none; {limit_remedy}.")))?,
        };
        let before_remedy = "give the next_before of an earlier answer";
        let before = match given("before", before_remedy)? {
            None => None,
            Some(text) => Some(EntryId(text.parse().map_err(|_| {
                bad(format!("What is in before is no entry's id; {before_remedy}."))
            })?)),
        };
        let all_remedy = "give true or false";
        let all = match given("all", all_remedy)? {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(bad(format!("What is in all is neither; {all_remedy}."))),
        };
        Ok(Self { limit, before, all })
    }

    /// The entries, and before which to go on, if there may be more.
    async fn find(&self, guard: &Guard) -> Result<(Vec<Entry>, Option<i64>), RegistryError> {
        let (mut found, mut before) = (Vec::new(), self.before);
        for _ in 0..READS_MAX {
            let read = guard.history(before, READ_AT_ONCE).await?;
            let is_end = read.len() < READ_AT_ONCE;
            for recorded in read {
                if found.len() == self.limit {
                    return Ok((found, before.map(|id| id.0)));
                }
                before = Some(recorded.id);
                if self.all || tells_of_evictions(recorded.entry.event) {
                    found.push(entry(recorded));
                }
            }
            if is_end {
                return Ok((found, None));
            }
        }
        Ok((found, before.map(|id| id.0)))
    }
}

fn tells_of_evictions(event: Event) -> bool {
    match event {
        Event::Intent | Event::Outcome | Event::WouldEvict | Event::Refusal | Event::Manual => true,
        Event::Registration | Event::Reload | Event::Notice | Event::Departure => false,
    }
}

pub(super) fn entry(Recorded { id, entry }: Recorded) -> Entry {
    let name = |user: UserId| user.as_str().to_owned();
    Entry {
        id: id.0,
        at: time(entry.at),
        event: entry.event.token().to_owned(),
        user_id: entry.user.map(name),
        newcomer: entry.newcomer.map(name),
        outcome: entry.outcome,
        reason: entry.reason,
        users: entry.users,
        limit: entry.limit,
        status: entry.status,
        took_ms: entry.took_ms,
        request_id: entry.request_id,
        intent: entry.intent.map(|id| id.0),
        replica: entry.replica,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_entries_are_wanted_is_read_from_the_query() {
        let asked = |limit, before: Option<i64>, all| Asked {
            limit,
            before: before.map(EntryId),
            all,
        };
        for (query, wanted) in [
            ("", asked(100, None, false)),
            ("limit=1000&before=7&all=true&x=1", asked(1000, Some(7), true)),
            ("all=false&limit=1", asked(1, None, false)),
        ] {
            assert_eq!(Asked::of(query).unwrap(), wanted);
        }
        for query in [
            "limit=0",
            "limit=1001",
            "limit=",
            "limit=x",
            "before=x",
            "before=9223372036854775808",
            "before=",
            "all=1",
            "all",
            "limit=1&limit=2",
        ] {
            let problem = Asked::of(query).unwrap_err();
            assert_eq!(
                (problem.status.as_u16(), problem.code),
                (400, "sidecar_bad_query")
            );
            assert!(problem.detail.contains("; give "), "{}", problem.detail);
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(Millis(1_795_613_615_123)), "2026-11-25T13:33:35.123Z");
        assert_eq!(time(Millis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(Millis(i64::MAX)), "1970-01-01T00:00:00Z");
    }
}

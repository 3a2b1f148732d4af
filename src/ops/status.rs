//! How full a key is, as SnapTrade tells it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{StatusCode, Uri, header};
use serde::Serialize;

use super::Ops;
use super::access::Standing;
use super::problem::Problem;
use crate::guard::{LookError, Seen};
use crate::types::UserId;

/// A list this old still serves; so `listUsers` is asked once in this time at most, however many ask here.
pub(super) const LIST_AGE_MAX: Duration = Duration::from_secs(5);

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Status))]
pub(super) struct Report<'s> {
    success: bool,
    status: Fullness<'s>,
    message: String,
    current_count: usize,
    max_connections: usize,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Fullness<'s> {
    current_count: usize,
    max_connections: usize,
    at_limit: bool,
    available_slots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    users: Option<Vec<&'s str>>,
}

pub(super) async fn status(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    uri: Uri,
) -> Result<Response, Problem> {
    let guard = ops.tenant(uri.query())?;
    // The guard has told the log of it.
    let seen = guard
        .look(LIST_AGE_MAX)
        .await
        .map_err(|error| not_listed(&error))?;
    let report = report(&seen, guard.terms().max_users, standing);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(report)).into_response())
}

/// Says when to try again, where `SnapTrade` does.
pub(super) fn not_listed(error: &LookError) -> Problem {
    let problem = unknown(error);
    match error.retry_after {
        Some(time) => problem.retry_after(u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)),
        None => problem,
    }
}

fn unknown(error: &dyn Error) -> Problem {
    let detail = format!(
        "How many users there are is not known: {error}. Try again in a few seconds; if it stays, check the tenant's \
         client_id and consumer_key, and that the upstream can be reached."
    );
    Problem::new(StatusCode::BAD_GATEWAY, "sidecar_list_failed", detail)
}

fn report(seen: &Seen, max: usize, standing: Standing) -> Report<'_> {
    let count = seen.users.len();
    let users = standing
        .reads()
        .is_ok()
        .then(|| seen.users.iter().map(UserId::as_str).collect());
    Report {
        success: true,
        status: Fullness {
            current_count: count,
            max_connections: max,
            at_limit: count >= max,
            available_slots: max.saturating_sub(count),
            users,
        },
        message: message(seen, max, standing),
        current_count: count,
        max_connections: max,
    }
}

fn message(seen: &Seen, max: usize, standing: Standing) -> String {
    let count = seen.users.len();
    let room = match max.saturating_sub(count) {
        0 => format!("{count} of {max} users: at the limit."),
        slots => format!("{count} of {max} users: room for {slots} more."),
    };
    let settling = (seen.pending_deletions > 0)
        .then(|| format!("Deletions not settled yet: {}.", seen.pending_deletions));
    let age = seen.at.elapsed();
    let old = (age > LIST_AGE_MAX + SECOND).then(|| {
        let seconds = age.as_secs();
        format!("Counted {seconds} s ago, since few calls are left for this key.")
    });
    let how = standing.reads().err().map(str::to_owned);
    let sentences: Vec<String> = [Some(room), old, settling, how].into_iter().flatten().collect();
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn seen(ids: &[&str], tombstones: usize) -> Seen {
        Seen {
            users: Arc::new(ids.iter().map(UserId::new).collect()),
            pending_deletions: tombstones,
            at: Instant::now(),
        }
    }

    #[test]
    fn a_reader_sees_counts_and_users() {
        let seen = seen(&["b", "a"], 0);
        assert_eq!(
            json!(report(&seen, 5, Standing::Token)),
            json!({
                "success": true,
                "status": {
                    "current_count": 2, "max_connections": 5, "at_limit": false, "available_slots": 3,
                    "users": ["b", "a"],
                },
                "message": "2 of 5 users: room for 3 more.",
                "current_count": 2,
                "max_connections": 5,
            })
        );
    }

    #[test]
    fn others_see_counts_and_how_to_see_more() {
        let seen = seen(&["a", "b", "c"], 1);
        for standing in [Standing::TokenMissing, Standing::TokenWrong, Standing::Remote] {
            let report = json!(report(&seen, 2, standing));
            assert_eq!(report["status"].get("users"), None);
            assert_eq!(report["status"]["at_limit"], true);
            assert_eq!(report["status"]["available_slots"], 0);
            let message = report["message"].as_str().unwrap();
            assert!(message.starts_with("3 of 2 users: at the limit. Deletions not settled yet: 1. "));
            assert!(message.contains("token"), "{message}");
        }
    }

    #[test]
    fn an_old_list_says_how_old_it_is() {
        let mut seen = seen(&["a"], 0);
        assert_eq!(
            message(&seen, 5, Standing::Token),
            "1 of 5 users: room for 4 more."
        );
        seen.at = Instant::now().checked_sub(30 * SECOND).unwrap();
        assert_eq!(
            message(&seen, 5, Standing::Token),
            "1 of 5 users: room for 4 more. Counted 30 s ago, since few calls are left for this key."
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let error = std::io::Error::other("listUsers timed out");
        let problem = unknown(&error);
        assert_eq!(
            (problem.status.as_u16(), problem.code),
            (502, "sidecar_list_failed")
        );
        assert!(problem.detail.contains("listUsers timed out. Try again"));
    }
}

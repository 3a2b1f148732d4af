//! Deleting, protecting and pausing by hand.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Ops;
use super::access::Standing;
use super::answers::{Evicted, Paused, Protected};
use super::people::{InPath, answer, in_path, registry_down};
use super::problem::Problem;
use super::status::{LIST_AGE_MAX, not_listed};
use crate::guard::{ByHand, Guard, Unable};
use crate::types::UserId;

/// Seconds until a deletion that is under way has probably settled.
const RETRY_AFTER: u32 = 5;

type OfUser = InPath<(String, String)>;

pub(super) async fn evict(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: OfUser,
) -> Result<Response, Problem> {
    standing.changes()?;
    let (tenant, id) = in_path(path)?;
    let guard = &ops.tenant_called(&tenant)?;
    let outcome = match guard.evict(UserId::new(&id)).await {
        Ok(ByHand::Evicted) => "evicted",
        Ok(ByHand::Unsettled) => "unsettled",
        Err(unable) => return Err(nobody_deleted(&unable)),
    };
    Ok(answer(Evicted {
        success: true,
        user_id: id,
        outcome: outcome.to_owned(),
    }))
}

fn nobody_deleted(unable: &Unable) -> Problem {
    let (status, code) = match unable {
        Unable::Look(error) => return not_listed(error),
        Unable::Registry(error) => return registry_down("Nobody was deleted", error),
        Unable::NotListed => (StatusCode::NOT_FOUND, "sidecar_user_not_listed"),
        Unable::Protected(..) => (StatusCode::CONFLICT, "sidecar_user_protected"),
        Unable::Busy => (StatusCode::CONFLICT, "sidecar_deletion_unsettled"),
        Unable::Refused => (StatusCode::BAD_GATEWAY, "sidecar_deletion_refused"),
        Unable::Unsent => (StatusCode::BAD_GATEWAY, "sidecar_deletion_unsent"),
        Unable::Gone => (StatusCode::NOT_FOUND, "sidecar_tenant_unknown"),
        Unable::Slow => (StatusCode::BAD_GATEWAY, "sidecar_list_slow"),
        Unable::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "sidecar_shutting_down"),
    };
    let problem = Problem::new(status, code, format!("Nobody was deleted: {unable}."));
    match unable {
        Unable::Busy | Unable::Unsent | Unable::Stopping => problem.retry_after(RETRY_AFTER),
        _ => problem,
    }
}

pub(super) async fn protect(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: OfUser,
) -> Result<Response, Problem> {
    set_protected(&ops, standing, path, true).await
}

pub(super) async fn unprotect(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: OfUser,
) -> Result<Response, Problem> {
    set_protected(&ops, standing, path, false).await
}

async fn set_protected(
    ops: &Ops,
    standing: Standing,
    path: OfUser,
    protected: bool,
) -> Result<Response, Problem> {
    standing.changes()?;
    let (tenant, id) = in_path(path)?;
    let guard = &ops.tenant_called(&tenant)?;
    guard
        .protect(&UserId::new(&id), protected)
        .await
        .map_err(|error| registry_down("Nothing was changed", &error))?;
    let notes = if protected {
        [forgotten(guard), absent(guard, &id).await]
    } else {
        [None, None]
    };
    Ok(answer(Protected {
        success: true,
        user_id: id,
        protected,
        note: joined(notes),
    }))
}

pub(super) async fn pause(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
) -> Result<Response, Problem> {
    set_paused(&ops, standing, path, true).await
}

pub(super) async fn resume(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
) -> Result<Response, Problem> {
    set_paused(&ops, standing, path, false).await
}

async fn set_paused(
    ops: &Ops,
    standing: Standing,
    path: InPath<String>,
    paused: bool,
) -> Result<Response, Problem> {
    standing.changes()?;
    let guard = &ops.tenant_called(&in_path(path)?)?;
    guard
        .pause(paused)
        .await
        .map_err(|error| registry_down("Nothing was changed", &error))?;
    Ok(answer(Paused {
        success: true,
        tenant: guard.tenant().to_owned(),
        paused,
        note: joined([paused.then(|| forgotten(guard)).flatten(), None]),
    }))
}

/// For how long it holds, if that is not for good.
fn forgotten(guard: &Guard) -> Option<String> {
    let lasts = "until this sidecar restarts, since it remembers in memory only (registry.url = \"memory:\")";
    (!guard.registry_is_durable()).then(|| lasts.to_owned())
}

/// That the user is not there, as far as that can be told: an id may be mistyped.
async fn absent(guard: &Guard, id: &str) -> Option<String> {
    let seen = guard.look(LIST_AGE_MAX).await.ok()?;
    let is_listed = seen.users.iter().any(|user| user.as_str() == id);
    (!is_listed).then(|| "SnapTrade does not list this user now: check the id".to_owned())
}

fn joined(notes: [Option<String>; 2]) -> Option<String> {
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::policy::Protection;
    use crate::registry::RegistryError;

    #[test]
    fn why_nobody_was_deleted_has_a_status_of_its_own() {
        for (unable, status, code) in [
            (Unable::NotListed, 404, "sidecar_user_not_listed"),
            (
                Unable::Protected(Protection::Hand, None),
                409,
                "sidecar_user_protected",
            ),
            (Unable::Busy, 409, "sidecar_deletion_unsettled"),
            (Unable::Refused, 502, "sidecar_deletion_refused"),
            (Unable::Unsent, 502, "sidecar_deletion_unsent"),
            (Unable::Gone, 404, "sidecar_tenant_unknown"),
            (Unable::Slow, 502, "sidecar_list_slow"),
            (Unable::Stopping, 503, "sidecar_shutting_down"),
        ] {
            let problem = nobody_deleted(&unable);
            assert_eq!((problem.status.as_u16(), problem.code), (status, code));
            assert_eq!(problem.detail, format!("Nobody was deleted: {unable}."));
        }
        let locked = RegistryError("registry.db is locked".to_owned());
        let problem = nobody_deleted(&Unable::Registry(locked));
        assert_eq!(
            (problem.status.as_u16(), problem.code),
            (503, "sidecar_registry_down")
        );
        assert!(
            problem
                .detail
                .starts_with("Nobody was deleted: registry.db is locked. ")
        );
    }
}

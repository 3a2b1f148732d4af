//! The labels of the series. All are bounded: no user id, path or client address is ever one.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::snaptrade::route::Route;

/// Every route, in the order of its declaration, so that `route as usize` is its place here.
pub(super) const ROUTES: [Route; 6] = [
    Route::Register,
    Route::ListUsers,
    Route::DeleteUser,
    Route::ResetSecret,
    Route::ApiStatus,
    Route::Other,
];

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.label(), encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) tenant: Arc<str>,
    pub(super) route: Route,
    pub(super) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByRoute {
    pub(super) route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Limit {
    pub(super) limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Tenant {
    pub(super) tenant: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TenantOutcome {
    pub(super) tenant: Arc<str>,
    pub(super) outcome: &'static str,
}

/// Why room that was wanted is not made, as the reply's `reason=` says it.
pub(super) const REFUSALS: [&str; 10] = [
    "list-failed",
    "too-many-over-limit",
    "nobody-evictable",
    "deletion-unsettled",
    "deletion-rejected",
    "not-journaled",
    "registry-down",
    "fuse-blown",
    "timed-out",
    "shutting-down",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Refusal {
    pub(super) tenant: Arc<str>,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Management {
    pub(super) tenant: Arc<str>,
    pub(super) call: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Listener {
    pub(super) listener: &'static str,
}

/// For what is measured once for the whole process, but not from the start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Process {}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
    pub(super) commit: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_at_its_own_place() {
        for (place, route) in ROUTES.into_iter().enumerate() {
            assert_eq!(route as usize, place);
        }
    }
}

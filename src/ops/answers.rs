//! What the calls about a tenant's users answer, as JSON. The commands read the same types, so that the two cannot differ.
//!
//! Times are RFC 3339 in UTC. What is not known is `null`.

#![expect(
    clippy::struct_field_names,
    reason = "the fields' names are those of the JSON, where the types' are not seen"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /api/tenants/{t}/users`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Users {
    pub(crate) tenant: String,
    /// `max_users`.
    pub(crate) limit: usize,
    pub(crate) count: usize,
    pub(crate) mode: String,
    pub(crate) paused: bool,
    /// When they were counted.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) counted_at: String,
    /// Of how many those below are the first.
    pub(crate) matching: usize,
    /// In the order of eviction, then the protected.
    pub(crate) users: Vec<User>,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct User {
    pub(crate) user_id: String,
    /// In the order of eviction, from 1; none for the protected.
    pub(crate) place: Option<usize>,
    pub(crate) evictable: bool,
    /// What decided its place, or protects it.
    pub(crate) why: String,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) registered_at: Option<String>,
    /// How that is known.
    pub(crate) known_by: Option<String>,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) first_seen: String,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) last_active: Option<String>,
    pub(crate) calls: u64,
    pub(crate) connections: Option<Connections>,
    pub(crate) protected_by_hand: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Connections {
    pub(crate) working: u32,
    pub(crate) broken: u32,
}

/// `GET /api/tenants/{t}/next`: who would go now.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Next {
    pub(crate) tenant: String,
    pub(crate) next: Option<User>,
}

/// `GET /api/tenants/{t}/evictions`: the journal, newest first.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Evictions {
    pub(crate) tenant: String,
    pub(crate) entries: Vec<Entry>,
    /// What to give as `before` for older entries; none if there are none.
    pub(crate) next_before: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Entry {
    pub(crate) id: i64,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) at: String,
    pub(crate) event: String,
    pub(crate) user_id: Option<String>,
    pub(crate) newcomer: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) reason: Option<String>,
    /// Live users then.
    pub(crate) users: Option<u32>,
    pub(crate) limit: Option<u32>,
    /// Of a registration: the status of its reply, if there was one.
    pub(crate) status: Option<u16>,
    /// Of a registration: how long it took, in milliseconds.
    pub(crate) took_ms: Option<u32>,
    /// `SnapTrade`'s.
    pub(crate) request_id: Option<String>,
    /// Of an outcome: the entry whose outcome it is.
    pub(crate) intent: Option<i64>,
    pub(crate) replica: String,
}

/// `GET /api/tenants/{t}/activity`: an hour in which a user called.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Hour {
    /// When it began.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) hour: String,
    pub(crate) user_id: String,
    /// When the last call was answered.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) last: String,
    pub(crate) calls: u64,
}

/// Of `GET /api/tenants/{t}/overview`, what other policies are compared with.
#[derive(Debug, Deserialize)]
pub(crate) struct Policies {
    /// `max_users`.
    pub(crate) limit: usize,
    pub(crate) policy: Policy,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Policy {
    pub(crate) order: Vec<String>,
    pub(crate) unknown_age: String,
    pub(crate) max_per_registration: usize,
    pub(crate) min_age_seconds: u64,
    pub(crate) active_within_seconds: u64,
    pub(crate) protect: Vec<String>,
    pub(crate) evictable: Vec<String>,
}

/// `GET /api/tenants/{t}/analytics`: what the journal says of a while.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Analytics {
    pub(crate) tenant: String,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) from: String,
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) to: String,
    pub(crate) bucket_seconds: u64,
    /// Whether the journal could be read as far back as matters.
    pub(crate) is_whole: bool,
    pub(crate) buckets: Vec<Bucket>,
    /// Those that SnapTrade accepted.
    pub(crate) registrations: u64,
    pub(crate) evictions: u64,
    /// That `observe` would have made.
    pub(crate) would_evict: u64,
    /// How often room was wanted and not made, and why.
    pub(crate) refusals: u64,
    pub(crate) refusal_reasons: BTreeMap<String, u64>,
    /// From the registration of an evicted user to its eviction.
    pub(crate) lifetime: Option<Spread>,
    /// How long registrations took for which somebody was evicted.
    pub(crate) time_to_slot: Option<Spread>,
    pub(crate) regret: Regret,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Bucket {
    /// When it begins.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) at: String,
    pub(crate) registrations: u64,
    pub(crate) evictions: u64,
    pub(crate) refusals: u64,
    /// Half of the registrations took no longer.
    pub(crate) median_ms: Option<u32>,
    pub(crate) p95_ms: Option<u32>,
}

/// Of several durations: half of them, and 95 % of them, are no longer.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) median_seconds: f64,
    pub(crate) p95_seconds: f64,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Regret {
    pub(crate) evicted: u64,
    /// Evicted users who were registered again, until now.
    pub(crate) returned: u64,
    /// How long they had been gone.
    pub(crate) gone: Option<Spread>,
}

/// `POST /api/tenants/{t}/users/{id}/evict`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Evicted {
    pub(crate) success: bool,
    pub(crate) user_id: String,
    /// `evicted`, or `unsettled`: sent, and still listed after `settle_timeout`.
    pub(crate) outcome: String,
}

/// `POST /api/tenants/{t}/users/{id}/protect` and `/unprotect`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Protected {
    pub(crate) success: bool,
    pub(crate) user_id: String,
    pub(crate) protected: bool,
    /// What is to be known beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) note: Option<String>,
}

/// `POST /api/tenants/{t}/pause` and `/resume`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Paused {
    pub(crate) success: bool,
    pub(crate) tenant: String,
    pub(crate) paused: bool,
    /// What is to be known beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) note: Option<String>,
}

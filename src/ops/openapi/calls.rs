//! What is said of each call.

use http::{StatusCode, header};
use utoipa::openapi::{
    ArrayBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder, Schema, Type,
};
use utoipa::{PartialSchema as _, ToSchema};

use super::about::{About, JSON, number, words};
use crate::ops::answers::{Analytics, Entry, Evicted, Evictions, Hour, Next, Paused, Protected, Users};
use crate::ops::overview::Overview;
use crate::ops::probes::Summary;
use crate::ops::register::{Registered, Wanted};
use crate::ops::status::Report;
use crate::ops::{page, past, people};
use crate::telemetry::health::Verdict;
use crate::telemetry::metrics::Format;

const LIST_FAILED: StatusCode = StatusCode::BAD_GATEWAY;
const NOT_NOW: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

type Described = (&'static str, &'static str, About);

pub(super) fn all() -> Vec<Described> {
    let calls = [
        machines(),
        registrations_and_page(),
        tenants(),
        users(),
        by_hand(),
    ];
    calls.into_iter().flatten().collect()
}

fn machines() -> Vec<Described> {
    vec![
        ("GET", "/", {
            About::open("summary", "What is running, and what an operator must look into")
                .tenant_in_query("Only the tenant of this name.")
                .answers::<Summary<'_>>("How it stands.")
        }),
        ("GET", "/healthz", {
            About::probe("live", "Whether the process should go on living").answers::<Verdict>("It should.")
        }),
        ("GET", "/readyz", {
            About::probe("ready", "Whether new traffic should come here")
                .answers::<Verdict>("It should.")
                .answers_by::<Verdict>(NOT_NOW, "It should not: starting, or told to stop.")
        }),
        ("GET", "/metrics", {
            let kinds = [Format::Prometheus, Format::OpenMetrics].map(Format::content_type);
            About::probe("metrics", "Metrics, for Prometheus").answers_as(
                kinds.map(text),
                "All metrics, in the format that `Accept` asks for.",
            )
        }),
        ("GET", "/api/openapi.json", {
            About::open("openapi", "This description")
                .answers_as([(JSON, ObjectBuilder::new().into())], "OpenAPI 3.1.")
        }),
        ("GET", "/api/snaptrade/status", {
            About::open("status", "How full a key is, asking SnapTrade every 5 s at most")
                .or_with_token(
                    "With the token, or locally where none is configured, the users are named too.",
                )
                .tenant_in_query(ONLY_ONE)
                .answers::<Report<'_>>("How full it is.")
                .refused(LIST_FAILED)
        }),
    ]
}

fn registrations_and_page() -> Vec<Described> {
    vec![
        ("POST", "/api/snaptrade/register", registration("register")),
        (
            "POST",
            "/api/snaptrade/register-user",
            registration("registerUser"),
        ),
        (
            "GET",
            "/dashboard",
            About::open("dashboard", "The dashboard").answers_as([text(page::KINDS[0])], "Its page."),
        ),
        ("GET", "/dashboard/", {
            let location = HeaderBuilder::new().schema(Some(words()));
            let moved = ResponseBuilder::new()
                .description("It is at `/dashboard`.")
                .header(header::LOCATION.as_str(), location.build());
            About::open("dashboardMoved", "The dashboard, without the slash").response("308", moved)
        }),
        ("GET", "/dashboard/{file}", {
            About::open("dashboardFile", "What the dashboard is made of")
                .in_path("file", "The file's name.")
                .answers_as(page::KINDS.map(text), "The file.")
        }),
        ("GET", "/api/events", {
            About::guarded("events", "How a tenant stands, as it changes")
                .tenant_in_query(ONLY_ONE)
                .answers_as([("text/event-stream", event())], EVENTS)
                .refused(NOT_NOW)
        }),
    ]
}

fn tenants() -> Vec<Described> {
    vec![
        ("GET", "/api/tenants/{tenant}/overview", {
            About::of_tenant("overview", "How a tenant stands, at a glance")
                .answers::<Overview>("How it stands.")
        }),
        ("GET", "/api/tenants/{tenant}/analytics", {
            let windows = words().enum_values(Some(past::WINDOWS.map(|(name, _)| name)));
            About::of_tenant("analytics", "What the journal says of a while")
                .in_query("window", "Until now.", windows.default(Some(past::WINDOW.into())))
                .answers::<Analytics>("Counts, times and regret.")
                .refused(NOT_NOW)
        }),
        ("GET", "/api/tenants/{tenant}/activity", {
            let hours = ArrayBuilder::new().items(Hour::schema());
            About::of_tenant(
                "activity",
                "In which hours each user called, as a file, newest first",
            )
            .answers_as(
                [(JSON, hours.into())],
                "One that cannot be read to its end breaks off.",
            )
            .refused(NOT_NOW)
        }),
        ("GET", "/api/tenants/{tenant}/journal", {
            let formats = words().enum_values(Some(["json", "csv"]));
            let entries = ArrayBuilder::new().items(Ref::from_schema_name(Entry::name()));
            About::of_tenant("journal", "All of the journal as a file, newest first")
                .in_query("format", "Of the file.", formats.default(Some("json".into())))
                .answers_as(
                    [(JSON, entries.into()), text(past::CSV)],
                    "One that cannot be read to its end breaks off.",
                )
                .refused(NOT_NOW)
        }),
    ]
}

fn users() -> Vec<Described> {
    vec![
        ("GET", "/api/tenants/{tenant}/users", {
            About::of_tenant(
                "users",
                "Everybody, in the order of eviction and then the protected, each with the reason",
            )
            .in_query(
                "limit",
                "Only the first so many.",
                number().minimum(Some(0)).maximum(Some(u32::MAX)),
            )
            .in_query(
                "search",
                "Only those whose ids have this in them, whatever its case.",
                words(),
            )
            .answers::<Users>("The users.")
            .refused(LIST_FAILED)
            .refused(NOT_NOW)
        }),
        ("GET", "/api/tenants/{tenant}/next", {
            About::of_tenant("next", "Who would go now")
                .answers::<Next>("The first in the order of eviction, if anybody may go.")
                .refused(LIST_FAILED)
                .refused(NOT_NOW)
        }),
        ("GET", "/api/tenants/{tenant}/evictions", {
            let limit = number().minimum(Some(1)).maximum(Some(people::ENTRIES_MAX));
            let all = ObjectBuilder::new().schema_type(Type::Boolean);
            About::of_tenant("evictions", "The journal, newest first")
                .in_query(
                    "limit",
                    "Entries, at most.",
                    limit.default(Some(people::ENTRIES.into())),
                )
                .in_query(
                    "before",
                    "The `next_before` of an earlier answer, to go on.",
                    number().minimum(Some(i64::MIN)).maximum(Some(i64::MAX)),
                )
                .in_query(
                    "all",
                    "Those too that tell of no eviction.",
                    all.default(Some(false.into())),
                )
                .answers::<Evictions>("Entries of the journal.")
                .refused(NOT_NOW)
        }),
    ]
}

fn by_hand() -> Vec<Described> {
    vec![
        ("POST", "/api/tenants/{tenant}/users/{id}/evict", {
            of_user(
                "evict",
                "Deletes this user now, `protect` and `evictable` permitting",
            )
            .answers::<Evicted>("It was deleted.")
            .refused(StatusCode::CONFLICT)
            .refused(StatusCode::BAD_GATEWAY)
        }),
        (
            "POST",
            "/api/tenants/{tenant}/users/{id}/protect",
            of_user("protect", "Never evicts this user").answers::<Protected>("It is protected."),
        ),
        ("POST", "/api/tenants/{tenant}/users/{id}/unprotect", {
            of_user("unprotect", "May evict this user again")
                .answers::<Protected>("It is not protected by hand.")
        }),
        ("POST", "/api/tenants/{tenant}/pause", {
            About::of_tenant("pause", "Forwards registrations as they come")
                .answers::<Paused>("It is paused.")
                .refused(NOT_NOW)
        }),
        ("POST", "/api/tenants/{tenant}/resume", {
            About::of_tenant("resume", "Manages registrations again")
                .answers::<Paused>("It is not paused.")
                .refused(NOT_NOW)
        }),
    ]
}

const ONLY_ONE: &str = "The tenant's name; not needed where there is one only.";

/// What OpenAPI 3.1 has no words for is said as most tools read it: a stream's schema is that of each event.
const EVENTS: &str = "Server-sent events, for 10 minutes at most. `schema` is that of each.";

fn event() -> RefOr<Schema> {
    let data = words()
        .content_media_type(JSON)
        .content_schema(Some(Ref::from_schema_name(Overview::name())));
    ObjectBuilder::new()
        .property("event", words().enum_values(Some(["overview"])))
        .property("data", data)
        .required("event")
        .required("data")
        .into()
}

fn text(kind: &'static str) -> (&'static str, RefOr<Schema>) {
    (kind, words().into())
}

fn of_user(id: &str, summary: &str) -> About {
    About::of_tenant(id, summary)
        .in_path("id", "The user's id.")
        .refused(NOT_NOW)
}

fn registration(id: &str) -> About {
    About::guarded(
        id,
        "Registers a user, through the same admission as any other registration",
    )
    .told("SnapTrade's own refusal comes with its status, words and code.")
    .tenant_in_query(ONLY_ONE)
    .may_take::<Wanted>()
    .answers::<Registered<'_>>("The user is registered.")
    .refused_by_range("4XX", "SnapTrade's own refusal, with its status, words and code.")
    .refused_by_range(
        "5XX",
        "SnapTrade's own error, or the sidecar's; `detail` says whether the user may exist now.",
    )
}

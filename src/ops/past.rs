//! What the journal says of a while, and the journal itself, for tools.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};
use http_body_util::channel::{Channel, Sender};

use super::Ops;
use super::access::Standing;
use super::answers::{Analytics, Bucket, Entry, Regret, Spread};
use super::people::{InPath, answer, entry, readable, registry_down, time};
use super::problem::Problem;
use crate::analytics::{self, Analyst, Window};
use crate::guard::Guard;
use crate::registry::{EntryId, Recorded, RegistryError};
use crate::snaptrade::query;
use crate::types::Millis;

/// Entries read at once.
pub(super) const READ_AT_ONCE: usize = 1000;
/// Entries that are looked at for one answer: some seconds' work.
const READ_MAX: usize = 500_000;
/// What is not taken by then is not wanted.
pub(super) const SEND_MAX: Duration = Duration::from_secs(30);

pub(super) const WINDOWS: [(&str, Duration); 4] = [
    ("1h", Duration::from_hours(1)),
    ("24h", Duration::from_hours(24)),
    ("7d", Duration::from_hours(7 * 24)),
    ("30d", Duration::from_hours(30 * 24)),
];
/// Unless another is asked for.
pub(super) const WINDOW: &str = "24h";

pub(super) const CSV: &str = "text/csv; charset=utf-8";

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "sidecar_bad_query", detail)
}

pub(super) async fn analytics(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let guard = &readable(&ops, standing, path)?;
    let wrong = || bad("The window is none; give window=1h, 24h, 7d or 30d, once.");
    let asked = query::unique(uri.query().unwrap_or_default(), "window").map_err(|_| wrong())?;
    let (_, length) = WINDOWS
        .into_iter()
        .find(|(name, _)| *name == asked.unwrap_or(WINDOW))
        .ok_or_else(wrong)?;
    let window = Window::last(length, Millis::from(std::time::SystemTime::now()));
    let (analytics, is_whole) = analyse(guard, window)
        .await
        .map_err(|error| registry_down("The journal cannot be read", &error))?;
    Ok(answer(told(guard.tenant(), &analytics, is_whole)))
}

/// And whether all was read that matters.
async fn analyse(guard: &Guard, window: Window) -> Result<(analytics::Analytics, bool), RegistryError> {
    let (mut analyst, mut before) = (Analyst::new(window), None);
    for _ in 0..READ_MAX / READ_AT_ONCE {
        let read = guard.history(before, READ_AT_ONCE).await?;
        before = read.last().map(|recorded| recorded.id);
        let is_end = read.len() < READ_AT_ONCE;
        let goes_on = read.iter().all(|recorded| analyst.read(&recorded.entry));
        if is_end || !goes_on {
            return Ok((analyst.finish(), true));
        }
    }
    Ok((analyst.finish(), false))
}

fn told(tenant: &str, of: &analytics::Analytics, is_whole: bool) -> Analytics {
    let window = of.window;
    let buckets = window.starts().zip(&of.buckets).map(|(at, bucket)| Bucket {
        at: time(at),
        registrations: bucket.registrations,
        evictions: bucket.evictions,
        refusals: bucket.refusals,
        median_ms: bucket.took.map(|(median, _)| median),
        p95_ms: bucket.took.map(|(_, p95)| p95),
    });
    Analytics {
        tenant: tenant.to_owned(),
        from: time(window.from),
        to: time(window.to),
        bucket_seconds: window.bucket.as_secs(),
        is_whole,
        buckets: buckets.collect(),
        registrations: of.registrations,
        evictions: of.evictions,
        would_evict: of.would_evict,
        refusals: of.refusals,
        refusal_reasons: of.refusal_reasons.clone(),
        lifetime: of.lifetime.map(spread),
        time_to_slot: of.time_to_slot.map(spread),
        regret: Regret {
            evicted: of.regret.evicted,
            returned: of.regret.returned,
            gone: of.regret.gone.map(spread),
        },
    }
}

fn spread(of: analytics::Spread) -> Spread {
    Spread {
        count: of.count,
        median_seconds: of.median.as_secs_f64(),
        p95_seconds: of.p95.as_secs_f64(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// All of it, newest first, as a file. It is sent as it is read.
pub(super) async fn journal(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let guard = readable(&ops, standing, path)?;
    let wrong = || bad("The format is none; give format=csv or json, once.");
    let format = match query::unique(uri.query().unwrap_or_default(), "format") {
        Ok(None | Some("json")) => Format::Json,
        Ok(Some("csv")) => Format::Csv,
        _ => return Err(wrong()),
    };
    let first = guard.history(None, READ_AT_ONCE).await;
    let first = first.map_err(|error| registry_down("The journal cannot be read", &error))?;
    let (sender, body) = Channel::<Bytes, RegistryError>::new(1);
    tokio::spawn(export(guard, first, format, sender));
    let (kind, name) = match format {
        Format::Csv => (CSV, "attachment; filename=\"journal.csv\""),
        Format::Json => ("application/json", "attachment; filename=\"journal.json\""),
    };
    Ok(file(kind, name, body))
}

/// An answer to be saved.
pub(super) fn file(
    kind: &'static str,
    disposition: &'static str,
    body: Channel<Bytes, RegistryError>,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::new(body)).into_response()
}

/// One that cannot be read to its end breaks off, so that a part is not taken for the whole.
async fn export(
    guard: Arc<Guard>,
    mut read: Vec<Recorded>,
    format: Format,
    mut sender: Sender<Bytes, RegistryError>,
) {
    let mut text = match format {
        Format::Csv => HEAD.to_owned(),
        Format::Json => "[".to_owned(),
    };
    let mut is_first = true;
    loop {
        let is_end = read.len() < READ_AT_ONCE;
        let before: Option<EntryId> = read.last().map(|recorded| recorded.id);
        for recorded in read {
            let entry = entry(recorded);
            match format {
                Format::Csv => line(&mut text, &entry),
                Format::Json => {
                    text.push_str(if is_first { "\n" } else { ",\n" });
                    text.push_str(&serde_json::to_string(&entry).unwrap_or_default());
                }
            }
            is_first = false;
        }
        if is_end && format == Format::Json {
            text.push_str("\n]\n");
        }
        let sending = sender.send_data(std::mem::take(&mut text).into());
        let is_taken = matches!(tokio::time::timeout(SEND_MAX, sending).await, Ok(Ok(())));
        if is_end || !is_taken {
            return;
        }
        read = match guard.history(before, READ_AT_ONCE).await {
            Ok(read) => read,
            Err(error) => return sender.abort(error),
        };
    }
}

const HEAD: &str =
    "id,at,event,user_id,newcomer,outcome,reason,users,limit,status,took_ms,request_id,intent,replica\r\n";

/// By RFC 4180.
fn line(text: &mut String, entry: &Entry) {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let cells = [
        entry.id.to_string(),
        entry.at.clone(),
        entry.event.clone(),
        cell(entry.user_id.as_deref()),
        cell(entry.newcomer.as_deref()),
        cell(entry.outcome.as_deref()),
        cell(entry.reason.as_deref()),
        number(entry.users.map(i64::from)),
        number(entry.limit.map(i64::from)),
        number(entry.status.map(i64::from)),
        number(entry.took_ms.map(i64::from)),
        cell(entry.request_id.as_deref()),
        number(entry.intent),
        cell(Some(&entry.replica)),
    ];
    // Writing to a string cannot fail.
    let _ = write!(text, "{}\r\n", cells.join(","));
}

/// An id is what an application's user may have chosen, and one that a spreadsheet would take for a formula is marked as text.
fn cell(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{mark}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_is_in_it() {
        for (text, cell_) in [
            ("ada", "ada"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(cell(Some(text)), cell_);
        }
        assert_eq!(cell(None), "");
    }
}

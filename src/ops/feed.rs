//! The live feed: how a tenant stands, told as it changes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Ops;
use super::access::Standing;
use super::overview::{self, Asked};
use super::problem::Problem;

/// Feeds at a time: each takes one of the listener's connections.
pub(super) const FEEDS_MAX: usize = 64;
const EVERY: Duration = Duration::from_secs(1);
/// Between two questions to the registry: what another replica did, or what is no longer in the fuse's window.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A feed on which nothing happens says so, so that a dead one is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// After that its reader has to come again, and to show its token.
const FEED_MAX: Duration = Duration::from_mins(10);
/// Events that its reader has not taken yet. One that takes none for longer is gone.
const UNTAKEN_MAX: usize = 4;
const RETRY_AFTER: u32 = 10;

pub(super) async fn events(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    uri: Uri,
) -> Result<Response, Problem> {
    standing.sees()?;
    let guard = ops.tenant(uri.query())?;
    let Ok(slot) = Arc::clone(&ops.feeds).try_acquire_owned() else {
        let detail = format!(
            "{FEEDS_MAX} live feeds are open, and no more are allowed; close one, or ask again later."
        );
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sidecar_too_many_feeds", detail);
        return Err(problem.retry_after(RETRY_AFTER));
    };
    let (sender, body) = Channel::<Bytes, Infallible>::new(UNTAKEN_MAX);
    tokio::spawn(feed(ops, guard.tenant().to_owned(), standing, sender, slot));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// Tells until its reader is gone, or the program stops, or the tenant is configured no longer.
async fn feed(
    ops: Arc<Ops>,
    tenant: String,
    standing: Standing,
    mut sender: Sender<Bytes, Infallible>,
    _slot: OwnedSemaphorePermit,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let (mut told, mut said) = (None, began);
    let (mut asked, mut asked_at) = (Asked::default(), None::<Instant>);
    while began.elapsed() < FEED_MAX && !ops.health.draining() {
        ticks.tick().await;
        let Some(guard) = ops.live.load().named(&tenant).cloned() else {
            return;
        };
        if asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            asked = Asked::of(&guard).await;
            asked_at = Some(Instant::now());
        }
        let now = overview::of(&ops, &guard, standing, asked.clone());
        let text = if told.as_ref() != Some(&now) {
            let text = event(&now);
            told = Some(now);
            text
        } else if said.elapsed() >= SILENCE_MAX {
            ": nothing new\n\n".to_owned()
        } else {
            continue;
        };
        said = Instant::now();
        let sending = tokio::time::timeout(SILENCE_MAX, sender.send_data(text.into()));
        if !matches!(sending.await, Ok(Ok(()))) {
            return;
        }
    }
}

fn event(overview: &overview::Overview) -> String {
    // It has nothing that JSON cannot say.
    let json = serde_json::to_string(overview).unwrap_or_default();
    format!("event: overview\ndata: {json}\n\n")
}

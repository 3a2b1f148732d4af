//! In which hours users called, for tools: what other policies are judged by, beside the journal.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};

use super::Ops;
use super::access::Standing;
use super::answers::Hour;
use super::past::{READ_AT_ONCE, SEND_MAX, file};
use super::people::{InPath, readable, registry_down, time};
use super::problem::Problem;
use crate::guard::Guard;
use crate::registry::{self, RegistryError};

/// All that is kept, newest first, as a file. It is sent as it is read.
pub(super) async fn activity(
    State(ops): State<Arc<Ops>>,
    Extension(standing): Extension<Standing>,
    path: InPath<String>,
) -> Result<Response, Problem> {
    let guard = readable(&ops, standing, path)?;
    let first = guard.hours(None, READ_AT_ONCE).await;
    let first = first.map_err(|error| registry_down("Who called when cannot be read", &error))?;
    let (sender, body) = Channel::<Bytes, RegistryError>::new(1);
    tokio::spawn(export(guard, first, sender));
    Ok(file(
        "application/json",
        "attachment; filename=\"activity.json\"",
        body,
    ))
}

/// One that cannot be read to its end breaks off, so that a part is not taken for the whole.
async fn export(guard: Arc<Guard>, mut read: Vec<registry::Hour>, mut sender: Sender<Bytes, RegistryError>) {
    let mut text = "[".to_owned();
    let mut is_first = true;
    loop {
        let last = read.last().cloned();
        let is_end = read.len() < READ_AT_ONCE;
        for hour in read {
            text.push_str(if is_first { "\n" } else { ",\n" });
            text.push_str(&serde_json::to_string(&told(&hour)).unwrap_or_default());
            is_first = false;
        }
        if is_end {
            text.push_str("\n]\n");
        }
        let sending = sender.send_data(std::mem::take(&mut text).into());
        let is_taken = matches!(tokio::time::timeout(SEND_MAX, sending).await, Ok(Ok(())));
        if is_end || !is_taken {
            return;
        }
        read = match guard.hours(last.as_ref(), READ_AT_ONCE).await {
            Ok(read) => read,
            Err(error) => return sender.abort(error),
        };
    }
}

fn told(hour: &registry::Hour) -> Hour {
    Hour {
        hour: time(hour.began),
        user_id: hour.user.as_str().to_owned(),
        last: time(hour.last),
        calls: hour.calls,
    }
}

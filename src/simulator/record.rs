//! The record of a run: what arrived, what struck it and what it did, each a line of JSON as it happens. For whoever checks
//! afterwards what a program did to the users; it holds no secret, only what tells one from another.

use std::fmt;
use std::io::Write;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::arrived::{Arrived, hex};
use super::calls::CallKind;
use super::faults::FaultKind;
use super::state::{State, named};

/// A caller's own name for its call, in a header of the request.
const LABEL: &str = "x-simulator-label";

/// Where the lines go. What cannot be written is lost, and the last line then says so by being absent.
pub(super) struct Record(Box<dyn Write + Send>);

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}

/// Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<'l> {
    /// A call arrived, and this fault strikes it.
    Call {
        at_ms: i64,
        number: usize,
        call: CallKind,
        client: Option<String>,
        user: Option<String>,
        label: Option<&'l str>,
        fault: Option<&'static str>,
    },
    /// A call's work was done; streamed calls have no such line.
    Done {
        at_ms: i64,
        number: usize,
        status: u16,
        /// The users of its client that exist from now on, where it may have changed them.
        live: Option<Vec<String>>,
        /// What tells the new secret of a registered user from others.
        secret_sha256: Option<String>,
    },
    /// Another program made or took away a user of the first client id.
    Added {
        at_ms: i64,
        user: &'l str,
    },
    Removed {
        at_ms: i64,
        user: &'l str,
    },
}

impl Record {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        Self(to)
    }

    pub(super) fn write(&mut self, line: &Line<'_>) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            // Whole lines, so that one who reads along sees no half.
            let _ = self.0.write_all(&text);
        }
    }
}

impl State {
    /// Takes a call down: its number, and what it suffers.
    pub(super) fn arrive(&mut self, call: &Arrived) -> (usize, Option<FaultKind>) {
        let number = self.calls.push(call.logged());
        let fault = self.faults.strike(call.kind);
        if let Some(record) = &mut self.record {
            record.write(&arrival(number, call, whom(call), fault.as_ref()));
        }
        (number, fault)
    }

    /// While the users of the call's client id are in place.
    pub(super) fn note_done(&mut self, call: &Arrived, status: u16) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        let registered = call.kind == CallKind::Register && status == 200;
        let secret = whom(call).filter(|_| registered).and_then(|user| {
            self.users
                .secret(&user, &self.options, Instant::now())
                .map(told_apart)
        });
        let changes = matches!(call.kind, CallKind::Register | CallKind::Delete);
        record.write(&Line::Done {
            at_ms: now(),
            number: call.number,
            status,
            live: changes.then(|| self.live()),
            secret_sha256: secret,
        });
        self.record = Some(record);
    }

    pub(super) fn note_other(&mut self, line: &Line<'_>) {
        if let Some(record) = &mut self.record {
            record.write(line);
        }
    }
}

/// Whom a call is about.
pub(super) fn whom(call: &Arrived) -> Option<String> {
    call.parameter("userId").or_else(|| named(call).user_id)
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn arrival<'l>(
    number: usize,
    call: &'l Arrived,
    user: Option<String>,
    fault: Option<&FaultKind>,
) -> Line<'l> {
    Line::Call {
        at_ms: now(),
        number,
        call: call.kind,
        client: call.parameter("clientId"),
        user,
        label: call.header(LABEL),
        fault: fault.map(FaultKind::name),
    }
}

fn told_apart(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

//! What was called: the kinds of calls, and the log of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use tokio::time::Instant;

/// The old prefix of every path. It still works, and its replies say that it is deprecated.
pub(super) const OLD_PREFIX: &str = "/api/v1";

/// How many calls the log keeps; older ones are forgotten.
const CALLS_KEPT_MAX: usize = 20_000;

/// How large their bodies may be together.
const BODIES_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which of the vendor's calls a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    ApiStatus,
    Register,
    List,
    Delete,
    ResetSecret,
    Login,
    /// Any other call, which is echoed.
    Other,
}

impl CallKind {
    /// `path` is the one without the old prefix.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        match (method.as_str(), path) {
            ("GET", "" | "/") => Self::ApiStatus,
            ("POST", "/snapTrade/registerUser") => Self::Register,
            ("GET", "/snapTrade/listUsers") => Self::List,
            ("DELETE", "/snapTrade/deleteUser") => Self::Delete,
            ("POST", "/snapTrade/resetUserSecret") => Self::ResetSecret,
            ("POST", "/snapTrade/login") => Self::Login,
            _ => Self::Other,
        }
    }
}

/// The path without the old prefix, if it has that.
pub(super) fn without_old_prefix(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(OLD_PREFIX)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// One call as it arrived. Its `Debug` form shows no header, query or body, for they carry secrets.
#[derive(Clone)]
pub struct Call {
    pub kind: CallKind,
    pub method: String,
    /// The request target, query and all, byte for byte.
    pub target: String,
    /// When its last byte had arrived; of a streamed body, the first.
    pub at: Instant,
    /// In the order of arrival, but those of one name together; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its first 256 KiB; empty if it was streamed.
    pub body: Bytes,
    /// What it was answered with; `None` before that, and where a fault took the reply.
    pub status: Option<u16>,
}

impl Call {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {:?}", self.method, self.path(), self.status)
    }
}

/// The calls so far. Each has a number, so that its status can be filled in later.
#[derive(Debug, Default)]
pub(super) struct Calls {
    kept: VecDeque<Call>,
    forgotten: usize,
    body_bytes: usize,
    counts: BTreeMap<CallKind, usize>,
}

impl Calls {
    pub(super) fn push(&mut self, call: Call) -> usize {
        *self.counts.entry(call.kind).or_default() += 1;
        self.body_bytes += call.body.len();
        self.kept.push_back(call);
        while self.kept.len() > CALLS_KEPT_MAX || self.body_bytes > BODIES_KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.body_bytes -= oldest.body.len();
            self.forgotten += 1;
        }
        self.forgotten + self.kept.len() - 1
    }

    pub(super) fn conclude(&mut self, number: usize, status: u16) {
        let call = number
            .checked_sub(self.forgotten)
            .and_then(|place| self.kept.get_mut(place));
        if let Some(call) = call {
            call.status = Some(status);
        }
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.kept.iter().cloned().collect()
    }

    /// Forgets the calls so far, but goes on counting, so that a late status finds nothing to change.
    pub(super) fn clear(&mut self) {
        self.forgotten += self.kept.len();
        self.kept.clear();
        self.body_bytes = 0;
        self.counts.clear();
    }

    /// Of all since the last [`Self::clear`], forgotten ones included.
    pub(super) fn counts(&self) -> &BTreeMap<CallKind, usize> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            kind: CallKind::List,
            method: "GET".to_owned(),
            target: "/snapTrade/listUsers?userSecret=s3cret".to_owned(),
            at: Instant::now(),
            headers: vec![("signature".to_owned(), b"s1gned".to_vec())],
            body: Bytes::from_static(b"b0dy"),
            status: None,
        }
    }

    #[test]
    fn r13_a_printed_call_shows_no_secret() {
        assert_eq!(format!("{:?}", call()), "GET /snapTrade/listUsers -> None");
    }

    #[test]
    fn the_old_prefix_ends_at_a_slash() {
        assert_eq!(without_old_prefix("/api/v1/"), Some("/"));
        assert_eq!(without_old_prefix("/api/v1"), Some(""));
        assert_eq!(without_old_prefix("/api/v10/x"), None);
        assert_eq!(CallKind::of(&Method::GET, "/"), CallKind::ApiStatus);
        assert_eq!(
            CallKind::of(&Method::GET, "/snapTrade/registerUser"),
            CallKind::Other
        );
    }

    #[test]
    fn a_late_status_finds_its_call_even_when_older_ones_were_forgotten() {
        let mut calls = Calls::default();
        let first = calls.push(call());
        for _ in 0..CALLS_KEPT_MAX {
            calls.push(call());
        }
        let last = calls.push(call());
        calls.conclude(first, 500);
        calls.conclude(last, 200);
        let all = calls.all();
        assert_eq!(all.len(), CALLS_KEPT_MAX);
        assert_eq!(all.first().unwrap().status, None);
        assert_eq!(all.last().unwrap().status, Some(200));
    }
}

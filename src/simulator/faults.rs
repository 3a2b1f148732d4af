//! Faults on demand: which call goes wrong, how often, and how.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::CallKind;
use super::options::millis;

/// One fault, waiting in a queue for the calls that it is meant for.
///
/// As JSON: `{"call": "delete", "times": 2, "skip": 1, "kind": "reset_after"}`, or with a kind that has values,
/// `{"call": "list", "kind": {"status": {"status": 500, "body": "{}"}}}` or `{"kind": {"delay_ms": 200}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub call: FaultCall,
    /// How many calls it strikes; `u32::MAX` is as good as all.
    #[serde(default = "once")]
    pub times: u32,
    /// How many such calls it lets pass first.
    #[serde(default)]
    pub skip: u32,
    pub kind: FaultKind,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// A fault that strikes the next such call, once.
    pub fn new(call: FaultCall, kind: FaultKind) -> Self {
        Self {
            call,
            times: 1,
            skip: 0,
            kind,
        }
    }

    /// The next such call does nothing and is answered with this status and JSON body.
    pub fn status(call: FaultCall, status: u16, body: impl Into<String>) -> Self {
        let kind = FaultKind::Status {
            status,
            body: body.into(),
            content_type: None,
            done: false,
        };
        Self::new(call, kind)
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }
}

/// Which calls a fault is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCall {
    Register,
    List,
    Delete,
    /// Calls that are only echoed.
    Other,
    #[default]
    Any,
}

impl FaultCall {
    fn covers(self, kind: CallKind) -> bool {
        match self {
            Self::Register => kind == CallKind::Register,
            Self::List => kind == CallKind::List,
            Self::Delete => kind == CallKind::Delete,
            Self::Other => kind == CallKind::Other,
            Self::Any => true,
        }
    }
}

/// What goes wrong. *After* means that the work was done and only the reply suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Answers with this instead. With `done`, the work is done all the same.
    Status {
        status: u16,
        #[serde(default)]
        body: String,
        /// `application/json` if not given.
        #[serde(default)]
        content_type: Option<String>,
        #[serde(default)]
        done: bool,
    },
    /// Refused with 429, and `Retry-After` of so many seconds.
    Throttled(u64),
    /// The work is done this much later, whether or not the caller is still there.
    #[serde(rename = "delay_ms")]
    Delay(#[serde(with = "millis")] Duration),
    /// The work is done in time, the reply comes this much later.
    #[serde(rename = "delay_after_ms")]
    DelayAfter(#[serde(with = "millis")] Duration),
    /// The connection is reset (RST).
    ResetBefore,
    ResetAfter,
    /// The connection is closed without a reply (FIN).
    CloseBefore,
    CloseAfter,
    /// There is never a reply.
    Hang,
    HangAfter,
    /// The reply breaks off halfway through its body.
    TruncatedBody,
}

impl FaultKind {
    /// As in JSON, without its values.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Status { done: false, .. } => "status",
            Self::Status { done: true, .. } => "status_done",
            Self::Throttled(_) => "throttled",
            Self::Delay(_) => "delay_ms",
            Self::DelayAfter(_) => "delay_after_ms",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::CloseBefore => "close_before",
            Self::CloseAfter => "close_after",
            Self::Hang => "hang",
            Self::HangAfter => "hang_after",
            Self::TruncatedBody => "truncated_body",
        }
    }
}

/// The faults that wait, first come first served.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.0.push_back(fault);
        }
    }

    /// What this call suffers. Each fault that it passes on the way counts it as skipped.
    pub(super) fn strike(&mut self, kind: CallKind) -> Option<FaultKind> {
        let covering = self
            .0
            .iter_mut()
            .enumerate()
            .filter(|(_, fault)| fault.call.covers(kind));
        for (place, fault) in covering {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times -= 1;
            let struck = fault.kind.clone();
            if fault.times == 0 {
                self.0.remove(place);
            }
            return Some(struck);
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn waiting(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_calls_after_the_skipped_ones_and_is_gone() {
        let mut faults = Faults::default();
        faults.push(Fault::new(FaultCall::Delete, FaultKind::Hang).skip(1).times(2));
        let struck: Vec<bool> = [
            CallKind::Delete,
            CallKind::List,
            CallKind::Delete,
            CallKind::Delete,
            CallKind::Delete,
        ]
        .into_iter()
        .map(|kind| faults.strike(kind).is_some())
        .collect();
        assert_eq!(struck, [false, false, true, true, false]);
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn faults_strike_in_the_order_they_were_injected() {
        let mut faults = Faults::default();
        faults.push(Fault::new(FaultCall::Any, FaultKind::Hang));
        faults.push(Fault::new(FaultCall::List, FaultKind::ResetBefore));
        assert_eq!(faults.strike(CallKind::List), Some(FaultKind::Hang));
        assert_eq!(faults.strike(CallKind::List), Some(FaultKind::ResetBefore));
        assert_eq!(faults.strike(CallKind::List), None);
    }

    #[test]
    fn the_documented_json_is_understood() {
        let parse = |text: &str| serde_json::from_str::<Fault>(text).unwrap();
        assert_eq!(
            parse(r#"{"call": "delete", "times": 2, "skip": 1, "kind": "reset_after"}"#),
            Fault::new(FaultCall::Delete, FaultKind::ResetAfter)
                .times(2)
                .skip(1)
        );
        assert_eq!(
            parse(r#"{"call": "list", "kind": {"status": {"status": 500, "body": "{}"}}}"#),
            Fault::status(FaultCall::List, 500, "{}")
        );
        assert_eq!(
            parse(r#"{"kind": {"delay_ms": 200}}"#),
            Fault::new(FaultCall::Any, FaultKind::Delay(Duration::from_millis(200)))
        );
        assert_eq!(
            parse(r#"{"call": "list", "kind": {"throttled": 7}}"#),
            Fault::new(FaultCall::List, FaultKind::Throttled(7))
        );
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "hang", "time": 2}"#).is_err());
    }
}

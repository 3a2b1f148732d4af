//! The log of an admission: one line that tells its whole story, and one for each eviction.

mod words;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::book::{Book, Intention};
use super::journal::now;
use super::{Admitted, Guard, Refusal, Registration, lock};
use crate::admission::policy::Why;
use crate::admission::roster::Roster;
use crate::admission::{Admission, Note, Reason};
use crate::clock;
use crate::notices;
use crate::snaptrade::budget::{self, Budget, WINDOW};
use crate::telemetry::chain;
use crate::telemetry::spans::{Step, Trace, attributes};
use crate::types::{Millis, UserId};
use crate::upstream::manage::Called;
use words::{in_words, refusal};

/// More than a reply is on its way, and less than a signature is good for.
const SKEW_SECONDS_MAX: f64 = 30.0;

/// What happened so far.
pub(super) struct Story<'a> {
    guard: &'a Guard,
    trace: &'a Trace,
    newcomer: String,
    arrived: Instant,
    queued: Duration,
    /// `list 200 51ms id=…, delete 200 49ms id=…`: the calls in order, with `SnapTrade`'s request ids.
    steps: String,
    calls: u32,
    /// When the registration left last.
    sent: Option<Instant>,
}

impl<'a> Story<'a> {
    pub(super) fn new(guard: &'a Guard, registration: &'a Registration) -> Self {
        let newcomer = registration.proven.user_id.as_ref();
        Self {
            guard,
            trace: &registration.trace,
            newcomer: newcomer.map(ToString::to_string).unwrap_or_default(),
            arrived: registration.arrived,
            queued: clock::since(registration.arrived),
            steps: String::new(),
            calls: 0,
            sent: None,
        }
    }

    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whose steps these are.
    pub(super) fn trace(&self) -> &'a Trace {
        self.trace
    }

    fn step(&mut self, name: &str, status: Option<u16>, took: Duration, headers: Option<&HeaderMap>) {
        let comma = if self.calls > 0 { ", " } else { "" };
        let status = status.map_or_else(|| "failed".to_owned(), |status| status.to_string());
        let id = headers.and_then(|headers| headers.get("x-request-id")?.to_str().ok());
        let id = id.map(|id| format!(" id={id}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(self.steps, "{comma}{name} {status} {}ms{id}", took.as_millis());
        self.calls += 1;
    }

    pub(super) fn called<T>(&mut self, call: &'static str, called: &Called<T>, mut step: Step) {
        if let Some(status) = called.status {
            step.answered(status, &called.headers);
        }
        if let Some(fault) = &called.fault {
            step.failed(fault.label());
        }
        drop(step);
        self.guard.told(call, called);
        self.step(call, called.status, called.took, Some(&called.headers));
    }

    pub(super) fn forwarded(
        &mut self,
        answer: &Result<Response<Bytes>, Refusal>,
        resigned: bool,
        began: Instant,
        mut step: Step,
    ) {
        self.sent = Some(began);
        let took = clock::since(began);
        match answer {
            Ok(reply) => step.answered(reply.status().as_u16(), reply.headers()),
            Err(refusal) => step.failed(refusal.token()),
        }
        drop(step);
        let name = if resigned {
            "register (signed anew)"
        } else {
            "register"
        };
        match answer {
            Ok(reply) => {
                self.step(name, Some(reply.status().as_u16()), took, Some(reply.headers()));
                if let Some(remaining) = budget::remaining(reply.headers()) {
                    let (place, metrics) = (&self.guard.place, &self.guard.means.metrics);
                    place.set_remaining(metrics, remaining);
                }
            }
            Err(refusal) => {
                self.step(name, None, took, None);
                if let Refusal::Upstream(error) = refusal {
                    self.guard.means.metrics.upstream_error(error.label());
                    let (tenant, kind, remedy) = (self.guard.tenant(), error.label(), error.remedy());
                    let error = chain(error);
                    tracing::warn!(tenant, newcomer = self.newcomer, kind, %error, remedy, "a registration got no answer");
                }
            }
        }
    }

    /// Says it before it is recorded: while the registry is in memory, the log is what survives (R7).
    pub(super) async fn intend(
        &self,
        victim: &UserId,
        why: &Why,
        book: &mut Book<'_>,
        roster: &Roster,
    ) -> Intention {
        let why = why.to_string();
        self.say_intent(victim, &why);
        let mut step = self.trace.step("record_intent");
        step.text(attributes::VICTIM, victim.as_str());
        step.text(attributes::WHY, &why);
        let intention = book.intend(victim, &why, roster).await;
        step.ended(match intention {
            Intention::Recorded => None,
            Intention::Uncertain => Some("uncertain"),
            Intention::Barred => Some("barred"),
        });
        intention
    }

    fn say_intent(&self, victim: &UserId, why: &str) {
        let tenant = self.guard.tenant();
        tracing::info!(
            tenant,
            victim = victim.as_str(),
            newcomer = self.newcomer,
            why = %why,
            "evicting: about to delete this user to make room"
        );
    }

    pub(super) fn record(&self, notes: &[Note]) {
        for note in notes {
            self.guard.tell(note, &self.newcomer);
        }
    }

    /// Writes the line and hands over the result.
    pub(super) fn finish(
        self,
        roster: &Roster,
        admission: &Admission,
        answer: Result<Response<Bytes>, Refusal>,
    ) -> Admitted {
        let took = clock::since(self.arrived);
        let admitted = Admitted {
            answer,
            sent: self.sent,
            evicted: admission.evicted().to_vec(),
            unsettled: admission.unsettled().cloned(),
            retried: admission.retried(),
            replayed: false,
            reason: admission.reason(),
        };
        let outcome = admitted.outcome();
        let answer = admitted.answer.as_ref();
        let refusal = answer.ok().and_then(refusal);
        // The level is a constant of each call site, so that the same line stands for two of them.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    tenant = self.guard.tenant(),
                    newcomer = self.newcomer,
                    outcome,
                    status = answer.ok().map(|reply| reply.status().as_u16()),
                    refusal,
                    problem = answer.err().map(Refusal::token),
                    evicted = names(&admitted.evicted),
                    unsettled = admitted.unsettled.as_ref().map(UserId::as_str),
                    reason = admitted.reason.map(Reason::token),
                    retried = admitted.retried,
                    users = roster.list().map(|_| roster.bare().count()),
                    limit = self.guard.terms().max_users,
                    calls = self.calls,
                    steps = self.steps,
                    queued_ms = millis(self.queued),
                    took_ms = millis(took),
                    "registration"
                )
            };
        }
        if admitted.reason.is_some_and(Reason::wants_attention) {
            line!(warn);
        } else {
            line!(info);
        }
        self.guard.answered(outcome, took);
        admitted
    }
}

impl Guard {
    /// A registration that was turned away, or whose caller left, before its turn.
    pub(super) fn refuse_unheard(&self, registration: &Registration, refusal: Refusal) -> Admitted {
        let took = clock::since(registration.arrived);
        let admitted = Admitted::refused(refusal);
        let outcome = admitted.outcome();
        tracing::warn!(
            tenant = self.tenant(),
            newcomer = registration.proven.user_id.as_ref().map(UserId::as_str),
            outcome,
            problem = admitted.answer.as_ref().err().map(Refusal::token),
            took_ms = millis(took),
            "registration"
        );
        self.answered(outcome, took);
        admitted
    }

    /// Has the application told who is gone. Not of a deletion that may never have been sent: to forget a user who is there costs
    /// it the secret; nor of one whose user was registered anew, and has another.
    fn notify(&self, note: &Note, newcomer: &str) {
        let (victim, outcome) = match note {
            Note::Evicted(victim) => (victim, notices::Outcome::Evicted),
            Note::EvictionUnsettled(victim) => (victim, notices::Outcome::Unsettled),
            _ => return,
        };
        // By the configuration that the admission began with.
        if self.tenant.notify.is_none() {
            return;
        }
        let newcomer = (!newcomer.is_empty()).then(|| UserId::new(newcomer));
        let notices = &self.means.notices;
        notices.tell(self.tenant(), victim, newcomer.as_ref(), outcome);
    }

    /// Logs and counts what happened, and has the application told.
    pub(super) fn tell(&self, note: &Note, newcomer: &str) {
        let tenant = self.tenant();
        let Some((victim, outcome, what)) = in_words(note) else {
            tracing::info!(
                tenant,
                "on this key a user still takes a slot while its deletion is queued"
            );
            return;
        };
        if outcome == "evicted" {
            self.evicted();
        }
        let (victim, newcomer_id) = (victim.as_str(), (!newcomer.is_empty()).then_some(newcomer));
        let why = match note {
            Note::WouldEvict(_, why) => Some(tracing::field::display(why)),
            _ => None,
        };
        if matches!(outcome, "refused" | "unsettled") {
            tracing::warn!(tenant, victim, newcomer = newcomer_id, "{what}");
        } else {
            tracing::info!(tenant, victim, newcomer = newcomer_id, why, "{what}");
        }
        self.means.metrics.eviction(tenant, outcome);
        self.notify(note, newcomer);
    }

    /// A reply that was kept is given out.
    pub(super) fn replay(&self, registration: &Registration, kept: Admitted) -> Admitted {
        let (tenant, newcomer) = (self.tenant(), registration.proven.user_id.as_ref());
        tracing::info!(
            tenant,
            newcomer = newcomer.map(UserId::as_str),
            "gave the reply that was kept, because its caller had left, to the next who asked"
        );
        self.answered(kept.outcome(), clock::since(registration.arrived));
        Admitted {
            replayed: true,
            ..kept
        }
    }

    fn answered(&self, outcome: &'static str, took: Duration) {
        self.count_registration();
        self.means.metrics.registration(self.tenant(), outcome);
        self.means.metrics.admission(outcome, took);
    }

    /// Counts a management call, and logs one that failed.
    pub(super) fn told<T>(&self, call: &'static str, called: &Called<T>) {
        self.measure(call, called);
        if let Some(failure) = &called.failure {
            let (tenant, status, remedy) = (self.tenant(), called.status, called.remedy());
            tracing::warn!(tenant, call, status, failure, remedy, "a management call failed");
        }
    }

    /// Counts a management call.
    pub(super) fn measure<T>(&self, call: &'static str, called: &Called<T>) {
        let (tenant, metrics) = (self.tenant(), &self.means.metrics);
        let outcome = if called.failure.is_none() { "ok" } else { "error" };
        metrics.management_call(tenant, call, outcome);
        if let ("list_users", Some(status)) = (call, called.status) {
            metrics.key_refused(tenant, matches!(status, 401 | 403));
        }
        if let Some(fault) = &called.fault {
            metrics.upstream_error(fault.label());
        }
        if let Some(remaining) = budget::remaining(&called.headers) {
            self.place.set_remaining(metrics, remaining);
        }
        if let Some(told) = Budget::read(&called.headers) {
            *lock(&self.state.budget) = Some(told);
        }
        if let Some(theirs) = budget::date(&called.headers) {
            self.note_clock(theirs);
        }
    }

    /// The least pause between two looks; see [`Budget::pace`].
    pub(super) fn pace(&self) -> Duration {
        let (told, remaining) = (*lock(&self.state.budget), self.place.remaining());
        told.zip(remaining)
            .map_or(Duration::ZERO, |(told, remaining)| told.pace(remaining))
    }

    /// How old a list may be for those who only want to know, while few calls are left for the application.
    pub(super) fn thrift(&self) -> Duration {
        let (told, remaining) = (*lock(&self.state.budget), self.place.remaining());
        let is_low = told
            .zip(remaining)
            .is_some_and(|(told, remaining)| told.is_low(remaining));
        if is_low { WINDOW } else { Duration::ZERO }
    }

    /// A reply says what time it is at `SnapTrade`, to the second.
    fn note_clock(&self, theirs: Millis) {
        let ours = now();
        let skew = theirs.since(ours).as_secs_f64() - ours.since(theirs).as_secs_f64();
        self.means.metrics.clock_skew(skew);
        let is_large = skew.abs() > SKEW_SECONDS_MAX;
        if self.means.clock_differs.swap(is_large, Ordering::Relaxed) || !is_large {
            return;
        }
        tracing::warn!(
            clock_skew_seconds = skew.round(),
            "this machine's clock and SnapTrade's are far apart (positive: SnapTrade's is ahead), so that signatures may be \
             refused and registrations seem stale; set the clock, and keep it right with NTP"
        );
    }
}

fn names(users: &[UserId]) -> Option<String> {
    let names: Vec<&str> = users.iter().map(UserId::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

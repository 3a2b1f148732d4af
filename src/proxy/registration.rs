//! Registrations: those that are managed, handed to a guard, and those that go by.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::replies::Problem;
use super::view::View;
use super::{NO_TENANT, Passed, Proxy, headers, outcome, streaming};
use crate::admission::policy::Mode;
use crate::clock;
use crate::guard::{Guard, Registration};
use crate::snaptrade::canonical::Canonical;
use crate::snaptrade::proof::{CallView, Proven, Unproven};
use crate::snaptrade::route::Route;
use crate::telemetry::spans::{RequestSpan, Trace, attributes};
use crate::types::{Timestamp, UserId};
use crate::upstream::body::{ReplyBody, RequestBody};
use crate::upstream::error::UpstreamError;

impl Proxy {
    pub(super) async fn register(
        &self,
        request: Request<Incoming>,
        view: &View,
        guard: &Arc<Guard>,
        arrived: Instant,
        span: Option<&mut RequestSpan>,
    ) -> Response<ReplyBody> {
        let why_unmanaged = if guard.terms().mode == Mode::Off {
            Some("mode-off")
        } else {
            guard.is_paused().then_some("paused")
        };
        let limit = view.max_registration_bytes();
        // Whose it is stands in its body: of a user whom SnapTrade registers the age is known from now on, and who a reply was
        // kept for gets it all the same. One that is too long to be read goes by as any call.
        let is_short = request
            .body()
            .size_hint()
            .exact()
            .is_some_and(|length| length <= limit as u64);
        if let Some(why) = why_unmanaged.filter(|_| !is_short) {
            let mut request = streaming(request, self.shared.body_idle_timeout);
            let (reply, _) = self.pass(view, &mut request, Route::Register, arrived).await;
            guard.unmanaged();
            return outcome::unmanaged(reply, why, span);
        }
        let (head, body) = request.into_parts();
        let body = match self.registration_body(body, limit).await {
            Ok(body) => body,
            Err(problem) => return self.refused(problem),
        };
        let seen = CallView {
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            signature: signature(&head.headers),
            body: &body,
        };
        let is_managed = |proven: &Proven| why_unmanaged.is_none() || guard.keeps_reply_to(proven);
        let why = match guard.prove(seen, Timestamp::from(clock::wall())) {
            Ok(proven) if is_managed(&proven) => {
                let registration = registration(head, body, proven, arrived);
                return self.admit(guard, registration, span).await;
            }
            proven => proven.err(),
        };
        let user = user_in(&body);
        let mut request = Request::from_parts(head, RequestBody::full(body));
        let (reply, _) = self.pass(view, &mut request, Route::Register, clock::now()).await;
        let is_accepted = reply.status().is_success();
        if let Some(user) = user.filter(|_| is_accepted) {
            self.shared.tally.registered(guard.client_id(), user);
        }
        match (why_unmanaged, why) {
            (None, Some(why)) => {
                guard.unproven(why, is_accepted);
                outcome::unmanaged(reply, why.reason(), span)
            }
            (why, _) => {
                guard.unmanaged();
                outcome::unmanaged(reply, why.unwrap_or_default(), span)
            }
        }
    }

    /// A registration under a client id that no tenant has. Nobody makes room for it.
    pub(super) async fn pass_strangers(
        &self,
        request: Request<Incoming>,
        view: &View,
        arrived: Instant,
        span: Option<&mut RequestSpan>,
    ) -> Passed {
        self.shared.warn_of_stranger(request.uri().query());
        let mut request = streaming(request, self.shared.body_idle_timeout);
        let (reply, took) = self.pass(view, &mut request, Route::Register, arrived).await;
        self.shared.metrics.registration(NO_TENANT, "unmanaged");
        let why = Unproven::OtherClient.reason();
        (outcome::unmanaged(reply, why, span), took)
    }

    async fn admit(
        &self,
        guard: &Arc<Guard>,
        mut registration: Registration,
        mut span: Option<&mut RequestSpan>,
    ) -> Response<ReplyBody> {
        if let Some(span) = &mut span {
            registration.trace = span.trace();
            if let Some(newcomer) = &registration.proven.user_id {
                span.text(attributes::NEWCOMER, newcomer.as_str());
            }
        }
        let admitted = guard.admit(registration).await;
        if let Err(refusal) = &admitted.answer {
            self.note_limit(Problem::from(refusal));
        }
        outcome::reply(admitted, span)
    }

    async fn registration_body(&self, body: Incoming, limit: usize) -> Result<Bytes, Problem> {
        let too_large = Problem::BodyTooLarge { limit };
        // Said before the body is asked for (`Expect: 100-continue`), where its length is known.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large);
        }
        let body = RequestBody::streaming(body, self.shared.body_idle_timeout);
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large),
            Err(error) => Err(Problem::from(&UpstreamError::caller_body(error))),
        }
    }
}

/// Whether the holder of the key asks for this. Of a call with a body, which is not read here, that is not known.
pub(super) fn is_proven_without_body(guard: &Guard, request: &Request<Incoming>) -> bool {
    let call = CallView {
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        signature: signature(request.headers()),
        body: &[],
    };
    request.body().is_end_stream() && guard.prove(call, Timestamp::from(clock::wall())).is_ok()
}

/// Whom a registration's body names.
fn user_in(body: &[u8]) -> Option<UserId> {
    Canonical::read(body).ok()?.user_id().cloned()
}

/// The one `Signature`; with two, nobody knows which the upstream would read.
fn signature(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all("signature").iter();
    let first = all.next()?;
    all.next().is_none().then_some(first.as_bytes())
}

fn registration(mut head: Parts, body: Bytes, proven: Proven, arrived: Instant) -> Registration {
    headers::strip_hop_by_hop(&mut head.headers);
    Registration {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        proven,
        arrived,
        by_hand: false,
        trace: Trace::default(),
    }
}

//! Performs the steps of an admission, one after the other.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::oneshot;

use super::book::{Book, Held, Intention};
use super::journal::now;
use super::story::Story;
use super::{Admitted, Guard, Refusal, Registration};
use crate::admission::policy::Mode;
use crate::admission::roster::Roster;
use crate::admission::{Admission, Circumstances, Deletion, Ending, Event, Reply, Step, Terms};
use crate::clock;
use crate::snaptrade::answer::{Answer, classify_registration};
use crate::snaptrade::query;
use crate::telemetry::spans::attributes;
use crate::types::UserId;
use crate::upstream::body::{ReplyBody, RequestBody};
use crate::upstream::error::UpstreamError;

/// A registration that is sent later than this after it arrived is signed anew, since its timestamp may have gone
/// stale. How fresh `SnapTrade` wants it is not documented.
const RESIGN_AFTER: Duration = Duration::from_secs(5);

/// The longest reply to a registration that is read.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// How long a reply to a registration may take to come in after its head. It is short, and others wait for the lock.
const REPLY_READ_MAX: Duration = Duration::from_secs(10);

const SIGNATURE: HeaderName = HeaderName::from_static("signature");

impl From<Intention> for Event {
    fn from(intention: Intention) -> Self {
        match intention {
            Intention::Recorded => Self::IntentRecorded(true),
            Intention::Uncertain => Self::IntentRecorded(false),
            // Decided anew, by what is known then.
            Intention::Barred => Self::Woken,
        }
    }
}

/// What an admission goes by at the moment.
enum Rules {
    InForce(Arc<Guard>),
    Off(Box<Terms>),
}

impl Deref for Rules {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        match self {
            Self::InForce(guard) => guard.terms(),
            Self::Off(terms) => terms,
        }
    }
}

impl Guard {
    /// Runs one admission under the tenant's lock.
    pub(super) async fn perform(
        &self,
        registration: &Registration,
        caller: &mut oneshot::Sender<Admitted>,
        held: &mut Held,
    ) -> Admitted {
        let newcomer = registration.proven.user_id.clone();
        let left = self
            .terms()
            .admission_timeout
            .saturating_sub(clock::since(registration.arrived));
        let waiting = registration.trace.step("wait_for_turn");
        let (mut book, roster) = Book::open(self, newcomer.clone(), held, left).await;
        waiting.ended((!book.is_open()).then_some("registry"));
        if let Some(kept) = self.kept(registration, &book, roster) {
            return self.replay(registration, kept);
        }
        let mut rules = self.rules();
        let mut admission = Admission::new(newcomer, registration.arrived);
        let mut story = Story::new(self, registration);
        let mut answer = Err(Refusal::CallerGone);
        let mut event = Event::Begun;
        let mut delay = 0;
        loop {
            let is_list = matches!(event, Event::Listed(_));
            if is_list {
                book.learn(roster).await;
                // Somebody may have paused the tenant meanwhile, or loaded another configuration.
                rules = self.rules();
            }
            let here = self.circumstances(caller, &book);
            self.note_changes(roster);
            let now = clock::now();
            let is_news = is_list || matches!(event, Event::Replied(_));
            let registered = registered_by(&event);
            let step = admission.on(event, now, here, &rules, roster);
            if is_news {
                self.see(roster);
            }
            let notes = admission.take_notes();
            book.note(&notes).await;
            story.record(&notes);
            book.follow(roster, is_list, registered.as_ref()).await;
            event = match step {
                Step::List => self.look_again(&mut story).await,
                Step::Pause(time) => self.rest(time, caller, &story).await,
                Step::RecordIntent(victim, why) => {
                    story.intend(&victim, &why, &mut book, roster).await.into()
                }
                Step::Delete(victim) if book.is_timely() => {
                    self.delete(&victim, book.leave_by(), &mut story).await
                }
                Step::Delete(_) => Event::Deleted(Deletion::Unsent),
                Step::Forward { retry } => {
                    let reply;
                    (reply, answer) = self.forward(registration, retry, &mut delay, &mut story).await;
                    Event::Replied(reply)
                }
                Step::Finish(ending) => {
                    if ending == Ending::Refused {
                        answer = Err(Refusal::ListFailed);
                    }
                    break self.close(book, story, roster, &admission, answer).await;
                }
            };
        }
    }

    /// The reply that is kept for this registration (R12). Where another replica may have had the user deleted since, or
    /// registered anew, the registry says so, and the reply is dropped; where that cannot be read, it is given.
    fn kept(&self, registration: &Registration, book: &Book<'_>, roster: &Roster) -> Option<Admitted> {
        let user = registration.kept_for()?;
        self.replays.take(user, |kept_at| {
            !book.is_open()
                || roster.known(user).is_some_and(|known| match known.registered {
                    Some((at, _)) => at <= kept_at,
                    // Of one that is gone, nothing but its protection by hand is remembered.
                    None => !known.protected,
                })
        })
    }

    fn circumstances(&self, caller: &oneshot::Sender<Admitted>, book: &Book<'_>) -> Circumstances {
        Circumstances {
            caller_gone: caller.is_closed(),
            stopping: self.means.stopping.is_cancelled(),
            knows: book.is_open(),
            clock: now(),
            pace: self.pace(),
        }
    }

    /// Another replica may have paused the tenant, which is known since the registry was read; or it was configured anew, or no
    /// longer.
    fn rules(&self) -> Rules {
        match self.current() {
            Some(guard) if !guard.is_paused() => Rules::InForce(guard),
            _ => Rules::Off(Box::new(Terms {
                mode: Mode::Off,
                ..self.terms().clone()
            })),
        }
    }

    async fn close(
        &self,
        book: Book<'_>,
        story: Story<'_>,
        roster: &Roster,
        admission: &Admission,
        answer: Result<Response<Bytes>, Refusal>,
    ) -> Admitted {
        let arrived = story.arrived();
        let admitted = story.finish(roster, admission, answer);
        book.close(roster, &admitted, clock::since(arrived)).await;
        admitted
    }

    async fn look_again(&self, story: &mut Story<'_>) -> Event {
        let step = story.trace().call("list_users", &Method::GET);
        let called = self.list().await;
        story.called("list_users", &called, step);
        let failure = called.failure.as_deref();
        self.note_trouble(failure.map(|why| (why, called.remedy())));
        called
            .retry_after()
            .map_or(Event::Listed(called.outcome), Event::Throttled)
    }

    async fn delete(&self, victim: &UserId, leave_by: Instant, story: &mut Story<'_>) -> Event {
        let mut step = story.trace().call("delete_user", &Method::DELETE);
        step.text(attributes::VICTIM, victim.as_str());
        let called = self.manage.delete(victim, leave_by).await;
        story.called("delete_user", &called, step);
        called
            .retry_after()
            .map_or(Event::Deleted(called.outcome), Event::Throttled)
    }

    /// Ends early when the caller leaves or the program is asked to stop, once each: there may be nothing left to wait for.
    async fn rest(&self, time: Duration, caller: &mut oneshot::Sender<Admitted>, story: &Story<'_>) -> Event {
        let _step = story.trace().step("pause");
        let (is_gone, is_stopping) = (caller.is_closed(), self.means.stopping.is_cancelled());
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = caller.closed(), if !is_gone => {}
            () = self.means.stopping.cancelled(), if !is_stopping => {}
        }
        Event::Woken
    }

    async fn forward(
        &self,
        registration: &Registration,
        retry: bool,
        delay: &mut u64,
        story: &mut Story<'_>,
    ) -> (Reply, Result<Response<Bytes>, Refusal>) {
        let began = clock::now();
        let resign = retry || clock::since(registration.arrived) > RESIGN_AFTER;
        let mut request = if resign {
            // At least one second more than the last time, so that no signature is sent twice.
            *delay = clock::since(registration.arrived).as_secs().max(*delay + 1);
            self.signed_anew(registration, *delay)
        } else {
            request(registration, &registration.query)
        };
        let mut step = story.trace().call("register", &Method::POST);
        step.flag(attributes::RESIGNED, resign);
        step.joins(request.headers_mut());
        let response = match self.means.forwarder.send(&mut request, began).await {
            Ok(response) => tokio::time::timeout(REPLY_READ_MAX, read(response))
                .await
                .unwrap_or_else(|passed| Err(Refusal::Upstream(UpstreamError::broke_off(passed)))),
            Err(error) => Err(Refusal::Upstream(error)),
        };
        story.forwarded(&response, resign, began, step);
        let reply = match &response {
            Ok(response) => self.understand(registration, response),
            // What never left had no effect.
            Err(Refusal::Upstream(error)) if !error.sent() => Reply::Other,
            Err(_) => Reply::Unclear,
        };
        if let Reply::Registered(user) = &reply {
            // What is kept is of one that went.
            self.replays.forget(user);
        }
        (reply, response)
    }

    /// The registration with the caller's timestamp plus the seconds it was held, signed in the caller's form (R11).
    fn signed_anew(&self, registration: &Registration, held: u64) -> Request<RequestBody> {
        let proven = &registration.proven;
        let query = query::replace_timestamp(&registration.query, proven.timestamp.plus(held));
        let signature = self
            .key
            .sign(proven.form, &registration.path, &query, &proven.body);
        let mut request = request(registration, &query);
        if let Ok(signature) = HeaderValue::from_str(&signature) {
            request.headers_mut().insert(SIGNATURE, signature);
        }
        request
    }

    fn understand(&self, registration: &Registration, response: &Response<Bytes>) -> Reply {
        // A coding that we did not ask for cannot be read, and nothing may rest on it.
        let coded = response
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding != "identity");
        let body: &[u8] = if coded { &[] } else { response.body() };
        let newcomer = registration.proven.user_id.as_ref();
        let status = response.status().as_u16();
        match classify_registration(status, body, &self.tenant.phrases, newcomer) {
            Answer::Registered { user_id, .. } => Reply::Registered(user_id),
            Answer::LimitReached => Reply::LimitReached,
            Answer::Unclear => Reply::Unclear,
            _ => Reply::Other,
        }
    }
}

fn registered_by(event: &Event) -> Option<UserId> {
    match event {
        Event::Replied(Reply::Registered(user)) => Some(user.clone()),
        _ => None,
    }
}

/// The request as the caller sent it, but for a reply in plain text, so that a limit error can be read.
fn request(registration: &Registration, query: &str) -> Request<RequestBody> {
    let mut headers = registration.headers.clone();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut request = Request::new(RequestBody::full(registration.body.clone()));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    // Path and query came out of a parsed target, and a new timestamp is digits only.
    *request.uri_mut() = Uri::try_from(format!("{}?{query}", registration.path)).unwrap_or_default();
    request
}

/// The whole reply. One that breaks off is an upstream failure: half a user secret is none.
async fn read(response: Response<ReplyBody>) -> Result<Response<Bytes>, Refusal> {
    let (parts, body) = response.into_parts();
    match Limited::new(body, REPLY_BYTES_MAX).collect().await {
        Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::ReplyTooLong),
        Err(error) => Err(Refusal::Upstream(UpstreamError::broke_off(error))),
    }
}

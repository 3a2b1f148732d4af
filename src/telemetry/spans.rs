//! Spans of requests and of the steps of admissions, exported over OTLP where the operator names an endpoint.
//!
//! Elsewhere there is no [`Spans`], every [`Trace`] is empty, and asking for that is all that is done. A span holds no
//! query, header or body, and of a path no more than what can be no query (R13).

pub mod export;
mod parent;
mod span;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Array, Context, InstrumentationScope, StringValue, Value};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _,
};

use crate::config::{self, Proxy, Tracing};
use crate::snaptrade::route::Route;
use export::Queue;
use parent::TRACEPARENT;
use span::Span;

/// Longer paths are cut, so that a batch has a bound.
const PATH_BYTES_MAX: usize = 256;
/// Of the other texts that come from elsewhere.
const TEXT_BYTES_MAX: usize = 256;

/// The attributes of our own that callers name.
pub mod attributes {
    pub const OUTCOME: &str = "snaptrade_sidecar.admission.outcome";
    pub const REASON: &str = "snaptrade_sidecar.admission.reason";
    pub const RETRIED: &str = "snaptrade_sidecar.admission.retried";
    pub const REPLAYED: &str = "snaptrade_sidecar.admission.replayed";
    pub const EVICTED: &str = "snaptrade_sidecar.admission.evicted";
    pub const NEWCOMER: &str = "snaptrade_sidecar.newcomer";
    pub const VICTIM: &str = "snaptrade_sidecar.victim";
    pub const WHY: &str = "snaptrade_sidecar.why";
    pub const RESIGNED: &str = "snaptrade_sidecar.resigned";
}

const TENANT: &str = "snaptrade_sidecar.tenant";
const ROUTE: &str = "snaptrade_sidecar.route";
const REQUEST_ID: &str = "http.response.header.x-request-id";

/// Makes spans.
#[derive(Clone, Debug)]
pub struct Spans(Arc<Maker>);

/// Of the SDK it has the sampler and the ids. Its provider would read the process's environment, past the configuration.
#[derive(Debug)]
struct Maker {
    queue: Queue,
    sampler: Sampler,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    /// What callers speak.
    scheme: &'static str,
    upstream: (String, u16),
}

impl Maker {
    fn begin(&self, name: Cow<'static, str>, kind: SpanKind, of: (TraceId, Option<&SpanContext>)) -> Span {
        let id = self.ids.new_span_id();
        Span::begin(name, kind, of, id, self.scope.clone(), self.queue.clone())
    }

    fn is_sampled(&self, trace: TraceId, parent: Option<&SpanContext>, name: &str) -> bool {
        let context = parent.map(|parent| Context::new().with_remote_span_context(parent.clone()));
        let kind = SpanKind::Server;
        let sampled = self
            .sampler
            .should_sample(context.as_ref(), trace, name, &kind, &[], &[]);
        matches!(sampled.decision, SamplingDecision::RecordAndSample)
    }
}

impl Spans {
    /// Those that are over go to `queue`.
    pub fn new(tracing: &Tracing, proxy: &Proxy, queue: Queue) -> Self {
        let scope =
            InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        Self(Arc::new(Maker {
            queue,
            sampler: sampler(tracing.sampler),
            ids: RandomIdGenerator::default(),
            scope: scope.build(),
            scheme: if proxy.tls.is_some() { "https" } else { "http" },
            upstream: (proxy.upstream.host().to_owned(), proxy.upstream.port()),
        }))
    }

    /// Begins the span of a request, which goes on as a part of it: its `traceparent` becomes the span's. `None`, and the
    /// request stays as it is, where the trace is not recorded.
    pub fn request<B>(&self, request: &mut Request<B>, route: Route) -> Option<RequestSpan> {
        let parent = parent::parent(request.headers());
        let trace = parent
            .as_ref()
            .map_or_else(|| self.0.ids.new_trace_id(), SpanContext::trace_id);
        let name = name(request.method(), route);
        if !self.0.is_sampled(trace, parent.as_ref(), &name) {
            return None;
        }
        let mut span = self
            .0
            .begin(name.into(), SpanKind::Server, (trace, parent.as_ref()));
        span.set("http.request.method", method(request.method()));
        span.set("url.scheme", self.0.scheme);
        span.set("url.path", shown(request.uri().path()).to_owned());
        span.set(ROUTE, route.label());
        if let Some(template) = template(route) {
            span.set("http.route", template);
        }
        called(&mut span, request);
        if let Some(line) = parent::line(span.context()) {
            request.headers_mut().insert(TRACEPARENT, line);
        }
        let trace = Trace(Some((Arc::clone(&self.0), span.context().clone())));
        Some(RequestSpan(Box::new(Requested {
            span,
            trace,
            is_answered: false,
        })))
    }
}

/// The span of a request. It is over when this is dropped: where the request was not answered, its caller left.
#[derive(Debug)]
pub struct RequestSpan(Box<Requested>);

#[derive(Debug)]
struct Requested {
    span: Span,
    trace: Trace,
    is_answered: bool,
}

impl RequestSpan {
    /// For what is done for the request.
    pub fn trace(&self) -> Trace {
        self.0.trace.clone()
    }

    pub fn text(&mut self, key: &'static str, text: &str) {
        set_text(&mut self.0.span, key, text);
    }

    pub fn texts<'t>(&mut self, key: &'static str, texts: impl Iterator<Item = &'t str>) {
        let texts: Vec<StringValue> = texts
            .map(|text| cut(text, TEXT_BYTES_MAX).to_owned().into())
            .collect();
        self.0.span.set(key, Value::Array(Array::String(texts)));
    }

    pub fn flag(&mut self, key: &'static str, flag: bool) {
        self.0.span.set(key, flag);
    }

    /// The caller gets this; `problem` is why it is the sidecar that answers, if it is.
    pub fn answered<B>(mut self, tenant: &str, reply: &Response<B>, problem: Option<&'static str>) {
        let Requested {
            span, is_answered, ..
        } = &mut *self.0;
        *is_answered = true;
        set_text(span, TENANT, tenant);
        set_status(span, reply.status());
        set_request_id(span, reply.headers());
        if reply.status().is_server_error() || problem.is_some() {
            let status = reply.status();
            set_failed(span, problem.unwrap_or(status.as_str()));
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if !self.0.is_answered {
            set_failed(&mut self.0.span, "caller_gone");
        }
    }
}

/// The trace that something is done for, if it is recorded.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<(Arc<Maker>, SpanContext)>);

impl Trace {
    /// Something that the sidecar does by itself begins.
    pub fn step(&self, name: &'static str) -> Step {
        self.begin(name, SpanKind::Internal)
    }

    /// A call to SnapTrade begins.
    pub fn call(&self, name: &'static str, method: &Method) -> Step {
        let mut step = self.begin(name, SpanKind::Client);
        if let (Some(span), Some((maker, _))) = (&mut step.0, &self.0) {
            let (host, port) = &maker.upstream;
            span.set("http.request.method", self::method(method));
            span.set("server.address", host.clone());
            span.set("server.port", i64::from(*port));
        }
        step
    }

    fn begin(&self, name: &'static str, kind: SpanKind) -> Step {
        let span = self.0.as_ref().map(|(maker, parent)| {
            let of = (parent.trace_id(), Some(parent));
            Box::new(maker.begin(name.into(), kind, of))
        });
        Step(span)
    }
}

/// One step that is being done. It is over when this is dropped.
#[derive(Debug)]
#[must_use = "a step is over as soon as it is dropped"]
pub struct Step(Option<Box<Span>>);

impl Step {
    pub fn text(&mut self, key: &'static str, text: &str) {
        if let Some(span) = &mut self.0 {
            set_text(span, key, text);
        }
    }

    pub fn flag(&mut self, key: &'static str, flag: bool) {
        if let Some(span) = &mut self.0 {
            span.set(key, flag);
        }
    }

    /// What `SnapTrade` answered. One that it refused has failed, as the conventions have it of clients.
    pub fn answered(&mut self, status: u16, headers: &HeaderMap) {
        let (Some(span), Ok(status)) = (&mut self.0, StatusCode::from_u16(status)) else {
            return;
        };
        set_status(span, status);
        set_request_id(span, headers);
        if status.is_client_error() || status.is_server_error() {
            set_failed(span, status.as_str());
        }
    }

    /// In a word of which there are few.
    pub fn failed(&mut self, why: &str) {
        if let Some(span) = &mut self.0 {
            set_failed(span, why);
        }
    }

    /// It is over, and has failed if there is a reason why.
    pub fn ended(mut self, why: Option<&str>) {
        if let Some(why) = why {
            self.failed(why);
        }
    }

    /// Makes a request a part of it.
    pub fn joins(&self, headers: &mut HeaderMap) {
        if let Some(line) = self.line() {
            headers.insert(TRACEPARENT, line);
        }
    }

    fn line(&self) -> Option<HeaderValue> {
        parent::line(self.0.as_ref()?.context())
    }
}

fn sampler(sampler: config::Sampler) -> Sampler {
    let root = Sampler::TraceIdRatioBased(sampler.ratio());
    if sampler.parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

fn set_text(span: &mut Span, key: &'static str, text: &str) {
    span.set(key, cut(text, TEXT_BYTES_MAX).to_owned());
}

fn set_status(span: &mut Span, status: StatusCode) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
}

/// What SnapTrade's support asks for.
fn set_request_id(span: &mut Span, headers: &HeaderMap) {
    if let Some(id) = headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
        let id = StringValue::from(cut(id, TEXT_BYTES_MAX).to_owned());
        span.set(REQUEST_ID, Value::Array(Array::String(vec![id])));
    }
}

fn set_failed(span: &mut Span, why: &str) {
    span.set("error.type", why.to_owned());
    span.fail();
}

/// By what name the sidecar was called.
fn called<B>(span: &mut Span, request: &Request<B>) {
    let host = request.headers().get(http::header::HOST);
    let Some(host) = host.and_then(|host| host.to_str().ok()) else {
        return;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return;
    };
    set_text(span, "server.address", authority.host());
    if let Some(port) = authority.port_u16() {
        span.set("server.port", i64::from(port));
    }
}

/// A method that has no meaning in general is not told: it could be any text.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// Of which there are few, so that spans can be counted by it.
fn name(of: &Method, route: Route) -> String {
    let method = match method(of) {
        "_OTHER" => "HTTP",
        known => known,
    };
    match template(route) {
        Some(template) => format!("{method} {template}"),
        None => method.to_owned(),
    }
}

fn template(route: Route) -> Option<&'static str> {
    Some(match route {
        Route::Register => "/snapTrade/registerUser",
        Route::ListUsers => "/snapTrade/listUsers",
        Route::DeleteUser => "/snapTrade/deleteUser",
        Route::ResetSecret => "/snapTrade/resetUserSecret",
        Route::ApiStatus => "/",
        Route::Other => return None,
    })
}

/// A path up to where it may be a query by mistake: with `=` or something encoded in it. SnapTrade's own are words and ids.
fn shown(path: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~:@,".contains(c);
    let end = path.find(|c| !is_plain(c)).unwrap_or(path.len());
    cut(&path[..end], PATH_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

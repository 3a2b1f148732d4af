//! One span, from when it begins until it is over.

use std::borrow::Cow;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::export::Queue;
use crate::clock;

/// A span that is recorded. It is over, and goes to the queue, when this is dropped.
#[derive(Debug)]
pub(super) struct Span {
    /// `None` once it is over.
    data: Option<SpanData>,
    context: SpanContext,
    queue: Queue,
}

impl Span {
    pub(super) fn begin(
        name: Cow<'static, str>,
        kind: SpanKind,
        (trace, parent): (TraceId, Option<&SpanContext>),
        id: SpanId,
        scope: InstrumentationScope,
        queue: Queue,
    ) -> Self {
        let flags = parent.map_or(TraceFlags::default(), SpanContext::trace_flags);
        let context = SpanContext::new(trace, id, flags.with_sampled(true), false, TraceState::NONE);
        let now = clock::wall();
        let data = SpanData {
            span_context: context.clone(),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some_and(SpanContext::is_remote),
            span_kind: kind,
            name,
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope,
        };
        Self {
            data: Some(data),
            context,
            queue,
        }
    }

    pub(super) fn context(&self) -> &SpanContext {
        &self.context
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(data) = &mut self.data {
            data.attributes.push(KeyValue::new(key, value));
        }
    }

    pub(super) fn fail(&mut self) {
        if let Some(data) = &mut self.data {
            data.status = Status::error("");
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.end_time = clock::wall();
            self.queue.push(data);
        }
    }
}

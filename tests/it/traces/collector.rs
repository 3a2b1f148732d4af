//! What came to a collector, decoded.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use crate::application::{Application, Arrived};

/// A span, its ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty, of one that begins a trace.
    pub(crate) parent: String,
    pub(crate) kind: SpanKind,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) is_error: bool,
    /// In nanoseconds.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// What a request says that is a part of it.
    pub(crate) fn line(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

/// Everything that came.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) exports: Vec<Arrived>,
    /// In the order in which they began.
    pub(crate) spans: Vec<Span>,
    pub(crate) resource: BTreeMap<String, String>,
}

/// What has come to a collector, once whoever sent it has ended.
pub(crate) async fn received(collector: &mut Application) -> Received {
    let mut received = Received::default();
    while !collector.is_quiet() {
        let arrived = collector.next().await;
        let request = ExportTraceServiceRequest::decode(&*arrived.body).unwrap();
        received.exports.push(arrived);
        for of in request.resource_spans {
            received.resource = attributes(of.resource.unwrap().attributes);
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            received.spans.extend(spans.map(|span| Span {
                kind: span.kind(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: attributes(span.attributes),
                is_error: span.status.is_some_and(|status| status.code == 2),
                from: span.start_time_unix_nano,
                to: span.end_time_unix_nano,
            }));
        }
    }
    received.spans.sort_by_key(|span| span.from);
    received
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| shown(value.and_then(|value| value.value));
    let attributes = attributes.into_iter();
    attributes
        .map(|attribute| (attribute.key, text(attribute.value)))
        .collect()
}

fn shown(value: Option<Value>) -> String {
    match value.unwrap() {
        Value::StringValue(text) => text,
        Value::BoolValue(flag) => flag.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(array) => {
            let all: Vec<String> = array.values.into_iter().map(|value| shown(value.value)).collect();
            all.join(",")
        }
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |all, byte| format!("{all}{byte:02x}"))
}

//! Spans that are over, on their way to the collector: bounded while they wait, and lost rather than in anybody's way.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Tracing;
use crate::tasks::keep;
use crate::telemetry::chain;

/// Of the collector's answer, of which little is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const NAME: HeaderValue = HeaderValue::from_static(concat!("snaptrade-sidecar/", env!("CARGO_PKG_VERSION")));

const LOST: &str = "spans are lost, calls are answered all the same: check the endpoint, and that a collector answers there by \
                    OTLP over HTTP. Said once until it works again; the metric spans_lost_total counts on";

/// Where spans wait that are over.
#[derive(Clone)]
pub struct Queue(Arc<Waiting>);

struct Waiting {
    spans: Mutex<Vec<SpanData>>,
    spans_max: usize,
    batch_max: usize,
    /// A batch is full.
    is_full: Notify,
    /// For which there was no room, since it was last said.
    dropped: AtomicU64,
    lost_total: Counter,
}

/// What waits is not shown.
impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    fn new(tracing: &Tracing, lost_total: Counter) -> Self {
        Self(Arc::new(Waiting {
            spans: Mutex::default(),
            spans_max: tracing.queue_max,
            batch_max: tracing.batch_max,
            is_full: Notify::new(),
            dropped: AtomicU64::new(0),
            lost_total,
        }))
    }

    /// Takes one in, if there is room. Nobody is woken for one span: that would cost more than to make it.
    pub(super) fn push(&self, span: SpanData) {
        let mut spans = self.spans();
        if spans.len() >= self.0.spans_max {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            self.0.lost_total.inc();
            return;
        }
        spans.push(span);
        if spans.len() == self.0.batch_max {
            self.0.is_full.notify_one();
        }
    }

    /// What is protected here is whole at every moment, so that a panic elsewhere does not spoil it.
    fn spans(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.0.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest.
    fn batch(&self) -> Vec<SpanData> {
        let mut spans = self.spans();
        let count = spans.len().min(self.0.batch_max);
        spans.drain(..count).collect()
    }

    fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }

    /// Of those that were taken out again.
    fn lost(&self, count: u64) {
        self.0.lost_total.inc_by(count);
    }
}

/// What all spans are of.
fn resource(tracing: &Tracing) -> Resource {
    let attributes = tracing.resource.iter();
    let attributes = attributes.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(attributes).build()
}

/// Sends spans to the collector, in a task of the control runtime.
#[derive(Debug)]
pub struct Exporter {
    queue: Queue,
    tracing: Tracing,
    resource: ResourceAttributesWithSchema,
    http: reqwest::Client,
    /// Since spans began to be.
    lost: u64,
    is_failing: bool,
}

impl Exporter {
    /// `http` must follow no redirects and use no proxy: spans go to the endpoint and to nobody else. `lost_total` counts the
    /// spans that nobody got.
    pub fn new(tracing: Tracing, http: reqwest::Client, lost_total: Counter) -> Self {
        Self {
            queue: Queue::new(&tracing, lost_total),
            resource: ResourceAttributesWithSchema::from(&resource(&tracing)),
            tracing,
            http,
            lost: 0,
            is_failing: false,
        }
    }

    /// Where spans are put.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Begins to send. Must be called on the control runtime.
    pub fn start(self) -> Exporting {
        let closing = CancellationToken::new();
        let stop = closing.clone();
        let task = tokio::spawn(keep("spans", self, move |exporter| {
            Box::pin(exporter.run(stop.clone()))
        }));
        Exporting { task, closing }
    }

    async fn run(&mut self, closing: CancellationToken) {
        let queue = self.queue.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = queue.0.is_full.notified() => {}
                () = tokio::time::sleep(self.tracing.delay) => {}
            }
            self.export_all().await;
        }
        if !self.export_all().await {
            let rest = self.queue.spans().len();
            self.lose(rest as u64);
        }
        if self.lost > 0 {
            tracing::warn!(spans = self.lost, "left spans unexported");
        }
    }

    /// Whether what waits is through; a collector that fails is not asked again at once.
    async fn export_all(&mut self) -> bool {
        let mut is_sent = true;
        while is_sent {
            let spans = self.queue.batch();
            if spans.is_empty() {
                break;
            }
            let count = spans.len() as u64;
            let sent = timeout(self.tracing.timeout, self.send(spans)).await;
            let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.tracing.timeout)));
            is_sent = sent.is_ok();
            self.note(count, sent);
        }
        let dropped = self.queue.take_dropped();
        if dropped > 0 {
            self.lost += dropped;
            self.fails("more came than could be sent");
        }
        is_sent
    }

    /// How many of them the collector refused, or why nothing came of it.
    async fn send(&self, spans: Vec<SpanData>) -> Result<u64, String> {
        let spans = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &self.resource),
        };
        let mut headers = self.tracing.headers.clone();
        headers.entry(USER_AGENT).or_insert(NAME);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let request = self.http.post(self.tracing.endpoint.clone());
        let request = request.headers(headers).body(spans.encode_to_vec());
        // A URL may hold a key in its query (R13).
        let told = |error: reqwest::Error| chain(&error.without_url()).to_string();
        let mut answer = request.send().await.map_err(told)?;
        if !answer.status().is_success() {
            return Err(format!("it was answered with {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too long".to_owned());
            }
            body.extend_from_slice(&piece);
        }
        // Some collectors answer in JSON, or with nothing.
        let refused = ExportTraceServiceResponse::decode(&*body)
            .unwrap_or_default()
            .partial_success;
        let refused = refused.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }

    fn note(&mut self, count: u64, sent: Result<u64, String>) {
        match sent {
            Ok(0) if self.is_failing => {
                self.is_failing = false;
                let lost = std::mem::take(&mut self.lost);
                tracing::info!(lost, "spans are exported again");
            }
            Ok(0) => {}
            Ok(refused) => {
                self.lose(refused.min(count));
                self.fails("the collector refused some of them");
            }
            Err(why) => {
                self.lose(count);
                self.fails(&why);
            }
        }
    }

    fn lose(&mut self, count: u64) {
        self.lost += count;
        self.queue.lost(count);
    }

    /// Once, until it works again.
    fn fails(&mut self, why: &str) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        let (endpoint, variable) = (self.tracing.target(), self.tracing.variable);
        tracing::warn!(endpoint, why, variable, "{LOST}");
    }
}

/// Spans that are being exported.
#[derive(Debug)]
pub struct Exporting {
    task: JoinHandle<()>,
    closing: CancellationToken,
}

impl Exporting {
    /// Sends what waits, for `limit` at most. No more spans are to come.
    pub async fn end(mut self, limit: Duration) {
        self.closing.cancel();
        if timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the collector did not take the last spans in time; they are lost");
        }
    }
}

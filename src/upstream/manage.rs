//! The sidecar's own calls to `SnapTrade`: `listUsers` and `deleteUser`.
//!
//! They go by the same connections as registrations. A deletion is sent once; no redirect is followed, and no proxy of the
//! environment is used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::body::{ReplyBody, RequestBody};
use super::error::UpstreamError;
use super::forward::Forwarder;
use super::timestamps::Timestamps;
use crate::clock;
use crate::snaptrade::answer::{self, Deletion};
use crate::snaptrade::budget;
use crate::snaptrade::canonical::Canonical;
use crate::snaptrade::listing::Reader;
use crate::snaptrade::query;
use crate::snaptrade::signature::{Form, SigningKey};
use crate::telemetry::chain;
use crate::types::{ClientId, Millis, Timestamp, UserId};

/// The longest reply of `listUsers` that is read: over 1,500,000 ids of 36 characters.
const LIST_BYTES_MAX: usize = 64 << 20;

/// A reply to `deleteUser` is read so that its connection can be used again, not for its text.
const DELETE_BYTES_MAX: usize = 64 << 10;

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// Some firewalls refuse who says nothing of itself.
const NAME: HeaderValue = HeaderValue::from_static(concat!("snaptrade-sidecar/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Makes one tenant's management calls.
#[derive(Clone, Debug)]
pub struct Manage {
    forwarder: Forwarder,
    client_id: ClientId,
    key: SigningKey,
    timeout: Duration,
    timestamps: Arc<Timestamps>,
}

/// One call as it went.
#[derive(Debug)]
pub struct Called<T> {
    pub outcome: T,
    pub status: Option<u16>,
    pub took: Duration,
    pub headers: HeaderMap,
    /// Why there was no answer, or no useful one.
    pub failure: Option<String>,
    /// What went wrong on the way.
    pub fault: Option<UpstreamError>,
}

impl<T> Called<T> {
    /// When the next is welcome, if this one was throttled and told.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.status == Some(429))
            .then(|| budget::retry_after(&self.headers, Millis::from(clock::wall())))
            .flatten()
    }

    /// What an operator can do about a failure, in a clause.
    pub fn remedy(&self) -> &'static str {
        match (&self.fault, self.status) {
            (Some(fault), _) => fault.remedy(),
            (None, Some(401)) => "check client_id and consumer_key, and this machine's clock",
            (None, Some(403)) => "check what this key may do at SnapTrade",
            (None, Some(429)) => "this key's calls are used up for the moment; it passes by itself",
            (None, Some(500..)) => "SnapTrade has trouble of its own; it passes by itself",
            _ => "check that proxy.upstream is SnapTrade",
        }
    }
}

impl Manage {
    /// `timeout` is for one call, its body included. `timestamps` are shared by all that make calls with this key.
    pub fn new(
        forwarder: Forwarder,
        client_id: ClientId,
        key: SigningKey,
        timeout: Duration,
        timestamps: Arc<Timestamps>,
    ) -> Self {
        Self {
            forwarder,
            client_id,
            key,
            timeout,
            timestamps,
        }
    }

    /// Asks who is registered. `None` if the reply is not a list of ids. They are as `id` makes them of their text, so that
    /// what is known already takes no memory anew.
    pub async fn list(&self, mut id: impl FnMut(&str) -> UserId) -> Called<Option<Vec<UserId>>> {
        let (exchange, reader) = loop {
            let mut reader = Reader::default();
            let signed = self.timestamps.of_list().await;
            let query = self.query("", signed.at);
            let path = "/snapTrade/listUsers";
            let exchange = self
                .call(Method::GET, path, &query, LIST_BYTES_MAX, |piece| {
                    reader.feed_known(piece, &mut id);
                })
                .await;
            if !(signed.is_repeated && matches!(exchange.status, Some(401 | 403))) {
                break (exchange, reader);
            }
            // It may be the signature, that SnapTrade had seen. From now on none is repeated, so that it is asked once more only.
            self.timestamps.repeated_in_vain();
        };
        let read = match (exchange.is_whole, exchange.status) {
            (true, Some(200)) => reader.finish().map_err(|error| error.to_string()),
            (_, Some(200)) => Err("the reply to listUsers is too long or broke off".to_owned()),
            (_, Some(status)) => Err(format!("listUsers was answered with {status}")),
            (_, None) => Err("listUsers was not answered".to_owned()),
        };
        match read {
            Ok(listing) => exchange.called(Some(listing.entries), None),
            Err(failure) => exchange.called(None, Some(failure)),
        }
    }

    /// Deletes a user. Irreversible: for the guard alone, once it has recorded the intent. It leaves by `leave_by` or not at
    /// all.
    pub async fn delete(&self, user: &UserId, leave_by: Instant) -> Called<Deletion> {
        let parameter = format!("userId={}&", query::encode(user.as_str()));
        let query = self.query(&parameter, self.timestamps.of_deletion());
        let timely = Self {
            forwarder: self.forwarder.leaving_by(leave_by),
            ..self.clone()
        };
        let path = "/snapTrade/deleteUser";
        let exchange = timely
            .call(Method::DELETE, path, &query, DELETE_BYTES_MAX, |_| {})
            .await;
        // A status is an answer, however the body ends.
        let (outcome, failure) = match exchange.status {
            Some(status) => match answer::classify_deletion(status) {
                Deletion::Accepted => (Deletion::Accepted, None),
                other => (other, Some(format!("deleteUser was answered with {status}"))),
            },
            None if exchange.unsent => (Deletion::Unsent, Some("deleteUser was not sent".to_owned())),
            None => (Deletion::Unclear, Some("deleteUser was not answered".to_owned())),
        };
        exchange.called(outcome, failure)
    }

    fn query(&self, parameters: &str, timestamp: Timestamp) -> String {
        let client_id = query::encode(self.client_id.as_str());
        format!("{parameters}clientId={client_id}&timestamp={timestamp}")
    }

    /// Gives the reply's body to `take`, piece by piece, as it arrives.
    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        bytes_max: usize,
        take: impl FnMut(&[u8]),
    ) -> Exchange {
        let began = clock::now();
        let mut exchange = Exchange::default();
        let made = self.make(&mut exchange, method, path, query, bytes_max, take);
        let failed = match timeout(self.timeout, made).await {
            Ok(made) => made.err(),
            Err(_) => Some(UpstreamError::no_answer(self.timeout)),
        };
        // A call that was given up in the middle may have been sent.
        exchange.unsent = failed.as_ref().is_some_and(|error| !error.sent());
        exchange.fault = failed;
        exchange.took = clock::since(began);
        exchange
    }

    async fn make(
        &self,
        exchange: &mut Exchange,
        method: Method,
        path: &str,
        query: &str,
        bytes_max: usize,
        take: impl FnMut(&[u8]),
    ) -> Result<(), UpstreamError> {
        let signature = self.key.sign(Form::OURS, path, query, &Canonical::null());
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(format!("{path}?{query}")).map_err(UpstreamError::unsendable)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, ANYTHING);
        headers.insert(USER_AGENT, NAME);
        let signature = HeaderValue::from_str(&signature).map_err(UpstreamError::unsendable)?;
        headers.insert(SIGNATURE, signature);
        let reply = self.forwarder.send(&mut request, clock::now()).await?;
        exchange.status = Some(reply.status().as_u16());
        exchange.headers = reply.headers().clone();
        exchange.is_whole = read(reply, bytes_max, take).await?;
        Ok(())
    }
}

/// What a call brought.
#[derive(Default)]
struct Exchange {
    status: Option<u16>,
    headers: HeaderMap,
    /// The body was read to its end.
    is_whole: bool,
    took: Duration,
    /// Nothing of the request left, so that it had no effect.
    unsent: bool,
    fault: Option<UpstreamError>,
}

impl Exchange {
    fn called<T>(self, outcome: T, failure: Option<String>) -> Called<T> {
        let failure = match (failure, &self.fault) {
            (Some(failure), Some(fault)) => Some(format!("{failure}: {}", chain(fault))),
            (failure, _) => failure,
        };
        Called {
            outcome,
            status: self.status,
            took: self.took,
            headers: self.headers,
            failure,
            fault: self.fault,
        }
    }
}

/// Reads the body. Whether that came to its end: not if it is longer than `bytes_max`.
async fn read(
    reply: Response<ReplyBody>,
    bytes_max: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<bool, UpstreamError> {
    let (mut body, mut bytes) = (reply.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        bytes += piece.len();
        if bytes > bytes_max {
            return Ok(false);
        }
        take(&piece);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::config::{self, Sources};
    use crate::types::ConsumerKey;
    use crate::upstream::own::Own;
    use crate::upstream::tls;

    fn before(upstream: &TcpListener) -> Manage {
        let flags = [
            (
                "proxy.upstream",
                format!("http://{}", upstream.local_addr().unwrap()),
            ),
            ("tenants.default.client_id", "C".to_owned()),
            ("tenants.default.consumer_key", "key".to_owned()),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let sources = Sources {
            flags,
            ..Sources::default()
        };
        let config = config::load(sources).unwrap().config;
        let tls = tls::client_config(None).unwrap();
        Manage::new(
            Forwarder::new(&config.proxy, tls, Own::default(), Counter::default()),
            ClientId::new("C"),
            SigningKey::new(&ConsumerKey::new("key")),
            Duration::from_secs(10),
            Arc::default(),
        )
    }

    fn answer(mut caller: TcpStream) -> String {
        let mut head = vec![0; 4096];
        let read = caller.read(&mut head).unwrap();
        let _ = caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        String::from_utf8(head[..read].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn r7_a_deletion_leaves_in_time_or_not_at_all() {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let (manage, user) = (before(&upstream), UserId::new("a"));
        // There is no connection yet, and no time to open one.
        let late = manage.delete(&user, clock::now()).await;
        assert_eq!(late.outcome, Deletion::Unsent, "{:?}", late.failure);
        let heard = thread::spawn(move || {
            // Of the first, perhaps a connection without a word.
            let mut heard = (0..2).map(|_| answer(upstream.accept().unwrap().0));
            heard.find(|head| !head.is_empty())
        });
        let timely = manage.delete(&user, clock::now() + Duration::from_secs(10)).await;
        assert_eq!(timely.outcome, Deletion::Accepted, "{:?}", timely.failure);
        let heard = heard.join().unwrap().unwrap();
        assert!(
            heard.starts_with("DELETE /snapTrade/deleteUser?userId=a&"),
            "{heard}"
        );
    }
}

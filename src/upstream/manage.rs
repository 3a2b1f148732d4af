//! The sidecar's own calls to `SnapTrade`: `listUsers` and `deleteUser`.
//!
//! A deletion is sent once: no redirect is followed, nothing is retried, and no proxy of the environment is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method};

use super::pool::IDLE_MAX_UNREPEATABLE;
use crate::snaptrade::answer::{self, Deletion};
use crate::snaptrade::canonical::Canonical;
use crate::snaptrade::listing::Reader;
use crate::snaptrade::query;
use crate::snaptrade::signature::{Form, SigningKey};
use crate::telemetry::chain;
use crate::types::{ClientId, Timestamp, UserId};

/// The longest reply of `listUsers` that is read: over 1,500,000 ids of 36 characters.
const LIST_BYTES_MAX: usize = 64 << 20;

/// A reply to `deleteUser` is read so that its connection can be used again, not for its text.
const DELETE_BYTES_MAX: usize = 64 << 10;

/// How far a management call's timestamp may run ahead of the clock, in seconds.
const TIMESTAMP_LEAD_MAX: i64 = 30;

/// Makes one tenant's management calls.
#[derive(Clone, Debug)]
pub struct Manage {
    http: reqwest::Client,
    /// Scheme and authority, without a trailing slash.
    origin: String,
    client_id: ClientId,
    key: SigningKey,
    timeout: Duration,
    last_timestamp: Arc<AtomicI64>,
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
}

/// The HTTP client that all tenants share.
///
/// # Errors
/// If the TLS configuration is one that the client cannot use.
pub fn client(
    tls: rustls::ClientConfig,
    connect_timeout: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_MAX_UNREPEATABLE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
}

impl Manage {
    /// `timeout` is for one call, its body included.
    pub fn new(
        http: reqwest::Client,
        origin: String,
        client_id: ClientId,
        key: SigningKey,
        timeout: Duration,
    ) -> Self {
        Self {
            http,
            origin,
            client_id,
            key,
            timeout,
            last_timestamp: Arc::default(),
        }
    }

    /// Asks who is registered. `None` if the reply is not a list of ids. They are as `id` makes them of their text, so that
    /// what is known already takes no memory anew.
    pub async fn list(&self, mut id: impl FnMut(&str) -> UserId) -> Called<Option<Vec<UserId>>> {
        let mut reader = Reader::default();
        let exchange = self
            .call(Method::GET, "/snapTrade/listUsers", "", LIST_BYTES_MAX, |piece| {
                reader.feed_known(piece, &mut id);
            })
            .await;
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

    /// Deletes a user. Irreversible: for the guard alone, once it has recorded the intent.
    pub async fn delete(&self, user: &UserId) -> Called<Deletion> {
        let parameter = format!("userId={}&", query::encode(user.as_str()));
        let exchange = self
            .call(
                Method::DELETE,
                "/snapTrade/deleteUser",
                &parameter,
                DELETE_BYTES_MAX,
                |_| {},
            )
            .await;
        // A status is an answer, however the body ends.
        let (outcome, failure) = match exchange.status {
            Some(status) => match answer::classify_deletion(status) {
                Deletion::Accepted => (Deletion::Accepted, None),
                other => (other, Some(format!("deleteUser was answered with {status}"))),
            },
            None if exchange.unsent => (Deletion::Rejected, Some("deleteUser was not sent".to_owned())),
            None => (Deletion::Unclear, Some("deleteUser was not answered".to_owned())),
        };
        exchange.called(outcome, failure)
    }

    /// A timestamp that no call before had, so that no two have the same signature: whether `SnapTrade` accepts one
    /// twice is not known. A burst of calls runs ahead of the clock by a second each, and `TIMESTAMP_LEAD_MAX` at most.
    fn timestamp(&self) -> Timestamp {
        let now = Timestamp::from(SystemTime::now()).0;
        let next = |last: i64| Some((last + 1).clamp(now, now + TIMESTAMP_LEAD_MAX));
        let last = self
            .last_timestamp
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Timestamp(last.ok().and_then(next).unwrap_or(now))
    }

    /// Gives the reply's body to `take`, piece by piece, as it arrives.
    async fn call(
        &self,
        method: Method,
        path: &str,
        parameters: &str,
        bytes_max: usize,
        take: impl FnMut(&[u8]),
    ) -> Exchange {
        let began = Instant::now();
        let timestamp = self.timestamp();
        let client_id = query::encode(self.client_id.as_str());
        let query = format!("{parameters}clientId={client_id}&timestamp={timestamp}");
        let signature = self.key.sign(Form::OURS, path, &query, &Canonical::null());
        let request = self
            .http
            .request(method, format!("{}{path}?{query}", self.origin))
            .header("Signature", signature)
            .timeout(self.timeout);
        let mut exchange = Exchange::default();
        match request.send().await {
            Ok(reply) => {
                exchange.status = Some(reply.status().as_u16());
                exchange.headers = reply.headers().clone();
                match read(reply, bytes_max, take).await {
                    Ok(is_whole) => exchange.is_whole = is_whole,
                    Err(error) => exchange.fault = Some(error.without_url()),
                }
            }
            Err(error) => {
                exchange.unsent = error.is_connect() || error.is_builder();
                exchange.fault = Some(error.without_url());
            }
        }
        exchange.took = began.elapsed();
        exchange
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
    fault: Option<reqwest::Error>,
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
        }
    }
}

/// Reads the body. Whether that came to its end: not if it is longer than `bytes_max`.
async fn read(
    mut reply: reqwest::Response,
    bytes_max: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<bool, reqwest::Error> {
    let mut bytes = 0;
    while let Some(piece) = reply.chunk().await? {
        bytes += piece.len();
        if bytes > bytes_max {
            return Ok(false);
        }
        take(&piece);
    }
    Ok(true)
}

//! How the stand-in behaves: the limit, the times, and an answer to everything that nobody knows of `SnapTrade`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything about the stand-in that can be set, at the start and while it runs.
///
/// As JSON every duration is a whole number of milliseconds and its name ends in `_ms`; a key that is not known
/// is refused, so that a typing error does not pass for a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent unknown of the vendor, switched by itself"
)]
pub struct Options {
    /// The client id that is known. One that starts with `PERS-` is a personal key, which cannot register.
    pub client_id: String,
    /// How many client ids are known: with 3, `<client_id>-2` and `<client_id>-3` too, each with users and a rate limit of
    /// its own. Only those of `client_id` are told of and set.
    pub tenants: usize,
    /// Signs the calls of `client_id`, and those of the further ones. Accepted as JSON, but never printed or sent back.
    #[serde(skip_serializing)]
    pub consumer_key: Key,
    /// How many users the key may have.
    pub user_limit: usize,
    /// How long each call takes: half of it passes before the work is done, half after.
    #[serde(rename = "round_trip_ms", with = "millis")]
    pub round_trip: Duration,
    /// How long `<id>_deleted` stays in listUsers.
    #[serde(rename = "settle_time_ms", with = "millis")]
    pub settle_time: Duration,
    /// How long a deleted user goes on to exist, be listed and be counted, before it becomes `<id>_deleted`.
    #[serde(rename = "delete_lag_ms", with = "millis")]
    pub delete_lag: Duration,
    /// How long after its registration a user first appears in listUsers.
    #[serde(rename = "list_lag_ms", with = "millis")]
    pub list_lag: Duration,
    /// Whether `<id>_deleted` still counts against `user_limit`.
    pub tombstones_count: bool,
    /// Whether an id can be registered again only after its `<id>_deleted` has vanished.
    pub tombstones_reserve_id: bool,
    /// The status of the reply that says that the limit is reached.
    pub limit_status: u16,
    /// The code of that reply.
    pub limit_code: String,
    /// The words of that reply.
    pub limit_detail: String,
    /// The field that holds those words.
    pub limit_field: LimitField,
    /// Whether that reply is compressed for callers that accept gzip.
    pub gzip_errors: bool,
    /// The status of the reply to a call for a user that does not exist, or not with that secret.
    pub unknown_user_status: u16,
    /// In which order listUsers names the users.
    pub list_order: ListOrder,
    /// How many seconds the query's `timestamp` may differ from the clock. Without it, anything goes.
    pub timestamp_freshness: Option<u64>,
    /// Whether a signature that was accepted once is refused from then on.
    pub reject_replayed_signatures: bool,
    /// Whether calls that are only echoed need a valid signature too.
    pub verify_echo: bool,
    /// How many calls `client_id` may make in any 60 seconds; 0 means as many as it likes.
    pub rate_limit: u32,
    /// Where a webhook is sent when a user was registered or is gone, `http://…`; empty: nowhere.
    pub webhook_url: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_id: "SIMULATOR".to_owned(),
            tenants: 1,
            consumer_key: Key::from("simulator-consumer-key"),
            user_limit: 5,
            round_trip: Duration::ZERO,
            settle_time: Duration::ZERO,
            delete_lag: Duration::ZERO,
            list_lag: Duration::ZERO,
            tombstones_count: false,
            tombstones_reserve_id: false,
            limit_status: 400,
            limit_code: "1012".to_owned(),
            limit_detail: "Connection Limit Reached".to_owned(),
            limit_field: LimitField::Detail,
            gzip_errors: false,
            unknown_user_status: 401,
            list_order: ListOrder::OldestFirst,
            timestamp_freshness: None,
            reject_replayed_signatures: false,
            verify_echo: false,
            rate_limit: 250,
            webhook_url: String::new(),
        }
    }
}

impl Options {
    /// Which of the client ids this is, counted from 1, if it is one.
    pub(super) fn number_of(&self, client_id: &str) -> Option<usize> {
        let further = client_id.strip_prefix(&self.client_id)?;
        if further.is_empty() {
            return Some(1);
        }
        let digits = further.strip_prefix('-')?;
        let number = digits.parse().ok()?;
        // No zeros or signs before it, or one would have several ids.
        let is_plain = digits
            .bytes()
            .next()
            .is_some_and(|byte| (b'1'..=b'9').contains(&byte));
        (is_plain && (2..=self.tenants).contains(&number)).then_some(number)
    }
}

/// The consumer key; prints as `[redacted]`, since somebody will try a real one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl Default for Key {
    fn default() -> Self {
        Options::default().consumer_key
    }
}

impl<S: Into<String>> From<S> for Key {
    fn from(key: S) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where an error reply carries its words: replies were seen with the one, the `OpenAPI` file shows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitField {
    /// `detail` and `code`.
    Detail,
    /// `default_detail` and `default_code`.
    DefaultDetail,
}

/// The order of listUsers, which is not documented. As JSON: `"oldest-first"`, …, `{"shuffled": 7}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListOrder {
    OldestFirst,
    NewestFirst,
    Alphabetical,
    /// An order that means nothing; the same for the same seed.
    Shuffled(u64),
}

/// A duration as a whole number of milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_milliseconds_and_what_is_missing_is_default() {
        let options: Options =
            serde_json::from_str(r#"{"settle_time_ms": 1500, "list_order": {"shuffled": 7}}"#).unwrap();
        assert_eq!(options.settle_time, Duration::from_millis(1500));
        assert_eq!(options.list_order, ListOrder::Shuffled(7));
        assert_eq!(options.user_limit, 5);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"settle_time": 1500}"#).is_err());
    }

    #[test]
    fn r13_the_key_is_neither_printed_nor_serialised() {
        let options = Options {
            consumer_key: Key::from("s3cret"),
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains("s3cret"));
        assert!(!serde_json::to_string(&options).unwrap().contains("s3cret"));
    }
}

//! Whether a call is proven to come from the holder of a tenant's key. Nobody is evicted for a registration that is not.

use std::fmt;
use std::time::Duration;

use super::canonical::{Canonical, NotCanonical};
use super::query::{self, Duplicate};
use super::signature::{Form, SigningKey};
use crate::types::{ClientId, Timestamp, UserId};

/// The parts of a call that its signature covers, as they came.
#[derive(Clone, Copy)]
pub struct CallView<'r> {
    pub path: &'r str,
    /// Raw, without the `?`.
    pub query: &'r str,
    /// The value of the one `Signature` header; `None` if there is none or more than one.
    pub signature: Option<&'r [u8]>,
    pub body: &'r [u8],
}

/// Query, signature and body stay out of logs.
impl fmt::Debug for CallView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallView")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a proven call says, and what it takes to sign it again.
#[derive(Clone, Debug)]
pub struct Proven {
    pub form: Form,
    pub timestamp: Timestamp,
    /// `None` if the body has no usable id; such a registration evicts nobody.
    pub user_id: Option<UserId>,
    pub body: Canonical,
}

/// Why a call proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unproven {
    DuplicateParameter,
    /// The query names another client id, or none.
    OtherClient,
    NoTimestamp,
    NoSignature,
    NotJson,
    DuplicateKey,
    TooDeep,
    /// Signed with another key, over other bytes, or in a form that is not known.
    NotRecognised,
    /// The signature verifies, but its `timestamp` is too far from the clock, on either side.
    Stale,
}

impl Unproven {
    /// A token for logs, metrics and the reply's admission header.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DuplicateParameter => "parameter-repeated",
            Self::OtherClient => "client-unknown",
            Self::NoTimestamp => "timestamp-missing",
            Self::NoSignature => "signature-missing",
            Self::NotJson => "body-not-json",
            Self::DuplicateKey => "body-key-repeated",
            Self::TooDeep => "body-too-deep",
            Self::NotRecognised => "signature-not-recognised",
            Self::Stale => "timestamp-stale",
        }
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Unproven {}

impl From<Duplicate> for Unproven {
    fn from(_: Duplicate) -> Self {
        Self::DuplicateParameter
    }
}

impl From<NotCanonical> for Unproven {
    fn from(error: NotCanonical) -> Self {
        match error {
            NotCanonical::NotJson => Self::NotJson,
            NotCanonical::DuplicateKey => Self::DuplicateKey,
            NotCanonical::TooDeep => Self::TooDeep,
        }
    }
}

/// Checks a call against a tenant's client id and key. `max_age` counts whole seconds, both ways.
pub fn prove(
    key: &SigningKey,
    client_id: &ClientId,
    request: CallView<'_>,
    now: Timestamp,
    max_age: Duration,
) -> Result<Proven, Unproven> {
    let client = query::unique(request.query, "clientId")?.and_then(query::decode);
    let timestamp = query::unique(request.query, "timestamp")?;
    if client.as_deref() != Some(client_id.as_str()) {
        return Err(Unproven::OtherClient);
    }
    let timestamp = timestamp.and_then(seconds).ok_or(Unproven::NoTimestamp)?;
    let signature = request.signature.ok_or(Unproven::NoSignature)?;
    let body = Canonical::read(request.body)?;
    let form = key
        .verify(request.path, request.query, &body, signature)
        .ok_or(Unproven::NotRecognised)?;
    if now.0.abs_diff(timestamp.0) > max_age.as_secs() {
        return Err(Unproven::Stale);
    }
    Ok(Proven {
        form,
        timestamp,
        user_id: body.user_id().cloned(),
        body,
    })
}

/// Digits only: a sign, a space or a fraction is not what any client sends.
fn seconds(raw: &str) -> Option<Timestamp> {
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    raw.parse().ok().filter(|_| digits).map(Timestamp)
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ConsumerKey;

    const NOW: Timestamp = Timestamp(1_700_000_000);
    const AGE: Duration = Duration::from_mins(5);
    const PATH: &str = "/snapTrade/registerUser";
    const QUERY: &str = "clientId=ACME&timestamp=1700000000";
    const BODY: &[u8] = br#"{"userId":"new"}"#;

    fn key() -> SigningKey {
        SigningKey::new(&ConsumerKey::new("k3y"))
    }

    /// The outcome of a registration that is signed correctly, whatever else is wrong with it.
    fn signed(query: &str, body: &[u8], now: Timestamp) -> Result<Proven, Unproven> {
        let content = Canonical::read(body).unwrap_or(Canonical::null());
        let signature = key().sign(Form::OURS, PATH, query, &content);
        let request = CallView {
            path: PATH,
            query,
            signature: Some(signature.as_bytes()),
            body,
        };
        prove(&key(), &ClientId::new("ACME"), request, now, AGE)
    }

    #[test]
    fn a_signed_fresh_registration_is_proven() {
        let proven = signed(QUERY, BODY, NOW).unwrap();
        assert_eq!(proven.form, Form::OURS);
        assert_eq!(proven.timestamp, NOW);
        assert_eq!(proven.user_id, Some(UserId::new("new")));
        assert_eq!(signed(QUERY, b"", NOW).unwrap().user_id, None);
    }

    #[test]
    fn r2_a_timestamp_is_fresh_up_to_the_age_on_either_side() {
        for offset in [-300, -1, 0, 300] {
            assert!(signed(QUERY, BODY, Timestamp(NOW.0 + offset)).is_ok(), "{offset}");
        }
        for now in [NOW.0 - 301, NOW.0 + 301, i64::MIN, i64::MAX] {
            assert_eq!(
                signed(QUERY, BODY, Timestamp(now)).unwrap_err(),
                Unproven::Stale,
                "{now}"
            );
        }
    }

    #[test]
    fn r2_a_repeated_parameter_or_key_proves_nothing() {
        for query in [
            "clientId=ACME&timestamp=1700000000&clientId=ACME",
            "clientId=ACME&timestamp=1700000000&time%73tamp=1",
        ] {
            assert_eq!(
                signed(query, BODY, NOW).unwrap_err(),
                Unproven::DuplicateParameter
            );
        }
        let twice = br#"{"userId":"a","userId":"b"}"#;
        assert_eq!(signed(QUERY, twice, NOW).unwrap_err(), Unproven::DuplicateKey);
        assert_eq!(signed(QUERY, b"userId=a", NOW).unwrap_err(), Unproven::NotJson);
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(
            signed(QUERY, deep.as_bytes(), NOW).unwrap_err(),
            Unproven::TooDeep
        );
    }

    #[test]
    fn r2_the_client_id_is_the_tenants_and_the_timestamp_is_seconds() {
        assert!(signed("clientId=%41CME&timestamp=1700000000", BODY, NOW).is_ok());
        for query in ["timestamp=1700000000", "clientId=OTHER&timestamp=1700000000", ""] {
            assert_eq!(
                signed(query, BODY, NOW).unwrap_err(),
                Unproven::OtherClient,
                "{query}"
            );
        }
        for query in [
            "clientId=ACME",
            "clientId=ACME&timestamp=",
            "clientId=ACME&timestamp=+1700000000",
            "clientId=ACME&timestamp=-1700000000",
            "clientId=ACME&timestamp=1700000000.0",
            "clientId=ACME&timestamp=99999999999999999999",
        ] {
            assert_eq!(
                signed(query, BODY, NOW).unwrap_err(),
                Unproven::NoTimestamp,
                "{query}"
            );
        }
    }

    #[test]
    fn r2_without_the_right_signature_nothing_is_proven() {
        let with = |signature| {
            let request = CallView {
                path: PATH,
                query: QUERY,
                signature,
                body: BODY,
            };
            prove(&key(), &ClientId::new("ACME"), request, NOW, AGE).unwrap_err()
        };
        assert_eq!(with(None), Unproven::NoSignature);
        assert_eq!(with(Some(b"")), Unproven::NotRecognised);
        assert_eq!(with(Some(b"bm9wZQ==")), Unproven::NotRecognised);
        assert_eq!(Unproven::NotRecognised.reason(), "signature-not-recognised");
        assert_eq!(Unproven::Stale.to_string(), "timestamp-stale");
    }

    #[test]
    fn r13_a_registration_prints_neither_query_nor_signature_nor_body() {
        let request = CallView {
            path: PATH,
            query: QUERY,
            signature: Some(b"s1g"),
            body: BODY,
        };
        assert_eq!(
            format!("{request:?}"),
            "CallView { path: \"/snapTrade/registerUser\", .. }"
        );
    }
}

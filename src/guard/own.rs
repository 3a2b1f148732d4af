//! Registrations that the sidecar itself makes, for an operator.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::{Admitted, Guard, Refusal, Registration};
use crate::clock;
use crate::snaptrade::canonical::Canonical;
use crate::snaptrade::proof::Proven;
use crate::snaptrade::query;
use crate::snaptrade::signature::Form;
use crate::telemetry::spans::Trace;
use crate::types::{Timestamp, UserId};

const PATH: &str = "/snapTrade/registerUser";
const SIGNATURE: HeaderName = HeaderName::from_static("signature");

impl Guard {
    /// Registers a user as if the application had: through the same admission, signed with the tenant's key.
    pub async fn register(self: &Arc<Self>, id: UserId) -> Admitted {
        match self.own_registration(id) {
            Some(registration) => self.admit(registration).await,
            None => Admitted::refused(Refusal::Failed),
        }
    }

    /// `None` never happens: what is written here is JSON, and base64 is a header value.
    fn own_registration(&self, id: UserId) -> Option<Registration> {
        let body = Bytes::from(serde_json::json!({ "userId": id.as_str() }).to_string());
        let canonical = Canonical::read(&body).ok()?;
        let timestamp = Timestamp::from(clock::wall());
        let query = format!(
            "clientId={}&timestamp={timestamp}",
            query::encode(self.client_id())
        );
        let signature = self.key.sign(Form::OURS, PATH, &query, &canonical);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(SIGNATURE, HeaderValue::from_str(&signature).ok()?);
        Some(Registration {
            path: PATH.to_owned(),
            query,
            headers,
            body,
            proven: Proven {
                form: Form::OURS,
                timestamp,
                user_id: Some(id),
                body: canonical,
            },
            arrived: clock::now(),
            by_hand: true,
            trace: Trace::default(),
        })
    }
}

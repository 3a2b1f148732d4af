//! What the stand-in knows, and what each call does to it. No waiting here: every call is done in one moment.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrived::{Arrived, hex};
use super::calls::{CallKind, Calls};
use super::echo::echo;
use super::faults::Faults;
use super::options::Options;
use super::portal::Links;
use super::record::{Record, whom};
use super::replies::{self, Reply, error, json};
use super::signature::verifies;
use super::throttle::Throttle;
use super::users::{NoRoom, Users};
use super::webhooks::Outbox;

/// How many signatures are remembered against being sent twice; then all are forgotten.
const SIGNATURES_MAX: usize = 100_000;

/// What a call did, at the moment when it did it.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'d> {
    pub kind: CallKind,
    /// Whom it was about; empty if nobody.
    pub user: &'d str,
    pub headers: &'d HeaderMap,
    /// What it is answered with, if the reply gets there.
    pub status: u16,
    /// The users that exist from now on, oldest first.
    pub live: &'d [String],
    /// What listUsers says from now on.
    pub listed: &'d [String],
}

/// Told of every call's deed.
pub type Observer = Box<dyn Fn(&Deed<'_>) + Send>;

pub(super) struct State {
    pub(super) options: Options,
    pub(super) users: Users,
    pub(super) faults: Faults,
    pub(super) calls: Calls,
    pub(super) deletions: usize,
    pub(super) most_live: usize,
    throttle: Throttle,
    /// Users and rate limits of the further client ids, by their numbers.
    further: HashMap<usize, (Users, Throttle)>,
    pub(super) outbox: Outbox,
    pub(super) links: Links,
    signatures: HashSet<String>,
    /// Where its clock does not follow the system's: what it shows at which moment.
    pub(super) clock: Option<(Instant, jiff::Timestamp)>,
    pub(super) observer: Option<Observer>,
    pub(super) record: Option<Record>,
    /// For how long the network is to be cut next.
    pub(super) cut: watch::Sender<Duration>,
    /// Makes secrets and request ids, together with how many were made.
    seed: u64,
    made: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserWithSecret<'a> {
    user_id: &'a str,
    user_secret: &'a str,
}

#[derive(Serialize)]
struct Deleted<'a> {
    status: &'a str,
    detail: &'a str,
    #[serde(rename = "userId")]
    user_id: &'a str,
}

#[derive(Serialize)]
struct ApiStatus {
    version: u32,
    timestamp: String,
    online: bool,
}

/// The members of a body that any call looks at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Named {
    pub(super) user_id: Option<String>,
    user_secret: Option<String>,
    pub(super) custom_redirect: Option<String>,
}

impl State {
    pub(super) fn new(options: Options, outbox: Outbox, seed: Option<u64>) -> Self {
        Self {
            options,
            users: Users::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            deletions: 0,
            most_live: 0,
            throttle: Throttle::default(),
            further: HashMap::new(),
            outbox,
            links: Links::default(),
            signatures: HashSet::new(),
            clock: None,
            observer: None,
            record: None,
            cut: watch::Sender::default(),
            seed: seed.unwrap_or_else(|| RandomState::new().hash_one(())),
            made: 0,
        }
    }

    /// Something that looks like a UUID and was not made before.
    pub(super) fn new_uuid(&mut self) -> String {
        self.made += 1;
        let hash = Sha256::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(self.made.to_le_bytes());
        let text = hex(&hash.finalize());
        format!(
            "{}-{}-4{}-8{}-{}",
            &text[..8],
            &text[8..12],
            &text[12..15],
            &text[15..18],
            &text[18..30]
        )
    }

    /// Does the work of a call and says how it is answered.
    pub(super) fn work(&mut self, call: &Arrived) -> Reply {
        let reply = self.work_for_its_client(call);
        if let Some(observer) = &self.observer {
            let user = whom(call);
            observer(&Deed {
                kind: call.kind,
                user: user.as_deref().unwrap_or_default(),
                headers: &call.parts.headers,
                status: reply.status().as_u16(),
                live: &self.live(),
                listed: &self.users.listed(&self.options, Instant::now()),
            });
        }
        reply
    }

    fn work_for_its_client(&mut self, call: &Arrived) -> Reply {
        match self.number_of(call) {
            None => self.work_for(call, false),
            Some(1) => self.work_for(call, true),
            Some(number) => {
                let mut own = self.further.remove(&number).unwrap_or_default();
                self.put_in_place(&mut own);
                let reply = self.work_for(call, true);
                self.put_in_place(&mut own);
                self.further.insert(number, own);
                reply
            }
        }
    }

    fn wall(&self) -> jiff::Timestamp {
        let set = self.clock.map(|(at, shown)| shown.saturating_add(at.elapsed()));
        set.and_then(Result::ok).unwrap_or_else(jiff::Timestamp::now)
    }

    fn number_of(&self, call: &Arrived) -> Option<usize> {
        self.options.number_of(&call.parameter("clientId")?)
    }

    fn put_in_place(&mut self, (users, throttle): &mut (Users, Throttle)) {
        std::mem::swap(&mut self.users, users);
        std::mem::swap(&mut self.throttle, throttle);
    }

    fn work_for(&mut self, call: &Arrived, is_known: bool) -> Reply {
        let now = Instant::now();
        let standing = if is_known {
            self.throttle.call(self.options.rate_limit, now)
        } else {
            None
        };
        let mut reply = match standing {
            Some(standing) if standing.refused => replies::throttled(standing.reset_seconds),
            _ => self.allowed(call, now),
        };
        if let Some(standing) = standing {
            replies::note_standing(&mut reply, standing);
        }
        self.note_done(call, reply.status().as_u16());
        reply
    }

    fn allowed(&mut self, call: &Arrived, now: Instant) -> Reply {
        let signed = match call.kind {
            CallKind::ApiStatus => false,
            CallKind::Other => self.options.verify_echo,
            CallKind::Register
            | CallKind::List
            | CallKind::Delete
            | CallKind::ResetSecret
            | CallKind::Login => true,
        };
        if signed && !call.body.is_whole() {
            return error(
                413,
                "1012",
                "The body is larger than anything that this call takes.",
            );
        }
        if signed && !self.accepts_signature(call) {
            return error(401, "1076", "Unable to verify signature sent");
        }
        match call.kind {
            CallKind::ApiStatus => api_status(self.wall()),
            CallKind::Register => self.register(call, now),
            CallKind::List => json(200, &self.users.listed(&self.options, now)),
            CallKind::Delete => self.delete(call, now),
            CallKind::ResetSecret => self.reset_secret(call, now),
            CallKind::Login => self.login(call, now),
            CallKind::Other => echo(call),
        }
    }

    fn accepts_signature(&mut self, call: &Arrived) -> bool {
        let Some(signature) = call.header("signature") else {
            return false;
        };
        let options = &self.options;
        let timestamp = call
            .parameter("timestamp")
            .and_then(|text| text.parse::<i64>().ok());
        let fresh = timestamp.is_some_and(|timestamp| {
            let age = self.wall().as_second().abs_diff(timestamp);
            options.timestamp_freshness.is_none_or(|seconds| age <= seconds)
        });
        let known = self.number_of(call).is_some();
        let path = call.parts.uri.path();
        let key = options.consumer_key.expose();
        if !(fresh && known && verifies(key, path, call.query(), &call.body.kept, signature)) {
            return false;
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            self.signatures.clear();
        }
        let new = self.signatures.insert(signature.to_owned());
        new || !self.options.reject_replayed_signatures
    }

    fn register(&mut self, call: &Arrived, now: Instant) -> Reply {
        if self.options.client_id.starts_with("PERS-") {
            let detail = "Personal SnapTrade keys are provisioned with their user automatically at signup. \
                          registerUser is not available for personal keys.";
            return error(400, "1012", detail);
        }
        let Some(id) = named(call).user_id.filter(|id| !id.is_empty()) else {
            return error(400, "1012", "userId: This field is required.");
        };
        let secret = self.new_uuid();
        match self.users.register(&id, secret.clone(), &self.options, now) {
            Ok(()) => {
                self.note_live(now);
                self.tell(call, "USER_REGISTERED", &id, Duration::ZERO);
                json(
                    200,
                    &UserWithSecret {
                        user_id: &id,
                        user_secret: &secret,
                    },
                )
            }
            Err(NoRoom::Exists) => error(
                400,
                "1010",
                &format!("User with the following userId already exist: {id}"),
            ),
            Err(NoRoom::LimitReached) => {
                let accepted = call.header("accept-encoding").unwrap_or_default();
                replies::limit_reached(&self.options, accepted.contains("gzip"))
            }
        }
    }

    fn delete(&mut self, call: &Arrived, now: Instant) -> Reply {
        let id = call.parameter("userId").unwrap_or_default();
        match self.users.delete(&id, &self.options, now) {
            None => self.no_such_user(),
            Some(first) => {
                self.deletions += usize::from(first);
                if first {
                    let gone = self.options.delete_lag.saturating_add(self.options.settle_time);
                    self.tell(call, "USER_DELETED", &id, gone);
                }
                let detail = "User queued for deletion; please wait for webhook for confirmation.";
                json(
                    200,
                    &Deleted {
                        status: "deleted",
                        detail,
                        user_id: &id,
                    },
                )
            }
        }
    }

    /// Whose call it is, if that user exists and its secret is right. Both may stand in the query or in the body.
    pub(super) fn proven_user(&self, call: &Arrived, now: Instant) -> Option<String> {
        let body = named(call);
        let id = call.parameter("userId").or(body.user_id)?;
        let secret = call.parameter("userSecret").or(body.user_secret)?;
        (self.users.secret(&id, &self.options, now) == Some(&secret)).then_some(id)
    }

    pub(super) fn no_such_user(&self) -> Reply {
        let status = self.options.unknown_user_status;
        error(status, "1083", "Invalid userID or userSecret provided")
    }

    fn reset_secret(&mut self, call: &Arrived, now: Instant) -> Reply {
        let Some(id) = self.proven_user(call, now) else {
            return self.no_such_user();
        };
        let new = self.new_uuid();
        self.users.change_secret(&id, new.clone(), &self.options, now);
        json(
            200,
            &UserWithSecret {
                user_id: &id,
                user_secret: &new,
            },
        )
    }

    pub(super) fn live(&self) -> Vec<String> {
        self.users.live(&self.options, Instant::now())
    }

    /// Forgets what was counted and goes on from here.
    pub(super) fn clear_calls(&mut self) {
        self.calls.clear();
        self.deletions = 0;
        self.most_live = 0;
        self.note_live(Instant::now());
    }

    pub(super) fn note_live(&mut self, now: Instant) {
        self.most_live = self.most_live.max(self.users.live(&self.options, now).len());
    }
}

pub(super) fn named(call: &Arrived) -> Named {
    serde_json::from_slice(&call.body.kept).unwrap_or_default()
}

fn api_status(now: jiff::Timestamp) -> Reply {
    let timestamp = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json(
        200,
        &ApiStatus {
            version: 151,
            timestamp,
            online: true,
        },
    )
}

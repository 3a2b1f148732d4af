//! What happened, as the running sidecar's journal and its hours tell it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::admission::known::{Known, Source};
use crate::admission::patterns::Patterns;
use crate::admission::policy::{Key, Policy, UnknownAge};
use crate::cli::Failure;
use crate::cli::table::shown;
use crate::ops::answers::{Entry, Hour, Policies, User, Users};
use crate::replay::{Deed, History, Outcome};
use crate::types::{Millis, UserId};

pub(super) struct Past {
    pub(super) history: History,
    /// What was really done.
    pub(super) happened: Outcome,
}

/// The policy in force, as far as it chooses.
pub(super) fn policy(policies: &Policies) -> Result<Policy, Failure> {
    let told = &policies.policy;
    let newer = |what: &str| {
        Failure(format!(
            "the sidecar's policy has {}, which this program does not know; use the sidecar's own version",
            shown(what)
        ))
    };
    let order = told
        .order
        .iter()
        .map(|token| Key::from_token(token).ok_or_else(|| newer(token)));
    Ok(Policy {
        order: order.collect::<Result<_, _>>()?,
        unknown_age: UnknownAge::from_token(&told.unknown_age).ok_or_else(|| newer(&told.unknown_age))?,
        evictable: Patterns::new(&told.evictable),
        protect: Patterns::new(&told.protect),
        min_age: Duration::from_secs(told.min_age_seconds),
        active_within: Duration::from_secs(told.active_within_seconds),
    })
}

impl Past {
    /// Of a journal and of hours, newest first.
    pub(super) fn of(entries: &[Entry], hours: &[Hour], users: &Users) -> Self {
        let mut deeds = Vec::new();
        let mut happened = Happened::default();
        let intents = entries.iter().filter(|entry| entry.event == "intent");
        let intents: HashMap<i64, &Entry> = intents.map(|entry| (entry.id, entry)).collect();
        // Whoever found a deletion done may have had a newcomer of its own, or none.
        let is_by_hand = |outcome: &Entry| {
            let intent = outcome.intent.and_then(|id| intents.get(&id));
            intent.copied().unwrap_or(outcome).newcomer.is_none()
        };
        // An entry may have waited for the registry.
        let mut in_order: Vec<(Millis, &Entry)> =
            entries.iter().map(|entry| (millis(&entry.at), entry)).collect();
        in_order.sort_by_key(|(at, entry)| (*at, entry.id));
        for (at, entry) in in_order {
            let (user, newcomer) = (entry.user_id.as_ref(), entry.newcomer.as_ref());
            match (entry.event.as_str(), user, newcomer) {
                ("registration" | "refusal", _, Some(user)) if was_wanted(entry) => {
                    deeds.push((at, UserId::new(user), Deed::Registered));
                    happened.wanted(user, at, entry);
                }
                ("departure", Some(user), _) => {
                    deeds.push((at, UserId::new(user), Deed::Left));
                    happened.evicted.remove(user);
                }
                ("outcome", Some(user), _) if is_eviction(entry) && is_by_hand(entry) => {
                    // So it would have been under any policy.
                    deeds.push((at, UserId::new(user), Deed::Left));
                }
                ("outcome", Some(user), _) if is_eviction(entry) => {
                    deeds.push((at, UserId::new(user), Deed::Evicted));
                    happened.evictions += 1;
                    happened.evicted.insert(user.clone(), at);
                }
                _ => {}
            }
        }
        deeds.extend(hours.iter().map(|hour| {
            let calls = u32::try_from(hour.calls).unwrap_or(u32::MAX);
            (
                millis(&hour.last),
                UserId::new(&hour.user_id),
                Deed::Called(calls),
            )
        }));
        let remembered = users.users.iter().map(known).collect();
        Self {
            history: History::new(deeds, remembered),
            happened: happened.outcome(),
        }
    }
}

#[derive(Default)]
struct Happened {
    evictions: u64,
    refused: u64,
    /// Those who have not got in since.
    waiting: HashSet<String>,
    gone: Vec<Duration>,
    /// When, of those who have not come back.
    evicted: HashMap<String, Millis>,
}

impl Happened {
    fn wanted(&mut self, user: &str, at: Millis, entry: &Entry) {
        self.gone
            .extend(self.evicted.remove(user).map(|since| at.since(since)));
        if is_accepted(entry) {
            self.waiting.remove(user);
        } else {
            self.refused += u64::from(self.waiting.insert(user.to_owned()));
        }
    }

    fn outcome(mut self) -> Outcome {
        self.gone.sort_unstable();
        Outcome {
            evictions: self.evictions,
            returned: self.gone.len() as u64,
            gone: self.gone.get(self.gone.len().saturating_sub(1) / 2).copied(),
            refused: self.refused,
        }
    }
}

/// Whether it was registered, or would have been, had there been room.
fn was_wanted(entry: &Entry) -> bool {
    is_accepted(entry) || entry.event == "refusal" || entry.reason.as_deref() == Some("observe")
}

fn is_accepted(entry: &Entry) -> bool {
    matches!(entry.status, Some(200..=299))
}

fn is_eviction(entry: &Entry) -> bool {
    entry.outcome.as_deref() == Some("evicted")
}

fn known(user: &User) -> (UserId, Known) {
    let registered = user.registered_at.as_deref();
    let known = Known {
        first_seen: millis(&user.first_seen),
        registered: registered.map(|at| (millis(at), Source::Own)),
        last_active: user.last_active.as_deref().map(millis),
        protected: user.protected_by_hand,
        ..Known::default()
    };
    (UserId::new(&user.user_id), known)
}

/// Of a time as the sidecar tells it; the beginning of the epoch of what is none.
fn millis(time: &str) -> Millis {
    let time: Option<jiff::Timestamp> = time.parse().ok();
    Millis(time.map_or(0, jiff::Timestamp::as_millisecond))
}

/// To the second.
pub(super) fn time(at: Millis) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000));
    at.map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

//! What the journal says of a while: counts, times, and whether the policy is any good. Pure.
//!
//! The journal is read backwards, newest first, as the registry gives it: what came after an eviction is known by the time it
//! is met, and what came before it, the registration of who was evicted, is waited for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::registry::{Entry, Event};
use crate::types::{Millis, UserId};

/// A while, in pieces of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Millis,
    pub to: Millis,
    pub bucket: Duration,
}

/// What happened in one piece of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Registrations that were answered.
    pub registrations: u64,
    pub evictions: u64,
    pub refusals: u64,
    /// Milliseconds that registrations took, half of them and 95 % of them at most.
    pub took: Option<(u32, u32)>,
}

/// Of several durations: how many, and half of them and 95 % of them at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    pub count: usize,
    pub median: Duration,
    pub p95: Duration,
}

/// How often evicting was a pity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regret {
    pub evicted: u64,
    /// Evicted users who were registered again, until now.
    pub returned: u64,
    /// How long they had been gone.
    pub gone: Option<Spread>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analytics {
    pub window: Window,
    pub buckets: Vec<Bucket>,
    pub registrations: u64,
    pub evictions: u64,
    /// That `observe` would have made.
    pub would_evict: u64,
    pub refusals: u64,
    /// Why, and how often.
    pub refusal_reasons: BTreeMap<String, u64>,
    /// From the registration of an evicted user to its eviction, where both are in the journal.
    pub lifetime: Option<Spread>,
    /// How long registrations took for which somebody was evicted.
    pub time_to_slot: Option<Spread>,
    pub regret: Regret,
}

/// Reads a journal backwards.
#[derive(Debug)]
pub struct Analyst {
    window: Window,
    buckets: Vec<(Bucket, Vec<u32>)>,
    would_evict: u64,
    reasons: BTreeMap<String, u64>,
    lifetimes: Vec<Duration>,
    times_to_slot: Vec<Duration>,
    evicted: u64,
    gone: Vec<Duration>,
    /// When each user is next registered, as seen from where the reading is.
    next: HashMap<UserId, Millis>,
    /// Evicted users whose registration is yet to be met, and when they were evicted.
    waiting: HashMap<UserId, Millis>,
}

impl Analyst {
    pub fn new(window: Window) -> Self {
        Self {
            buckets: vec![(Bucket::default(), Vec::new()); window.count()],
            window,
            would_evict: 0,
            reasons: BTreeMap::new(),
            lifetimes: Vec::new(),
            times_to_slot: Vec::new(),
            evicted: 0,
            gone: Vec::new(),
            next: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// The next older entry. Whether older ones still matter.
    pub fn read(&mut self, entry: &Entry) -> bool {
        let at = self.window.bucket_of(entry.at);
        match entry.event {
            Event::Registration if is_accepted(entry) => self.registered(entry, at),
            Event::Registration | Event::Refusal => self.refused(entry, at),
            Event::Outcome if entry.outcome.as_deref() == Some("evicted") => self.left(entry, at),
            Event::WouldEvict if at.is_some() => self.would_evict += 1,
            _ => {}
        }
        entry.at >= self.window.from || !self.waiting.is_empty()
    }

    fn registered(&mut self, entry: &Entry, bucket: Option<usize>) {
        if let Some(bucket) = bucket {
            let (bucket, times) = &mut self.buckets[bucket];
            bucket.registrations += 1;
            times.extend(entry.took_ms);
            if let (Some("evicted"), Some(took)) = (entry.outcome.as_deref(), entry.took_ms) {
                self.times_to_slot.push(Duration::from_millis(took.into()));
            }
        }
        let Some(user) = &entry.newcomer else { return };
        if let Some(evicted) = self.waiting.remove(user) {
            self.lifetimes.push(evicted.since(entry.at));
        }
        self.next.insert(user.clone(), entry.at);
    }

    /// Room was wanted and not made, whatever SnapTrade said then.
    fn refused(&mut self, entry: &Entry, bucket: Option<usize>) {
        if entry.event == Event::Refusal && is_accepted(entry) {
            // Forwarded all the same, and there was room.
            self.registered(entry, bucket);
        }
        if let (Event::Refusal, Some(bucket)) = (entry.event, bucket) {
            self.buckets[bucket].0.refusals += 1;
            let reason = entry.reason.clone().unwrap_or_default();
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn left(&mut self, entry: &Entry, bucket: Option<usize>) {
        let (Some(user), Some(bucket)) = (&entry.user, bucket) else {
            return;
        };
        self.buckets[bucket].0.evictions += 1;
        self.evicted += 1;
        if let Some(back) = self.next.remove(user) {
            self.gone.push(back.since(entry.at));
        }
        self.waiting.insert(user.clone(), entry.at);
    }

    pub fn finish(self) -> Analytics {
        let buckets: Vec<Bucket> = self
            .buckets
            .into_iter()
            .map(|(bucket, mut times)| Bucket {
                took: ranks(&mut times).map(|(median, p95)| (*median, *p95)),
                ..bucket
            })
            .collect();
        let sum = |of: fn(&Bucket) -> u64| buckets.iter().map(of).sum();
        Analytics {
            window: self.window,
            registrations: sum(|bucket| bucket.registrations),
            evictions: sum(|bucket| bucket.evictions),
            refusals: sum(|bucket| bucket.refusals),
            buckets,
            would_evict: self.would_evict,
            refusal_reasons: self.reasons,
            lifetime: spread(self.lifetimes),
            time_to_slot: spread(self.times_to_slot),
            regret: Regret {
                evicted: self.evicted,
                returned: self.gone.len() as u64,
                gone: spread(self.gone),
            },
        }
    }
}

impl Window {
    /// The last `length` before `now`, in some dozens of pieces that begin at whole multiples of their length.
    pub fn last(length: Duration, now: Millis) -> Self {
        const PIECES: u32 = 48;
        let bucket = (length / PIECES).max(Duration::from_secs(1));
        let step = i64::try_from(bucket.as_millis()).unwrap_or(i64::MAX);
        let to = Millis(now.0 - now.0.rem_euclid(step)).plus(bucket);
        Self {
            from: to.minus(bucket * PIECES),
            to,
            bucket,
        }
    }

    fn count(self) -> usize {
        let pieces = self.to.since(self.from).as_millis() / self.bucket.as_millis().max(1);
        usize::try_from(pieces).unwrap_or(usize::MAX)
    }

    fn bucket_of(self, at: Millis) -> Option<usize> {
        if at < self.from || at >= self.to {
            return None;
        }
        let place = at.since(self.from).as_millis() / self.bucket.as_millis().max(1);
        usize::try_from(place).ok().filter(|place| *place < self.count())
    }

    /// When each piece begins.
    pub fn starts(self) -> impl Iterator<Item = Millis> {
        let places = 0..u32::try_from(self.count()).unwrap_or(u32::MAX);
        places.map(move |place| self.from.plus(self.bucket * place))
    }
}

/// Whether SnapTrade registered the user.
fn is_accepted(entry: &Entry) -> bool {
    matches!(entry.status, Some(200..=299))
}

fn spread(mut times: Vec<Duration>) -> Option<Spread> {
    let count = times.len();
    ranks(&mut times).map(|(median, p95)| Spread {
        count,
        median: *median,
        p95: *p95,
    })
}

/// By the nearest rank: the least that so many of them do not exceed.
fn ranks<T: Ord>(values: &mut [T]) -> Option<(&T, &T)> {
    values.sort_unstable();
    let rank = |percent: usize| (values.len() * percent).div_ceil(100).saturating_sub(1);
    Some((values.get(rank(50))?, values.get(rank(95))?))
}

#[cfg(test)]
mod tests;

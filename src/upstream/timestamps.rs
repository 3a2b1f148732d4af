//! Timestamps for the sidecar's own calls, so that no two have the same signature as far as that goes: whether `SnapTrade` accepts
//! one twice is not known, and a list that it refused would be one that nobody can be evicted on.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::sleep;

use crate::clock;
use crate::types::Timestamp;

/// How far a timestamp may run ahead of the clock, in seconds.
const LEAD_MAX: i64 = 30;

/// By how much more the last one may be ahead, if the clock was only corrected. Past it the clock was set back, and what the
/// last one was says nothing.
const CORRECTION_MAX: i64 = 5;

const SECOND: Duration = Duration::from_secs(1);

/// When a list is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) at: Timestamp,
    /// Another list may have had the same.
    pub(super) is_repeated: bool,
}

/// The last ones of a key, for all that make calls with it. A burst of calls runs ahead of the clock by a second each.
#[derive(Debug, Default)]
pub struct Timestamps {
    lists: AtomicI64,
    /// They name a user, so that none has the signature of a list.
    deletions: AtomicI64,
    /// A signature was refused that had been used before.
    wants_new_ones: AtomicBool,
}

impl Timestamps {
    /// One that no list had before, as far as it may run ahead. Past that the last one is repeated, until `SnapTrade` has refused
    /// one: then it waits until the clock has gone on, for a second at most, and as many more as others wait already.
    pub(super) async fn of_list(&self) -> Signed {
        loop {
            if let Some(at) = following(&self.lists) {
                let is_repeated = false;
                return Signed { at, is_repeated };
            }
            if !self.wants_new_ones.load(Ordering::Relaxed) {
                let (at, is_repeated) = (furthest(), true);
                return Signed { at, is_repeated };
            }
            let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            sleep(SECOND.saturating_sub(Duration::from_nanos(now.subsec_nanos().into()))).await;
        }
    }

    /// A list with a repeated timestamp was refused: from now on none is repeated.
    pub(super) fn repeated_in_vain(&self) {
        self.wants_new_ones.store(true, Ordering::Relaxed);
    }

    /// One that no deletion of the same user had before. It does not wait, since its intent grows old. So many deletions that
    /// they run ahead as far as they may, all in a few seconds, are of different users.
    pub(super) fn of_deletion(&self) -> Timestamp {
        following(&self.deletions).unwrap_or_else(furthest)
    }
}

fn furthest() -> Timestamp {
    Timestamp(Timestamp::from(clock::wall()).0 + LEAD_MAX)
}

/// The one after the last, or now if that is later; `None` if it would be too far ahead.
fn following(last: &AtomicI64) -> Option<Timestamp> {
    let now = Timestamp::from(clock::wall()).0;
    let most = now + LEAD_MAX;
    let next = |last: i64| {
        let is_set_back = last > most + CORRECTION_MAX;
        let next = if is_set_back { now } else { now.max(last + 1) };
        (next <= most).then_some(next)
    };
    let last = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    last.ok().and_then(next).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::*;
    use crate::clock::machine::Machine;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_lists_runs_ahead_and_then_repeats_itself_until_that_is_refused() {
        let machine = Machine::boot("m", at(1_000));
        let burst = async {
            let timestamps = Timestamps::default();
            for number in 0..40 {
                let signed = timestamps.of_list().await;
                let ahead = i64::min(number, LEAD_MAX);
                assert_eq!(
                    (signed.at.0, signed.is_repeated),
                    (1_000 + ahead, number > LEAD_MAX)
                );
            }
            timestamps.repeated_in_vain();
            let signed = timestamps.of_list().await;
            assert_eq!((signed.at.0, signed.is_repeated), (1_001 + LEAD_MAX, false));
        };
        machine.run(burst).await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_may_be_repeated_a_burst_of_lists_waits_for_the_clock() {
        let machine = Machine::boot("m", at(1_000));
        let burst = async {
            let (timestamps, began, mut had) = (Timestamps::default(), clock::now(), BTreeSet::new());
            timestamps.repeated_in_vain();
            for number in 0..40 {
                let Timestamp(timestamp) = timestamps.of_list().await.at;
                let now = Timestamp::from(clock::wall()).0;
                assert!(
                    (now..=now + LEAD_MAX).contains(&timestamp),
                    "{timestamp} at {now}"
                );
                assert!(had.insert(timestamp), "{timestamp} twice");
                // A deletion neither waits nor takes the place of a list.
                timestamps.of_deletion();
                let waited = clock::since(began).as_secs();
                assert_eq!(waited, u64::saturating_sub(number, 30), "for number {number}");
            }
        };
        machine.run(burst).await;
    }

    #[tokio::test(start_paused = true)]
    async fn several_that_wait_get_one_each() {
        let machine = Machine::boot("m", at(1_000));
        let waiting = async {
            let (timestamps, began) = (Timestamps::default(), clock::now());
            timestamps.repeated_in_vain();
            for _ in 0..=LEAD_MAX {
                timestamps.of_list().await;
            }
            let (one, other) = tokio::join!(timestamps.of_list(), timestamps.of_list());
            assert_ne!(one, other);
            assert_eq!(clock::since(began).as_secs(), 2);
        };
        machine.run(waiting).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_is_not_waited_for() {
        let machine = Machine::boot("m", at(10_000));
        let set_back = async {
            let (timestamps, began) = (Timestamps::default(), clock::now());
            for _ in 0..=LEAD_MAX {
                timestamps.of_list().await;
            }
            machine.set_wall(Duration::from_hours(1), true);
            assert_eq!(timestamps.of_list().await.at, Timestamp(6_400));
            assert_eq!(clock::since(began), Duration::ZERO);
        };
        machine.run(set_back).await;
    }
}

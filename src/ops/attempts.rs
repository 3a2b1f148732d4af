//! Wrong tokens: each makes whoever comes with another one wait for longer, wherever it comes from, so that a token is not
//! found by trying.
//!
//! The right one waits too, or its quick answer would tell it from the others, but never for longer than [`WAIT_MAX`]: nobody
//! is locked out. Who waits holds a connection, of which the listener takes so many, so that guesses are counted in
//! hundreds a second at most.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After the first wrong token; it doubles with each.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Without a wrong token for so long, nobody waits any more.
const FORGIVEN_AFTER: Duration = Duration::from_mins(1);
/// Between two lines of the log.
const TOLD_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wait: Duration,
    last: Option<Instant>,
    untold: u64,
    told: Option<Instant>,
}

impl Attempts {
    /// How long an answer to a token has to wait that came at `now`.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_none_or(|last| now - last >= FORGIVEN_AFTER) {
            state.wait = Duration::ZERO;
        }
        state.wait
    }

    /// A wrong token came. How many did since that was last told, if it is to be told now.
    pub(super) fn wrong(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.wait = (state.wait * 2).clamp(WAIT_MIN, WAIT_MAX);
        state.last = Some(now);
        state.untold += 1;
        let is_due = state.told.is_none_or(|told| now - told >= TOLD_EVERY);
        is_due.then(|| {
            state.told = Some(now);
            std::mem::take(&mut state.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_bound_and_ends_with_the_attempts() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.wait(now), Duration::ZERO);
        let mut before = Duration::ZERO;
        for _ in 0..6 {
            attempts.wrong(now);
            assert!(attempts.wait(now) > before);
            before = attempts.wait(now);
        }
        for _ in 0..100 {
            attempts.wrong(now);
        }
        assert_eq!(attempts.wait(now), WAIT_MAX);
        let just_before = now + FORGIVEN_AFTER - Duration::from_millis(1);
        assert_eq!(attempts.wait(just_before), WAIT_MAX);
        assert_eq!(attempts.wait(now + FORGIVEN_AFTER), Duration::ZERO);
        attempts.wrong(now + FORGIVEN_AFTER);
        assert_eq!(attempts.wait(now + FORGIVEN_AFTER), WAIT_MIN);
    }

    #[test]
    fn they_are_told_of_once_a_minute_with_their_number() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.wrong(now), Some(1));
        for _ in 0..1_000 {
            assert_eq!(attempts.wrong(now), None);
        }
        assert_eq!(attempts.wrong(now + TOLD_EVERY), Some(1_001));
    }
}

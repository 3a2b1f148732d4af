//! The vendor's rate limit: so many calls in any 60 seconds, all endpoints together.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_mins(1);

/// When the calls of the last minute were made. Those that were refused are not among them.
#[derive(Debug, Default)]
pub(super) struct Throttle(VecDeque<Instant>);

/// Where the client stands after this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) refused: bool,
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Whole seconds until the oldest call no longer counts, rounded up.
    pub(super) reset_seconds: u64,
}

impl Throttle {
    /// Counts a call. `limit` 0 means that there is none.
    pub(super) fn call(&mut self, limit: u32, now: Instant) -> Option<Standing> {
        if limit == 0 {
            return None;
        }
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        let before = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let refused = before >= limit;
        if !refused {
            self.0.push_back(now);
        }
        let oldest = self.0.front().copied().unwrap_or(now);
        let reset = WINDOW.saturating_sub(now.duration_since(oldest));
        Some(Standing {
            refused,
            limit,
            remaining: limit.saturating_sub(before.saturating_add(1)),
            reset_seconds: reset.as_secs() + u64::from(reset.subsec_nanos() > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_for_sixty_seconds_and_a_refused_one_never() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let mut at = |milliseconds| {
            let standing = throttle
                .call(2, start + Duration::from_millis(milliseconds))
                .unwrap();
            (standing.refused, standing.remaining, standing.reset_seconds)
        };
        assert_eq!(at(0), (false, 1, 60));
        assert_eq!(at(1_500), (false, 0, 59));
        assert_eq!(at(59_999), (true, 0, 1));
        assert_eq!(at(60_000), (false, 0, 2));
        assert_eq!(at(61_499), (true, 0, 1));
    }
}

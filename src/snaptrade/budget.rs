//! How many calls `SnapTrade` still takes of a key, as its replies say, and what that means for the sidecar's own calls.

use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::types::Millis;

/// How many calls are left.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The trailing time over which calls are counted (docs/snaptrade.md).
pub const WINDOW: Duration = Duration::from_mins(1);

/// Over a trailing time a short one frees a call or two, no more.
const RESET_MIN: Duration = Duration::from_secs(10);

/// What is told to wait for longer than anybody would is cut to this, so that no sum of times overflows.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// Below a fifth of the limit the budget is low, and in any case below what an admission with an eviction needs.
const LOW_PART: u64 = 5;
const LOW_CALLS: u64 = 5;

/// While the budget is low, a tenth of what is left may go into looking.
const LOOKS_PART: u64 = 10;

/// A key's calls, as a reply told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Calls within [`WINDOW`].
    pub limit: u64,
    /// Until a good part of them is free again, at the least.
    pub reset: Duration,
}

impl Budget {
    /// `None` if the reply does not tell.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            limit: number(headers, &LIMIT)?,
            reset: number(headers, &RESET)
                .map_or(WINDOW, seconds)
                .clamp(RESET_MIN, WINDOW),
        })
    }

    /// Whether the application may soon miss the calls that the sidecar makes.
    pub fn is_low(&self, remaining: u64) -> bool {
        remaining < (self.limit / LOW_PART).max(LOW_CALLS)
    }

    /// The least pause between two looks that leaves the application most of what remains; none while that is plenty.
    pub fn pace(&self, remaining: u64) -> Duration {
        if self.is_low(remaining) {
            let looks = u32::try_from(remaining / LOOKS_PART).unwrap_or(u32::MAX);
            self.reset / looks.max(1)
        } else {
            Duration::ZERO
        }
    }
}

/// How many calls are left.
pub fn remaining(headers: &HeaderMap) -> Option<u64> {
    number(headers, &REMAINING)
}

/// When a call that was refused with 429 may be made again: as `Retry-After` says, in seconds or as a date, or else
/// `X-RateLimit-Reset`. A date is compared with the reply's own, since the clocks may differ; `now` is for want of that.
pub fn retry_after(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER).and_then(|value| {
        let text = value.to_str().ok()?.trim();
        let in_seconds = text.parse().ok().map(seconds);
        in_seconds.or_else(|| {
            let since = date(headers).unwrap_or(now);
            Some(moment(value)?.since(since).min(WAIT_MAX))
        })
    });
    asked.or_else(|| number(headers, &RESET).map(seconds))
}

/// The vendor's clock when it answered, to the second (RFC 9110, section 5.6.7).
pub fn date(headers: &HeaderMap) -> Option<Millis> {
    moment(headers.get(DATE)?)
}

fn moment(value: &HeaderValue) -> Option<Millis> {
    httpdate::parse_http_date(value.to_str().ok()?.trim())
        .ok()
        .map(Millis::from)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
        // Ten minutes from what the reply's date says.
        let now = Millis(1_700_000_600_000);
        let later = ("retry-after", "Tue, 14 Nov 2023 22:13:27 GMT");
        for (fields, wait) in [
            (vec![("retry-after", "7")], Some(7)),
            (vec![("retry-after", " 7 "), ("x-ratelimit-reset", "9")], Some(7)),
            (vec![("x-ratelimit-reset", "9")], Some(9)),
            (vec![("retry-after", "soon"), ("x-ratelimit-reset", "9")], Some(9)),
            (vec![later, date], Some(7)),
            (vec![later], Some(0)),
            (vec![("retry-after", "99999999999999999")], Some(86_400)),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "1.5")], None),
            (vec![], None),
        ] {
            let told = retry_after(&headers(&fields), now);
            assert_eq!(told, wait.map(Duration::from_secs), "{fields:?}");
        }
    }

    #[test]
    fn looking_slows_down_as_the_budget_runs_out() {
        let budget = Budget {
            limit: 250,
            reset: 30 * SECOND,
        };
        for (remaining, pace) in [(250, 0), (50, 0), (49, 7), (20, 15), (10, 30), (0, 30)] {
            assert_eq!(budget.pace(remaining).as_secs(), pace, "{remaining}");
        }
        // Of a small limit, what an admission needs counts.
        let small = Budget { limit: 10, ..budget };
        assert!(small.is_low(4) && !small.is_low(5));
    }

    #[test]
    fn a_reply_tells_of_the_budget_or_does_not() {
        let told = headers(&[("x-ratelimit-limit", "250"), ("x-ratelimit-remaining", "249")]);
        let budget = Budget::read(&told).unwrap();
        assert_eq!((budget.limit, budget.reset), (250, WINDOW));
        assert_eq!(remaining(&told), Some(249));
        let soon = headers(&[("x-ratelimit-limit", "250"), ("x-ratelimit-reset", "1")]);
        assert_eq!(Budget::read(&soon).unwrap().reset, RESET_MIN);
        assert_eq!(Budget::read(&headers(&[("x-ratelimit-remaining", "249")])), None);
    }
}

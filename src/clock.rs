//! The time, for everything that decides by it or waits.
//!
//! It is read here and nowhere else, so that a test can let it stand still and have hours pass in no time, and so that a
//! simulation can give each of several machines a clock of its own.

#[cfg(test)]
pub(crate) mod dice;
#[cfg(test)]
pub(crate) mod link;
#[cfg(test)]
pub(crate) mod machine;

use std::time::{Duration, Instant, SystemTime};

/// Now. It never goes backwards; under a paused runtime it goes on when that does.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago `at` was.
pub fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// What the clock on the wall shows, which somebody may set.
pub fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(wall) = machine::wall() {
        return wall;
    }
    SystemTime::now()
}

//! What the program tells its operator.
//!
//! - [`metrics`]: counts and durations, for scraping.
//! - [`health`]: whether the process lives, and whether it should get traffic.

pub mod health;
pub mod metrics;

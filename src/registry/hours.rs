//! In which hours each user called: what happened, as far as other policies can be judged by it.

use super::Activity;
use crate::types::{Millis, UserId};

const LENGTH_MS: i64 = 60 * 60 * 1000;

/// A user's calls in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hour {
    /// When it began, by the clock in UTC.
    pub began: Millis,
    pub user: UserId,
    /// When the last of them was answered.
    pub last: Millis,
    pub calls: u64,
}

/// When the hour began in which this was.
pub(super) fn began(at: Millis) -> Millis {
    Millis(at.0 - at.0.rem_euclid(LENGTH_MS))
}

/// By the last of the calls. While the registry fails, those of several hours come as of the last.
pub(super) fn of(activity: &Activity) -> Hour {
    Hour {
        began: began(activity.last),
        user: activity.user.clone(),
        last: activity.last,
        calls: activity.calls,
    }
}

//! The fuse: so many evictions in a while and no more (R6). Whatever is wrong then, it does not cost every user.

use std::time::Duration;

use crate::types::Millis;

/// At most so many evictions in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fuse {
    pub evictions: usize,
    pub window: Duration,
}

impl Fuse {
    /// Whether this deletion still counts. One from the future counts too: a clock that was set back is no reason to
    /// delete more.
    pub fn counts(&self, deletion: Millis, now: Millis) -> bool {
        now.since(deletion) < self.window
    }

    /// When one more eviction is allowed again, or `None` if one is now. `deletions` are those that were made or may have
    /// been, in any order; those that no longer count may be among them.
    pub fn blown_until(&self, deletions: &[Millis], now: Millis) -> Option<Millis> {
        self.room_for(1, deletions, now).err()
    }

    /// Whether so many more are allowed now, and if not, when they will be. More than `evictions` never are; they wait
    /// until all that is counted has passed.
    pub fn room_for(&self, more: usize, deletions: &[Millis], now: Millis) -> Result<(), Millis> {
        let mut counted: Vec<Millis> = deletions
            .iter()
            .copied()
            .filter(|at| self.counts(*at, now))
            .collect();
        let over = (counted.len() + more).saturating_sub(self.evictions);
        if over == 0 {
            return Ok(());
        }
        counted.sort_unstable();
        let last_in_the_way = counted.get(over - 1).or(counted.last());
        Err(last_in_the_way.map_or(now, |at| at.plus(self.window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSE: Fuse = Fuse {
        evictions: 3,
        window: Duration::from_millis(100),
    };

    fn at(times: &[i64]) -> Vec<Millis> {
        times.iter().copied().map(Millis).collect()
    }

    #[test]
    fn r6_it_blows_at_its_number_and_closes_when_the_first_has_passed() {
        let made = at(&[30, 10, 20]);
        assert_eq!(FUSE.blown_until(&made[..2], Millis(40)), None);
        assert_eq!(FUSE.blown_until(&made, Millis(40)), Some(Millis(110)));
        assert_eq!(FUSE.blown_until(&made, Millis(109)), Some(Millis(110)));
        assert_eq!(FUSE.blown_until(&made, Millis(110)), None);
    }

    #[test]
    fn r6_after_more_than_its_number_it_closes_when_enough_have_passed() {
        // As when the number was lowered.
        let made = at(&[10, 20, 30, 40, 50]);
        assert_eq!(FUSE.blown_until(&made, Millis(60)), Some(Millis(130)));
    }

    #[test]
    fn r6_several_at_once_need_room_for_all() {
        assert_eq!(FUSE.room_for(2, &at(&[10]), Millis(20)), Ok(()));
        assert_eq!(FUSE.room_for(2, &at(&[10, 15]), Millis(20)), Err(Millis(110)));
        assert_eq!(FUSE.room_for(4, &at(&[10, 15]), Millis(20)), Err(Millis(115)));
        assert_eq!(FUSE.room_for(4, &[], Millis(20)), Err(Millis(20)));
    }

    #[test]
    fn r6_a_clock_that_was_set_back_forgets_no_deletion() {
        let ahead = at(&[1_000, 1_000, 1_000]);
        assert_eq!(FUSE.blown_until(&ahead, Millis(10)), Some(Millis(1_100)));
    }
}

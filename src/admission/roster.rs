//! What is known of a tenant's users under its lock, and for how long it may be relied on.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::policy::Candidate;
use crate::snaptrade::listing::is_tombstone_shaped;
use crate::types::UserId;

/// A list older than this is no ground for an eviction (R3).
pub const LIST_AGE_MAX: Duration = Duration::from_secs(2);

/// For how many settle times a deletion that was sent and did not show in time is still taken to be on its way.
const DOOMED_SETTLE_TIMES: u32 = 5;

/// A deletion that was sent and is not yet known to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub victim: UserId,
    pub since: Instant,
}

/// A user that we registered ourselves.
#[derive(Clone, Copy, Debug)]
struct Registered {
    at: Instant,
    /// When a list last named it; from the first time on the lists are right about it.
    listed: Option<Instant>,
}

/// The roster of one tenant. It is owned by whoever holds the tenant's lock.
#[derive(Debug, Default)]
pub struct Roster {
    /// The last confirmed list of this hold of the lock, with our own confirmed changes applied, and when it was asked
    /// for: it may be as old as that.
    listed: Option<(Instant, Vec<UserId>)>,
    first_seen: HashMap<UserId, Instant>,
    registered: HashMap<UserId, Registered>,
    removed: HashMap<UserId, Instant>,
    /// The removed that the last list still named.
    lingering: Vec<UserId>,
    empty_since: Option<Instant>,
    /// When last somebody else may have changed who is there.
    doubted: Option<Instant>,
    /// Those whose deletion was sent and did not show within the settle time, and when it was sent. It may still happen, so
    /// that they neither count nor are deleted again.
    doomed: HashMap<UserId, Instant>,
    /// The doomed that are gone by now, until somebody asks.
    gone: Vec<UserId>,
    /// At most one (R10).
    pub unresolved: Option<Unresolved>,
    /// Learnt from a limit error: on this key a tombstone takes a slot.
    pub tombstones_count: bool,
}

impl Roster {
    /// Takes in a reply of `listUsers` to a call made at `asked`. Fails, and changes nothing that an eviction could rest
    /// on, if it is empty although somebody must be there: such a list is believed only once it has stayed empty for
    /// `settle`.
    pub fn take(
        &mut self,
        entries: Vec<UserId>,
        asked: Instant,
        now: Instant,
        settle: Duration,
    ) -> Result<(), EmptyList> {
        self.listed = None;
        if entries.is_empty() && self.somebody_must_be_there() {
            let since = *self.empty_since.get_or_insert(now);
            if now.duration_since(since) < settle {
                return Err(EmptyList);
            }
        } else {
            self.empty_since = None;
        }
        self.removed.retain(|_, at| now.duration_since(*at) < settle);
        self.doomed
            .retain(|_, at| now.duration_since(*at) < settle * DOOMED_SETTLE_TIMES);
        // Looked up rather than searched for: a key may have very many users.
        let named: HashSet<UserId> = entries.iter().cloned().collect();
        for (id, _) in self.doomed.extract_if(|id, _| !named.contains(id)) {
            self.removed.insert(id.clone(), now);
            self.gone.push(id);
        }
        let entries = self.with_own_changes(entries, &named, now, settle);
        self.first_seen
            .retain(|id, _| named.contains(id) || self.registered.contains_key(id));
        self.note_seen(&entries, now);
        self.listed = Some((asked, entries));
        Ok(())
    }

    /// Somebody was there who is not on the way out.
    fn somebody_must_be_there(&self) -> bool {
        let victim = self.unresolved.as_ref().map(|unresolved| &unresolved.victim);
        self.first_seen
            .keys()
            .any(|id| !is_tombstone(id) && !self.is_on_its_way(id) && Some(id) != victim)
    }

    /// Whether the list is wrong, or may be, in naming this user.
    fn is_on_its_way(&self, id: &UserId) -> bool {
        self.removed.contains_key(id) || self.doomed.contains_key(id)
    }

    /// Notes who was listed, perhaps somewhere else. It counts for `min_age` and proves nothing else: that list was fetched
    /// without the lock, and may be from before what is known here.
    pub fn note_seen(&mut self, entries: &[UserId], now: Instant) {
        for id in entries {
            self.first_seen.entry(id.clone()).or_insert(now);
        }
    }

    /// `listUsers` may lag: a user that we just registered counts, one that we just saw go does not.
    fn with_own_changes(
        &mut self,
        entries: Vec<UserId>,
        named: &HashSet<UserId>,
        now: Instant,
        settle: Duration,
    ) -> Vec<UserId> {
        let (lingering, mut entries) = entries.into_iter().partition(|id| self.is_on_its_way(id));
        self.lingering = lingering;
        // What is known of a user outlives a list that misses it for once, or the youngest would become one of unknown
        // age, and go first.
        self.registered.retain(|id, user| {
            if named.contains(id) {
                user.listed = Some(now);
            } else if user.listed.is_none() && now.duration_since(user.at) < settle {
                entries.push(id.clone());
            }
            let last_known = user.listed.unwrap_or(user.at);
            now.duration_since(last_known) < settle
        });
        entries
    }

    /// Whether an eviction may rest on the list as it is.
    pub fn is_fresh(&self, now: Instant) -> bool {
        let since_doubt = |asked: &Instant| self.doubted.is_none_or(|doubted| *asked >= doubted);
        self.listed
            .as_ref()
            .is_some_and(|(asked, _)| now.duration_since(*asked) <= LIST_AGE_MAX && since_doubt(asked))
    }

    /// Somebody else may have changed who is there: no list that was asked for before is ground for an eviction.
    pub fn doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
        self.listed = None;
    }

    /// A call had an unclear outcome, or the lock is given up: the list proves nothing from here on.
    pub fn forget_list(&mut self) {
        self.listed = None;
    }

    /// SnapTrade registered this user for us.
    pub fn registered(&mut self, id: &UserId, now: Instant) {
        self.removed.remove(id);
        self.doomed.remove(id);
        // It was gone, or it could not have been registered anew.
        self.unresolved.take_if(|unresolved| unresolved.victim == *id);
        self.registered.insert(
            id.clone(),
            Registered {
                at: now,
                listed: None,
            },
        );
        self.first_seen.entry(id.clone()).or_insert(now);
        if let Some((_, entries)) = &mut self.listed
            && !entries.contains(id)
        {
            entries.push(id.clone());
        }
    }

    /// The user is known to be gone: we saw its deletion confirmed, or the application deleted it itself.
    pub fn removed(&mut self, id: &UserId, now: Instant) {
        self.removed.insert(id.clone(), now);
        self.registered.remove(id);
        self.first_seen.remove(id);
        if let Some((_, entries)) = &mut self.listed {
            entries.retain(|entry| entry != id);
        }
    }

    /// The deletion that was sent at `since` did not show in time.
    pub fn doom(&mut self, id: &UserId, since: Instant) {
        self.doomed.insert(id.clone(), since);
        if let Some((_, entries)) = &mut self.listed {
            self.lingering.extend(entries.extract_if(.., |entry| entry == id));
        }
    }

    /// The doomed that a list no longer named.
    pub fn take_gone(&mut self) -> Vec<UserId> {
        std::mem::take(&mut self.gone)
    }

    /// Deletions that were sent and have not been seen to happen.
    pub fn under_way(&self) -> usize {
        self.doomed.len() + usize::from(self.unresolved.is_some())
    }

    pub fn lists(&self, id: &UserId) -> bool {
        self.entries().contains(id)
    }

    /// Whether an id is listed that differs in case or in white space around it at most. SnapTrade may take the two for
    /// one.
    pub fn lists_alike(&self, id: &UserId) -> bool {
        let plain = |id: &UserId| id.as_str().trim().to_lowercase();
        let wanted = plain(id);
        self.entries().iter().any(|entry| plain(entry) == wanted)
    }

    /// The last confirmed list and when it was fetched, while it holds.
    pub fn list(&self) -> Option<(Instant, &[UserId])> {
        self.listed
            .as_ref()
            .map(|(at, entries)| (*at, entries.as_slice()))
    }

    fn entries(&self) -> &[UserId] {
        self.listed.as_ref().map_or(&[], |(_, entries)| entries)
    }

    /// The live users, in the list's order.
    pub fn bare(&self) -> impl Iterator<Item = &UserId> {
        self.entries().iter().filter(|id| !is_tombstone(id))
    }

    /// The tombstones first seen less than `settle` ago. An older one may be a real id that ends so, and is
    /// neither waited for, counted nor evicted.
    pub fn fresh_tombstones(&self, now: Instant, settle: Duration) -> usize {
        let fresh = |id: &&UserId| {
            is_tombstone(id)
                && self
                    .first_seen
                    .get(*id)
                    .is_some_and(|at| now.duration_since(*at) < settle)
        };
        self.entries().iter().filter(fresh).count()
    }

    /// All whose deletion may still hold a slot: tombstones, fresh or not, and the removed that the list still names.
    pub fn going(&self) -> Vec<UserId> {
        let tombstones = self.entries().iter().filter(|id| is_tombstone(id));
        tombstones.chain(&self.lingering).cloned().collect()
    }

    /// Whether the last list named this entry, in whatever role.
    pub fn names(&self, entry: &UserId) -> bool {
        self.entries().contains(entry) || self.lingering.contains(entry)
    }

    /// How many of the removed the last list still named.
    pub fn lingering(&self) -> usize {
        self.lingering.len()
    }

    /// How many live users no list has named yet.
    pub fn unlisted(&self) -> usize {
        self.bare().filter(|id| self.is_unlisted(id)).count()
    }

    fn is_unlisted(&self, id: &UserId) -> bool {
        self.registered.get(id).is_some_and(|user| user.listed.is_none())
    }

    /// The live users as the policy sees them, without those that no list has named yet: their deletion could not
    /// be confirmed. Nor could that of an empty id even be asked for.
    pub fn candidates(&self, now: Instant) -> Vec<Candidate> {
        let listed = |id: &&UserId| !self.is_unlisted(id) && !id.as_str().is_empty();
        self.bare()
            .filter(listed)
            .map(|id| Candidate {
                id: id.clone(),
                age: self.registered.get(id).map(|user| now.duration_since(user.at)),
                seen_for: self
                    .first_seen
                    .get(id)
                    .map(|at| now.duration_since(*at))
                    .unwrap_or_default(),
            })
            .collect()
    }
}

fn is_tombstone(id: &UserId) -> bool {
    is_tombstone_shaped(id.as_str()).is_some()
}

/// `listUsers` named nobody although users were known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyList;

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(20);

    fn ids(names: &[&str]) -> Vec<UserId> {
        names.iter().map(UserId::new).collect()
    }

    fn bare(roster: &Roster) -> Vec<&str> {
        roster.bare().map(UserId::as_str).collect()
    }

    #[test]
    fn r3_a_list_is_fresh_for_two_seconds_and_gone_with_the_lock() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        roster.take(ids(&["a"]), now, now, SETTLE).unwrap();
        assert!(roster.is_fresh(now + LIST_AGE_MAX));
        assert!(!roster.is_fresh(now + LIST_AGE_MAX + Duration::from_millis(1)));
        roster.forget_list();
        assert!(!roster.is_fresh(now));
    }

    #[test]
    fn r3_own_changes_count_although_the_list_lags() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        roster.take(ids(&["a", "b"]), now, now, SETTLE).unwrap();
        roster.registered(&UserId::new("c"), now);
        roster.removed(&UserId::new("a"), now);
        roster.take(ids(&["a", "b"]), now, now, SETTLE).unwrap();
        assert_eq!(bare(&roster), ["b", "c"]);
        roster
            .take(ids(&["a", "b"]), now + SETTLE, now + SETTLE, SETTLE)
            .unwrap();
        assert_eq!(bare(&roster), ["a", "b"]);
    }

    #[test]
    fn r3_an_empty_list_is_believed_only_after_the_settle_time() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        assert!(roster.take(ids(&[]), now, now, SETTLE).is_ok());
        roster.take(ids(&["a"]), now, now, SETTLE).unwrap();
        assert!(roster.take(ids(&[]), now, now, SETTLE).is_err());
        assert!(!roster.is_fresh(now));
        assert!(roster.take(ids(&[]), now + SETTLE, now + SETTLE, SETTLE).is_ok());
    }

    #[test]
    fn a_tombstone_is_fresh_for_the_settle_time_only() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        for at in [now, now + SETTLE] {
            roster
                .take(ids(&["a", "b_deleted", "_deleted"]), at, at, SETTLE)
                .unwrap();
            assert_eq!(bare(&roster), ["a", "_deleted"]);
            assert_eq!(roster.fresh_tombstones(at, SETTLE), usize::from(at == now));
        }
    }
}

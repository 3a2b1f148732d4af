//! What is known of a tenant's users under its lock, and for how long it may be relied on.

mod gone;
mod remember;
mod unanswered;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::fuse::Fuse;
use super::known::{Known, Source};
use super::people::People;
use crate::snaptrade::listing::is_tombstone;
use crate::types::{Millis, UserId};
use gone::Departure;

/// A list older than this is no ground for an eviction (R3).
pub const LIST_AGE_MAX: Duration = Duration::from_secs(2);

/// For how many settle times a deletion that was sent and did not show in time is still taken to be on its way.
const DOOMED_SETTLE_TIMES: u32 = 5;

/// A deletion that was sent and is not yet known to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub victim: UserId,
    /// When it was sent, or found to be open: from then on it is waited for.
    pub since: Instant,
    /// When it was intended, as far as the clocks agree.
    pub intended: Instant,
    /// When the victim was registered, as far as was known when its deletion was intended.
    pub(super) registered: Option<Millis>,
    /// This process sent it. What another one, or this one before a restart, left open may never have been.
    pub is_sent: bool,
}

/// A user that we registered ourselves.
#[derive(Clone, Copy, Debug)]
struct Registered {
    at: Instant,
    clock: Millis,
    /// When a list last named it; from the first time on the lists are right about it.
    listed: Option<Instant>,
    /// The registry has it, and is right from then on: another replica may have deleted the user since.
    is_written: bool,
}

/// A remembered user that the last list did not name.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    /// When the last list that missed it was asked for.
    until: Instant,
}

/// The roster of one tenant. It is owned by whoever holds the tenant's lock.
#[derive(Debug, Default)]
pub struct Roster {
    /// The last confirmed list of this hold of the lock, with our own confirmed changes applied, and when it was asked
    /// for: it may be as old as that.
    listed: Option<(Instant, Vec<UserId>)>,
    /// What is remembered, of those that no list names any more too.
    people: People,
    /// Where the entries of the last list are among those people, as far as that still holds.
    places: Vec<u32>,
    /// Listed and not remembered before, until somebody asks.
    newly_seen: Vec<UserId>,
    missing: HashMap<UserId, Missing>,
    /// The tombstones of the last list, and when each was first seen.
    tombstones: HashMap<UserId, Instant>,
    registered: HashMap<UserId, Registered>,
    removed: HashMap<UserId, Departure>,
    /// The removed that the last list still named.
    lingering: Vec<UserId>,
    empty_since: Option<Instant>,
    /// When last somebody else may have changed who is there.
    doubted: Option<Instant>,
    /// Those whose deletion was sent and did not show within the settle time, and when it was sent. It may still happen, so
    /// that they neither count nor are deleted again.
    doomed: HashMap<UserId, Departure>,
    /// Those whose deletion by the application is under way or had no answer, and when it was sent: they may be gone, whatever a
    /// list says that lags.
    unanswered: HashMap<UserId, Departure>,
    /// Since when it is known of them after all, whatever became of deletions that were sent before.
    cleared: HashMap<UserId, Instant>,
    /// Those of the doomed that another replica settled, which tells when they go.
    settled_elsewhere: HashSet<UserId>,
    /// The doomed that are gone by now, until somebody asks.
    gone: Vec<UserId>,
    /// When deletions were made that the fuse may count.
    deletions: Vec<Millis>,
    /// For how long a user has to be missing from the lists to have vanished: the settle time at the last list.
    settle: Duration,
    /// At most one (R10).
    pub unresolved: Option<Unresolved>,
    /// Learnt from a limit error: on this key a tombstone takes a slot.
    pub tombstones_count: bool,
}

impl Roster {
    /// Takes in a reply of `listUsers` to a call made at `asked`; `clock` is `now` on the wall. Fails, and changes nothing
    /// that an eviction could rest on, if it is empty although somebody must be there: such a list is believed only once
    /// it has stayed empty for `settle`.
    pub fn take(
        &mut self,
        entries: Vec<UserId>,
        asked: Instant,
        now: Instant,
        clock: Millis,
        settle: Duration,
    ) -> Result<(), EmptyList> {
        self.listed = None;
        self.settle = settle;
        if entries.is_empty() && self.somebody_must_be_there() {
            let since = *self.empty_since.get_or_insert(now);
            if now.duration_since(since) < settle {
                return Err(EmptyList);
            }
        } else {
            self.empty_since = None;
        }
        self.removed
            .retain(|_, gone| now.duration_since(gone.at) < settle);
        self.doomed
            .retain(|_, gone| now.duration_since(gone.at) < settle * DOOMED_SETTLE_TIMES);
        // Those of whom more is known than that they are there; of the others there may be very many.
        let matters = |id: &&UserId| self.doomed.contains_key(*id) || self.registered.contains_key(*id);
        let named: HashSet<UserId> = entries.iter().filter(matters).cloned().collect();
        let gone: Vec<UserId> = self
            .doomed
            .extract_if(|id, _| !named.contains(id))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.depart(&id, now);
            if !self.settled_elsewhere.contains(&id) {
                self.gone.push(id);
            }
        }
        self.settled_elsewhere.retain(|id| self.doomed.contains_key(id));
        let mut entries = self.with_own_changes(entries, &named, now, settle);
        let before = std::mem::take(&mut self.tombstones);
        let tombstones = entries.iter().filter(|id| is_tombstone(id));
        self.tombstones = tombstones
            .map(|id| (id.clone(), before.get(id).copied().unwrap_or(now)))
            .collect();
        self.meet(&mut entries, asked, now, clock);
        self.listed = Some((asked, entries));
        Ok(())
    }

    /// Somebody was there who is not on the way out.
    fn somebody_must_be_there(&self) -> bool {
        let victim = self.unresolved.as_ref().map(|unresolved| &unresolved.victim);
        self.people.ids().any(|id| {
            let may_be_gone = self.is_on_its_way(id) || self.missing.contains_key(id) || Some(id) == victim;
            !is_tombstone(id) && !may_be_gone
        })
    }

    /// Whether the list is wrong, or may be, in naming this user.
    fn is_on_its_way(&self, id: &UserId) -> bool {
        self.removed.contains_key(id) || self.doomed.contains_key(id) || self.unanswered.contains_key(id)
    }

    /// `listUsers` may lag: a user that we just registered counts, one that we just saw go does not.
    fn with_own_changes(
        &mut self,
        mut entries: Vec<UserId>,
        named: &HashSet<UserId>,
        now: Instant,
        settle: Duration,
    ) -> Vec<UserId> {
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
        let lingering = entries.extract_if(.., |id| self.is_on_its_way(id));
        self.lingering = lingering.collect();
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

    /// SnapTrade registered this user for us: a new one, whatever was known by that id before.
    pub fn registered(&mut self, id: &UserId, now: Instant, clock: Millis) {
        self.removed.remove(id);
        self.doomed.remove(id);
        self.missing.remove(id);
        self.clear(id, now);
        // It was gone, or it could not have been registered anew.
        self.unresolved.take_if(|unresolved| unresolved.victim == *id);
        self.registered.insert(
            id.clone(),
            Registered {
                at: now,
                clock,
                listed: None,
                is_written: false,
            },
        );
        let (known, _) = self.people.entry(id, Known::default());
        *known = Known {
            // Protected by hand is the id, whoever has it.
            protected: known.protected,
            ..known_from(clock)
        };
        if let Some((_, entries)) = &mut self.listed
            && !entries.contains(id)
        {
            entries.push(id.clone());
        }
    }

    /// The user is known to be gone: we saw its deletion confirmed, or the application deleted it itself.
    pub fn removed(&mut self, id: &UserId, now: Instant) {
        self.registered.remove(id);
        self.missing.remove(id);
        self.depart(id, now);
        if let Some((_, entries)) = &mut self.listed {
            entries.retain(|entry| entry != id);
        }
    }

    /// A deletion is about to be sent: it counts for the fuse.
    pub(super) fn count_deletion(&mut self, fuse: Fuse, clock: Millis) {
        self.deletions.retain(|at| fuse.counts(*at, clock));
        self.deletions.push(clock);
    }

    /// The last one did not happen.
    pub(super) fn uncount_deletion(&mut self) {
        self.deletions.pop();
    }

    /// When deletions were made that the fuse may count.
    pub fn deletions(&self) -> &[Millis] {
        &self.deletions
    }

    /// While the fuse is blown, when it closes again.
    pub fn blown_until(&self, fuse: Fuse, now: Millis) -> Option<Millis> {
        fuse.blown_until(&self.deletions, now)
    }

    /// Deletions that were sent and have not been seen to happen.
    pub fn under_way(&self) -> usize {
        self.doomed.len() + usize::from(self.unresolved.is_some())
    }

    pub fn lists(&self, id: &UserId) -> bool {
        self.entries().contains(id)
    }

    /// Whether this user may be there: listed, or taken off the list for a deletion that did not show.
    pub fn is_there(&self, id: &UserId) -> bool {
        self.lists(id) || self.may_still_be(id)
    }

    /// Whether this user's deletion was sent and did not show, or was not answered, and the last list still named it: it may be
    /// there.
    pub(super) fn may_still_be(&self, id: &UserId) -> bool {
        let may_be_gone = self.doomed.contains_key(id) || self.unanswered.contains_key(id);
        may_be_gone && self.lingering.contains(id)
    }

    /// Whether an id is listed that differs in case or in white space around it at most. SnapTrade may take the two for
    /// one.
    pub fn lists_alike(&self, id: &UserId) -> bool {
        let wanted: Vec<char> = plain(id).collect();
        let is_alike = |entry: &UserId| plain(entry).eq(wanted.iter().copied());
        let may_still_be = |id: &&UserId| self.may_still_be(id);
        self.entries().iter().any(is_alike) || self.lingering.iter().filter(may_still_be).any(is_alike)
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
    pub fn bare(&self) -> impl Iterator<Item = &UserId> + Clone {
        self.entries().iter().filter(|id| !is_tombstone(id))
    }

    /// The tombstones first seen less than `settle` ago. An older one may be a real id that ends so, and is
    /// neither waited for, counted nor evicted.
    pub fn fresh_tombstones(&self, now: Instant, settle: Duration) -> usize {
        let fresh = |id: &&UserId| {
            is_tombstone(id)
                && self
                    .tombstones
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

    /// Whether the last list no longer named one of these, in whatever role.
    pub(super) fn misses_any(&self, awaited: &[UserId]) -> bool {
        let mut unseen: HashSet<&UserId> = awaited.iter().collect();
        for entry in self.entries().iter().chain(&self.lingering) {
            if unseen.is_empty() {
                break;
            }
            unseen.remove(entry);
        }
        !unseen.is_empty()
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
}

/// What is known of a user that we register.
fn known_from(clock: Millis) -> Known {
    Known {
        first_seen: clock,
        registered: Some((clock, Source::Own)),
        ..Known::default()
    }
}

/// Without white space around it, and as near to lower case as goes by single characters.
fn plain(id: &UserId) -> impl Iterator<Item = char> {
    id.as_str().trim().chars().flat_map(char::to_lowercase)
}

/// `listUsers` named nobody although users were known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyList;

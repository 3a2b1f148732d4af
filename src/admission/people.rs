//! The users of a tenant that are remembered. There may be a million, and a registry hands them over as one list: that
//! list is kept as it is, beside an index of 5 to 10 bytes a user, where a hash map would need twice the room.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::known::Known;
use crate::types::UserId;

#[derive(Debug, Default)]
pub(super) struct People {
    users: Vec<(UserId, Known)>,
    /// Places in `users`, by the hash of the id there. Ids are callers' choices, so that the hash is keyed.
    index: HashTable<u32>,
    hasher: RandomState,
}

impl People {
    /// Of an id that is there twice, the first counts.
    pub(super) fn new(mut users: Vec<(UserId, Known)>) -> Self {
        // More than an index can tell apart is more than any key has.
        users.truncate(u32::MAX as usize);
        let mut people = Self {
            index: HashTable::with_capacity(users.len()),
            users,
            hasher: RandomState::new(),
        };
        let mut at = 0;
        while at < people.users.len() {
            let id = &people.users[at].0;
            if people.place(id).is_some() {
                people.users.swap_remove(at);
            } else {
                people.enter(at);
                at += 1;
            }
        }
        people
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter().map(|(id, _)| id)
    }

    /// Where this user is, until one is removed.
    pub(super) fn place(&self, id: &UserId) -> Option<usize> {
        let is_it = |place: &u32| self.users[*place as usize].0 == *id;
        self.index
            .find(self.hasher.hash_one(id), is_it)
            .map(|place| *place as usize)
    }

    pub(super) fn at(&self, place: usize) -> &(UserId, Known) {
        &self.users[place]
    }

    pub(super) fn get(&self, id: &UserId) -> Option<&Known> {
        self.place(id).map(|place| &self.users[place].1)
    }

    /// What is known of this user, which is `else_known` if nothing was; and whether something was.
    pub(super) fn entry(&mut self, id: &UserId, else_known: Known) -> (&mut Known, bool) {
        let found = self.place(id);
        let place = found.unwrap_or_else(|| {
            self.users.push((id.clone(), else_known));
            self.enter(self.users.len() - 1);
            self.users.len() - 1
        });
        (&mut self.users[place].1, found.is_some())
    }

    pub(super) fn remove(&mut self, id: &UserId) {
        let Some(place) = self.place(id) else { return };
        let last = self.users.len() - 1;
        self.leave(place);
        if last > place {
            self.leave(last);
        }
        self.users.swap_remove(place);
        if last > place {
            self.enter(place);
        }
    }

    fn enter(&mut self, place: usize) {
        let (users, hasher) = (&self.users, &self.hasher);
        let hash = |place: &u32| hasher.hash_one(&users[*place as usize].0);
        if let Ok(place) = u32::try_from(place) {
            self.index.insert_unique(hash(&place), place, hash);
        }
    }

    fn leave(&mut self, place: usize) {
        let hash = self.hasher.hash_one(&self.users[place].0);
        if let Ok(entry) = self.index.find_entry(hash, |known| *known as usize == place) {
            entry.remove();
        }
    }
}

//! The users of a tenant that are remembered. There may be a million, and a registry hands them over as one list: that
//! list is kept as it is, beside an index of 5 to 10 bytes a user, where a hash map would need twice the room.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::known::Known;
use crate::types::UserId;

#[derive(Debug, Default)]
pub(crate) struct People {
    users: Vec<(UserId, Known)>,
    /// Places in `users`, by the hash of the id there. Ids are callers' choices, so that the hash is keyed.
    index: HashTable<u32>,
    hasher: RandomState,
}

impl People {
    /// Of an id that is there twice, the first counts.
    pub(crate) fn new(mut users: Vec<(UserId, Known)>) -> Self {
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

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter().map(|(id, _)| id)
    }

    /// Where this user is, until one is removed.
    pub(crate) fn place(&self, id: &UserId) -> Option<usize> {
        let is_it = |place: &u32| self.users[*place as usize].0 == *id;
        self.index
            .find(self.hasher.hash_one(id), is_it)
            .map(|place| *place as usize)
    }

    /// The same, where it may be expected: to compare one id takes less time than to look it up.
    pub(crate) fn place_near(&self, id: &UserId, hints: &[u32]) -> Option<usize> {
        let is_it = |hint: &&u32| {
            self.users
                .get(**hint as usize)
                .is_some_and(|(there, _)| there == id)
        };
        match hints.iter().find(is_it) {
            Some(place) => Some(*place as usize),
            None => self.place(id),
        }
    }

    pub(crate) fn get(&self, id: &UserId) -> Option<&Known> {
        self.place(id).map(|place| &self.users[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: &UserId) -> Option<&mut Known> {
        self.place(id).map(|place| &mut self.users[place].1)
    }

    /// Everybody, in no order.
    pub(crate) fn all(&self) -> &[(UserId, Known)] {
        &self.users
    }

    pub(crate) fn at(&self, place: usize) -> &(UserId, Known) {
        &self.users[place]
    }

    /// Makes room for so many in all, so that what is there is not moved time and again.
    pub(crate) fn reserve(&mut self, users: usize) {
        let more = users.saturating_sub(self.users.len());
        self.users.reserve(more);
        let (users, hasher) = (&self.users, &self.hasher);
        self.index
            .reserve(more, |place| hasher.hash_one(&users[*place as usize].0));
    }

    /// Adds a user that is not there, and says where it is.
    pub(crate) fn add(&mut self, id: &UserId, known: Known) -> usize {
        self.users.push((id.clone(), known));
        let place = self.users.len() - 1;
        self.enter(place);
        place
    }

    /// What is known of this user, which is `else_known` if nothing was; and whether something was.
    pub(crate) fn entry(&mut self, id: &UserId, else_known: Known) -> (&mut Known, bool) {
        let found = self.place(id);
        let place = found.unwrap_or_else(|| self.add(id, else_known));
        (&mut self.users[place].1, found.is_some())
    }

    pub(crate) fn remove(&mut self, id: &UserId) {
        let Some(place) = self.place(id) else { return };
        self.leave(place);
        self.users.swap_remove(place);
        // Whoever was the last stands there now, unless it was the last itself.
        let last = self.users.len();
        let Some((moved, _)) = self.users.get(place) else {
            return;
        };
        let hash = self.hasher.hash_one(moved);
        let entry = self.index.find_mut(hash, |known| *known as usize == last);
        if let (Some(entry), Ok(place)) = (entry, u32::try_from(place)) {
            *entry = place;
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::types::Millis;

    fn known(at: i64) -> Known {
        Known {
            first_seen: Millis(at),
            ..Known::default()
        }
    }

    fn get(people: &People, id: &str) -> Option<Known> {
        people.place(&UserId::new(id)).map(|place| people.at(place).1)
    }

    #[test]
    fn of_an_id_that_is_there_twice_the_first_counts() {
        let twice = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("a", 5)];
        let people = People::new(
            twice
                .iter()
                .map(|(id, at)| (UserId::new(id), known(*at)))
                .collect(),
        );
        assert_eq!(people.len(), 2);
        assert_eq!(get(&people, "a"), Some(known(1)));
        assert!(get(&people, "b").is_some());
    }

    #[test]
    fn a_user_takes_no_more_room_than_it_is_said_to() {
        // A million of them with their index have to stay well under 150 MB.
        assert!(size_of::<(UserId, Known)>() <= 72);
    }

    proptest! {
        #[test]
        fn it_is_a_map(changes in proptest::collection::vec((0..20u8, any::<bool>()), 0..200)) {
            let (mut people, mut model) = (People::default(), HashMap::new());
            for (at, (id, removes)) in changes.into_iter().enumerate() {
                let id = UserId::new(id.to_string());
                if removes {
                    people.remove(&id);
                    model.remove(&id);
                } else {
                    let else_known = known(i64::try_from(at).unwrap());
                    let (known, was_known) = people.entry(&id, else_known);
                    prop_assert_eq!(was_known, model.contains_key(&id));
                    prop_assert_eq!(&*known, model.entry(id).or_insert(else_known));
                }
                prop_assert_eq!(people.len(), model.len());
                for (id, known) in &model {
                    prop_assert_eq!(get(&people, id.as_str()), Some(*known));
                    prop_assert_eq!(people.get(id), Some(known));
                    prop_assert_eq!(people.get_mut(id).copied(), Some(*known));
                }
                prop_assert_eq!(&people.all().iter().cloned().collect::<HashMap<_, _>>(), &model);
                prop_assert_eq!(&people.ids().collect::<HashSet<_>>(), &model.keys().collect());
            }
        }
    }
}

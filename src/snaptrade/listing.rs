//! The users that `listUsers` names: a bare JSON array of ids, in an order that the vendor does not document.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use memchr::memchr2;

use crate::types::UserId;

/// What `SnapTrade` appends to the id of a user that is queued for deletion.
const TOMBSTONE_SUFFIX: &str = "_deleted";

/// The entries of one `listUsers` reply, tombstones among them, in its order; repeated ones at their first place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<UserId>,
}

/// Ids that a list may have. Short ones take more memory than they have bytes.
const ENTRIES_MAX: usize = 2_000_000;

/// The body is not a JSON array of strings, or of too many. Says nothing of its content, which may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingError;

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the reply to listUsers is not a JSON array of strings, {ENTRIES_MAX} at most"
        )
    }
}

impl std::error::Error for ListingError {}

/// Reads a list piece by piece, as it arrives: a key may have very many users, and nothing is kept of them but their ids.
#[derive(Debug, Default)]
pub struct Reader {
    entries: Vec<UserId>,
    place: Place,
    /// The beginning of an id whose end has not arrived, as it was written.
    begun: Vec<u8>,
    /// The id has escapes so far, and whether the last character is a backslash that begins one.
    has_escapes: bool,
    is_escaping: bool,
}

/// Where in the list the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// After the bracket that opens.
    First,
    /// After a comma.
    Next,
    Id,
    /// After an id.
    Between,
    End,
    /// After what is no list.
    Broken,
}

impl Reader {
    /// What comes after something that is no list is passed over.
    pub fn feed(&mut self, piece: &[u8]) {
        self.feed_known(piece, &mut |text: &str| UserId::new(text));
    }

    /// The same, with ids as `id` makes them: where the text is known already, it need not be had twice.
    pub fn feed_known(&mut self, mut piece: &[u8], id: &mut impl FnMut(&str) -> UserId) {
        while let Some((byte, rest)) = piece.split_first() {
            self.place = match (self.place, byte) {
                (Place::Id, _) => {
                    piece = self.feed_id(piece, id);
                    continue;
                }
                (place, b' ' | b'\t' | b'\n' | b'\r') => place,
                (Place::Start, b'[') => Place::First,
                (Place::First | Place::Next, b'"') => Place::Id,
                (Place::First | Place::Between, b']') => Place::End,
                (Place::Between, b',') => Place::Next,
                _ => Place::Broken,
            };
            piece = rest;
        }
    }

    /// Takes what belongs to an id, and returns what follows it.
    fn feed_id<'p>(&mut self, piece: &'p [u8], id: &mut impl FnMut(&str) -> UserId) -> &'p [u8] {
        let Some(end) = self.end_of_id(piece) else {
            self.begun.extend_from_slice(piece);
            return &[];
        };
        let (last, rest) = (&piece[..end], &piece[end + 1..]);
        let id = if self.begun.is_empty() {
            read_id(last, self.has_escapes, id)
        } else {
            self.begun.extend_from_slice(last);
            read_id(&self.begun, self.has_escapes, id)
        };
        self.begun.clear();
        self.has_escapes = false;
        let id = id.filter(|_| self.entries.len() < ENTRIES_MAX);
        self.place = if id.is_some() {
            Place::Between
        } else {
            Place::Broken
        };
        self.entries.extend(id);
        rest
    }

    /// The place of the quote that ends the id.
    fn end_of_id(&mut self, piece: &[u8]) -> Option<usize> {
        // What a backslash at the end of the last piece escapes.
        let mut from = usize::from(std::mem::take(&mut self.is_escaping));
        loop {
            let found = from + memchr2(b'"', b'\\', piece.get(from..)?)?;
            if piece[found] == b'"' {
                return Some(found);
            }
            self.has_escapes = true;
            from = found + 2;
            self.is_escaping = from > piece.len();
        }
    }

    /// The list, if it was one and is whole.
    pub fn finish(self) -> Result<Listing, ListingError> {
        if self.place == Place::End {
            Ok(Listing::of(self.entries))
        } else {
            Err(ListingError)
        }
    }
}

/// The id between two quotes; `None` if it is not a JSON string.
fn read_id(raw: &[u8], has_escapes: bool, id: &mut impl FnMut(&str) -> UserId) -> Option<UserId> {
    if has_escapes {
        let quoted = [b"\"", raw, b"\""].concat();
        let text: String = serde_json::from_slice(&quoted).ok()?;
        return Some(id(&text));
    }
    // The least of all, which is found many bytes at a time.
    let has_control = raw.iter().min().is_some_and(|least| *least < b' ');
    let text = std::str::from_utf8(raw).ok().filter(|_| !has_control)?;
    Some(id(text))
}

impl Listing {
    pub fn parse(body: &[u8]) -> Result<Self, ListingError> {
        let mut reader = Reader::default();
        reader.feed(body);
        reader.finish()
    }

    fn of(mut entries: Vec<UserId>) -> Self {
        // Places instead of ids, in a fifth of the room: there may be a million, and hardly ever one twice.
        let (mut seen, hasher) = (HashTable::with_capacity(entries.len()), RandomState::new());
        let hash = |place: &u32| hasher.hash_one(&entries[*place as usize]);
        let mut again = Vec::new();
        for place in (0..entries.len()).flat_map(u32::try_from) {
            let is_it = |other: &u32| entries[*other as usize] == entries[place as usize];
            match seen.entry(hash(&place), is_it, hash) {
                Entry::Occupied(_) => again.push(place as usize),
                Entry::Vacant(entry) => {
                    entry.insert(place);
                }
            }
        }
        drop(seen);
        let (mut place, mut again) = (0.., again.into_iter().peekable());
        entries.retain(|_| {
            let here = place.next();
            again.next_if(|place| Some(*place) == here).is_none()
        });
        Self { entries }
    }

    /// Whether exactly this id is listed; a tombstone of it is another entry.
    pub fn contains(&self, id: &UserId) -> bool {
        self.entries.contains(id)
    }
}

/// Whether an entry has the shape of a tombstone. Only its history tells whether it is one or a real id that ends so.
pub fn is_tombstone(entry: &UserId) -> bool {
    let stem = entry.as_str().strip_suffix(TOMBSTONE_SUFFIX);
    stem.is_some_and(|stem| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(body: &[u8]) -> Vec<String> {
        Listing::parse(body)
            .unwrap()
            .entries
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn ids_come_as_listed() {
        assert_eq!(ids(b"[]"), [""; 0]);
        assert_eq!(
            ids(br#" [ "b" , "a_deleted", "", "\u00e9\ud83d\ude00", "a b/c" ] "#),
            ["b", "a_deleted", "", "é😀", "a b/c"]
        );
        assert_eq!(ids(br#"["b","a","b","a","c"]"#), ["b", "a", "c"]);
    }

    #[test]
    fn r3_anything_but_an_array_of_strings_is_an_error() {
        for body in [
            &b""[..],
            b"{}",
            b"null",
            b"\"nope\"",
            b"[1,2]",
            b"[\"a\",null]",
            b"[[\"a\"]]",
            b"[\"a\",",
            b"[\"a\",\"b",
            b"[\"a\"]x",
            b"[\"\\ud800\"]",
            b"[\"\xff\"]",
            b"<html>",
        ] {
            assert_eq!(Listing::parse(body), Err(ListingError), "{body:?}");
        }
        let said = ListingError.to_string();
        assert!(
            said.starts_with("the reply to listUsers is not a JSON array of strings"),
            "{said}"
        );
    }

    #[test]
    fn a_tombstone_has_an_id_before_its_suffix() {
        for (entry, is_one) in [
            ("a_deleted", true),
            ("a_deleted_deleted", true),
            ("_deleted", false),
            ("a", false),
            ("a_Deleted", false),
            ("a_deleted ", false),
            ("deleted", false),
            ("", false),
        ] {
            assert_eq!(is_tombstone(&UserId::new(entry)), is_one, "{entry}");
        }
    }

    #[test]
    fn an_id_is_not_listed_by_its_tombstone() {
        let listing = Listing::parse(br#"["a_deleted","b"]"#).unwrap();
        assert!(listing.contains(&UserId::new("b")));
        assert!(!listing.contains(&UserId::new("a")));
    }

    #[test]
    fn a_list_may_have_two_million_ids() {
        let full = |tail: &[u8]| {
            let mut reader = Reader {
                entries: vec![UserId::new("a"); ENTRIES_MAX - 1],
                place: Place::Next,
                ..Reader::default()
            };
            reader.feed(tail);
            reader.finish().map(|listing| listing.entries.len())
        };
        assert_eq!(full(b"\"b\"]"), Ok(2));
        assert_eq!(full(b"\"b\",\"c\"]"), Err(ListingError));
    }

    /// As a whole reply is read by those who know JSON.
    fn by_the_book(body: &[u8]) -> Result<Listing, ListingError> {
        let ids: Vec<String> = serde_json::from_slice(body).map_err(|_| ListingError)?;
        let mut entries = Vec::new();
        for id in ids.iter().map(UserId::new) {
            if !entries.contains(&id) {
                entries.push(id);
            }
        }
        Ok(Listing { entries })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn r3_in_pieces_a_list_is_what_it_is_as_a_whole(
            ids in proptest::collection::vec("[ab\"\\\\\u{1}\u{e9}\u{1f600}]{0,3}", 0..6),
            damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
            pretty: bool,
        ) {
            let text = if pretty { serde_json::to_vec_pretty(&ids) } else { serde_json::to_vec(&ids) };
            let mut body = text.unwrap();
            if let Some((place, byte)) = damage {
                let place = place.index(body.len());
                body[place] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            cuts.sort_unstable();
            let mut reader = Reader::default();
            let mut start = 0;
            for cut in cuts {
                reader.feed(&body[start..cut]);
                start = cut;
            }
            reader.feed(&body[start..]);
            prop_assert_eq!(reader.finish(), by_the_book(&body));
        }
    }
}

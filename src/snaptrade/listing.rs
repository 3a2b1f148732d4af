//! The users that `listUsers` names: a bare JSON array of ids, in an order that the vendor does not document.

use std::collections::HashSet;
use std::fmt;

use crate::types::UserId;

/// What `SnapTrade` appends to the id of a user that is queued for deletion.
const TOMBSTONE_SUFFIX: &str = "_deleted";

/// The entries of one `listUsers` reply, tombstones among them, in its order; repeated ones at their first place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<UserId>,
}

/// The body is not a JSON array of strings. Says nothing of its content, which may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingError;

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply to listUsers is not a JSON array of strings")
    }
}

impl std::error::Error for ListingError {}

impl Listing {
    pub fn parse(body: &[u8]) -> Result<Self, ListingError> {
        let ids: Vec<String> = serde_json::from_slice(body).map_err(|_| ListingError)?;
        Ok(Self::of(ids.iter().map(UserId::new)))
    }

    fn of(ids: impl Iterator<Item = UserId>) -> Self {
        let mut seen = HashSet::new();
        Self {
            entries: ids.filter(|id| seen.insert(id.clone())).collect(),
        }
    }

    /// Whether exactly this id is listed; a tombstone of it is another entry.
    pub fn contains(&self, id: &UserId) -> bool {
        self.entries.contains(id)
    }
}

/// The id whose tombstone `entry` may be. Only its history tells whether it is one or a real id that ends so.
pub fn is_tombstone_shaped(entry: &str) -> Option<&str> {
    entry
        .strip_suffix(TOMBSTONE_SUFFIX)
        .filter(|stem| !stem.is_empty())
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn a_tombstone_has_an_id_before_its_suffix() {
        assert_eq!(is_tombstone_shaped("a_deleted"), Some("a"));
        assert_eq!(is_tombstone_shaped("a_deleted_deleted"), Some("a_deleted"));
        for entry in ["_deleted", "a", "a_Deleted", "a_deleted ", "deleted", ""] {
            assert_eq!(is_tombstone_shaped(entry), None, "{entry}");
        }
    }

    #[test]
    fn an_id_is_not_listed_by_its_tombstone() {
        let listing = Listing::parse(br#"["a_deleted","b"]"#).unwrap();
        assert!(listing.contains(&UserId::new("b")));
        assert!(!listing.contains(&UserId::new("a")));
    }
}

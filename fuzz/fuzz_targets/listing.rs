//! A list of users, read as it arrives. The first byte of an input says how long the pieces are, the rest is the list.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use snaptrade_sidecar::snaptrade::listing::{Listing, ListingError, Reader, is_tombstone};
use snaptrade_sidecar::types::UserId;

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first() else {
        return;
    };
    let expected = by_the_book(body);
    assert_eq!(Listing::parse(body), expected, "as a whole");
    assert_eq!(in_pieces(body, 1), expected, "byte by byte");
    let length = usize::from(*length).max(2);
    assert_eq!(in_pieces(body, length), expected, "{length} bytes at a time");
    for entry in expected.iter().flat_map(|listing| &listing.entries) {
        let has_stem = entry.as_str().len() > "_deleted".len();
        let is_one = has_stem && entry.as_str().ends_with("_deleted");
        assert_eq!(is_tombstone(entry), is_one, "{entry}");
    }
});

fn in_pieces(body: &[u8], length: usize) -> Result<Listing, ListingError> {
    let mut reader = Reader::default();
    for piece in body.chunks(length) {
        reader.feed(piece);
    }
    reader.finish()
}

/// As those read it who know JSON.
fn by_the_book(body: &[u8]) -> Result<Listing, ListingError> {
    let mut ids: Vec<String> = serde_json::from_slice(body).map_err(|_| ListingError)?;
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let entries = ids.iter().map(UserId::new).collect();
    Ok(Listing { entries })
}

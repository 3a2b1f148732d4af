//! Very many users: nothing is compared with everything else, nothing is sorted to find one.

use super::*;
use crate::admission::known::{Known, Source};

const USERS: usize = 200_000;

fn name(n: usize) -> UserId {
    id(&format!("user-{n}"))
}

/// Shuffled: no two alike, since the modulus is prime.
fn registered_at(n: usize) -> Millis {
    Millis(i64::try_from(n * 7_919 % 1_000_003).unwrap())
}

#[test]
fn of_very_many_the_oldest_goes_and_it_takes_no_time() {
    let mut bench = Bench::new();
    bench.terms.max_users = USERS;
    bench.terms.policy.order = vec![Key::NeverActive, Key::Oldest];
    bench.terms.policy.protect = patterns(&["vip-*", "team-?-*"]);
    let known = |n| Known {
        registered: Some((registered_at(n), Source::Own)),
        ..Known::default()
    };
    // As a registry may have them: in another order than the list.
    let remembered = (0..USERS).rev().map(|n| (name(n), known(n))).collect();
    let list: Vec<UserId> = (0..USERS).map(name).collect();
    let oldest = (0..USERS).min_by_key(|n| registered_at(*n)).unwrap();

    let began = Instant::now();
    bench.roster.remember(remembered, Vec::new());
    bench.on(Event::Begun);
    let step = bench.on(Event::Listed(Some(list.clone())));
    assert_eq!(step, Step::RecordIntent(name(oldest), ONLY));
    bench.on(Event::IntentRecorded(true));
    bench.on(Event::Deleted(Deletion::Accepted));
    let left = list.into_iter().filter(|id| *id != name(oldest)).collect();
    assert_eq!(bench.on(Event::Listed(Some(left))), FORWARD);
    bench.on(registered());
    // Optimised it is a tenth of a second; each with each would be forty thousand million comparisons.
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.roster.bare().count(), USERS);
}

#[test]
fn a_list_in_any_order_finds_what_is_known_of_each() {
    let mut bench = Bench::new();
    bench.terms.max_users = 1_000;
    let known = |n: usize| Known {
        calls: u32::try_from(n).unwrap(),
        ..Known::default()
    };
    let of = |ids: &[usize]| ids.iter().map(|n| (name(*n), known(*n))).collect();
    bench.roster.remember(of(&[4, 2, 0, 1, 3]), Vec::new());
    for list in [
        [0, 1, 2, 3, 4].as_slice(),
        &[0, 1, 2, 3, 4],
        &[0, 2, 3, 4],
        &[4, 3, 1, 0, 2],
        &[3, 4],
        &[],
        &[9, 0, 1, 3, 4],
        &[9, 1, 3, 4],
    ] {
        bench.roster.forget_list();
        bench.next_registration("new");
        let ids = list.iter().map(|n| name(*n)).collect();
        bench.run([Event::Begun, Event::Listed(Some(ids))]);
        bench.on(Event::Replied(Reply::Other));
        bench.roster.removed(&name(9), bench.now);
        for user in bench.roster.candidates(bench.here.clock) {
            assert_eq!(user.id, name(usize::try_from(user.known.calls).unwrap()));
        }
    }
}

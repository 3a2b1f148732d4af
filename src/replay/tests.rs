use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::admission::patterns::Patterns;
use crate::admission::policy::{Key, UnknownAge};

fn by(order: &[Key]) -> Policy {
    Policy {
        order: order.to_vec(),
        unknown_age: UnknownAge::Oldest,
        evictable: Patterns::new(&["*".to_owned()]),
        protect: Patterns::new(&[]),
        min_age: Duration::ZERO,
        active_within: Duration::ZERO,
    }
}

/// A deed each second: `+a` is registered, `a` calls, `-a` leaves.
fn history(deeds: &str) -> History {
    let deed = |(place, word): (usize, &str)| {
        let at = Millis(i64::try_from(place).unwrap() * 1000);
        match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(id), _) => (at, UserId::new(id), Deed::Registered),
            (_, Some(id)) => (at, UserId::new(id), Deed::Left),
            _ => (at, UserId::new(word), Deed::Called(1)),
        }
    };
    let deeds = deeds.split_whitespace().enumerate().map(deed).collect();
    History::new(deeds, Vec::new())
}

fn outcome(evictions: u64, returned: u64, gone: Option<u64>) -> Outcome {
    Outcome {
        evictions,
        returned,
        gone: gone.map(Duration::from_secs),
        refused: 0,
    }
}

#[test]
fn small_histories_come_out_as_on_paper() {
    let (oldest, idle) = (by(&[Key::Oldest]), by(&[Key::LeastRecentlyActive]));
    // Two slots, three users; a is the one that is used.
    let of = history("+a +b a +c a +b a");
    // a goes for c, b for a, c for b: a came back after 1 s, b after 1 s.
    assert_eq!(of.by_policy(&oldest, 2), outcome(3, 2, Some(1)));
    // b goes for c, c for b: b came back after 2 s.
    assert_eq!(of.by_policy(&idle, 2), outcome(2, 1, Some(2)));
    assert_eq!(of.by_foresight(2), outcome(2, 1, Some(2)));
    assert_eq!(of.by_policy(&oldest, 3), outcome(0, 0, None));
    // Who leaves makes room, and its return is nobody's fault.
    let left = history("+a +b -a +c +a");
    assert_eq!(left.by_policy(&oldest, 2), outcome(1, 0, None));
    // Evicted first, and deleted by the application afterwards: likewise.
    let late = history("+a +b +c -a +a");
    assert_eq!(late.by_policy(&oldest, 2), outcome(2, 0, None));
    // Foresight evicts c, who will leave, rather than a or b; and d, who never does, rather than c.
    let leaving = history("+a +b +c +d a b -c");
    assert_eq!(leaving.by_foresight(3), outcome(1, 0, None));
    assert_eq!(history("+d +c +a -c a +e a").by_foresight(2).evictions, 1);
}

#[test]
fn who_is_protected_stays_and_the_newcomer_is_refused_once() {
    let mut policy = by(&[Key::Oldest]);
    policy.min_age = Duration::from_mins(1);
    let of = history("+a +b +b b +a");
    let refused = Outcome {
        refused: 1,
        ..Outcome::default()
    };
    assert_eq!(of.by_policy(&policy, 1), refused);
    policy.min_age = Duration::ZERO;
    policy.protect = Patterns::new(&["a".to_owned()]);
    assert_eq!(of.by_policy(&policy, 1), refused);
    assert_eq!(of.by_foresight(1), outcome(2, 1, Some(3)));
    let hand = Known {
        protected: true,
        ..Known::default()
    };
    let by_hand = History::new(of.deeds.clone(), vec![(UserId::new("a"), hand)]);
    assert_eq!(by_hand.by_policy(&by(&[Key::Oldest]), 1), refused);
}

#[test]
fn who_was_there_before_is_told_by_what_it_did_and_by_what_is_remembered() {
    let at = |first_seen, registered: Option<i64>| Known {
        first_seen: Millis(first_seen),
        registered: registered.map(|at| (Millis(at), Source::Own)),
        last_active: Some(Millis(9_000)),
        calls: 7,
        ..Known::default()
    };
    let deeds = [
        (2_000, "gone", Deed::Called(1)),
        (3_000, "back", Deed::Evicted),
        (4_000, "new", Deed::Registered),
        (5_000, "elsewhere", Deed::Called(1)),
        (6_000, "back", Deed::Registered),
    ];
    let deeds = deeds.map(|(at, id, deed)| (Millis(at), UserId::new(id), deed));
    let remembered = [
        ("idle", at(1_000, Some(1_000))),
        ("new", at(4_000, Some(4_000))),
        ("elsewhere", at(4_500, None)),
        ("back", at(6_000, Some(6_000))),
        ("silent and new", at(7_000, None)),
    ];
    let remembered = remembered.map(|(id, known)| (UserId::new(id), known)).to_vec();
    let of = History::new(deeds.to_vec(), remembered);
    let there: Vec<_> = of
        .there
        .iter()
        .map(|user| (user.id.as_str(), user.known))
        .collect();
    let unknown = Known::default();
    let idle = Known {
        last_active: None,
        calls: 0,
        ..at(1_000, Some(1_000))
    };
    assert_eq!(there, [("back", unknown), ("gone", unknown), ("idle", idle)]);
    assert_eq!(of.span(), Some((Millis(2_000), Millis(6_000))));
    assert_eq!(History::default().span(), None);
}

fn any_history(deeds: usize) -> impl Strategy<Value = History> {
    let deed = select(vec![
        Deed::Registered,
        Deed::Called(1),
        Deed::Called(3),
        Deed::Left,
        Deed::Evicted,
    ]);
    proptest::collection::vec((0..6u8, deed), 0..deeds).prop_map(|deeds| {
        let deed = |(place, (user, deed)): (usize, (u8, Deed))| {
            let at = Millis(i64::try_from(place).unwrap() * 1000);
            (at, UserId::new(user.to_string()), deed)
        };
        History::new(deeds.into_iter().enumerate().map(deed).collect(), Vec::new())
    })
}

/// The least regret of all that could have been done, by trying it.
fn least_regret(of: &History, place: usize, there: &[UserId], evicted: &[UserId], slots: usize) -> u64 {
    let Some((_, user, deed)) = of.deeds.get(place) else {
        return 0;
    };
    let without =
        |users: &[UserId]| -> Vec<UserId> { users.iter().filter(|other| *other != user).cloned().collect() };
    if *deed == Deed::Left {
        return least_regret(of, place + 1, &without(there), &without(evicted), slots);
    }
    if there.contains(user) || *deed == Deed::Evicted {
        return least_regret(of, place + 1, there, evicted, slots);
    }
    let regret = u64::from(evicted.contains(user));
    if there.len() < slots {
        let there = [there, std::slice::from_ref(user)].concat();
        return regret + least_regret(of, place + 1, &there, &without(evicted), slots);
    }
    let of_each = there.iter().map(|victim| {
        let mut there: Vec<UserId> = there.iter().filter(|other| *other != victim).cloned().collect();
        let mut evicted = without(evicted);
        evicted.push(victim.clone());
        if there.len() < slots {
            there.push(user.clone());
            return regret + least_regret(of, place + 1, &there, &evicted, slots);
        }
        // Too many were there at the beginning; the same wish again, with one fewer.
        let again = History {
            deeds: of.deeds[place..].to_vec(),
            ..History::default()
        };
        evicted.extend((regret > 0).then(|| user.clone()));
        least_regret(&again, 0, &there, &evicted, slots)
    });
    of_each.min().unwrap_or(0)
}

proptest! {
    #[test]
    fn no_policy_beats_foresight(
        of in any_history(40),
        order in proptest::sample::subsequence(Key::ALL.to_vec(), 0..=Key::ALL.len()).prop_shuffle(),
        slots in 1..5usize,
    ) {
        let (by_policy, best) = (of.by_policy(&by(&order), slots), of.by_foresight(slots));
        prop_assert_eq!((by_policy.refused, best.refused), (0, 0));
        prop_assert!(by_policy.returned >= best.returned, "{:?} {:?}", by_policy, best);
    }

    #[test]
    fn nothing_beats_foresight(of in any_history(11), slots in 1..4usize) {
        let there: Vec<UserId> = of.there.iter().map(|user| user.id.clone()).collect();
        prop_assert_eq!(of.by_foresight(slots).returned, least_regret(&of, 0, &there, &[], slots));
    }
}

//! What holds for any users and any policy, compared with the keys and protections told anew.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// Few values, so that many are alike.
fn any_known() -> impl Strategy<Value = Known> {
    let times = || select(vec![0, 1, 500, NOW.0 - 1, NOW.0, NOW.0 + 1]).prop_map(Millis);
    let registered = proptest::option::of((times(), select(vec![Source::Own, Source::Webhook])));
    let connections = proptest::option::of((0..2u16, 0..2u16))
        .prop_map(|found| found.map(|(working, broken)| Connections { working, broken }));
    let calls = select(vec![0, 1, 2, u32::MAX]);
    (
        times(),
        registered,
        proptest::option::of(times()),
        calls,
        connections,
        any::<bool>(),
    )
        .prop_map(
            |(first_seen, registered, last_active, calls, connections, protected)| Known {
                first_seen,
                registered,
                last_active,
                calls,
                connections,
                protected,
            },
        )
}

fn any_users() -> impl Strategy<Value = Vec<Candidate>> {
    let user = (any_known(), 0..10u8, 0..10u8);
    proptest::collection::vec(user, 0..25).prop_map(|users| {
        let candidate = |(at, (known, vip, unlisted)): (usize, (Known, u8, u8))| Candidate {
            id: id(&format!("{}{at}", if vip == 0 { "vip-" } else { "user-" })),
            known,
            is_listed: unlisted > 0,
        };
        users.into_iter().enumerate().map(candidate).collect()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let spans = || select(vec![0, 1, 600]).prop_map(Duration::from_millis);
    let order = subsequence(Key::ALL.to_vec(), 0..=Key::ALL.len()).prop_shuffle();
    (order, select(UnknownAge::ALL.to_vec()), spans(), spans()).prop_map(
        |(order, unknown_age, min_age, active_within)| Policy {
            unknown_age,
            protect: patterns(&["vip-*"]),
            min_age,
            active_within,
            ..policy(&order)
        },
    )
}

/// Who goes first by one key, told anew from what it is documented to mean; places count from 0.
fn by_key(key: Key, a: (usize, &Known), b: (usize, &Known), by_place: bool) -> Ordering {
    let registered = |known: &Known| known.registered.map(|(at, _)| at);
    let sign_of_life = |known: &Known| {
        let since = registered(known).unwrap_or(known.first_seen);
        known.last_active.unwrap_or(since)
    };
    let has_called = |known: &Known| known.calls > 0 || known.last_active.is_some();
    let connections = |known: &Known| match known.connections {
        Some(c) if c.working + c.broken == 0 => 'a',
        None => 'b',
        Some(_) => 'c',
    };
    let only_broken = |known: &Known| known.connections.is_some_and(|c| c.working == 0 && c.broken > 0);
    match key {
        Key::Oldest if by_place => a.0.cmp(&b.0),
        Key::Oldest => match (registered(a.1), registered(b.1)) {
            (None, None) => a.0.cmp(&b.0),
            (a, b) => a.cmp(&b),
        },
        Key::LeastRecentlyActive => sign_of_life(a.1).cmp(&sign_of_life(b.1)),
        Key::NeverActive => has_called(a.1).cmp(&has_called(b.1)),
        Key::LeastActive => a.1.calls.cmp(&b.1.calls),
        Key::NoConnections => connections(a.1).cmp(&connections(b.1)),
        Key::BrokenConnections => only_broken(b.1).cmp(&only_broken(a.1)),
    }
}

/// The same for protections.
fn must_stay(policy: &Policy, user: &Candidate) -> bool {
    let known = &user.known;
    let ago = |at: Millis| NOW.0 - at.0;
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap();
    let age = ago(known.registered.map_or(known.first_seen, |(at, _)| at)).max(0);
    let idle = ago(known.last_active.unwrap_or(known.first_seen)).max(0);
    !user.is_listed
        || known.protected
        || user.id.as_str().starts_with("vip-")
        || (policy.unknown_age == UnknownAge::Protect && known.registered.is_none())
        || age < millis(policy.min_age)
        || idle < millis(policy.active_within)
}

/// Those who may go, in order, with their places in the list.
fn evictable<'a>(users: &'a [Candidate], ranking: &'a [Ranked]) -> Vec<(usize, &'a Known, &'a Why)> {
    let place = |ranked: &Ranked| users.iter().position(|user| user.id == ranked.user).unwrap();
    let found = ranking.iter().map_while(|ranked| match &ranked.verdict {
        Verdict::Evictable(why) => Some((place(ranked), &ranked.known, why)),
        Verdict::Protected(_) => None,
    });
    found.collect()
}

proptest! {
    #[test]
    fn the_order_is_total(policy in any_policy(), users in any_users()) {
        let ranking = policy.ranking(&users, NOW);
        let order = evictable(&users, &ranking);
        let by_place = policy.unknown_age == UnknownAge::ListOrder
            && order.iter().any(|(_, known, _)| known.registered.is_none());
        // Each before all that come after it, not only before the next: so it is transitive, and never both ways.
        for (at, a) in order.iter().enumerate() {
            for b in &order[at + 1..] {
                let keys = policy.order.iter().map(|key| by_key(*key, (a.0, a.1), (b.0, b.1), by_place));
                let compared = keys.fold(Ordering::Equal, Ordering::then).then(a.0.cmp(&b.0));
                prop_assert_eq!(compared, Ordering::Less);
            }
        }
        prop_assert_eq!(policy.ranking(&users, NOW), ranking);
    }

    #[test]
    fn r5_protections_always_hold_and_nobody_is_left_out(policy in any_policy(), users in any_users()) {
        let ranking = policy.ranking(&users, NOW);
        prop_assert_eq!(ranking.len(), users.len());
        let mut stay = false;
        for ranked in &ranking {
            let user = users.iter().find(|user| user.id == ranked.user).unwrap();
            prop_assert_eq!(user.known, ranked.known);
            let protected = matches!(ranked.verdict, Verdict::Protected(_));
            prop_assert_eq!(protected, must_stay(&policy, user));
            prop_assert!(protected || !stay, "those who may go come first");
            stay |= protected;
        }
    }

    #[test]
    fn the_explanation_agrees_with_the_choice(policy in any_policy(), users in any_users()) {
        let ranking = policy.ranking(&users, NOW);
        let order = evictable(&users, &ranking);
        let by_place = policy.unknown_age == UnknownAge::ListOrder
            && order.iter().any(|(_, known, _)| known.registered.is_none());
        for (at, (place, known, why)) in order.iter().enumerate() {
            let Some((next, others, _)) = order.get(at + 1) else {
                prop_assert_eq!(why.decided, Decided::Last);
                break;
            };
            let by = |key: Key| by_key(key, (*place, known), (*next, others), by_place);
            prop_assert!(why.tied.iter().all(|key| by(*key) == Ordering::Equal), "{why}");
            prop_assert!(policy.order.starts_with(&why.keys()), "{why}");
            match why.decided {
                Decided::Key(key, standing) => {
                    prop_assert_eq!(by(key), Ordering::Less, "{}", why);
                    prop_assert_eq!(why.keys(), policy.order[..=why.tied.len()].to_vec());
                    let told = standing.to_string();
                    prop_assert!(why.to_string().contains(&told));
                }
                Decided::ListOrder { place: told } => {
                    prop_assert_eq!(told, place + 1);
                    prop_assert!(place < next);
                    prop_assert_eq!(&why.keys(), &policy.order);
                }
                Decided::Last => prop_assert!(false, "{} is not the last", place),
            }
        }
    }

    #[test]
    fn an_admission_takes_the_first_of_the_ranking(policy in any_policy(), users in any_users()) {
        let users: Vec<Candidate> = users.into_iter().filter(|user| user.is_listed).collect();
        let mut bench = Bench::new();
        bench.here.clock = NOW;
        bench.terms.policy = policy;
        bench.terms.max_users = users.len().max(1);
        let known = users.iter().map(|user| (user.id.clone(), user.known)).collect();
        bench.roster.remember(known, Vec::new());
        bench.on(Event::Begun);
        let list = users.iter().map(|user| user.id.clone()).collect();
        let step = bench.on(Event::Listed(Some(list)));
        let ranking = bench.terms.policy.ranking(&bench.roster.candidates(NOW), NOW);
        let shown: Vec<UserId> = users.iter().map(|user| user.id.clone()).collect();
        prop_assert!(ranking.iter().all(|ranked| shown.contains(&ranked.user)));
        if let Some(Ranked { user, verdict: Verdict::Evictable(why), .. }) = ranking.first() {
            prop_assert_eq!(step, Step::RecordIntent(user.clone(), ONLY));
            prop_assert_eq!(bench.why.as_ref(), Some(why));
        } else {
            prop_assert_eq!(step, FORWARD);
        }
    }

    #[test]
    fn several_victims_are_the_first_of_the_ranking(
        policy in any_policy(),
        users in any_users(),
        needed in 1..=3_usize,
        refused in 0..4_usize,
    ) {
        let listed: Vec<Candidate> = users.into_iter().filter(|user| user.is_listed).collect();
        let known = listed.iter().map(|user| (user.id.clone(), user.known)).collect();
        let mut roster = Roster::default();
        roster.remember(known, Vec::new());
        let now = Instant::now();
        let ids = listed.iter().map(|user| user.id.clone()).collect();
        prop_assume!(roster.take(ids, now, now, NOW, Duration::ZERO).is_ok());
        let ranking = policy.ranking(&roster.candidates(NOW), NOW);
        let refused: Vec<UserId> = ranking.iter().skip(1).take(refused).map(|ranked| ranked.user.clone()).collect();
        let chosen = policy.first(roster.users(NOW), needed, &refused, NOW);
        let wanted = ranking.iter().filter(|ranked| !refused.contains(&ranked.user));
        let wanted: Vec<&UserId> = wanted
            .filter(|ranked| matches!(ranked.verdict, Verdict::Evictable(_)))
            .map(|ranked| &ranked.user)
            .take(needed)
            .collect();
        prop_assert_eq!(chosen.iter().map(|(victim, _)| victim).collect::<Vec<_>>(), wanted);
    }
}

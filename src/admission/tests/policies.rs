//! The policy: examples of each key and protection.

mod properties;

use super::*;
use crate::admission::known::{Connections, Known, Source};
use crate::admission::policy::{Candidate, Protection, Ranked, Verdict};

const NOW: Millis = Millis(1_000_000);

fn policy(order: &[Key]) -> Policy {
    Policy {
        order: order.to_vec(),
        unknown_age: UnknownAge::Oldest,
        evictable: patterns(&["*"]),
        protect: patterns(&[]),
        min_age: Duration::ZERO,
        active_within: Duration::ZERO,
    }
}

fn user(name: &str, known: Known) -> Candidate {
    Candidate {
        id: id(name),
        known,
        is_listed: true,
    }
}

fn registered(at: i64) -> Known {
    Known {
        registered: Some((Millis(at), Source::Own)),
        ..Known::default()
    }
}

fn called(at: i64, calls: u32) -> Known {
    Known {
        last_active: Some(Millis(at)),
        calls,
        ..Known::default()
    }
}

fn connected(working: u16, broken: u16) -> Known {
    Known {
        connections: Some(Connections { working, broken }),
        ..Known::default()
    }
}

/// Those who may go, in order, each with why.
fn order(policy: &Policy, users: &[(&str, Known)]) -> Vec<(String, String)> {
    let users: Vec<Candidate> = users.iter().map(|(name, known)| user(name, *known)).collect();
    let told = |ranked: Ranked| match ranked.verdict {
        Verdict::Evictable(why) => Some((ranked.user.to_string(), why.to_string())),
        Verdict::Protected(_) => None,
    };
    policy.ranking(&users, NOW).into_iter().filter_map(told).collect()
}

fn names(policy: &Policy, users: &[(&str, Known)]) -> Vec<String> {
    order(policy, users).into_iter().map(|(name, _)| name).collect()
}

fn protection(policy: &Policy, known: Known) -> Option<Protection> {
    let verdict = policy.ranking(&[user("u", known)], NOW).remove(0).verdict;
    match verdict {
        Verdict::Evictable(_) => None,
        Verdict::Protected(protection) => Some(protection),
    }
}

#[test]
fn oldest_takes_unknown_ages_first_in_list_order() {
    let users = [
        ("young", registered(9)),
        ("b", Known::default()),
        ("old", registered(2)),
        ("a", Known::default()),
    ];
    assert_eq!(names(&policy(&[Key::Oldest]), &users), ["b", "a", "old", "young"]);
}

#[test]
fn where_one_age_is_unknown_list_order_ignores_ages() {
    let mut policy = policy(&[Key::Oldest]);
    policy.unknown_age = UnknownAge::ListOrder;
    let mut users = [
        ("young", registered(9)),
        ("unknown", Known::default()),
        ("old", registered(2)),
    ];
    assert_eq!(
        order(&policy, &users)[0],
        (
            "young".into(),
            "oldest (place 1 in listUsers, since an age is unknown)".into()
        )
    );
    // One who cannot go anyway has no say.
    policy.protect = patterns(&["unknown"]);
    assert_eq!(names(&policy, &users), ["old", "young"]);
    policy.protect = patterns(&[]);
    users[1].1 = registered(1);
    assert_eq!(names(&policy, &users), ["unknown", "old", "young"]);
}

#[test]
fn r5_with_protect_unknown_ages_stay() {
    let mut policy = policy(&[Key::Oldest]);
    policy.unknown_age = UnknownAge::Protect;
    assert_eq!(
        protection(&policy, Known::default()),
        Some(Protection::UnknownAge)
    );
    assert_eq!(protection(&policy, registered(1)), None);
}

#[test]
fn idle_users_go_by_their_last_call_and_newcomers_by_their_registration() {
    let seen = |at| Known {
        first_seen: Millis(at),
        ..Known::default()
    };
    let users = [
        ("busy", called(900, 1)),
        ("new", registered(800)),
        ("idle", called(100, 7)),
        ("seen", seen(500)),
    ];
    let told = order(&policy(&[Key::LeastRecentlyActive]), &users);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["idle", "seen", "new", "busy"]);
    assert_eq!(
        told[1].1,
        "least-recently-active (no call since 1970-01-01T00:00:00.5Z)"
    );
}

#[test]
fn each_other_key_takes_its_own_first() {
    let of = |key, users: &[(&str, Known)]| names(&policy(&[key]), users);
    let calls = [
        ("two", called(1, 2)),
        ("none", registered(5)),
        ("one", called(9, 1)),
    ];
    assert_eq!(of(Key::NeverActive, &calls), ["none", "two", "one"]);
    assert_eq!(of(Key::LeastActive, &calls), ["none", "one", "two"]);
    let connections = [
        ("working", connected(1, 0)),
        ("unknown", Known::default()),
        ("both", connected(1, 2)),
        ("broken", connected(0, 2)),
        ("none", connected(0, 0)),
    ];
    assert_eq!(
        of(Key::NoConnections, &connections),
        ["none", "unknown", "working", "both", "broken"]
    );
    assert_eq!(
        of(Key::BrokenConnections, &connections),
        ["broken", "working", "unknown", "both", "none"]
    );
}

#[test]
fn keys_are_compared_in_turn_and_the_explanation_names_those_that_were() {
    let keys = [Key::NeverActive, Key::LeastActive, Key::Oldest];
    let users = [
        ("c", called(3, 5)),
        ("b", registered(20_000)),
        ("a", registered(10_000)),
        ("d", called(3, 5)),
    ];
    assert_eq!(
        order(&policy(&keys), &users),
        [
            (
                "a",
                "oldest (registered 1970-01-01T00:00:10Z), tied by never-active, least-active"
            ),
            ("b", "never-active (no calls)"),
            (
                "c",
                "oldest (age unknown, place 1 in listUsers), tied by never-active, least-active"
            ),
            ("d", "nobody else may go"),
        ]
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
    );
    let alike = [("b", called(1, 1)), ("a", called(1, 1))];
    assert_eq!(
        order(&policy(&[Key::LeastActive]), &alike)[0],
        (
            "b".into(),
            "list order (place 1 in listUsers), tied by least-active".into()
        )
    );
    assert_eq!(names(&policy(&[]), &alike), ["b", "a"]);
}

#[test]
fn r5_patterns_and_hands_protect() {
    let known = Known::default();
    let mut policy = policy(&[]);
    policy.protect = patterns(&["vip-*"]);
    assert_eq!(names(&policy, &[("vip-1", known), ("demo/1", known)]), ["demo/1"]);
    policy.evictable = patterns(&["demo*"]);
    assert_eq!(names(&policy, &[("user", known), ("demo/1", known)]), ["demo/1"]);
    let by_hand = Known {
        protected: true,
        ..known
    };
    assert!(names(&policy, &[("demo/1", by_hand)]).is_empty());
}

#[test]
fn r5_what_is_unknown_counts_from_when_the_user_was_first_seen() {
    let seen = |age: i64| Known {
        first_seen: Millis(NOW.0 - age),
        ..Known::default()
    };
    let aged = Policy {
        min_age: Duration::from_millis(10),
        ..policy(&[])
    };
    assert_eq!(protection(&aged, seen(9)), Some(Protection::Young));
    assert_eq!(protection(&aged, seen(10)), None);
    let registered = Known {
        registered: Some((Millis(NOW.0 - 10), Source::Webhook)),
        ..seen(0)
    };
    assert_eq!(protection(&aged, registered), None);

    let idle = Policy {
        active_within: Duration::from_millis(10),
        ..policy(&[])
    };
    assert_eq!(protection(&idle, seen(9)), Some(Protection::Active));
    assert_eq!(protection(&idle, seen(10)), None);
    let called = |ago: i64| Known {
        last_active: Some(Millis(NOW.0 - ago)),
        ..seen(99)
    };
    assert_eq!(protection(&idle, called(9)), Some(Protection::Active));
    assert_eq!(protection(&idle, called(10)), None);
    // The clock was set back: nobody grows old by it.
    assert_eq!(protection(&idle, called(-50)), Some(Protection::Active));
}

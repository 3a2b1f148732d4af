//! Why no room was made, what comes of it, and what is said.

use super::*;
use crate::admission::known::Source;

const ALL: [Reason; 14] = [
    Reason::AlreadyListed,
    Reason::NoUserId,
    Reason::ListFailed,
    Reason::TooManyOver,
    Reason::NobodyEvictable,
    Reason::DeletionUnsettled,
    Reason::DeletionRejected,
    Reason::NotJournaled,
    Reason::RegistryDown,
    Reason::FuseBlown,
    Reason::TimedOut,
    Reason::CallerGone,
    Reason::Stopping,
    Reason::Observed,
];

#[test]
fn each_reason_has_a_word_of_its_own() {
    for (at, reason) in ALL.iter().enumerate() {
        let token = reason.token();
        assert!(
            token.len() > 3
                && token
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{token}"
        );
        assert!(
            ALL[at + 1..].iter().all(|other| other.token() != token),
            "{token}"
        );
    }
}

#[test]
fn what_nobody_has_to_look_into_wants_no_attention() {
    let quiet: Vec<Reason> = ALL
        .into_iter()
        .filter(|reason| !reason.wants_attention())
        .collect();
    assert_eq!(
        quiet,
        [
            Reason::AlreadyListed,
            Reason::NoUserId,
            Reason::ListFailed,
            Reason::NotJournaled,
            Reason::TimedOut,
            Reason::CallerGone,
            Reason::Stopping,
            Reason::Observed,
        ]
    );
}

#[test]
fn r10_after_a_rejected_deletion_a_limit_error_evicts_nobody_else() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    assert_eq!(bench.on(Event::Deleted(Deletion::Rejected)), FORWARD);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), Step::List);
    assert_eq!(bench.on(listed(&["a", "b", "c"])), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::DeletionRejected));
}

#[test]
fn r10_a_deletion_that_was_not_sent_is_withdrawn_and_decided_anew() {
    let mut bench = Bench::new();
    let begun = [Event::Begun, listed(&["a", "b", "c"])];
    assert_eq!(bench.run(begun), intent("a"));
    bench.on(Event::IntentRecorded(true));
    assert_eq!(bench.on(Event::Deleted(Deletion::Unsent)), Step::Pause(100 * MS));
    assert_eq!(bench.admission.take_notes(), [Note::EvictionWithdrawn(id("a"))]);
    assert_eq!((bench.admission.unsettled(), bench.roster.under_way()), (None, 0));
    assert!(bench.roster.deletions().is_empty(), "R6");
    // Once more, and the same user is still the first to go.
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), intent("a"));
    bench.on(Event::IntentRecorded(true));
    assert_eq!(bench.on(Event::Deleted(Deletion::Unsent)), Step::Pause(200 * MS));
    bench.after(Duration::from_secs(30));
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::TimedOut));
}

#[test]
fn r4_where_no_deletion_was_sent_a_caller_that_left_ends_it() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    bench.here.caller_gone = true;
    assert_eq!(
        bench.on(Event::Deleted(Deletion::Unsent)),
        Step::Finish(Ending::Abandoned)
    );
}

#[test]
fn r3_after_a_refusal_that_took_long_the_users_are_listed_again() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
    ]);
    bench.after(2001 * MS);
    assert_eq!(bench.on(Event::Deleted(Deletion::Refused)), Step::List);
}

#[test]
fn r14_an_intent_is_withdrawn_once_the_registry_cannot_be_read() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    bench.here.knows = false;
    assert_eq!(bench.on(Event::IntentRecorded(true)), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::RegistryDown));
    assert_eq!(bench.admission.take_notes(), [Note::EvictionWithdrawn(id("a"))]);
}

#[test]
fn r7_what_comes_out_of_turn_deletes_nobody() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    assert_eq!(bench.on(Event::Deleted(Deletion::Accepted)), FORWARD);
    assert_eq!(bench.on(Event::IntentRecorded(true)), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::NotJournaled));
    assert!(bench.admission.evicted().is_empty());
}

#[test]
fn r9_it_is_known_that_a_registration_was_retried() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["a"]), Event::Replied(Reply::LimitReached)]);
    bench.run([
        listed(&["a"]),
        Event::IntentRecorded(true),
        Event::Deleted(Deletion::Accepted),
    ]);
    assert_eq!(bench.on(listed(&[])), RETRY);
    assert!(bench.admission.retried());
}

#[test]
fn r10_a_list_that_fails_is_awaited_for_the_settle_time_and_no_longer() {
    let mut bench = Bench::new();
    bench.run([
        Event::Begun,
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
        Event::Deleted(Deletion::Accepted),
    ]);
    bench.after(19_999 * MS);
    // No longer than until it is decided.
    assert_eq!(bench.on(Event::Listed(None)), Step::Pause(MS));
    bench.after(MS);
    assert_eq!(bench.run([Event::Woken, Event::Listed(None)]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::ListFailed));
}

#[test]
fn a_list_that_fails_is_not_awaited_for_the_deletion_of_another() {
    let mut bench = Bench::new();
    bench.roster.await_deletion(id("a"), bench.now, bench.now, true);
    assert_eq!(bench.run([Event::Begun, Event::Listed(None)]), FORWARD);
    assert_eq!(bench.admission.reason(), Some(Reason::ListFailed));
}

#[test]
fn r4_after_a_limit_error_everybody_who_is_too_many_counts() {
    let mut bench = Bench::new();
    bench.terms.max_per_registration = 2;
    bench.run([Event::Begun, listed(&["a"]), Event::Replied(Reply::LimitReached)]);
    assert_eq!(bench.on(listed(&["a", "b", "c", "d", "e"])), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::TooManyOver));
}

#[test]
fn r9_what_an_eviction_of_ones_own_freed_teaches_nothing_of_tombstones() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, listed(&["b"]), registered()]);
    assert!(!bench.roster.tombstones_count);

    bench.next_registration("newer");
    bench.roster.forget_list();
    bench.run([
        Event::Begun,
        listed(&["b", "new"]),
        Event::Replied(Reply::LimitReached),
    ]);
    assert_eq!(bench.on(listed(&["b", "new"])), intent("b"));
    bench.run([Event::IntentRecorded(true), Event::Deleted(Deletion::Accepted)]);
    assert!(matches!(bench.on(listed(&["b_deleted", "new"])), Step::Pause(_)));
    assert_eq!(bench.run([Event::Woken, listed(&["new"])]), RETRY);
    assert_eq!(bench.on(Event::Replied(Reply::Registered(id("newer")))), ANSWERED);
    assert!(!bench.roster.tombstones_count);
}

#[test]
fn r5_by_what_a_user_is_protected_is_told_and_what_binds_an_operator_too() {
    use crate::admission::policy::Protection as By;
    for (by, told, binds) in [
        (By::Unlisted, "not-listed-yet", true),
        (By::NotEvictable, "not-evictable", true),
        (By::Pattern, "protect", true),
        (By::Hand, "by-hand", true),
        (By::UnknownAge, "unknown-age", false),
        (By::Young, "min-age", false),
        (By::Active, "active-within", false),
    ] {
        assert_eq!((by.to_string().as_str(), by.binds_operators()), (told, binds));
    }
    let modes = [Mode::Enforce, Mode::OnLimitError, Mode::Observe, Mode::Off];
    assert_eq!(
        modes.map(Mode::token),
        ["enforce", "on-limit-error", "observe", "off"]
    );
}

#[test]
fn by_whom_a_registration_is_known_is_stored_as_a_word() {
    let sources = [Source::Own, Source::Webhook];
    assert_eq!(sources.map(Source::token), ["own", "webhook"]);
}

#[test]
fn an_order_is_written_and_told_by_the_same_words() {
    let keys = [
        ("oldest", Key::Oldest),
        ("least-recently-active", Key::LeastRecentlyActive),
        ("never-active", Key::NeverActive),
        ("least-active", Key::LeastActive),
        ("no-connections", Key::NoConnections),
        ("broken-connections", Key::BrokenConnections),
    ];
    for (word, key) in keys {
        assert_eq!((Key::from_token(word), key.token()), (Some(key), word));
    }
    let ages = [
        ("oldest", UnknownAge::Oldest),
        ("list-order", UnknownAge::ListOrder),
        ("protect", UnknownAge::Protect),
    ];
    for (word, age) in ages {
        assert_eq!((UnknownAge::from_token(word), age.token()), (Some(age), word));
    }
    assert_eq!(
        (Key::from_token("Oldest"), UnknownAge::from_token("")),
        (None, None)
    );
}

#[test]
fn patterns_are_known_by_what_was_written() {
    let vip = patterns(&["a-*", "vip-?", "team-1"]);
    assert_eq!(vip.matching("vip-1"), Some("vip-?"));
    assert_eq!(vip.matching("team-1"), Some("team-1"));
    assert_eq!(vip.matching("b"), None);
    assert_eq!(vip.sources(), ["a-*", "vip-?", "team-1"]);
    assert_eq!(format!("{vip:?}"), r#"["a-*", "vip-?", "team-1"]"#);
    assert!(vip == patterns(&["a-*", "vip-?", "team-1"]) && vip != patterns(&["a-*"]));
}

#[test]
fn r14_a_retry_in_vain_says_why_no_room_was_made_and_one_that_succeeds_does_not() {
    let mut bench = Bench::new();
    bench.here.knows = false;
    bench.run([Event::Begun, listed(&["a", "b", "c"])]);
    let limit = || Event::Replied(Reply::LimitReached);
    bench.run([limit(), listed(&["a", "b", "c", "z_deleted"])]);
    // The tombstone's slot may be free now; another program took it.
    assert_eq!(bench.run([Event::Woken, listed(&["a", "b", "c"])]), RETRY);
    assert_eq!(bench.admission.reason(), None);
    assert_eq!(bench.on(limit()), ANSWERED);
    assert_eq!(bench.admission.reason(), Some(Reason::RegistryDown));
}

#[test]
fn a_retry_in_vain_after_an_eviction_is_not_for_want_of_room() {
    let mut bench = Bench::new();
    bench.run([Event::Begun, Event::Listed(None)]);
    bench.run([
        Event::Replied(Reply::LimitReached),
        listed(&["a", "b", "c"]),
        Event::IntentRecorded(true),
        Event::Deleted(Deletion::Accepted),
    ]);
    assert_eq!(bench.on(listed(&["b", "c"])), RETRY);
    assert_eq!(bench.on(Event::Replied(Reply::LimitReached)), ANSWERED);
    assert_eq!(bench.admission.reason(), None);
}

#[test]
fn a_retry_that_leaves_too_many_users_says_why_no_room_was_made() {
    for (after, reason) in [
        (&["b", "c", "d"][..], Some(Reason::FuseBlown)),
        (&["b", "c"], None),
    ] {
        let mut bench = Bench::new();
        bench.terms.fuse.evictions = 0;
        assert_eq!(bench.run([Event::Begun, listed(&["a", "b", "c", "d"])]), FORWARD);
        assert_eq!(bench.admission.reason(), Some(Reason::FuseBlown));
        // Somebody went meanwhile.
        assert_eq!(
            bench.run([Event::Replied(Reply::LimitReached), listed(after)]),
            RETRY
        );
        assert_eq!(bench.on(registered()), ANSWERED);
        assert_eq!(bench.admission.reason(), reason, "{after:?}");
    }
}

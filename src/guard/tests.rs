//! A guard whose SnapTrade cannot be reached, and what it writes before it would delete.

use super::book::Book;
use super::journal::now;
use super::*;
use crate::activity::Teller;
use crate::admission::known::Source;
use crate::admission::roster::Roster;
use crate::config::{self, Config, Sources};
use crate::notices::{self, Schedule};
use crate::registry::{Entry, Event};
use crate::upstream::own::Own;
use crate::upstream::{outbound, tls};
use std::time::Duration;

/// One tenant, behind whose upstream nobody listens.
pub(crate) fn config() -> Config {
    let flags = [
        ("proxy.upstream", "http://127.0.0.1:1"),
        ("tenants.default.client_id", "C"),
        ("tenants.default.consumer_key", "k"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources {
        flags: flags.to_vec(),
        ..Sources::default()
    };
    config::load(sources).unwrap().config
}

/// What a guard of this configuration works with; it remembers in memory.
pub(crate) fn means(config: &Config) -> Means {
    let tls = tls::client_config(None).unwrap();
    let (registry, metrics) = (
        Arc::new(Registry::memory()),
        Arc::new(Metrics::new([("default", 5)])),
    );
    let told = notices::Means {
        http: outbound::client(tls.clone(), Duration::from_secs(1)).unwrap(),
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        replica: "r".into(),
    };
    let mut teller = Teller::new(Arc::clone(&registry), Arc::clone(&metrics), "replica".into());
    let tally = teller.tally();
    tokio::spawn(async move { teller.run(CancellationToken::new()).await });
    Means {
        forwarder: Forwarder::new(&config.proxy, tls, Own::default(), metrics.cut_short()),
        tally,
        metrics,
        registry,
        replica: "r".into(),
        notices: Notices::new(&config.tenants, told, Schedule::default()),
        clock_differs: Arc::default(),
        stopping: CancellationToken::new(),
        runtime: Handle::current(),
        tasks: TaskTracker::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn r7_a_deletion_whose_intent_is_a_second_old_is_not_sent() {
    let config = config();
    let guard = Guard::new(Arc::clone(&config.tenants[0]), means(&config));
    let mut held = Held::default();
    let (mut book, roster) = Book::open(&guard, None, &mut held, Duration::from_secs(1)).await;
    assert!(!book.is_timely(), "nothing was intended");
    let intended = book.intend(&UserId::new("a"), "oldest", roster).await;
    assert_eq!(intended, super::book::Intention::Recorded);
    assert!(book.is_timely());
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(book.is_timely());
    // As if the program had been stopped meanwhile.
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!book.is_timely());
    assert!(book.leave_by() <= clock::now());
}

/// A guard, and the registry that it writes to.
fn alone() -> (Guard, Arc<Registry>) {
    let config = config();
    let means = means(&config);
    let registry = Arc::clone(&means.registry);
    (Guard::new(Arc::clone(&config.tenants[0]), means), registry)
}

fn intent_of(victim: &str, replica: &str) -> Entry {
    let mut entry = Entry::new(now(), "C", Event::Intent, replica);
    entry.user = Some(UserId::new(victim));
    entry
}

#[tokio::test(start_paused = true)]
async fn r7_anothers_intent_is_no_sent_deletion_and_is_not_taken_for_an_own_that_was_never_sent() {
    let (guard, registry) = alone();
    let mut held = Held::default();
    // Ours, of which no answer came, and one of another replica for the same user.
    let own = intent_of("a", "r");
    held.unsent = vec![own.clone()];
    let others = registry.record(intent_of("a", "other")).await.unwrap();
    let long = Duration::from_secs(1);
    {
        let (_book, roster) = Book::open(&guard, None, &mut held, long).await;
        let unresolved = roster.unresolved.clone().unwrap();
        assert_eq!((unresolved.victim.as_str(), unresolved.is_sent), ("a", false));
    }
    assert_eq!(registry.open_intents("C").await.unwrap()[0].id, others);
    held.unsent = vec![own.clone()];
    let ours = registry.record(own).await.unwrap();
    let (_book, _) = Book::open(&guard, None, &mut held, long).await;
    let open = registry.open_intents("C").await.unwrap();
    assert!(open.iter().any(|intent| intent.id == others));
    assert!(open.iter().all(|intent| intent.id != ours), "withdrawn");
}

#[tokio::test(start_paused = true)]
async fn r5_a_registration_that_the_registry_did_not_take_is_told_to_it_later() {
    let (guard, registry) = alone();
    let user = UserId::new("a");
    let mut held = Held::default();
    held.unregistered = vec![(user.clone(), Millis(7))];
    let _ = Book::open(&guard, None, &mut held, Duration::from_secs(1)).await;
    let known = registry.user("C", &user).await.unwrap().unwrap();
    assert_eq!(known.registered, Some((Millis(7), Source::Own)));
    assert!(held.unregistered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn r4_whom_another_replica_evicted_before_its_registration_was_recorded_does_not_count() {
    let (guard, registry) = alone();
    let user = UserId::new("a");
    let mut held = Held::default();
    // Registered here, which the registry did not take; seen, evicted and forgotten there.
    held.roster.registered(&user, clock::now(), Millis(7));
    held.unregistered = vec![(user.clone(), Millis(7))];
    let there = std::slice::from_ref(&user);
    registry.seen("C", there, Millis(8)).await.unwrap();
    registry.gone("C", there, Millis(9)).await.unwrap();
    let (_book, roster) = Book::open(&guard, None, &mut held, Duration::from_secs(1)).await;
    assert_eq!(roster.known(&user), None);
    assert_eq!(registry.user("C", &user).await.unwrap(), None);
    assert!(held.unregistered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn r5_a_deletion_that_is_told_late_takes_no_age_from_who_was_registered_anew() {
    let (guard, registry) = alone();
    let user = UserId::new("a");
    let mut held = Held::default();
    // The application deleted it and registered it anew, while the registry took nothing.
    held.unregistered = vec![(user.clone(), Millis(7))];
    let known = registry.registered("C", &user, Millis(1), Source::Own);
    known.await.unwrap();
    let deleted = registry.gone("C", std::slice::from_ref(&user), Millis(6));
    deleted.await.unwrap();
    let _ = Book::open(&guard, None, &mut held, Duration::from_secs(1)).await;
    let known = registry.user("C", &user).await.unwrap().unwrap();
    assert_eq!(known.registered, Some((Millis(7), Source::Own)));
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_that_the_sidecar_ends_and_not_that_the_registry_is_down() {
    let config = config();
    let means = means(&config);
    let gone = Teller::new(
        Arc::clone(&means.registry),
        Arc::clone(&means.metrics),
        "r".into(),
    );
    let means = Means {
        tally: gone.tally(),
        ..means
    };
    drop(gone);
    let stopping = means.stopping.clone();
    let guard = Guard::new(Arc::clone(&config.tenants[0]), means);
    let user = UserId::new("a");
    let unable = guard.evict_under_lock(&user, &mut Held::default()).await;
    assert!(
        matches!(unable, Err(crate::guard::by_hand::Unable::Registry(_))),
        "{unable:?}"
    );
    stopping.cancel();
    let unable = guard.evict_under_lock(&user, &mut Held::default()).await;
    assert!(
        matches!(unable, Err(crate::guard::by_hand::Unable::Stopping)),
        "{unable:?}"
    );
}

/// A guard that knows of one user, before anything happens to it.
async fn knowing(user: &UserId) -> (Guard, Arc<Registry>, Held) {
    let (guard, registry) = alone();
    let known = registry.registered("C", user, Millis(1), Source::Own);
    known.await.unwrap();
    let mut held = Held::default();
    let _ = Book::open(&guard, None, &mut held, Duration::from_secs(1)).await;
    (guard, registry, held)
}

/// Another replica knows that the user is gone, registers it again, and a list names it. Whether it counts here.
async fn counts_again(guard: &Guard, registry: &Registry, held: &mut Held, user: &UserId) -> bool {
    let long = Duration::from_secs(1);
    tokio::time::advance(long).await;
    let gone = registry.gone("C", std::slice::from_ref(user), Millis(2));
    gone.await.unwrap();
    let again = registry.registered("C", user, Millis::from(clock::wall()), Source::Own);
    again.await.unwrap();
    let (_book, roster) = Book::open(guard, None, held, long).await;
    // As before each step of an admission.
    guard.note_changes(roster);
    let now = clock::now();
    let list = vec![user.clone()];
    roster
        .take(list, now, now, Millis(0), Duration::from_secs(20))
        .unwrap();
    roster.lists(user)
}

#[tokio::test(start_paused = true)]
async fn r4_whom_the_application_deleted_here_and_another_replica_registered_again_is_there() {
    let user = UserId::new("a");
    let (guard, registry, mut held) = knowing(&user).await;
    guard.departed(user.clone());
    assert!(counts_again(&guard, &registry, &mut held, &user).await);
}

#[tokio::test(start_paused = true)]
async fn r8_whose_deletion_another_replica_settled_before_it_registered_the_user_again_is_there() {
    let user = UserId::new("a");
    let (guard, registry, mut held) = knowing(&user).await;
    let now = clock::now();
    held.roster.await_deletion(user.clone(), now, now, true);
    assert!(counts_again(&guard, &registry, &mut held, &user).await);
}

#[tokio::test(start_paused = true)]
async fn r4_whom_the_application_deletes_counts_only_after_its_answer_or_the_settle_time() {
    let (guard, _) = alone();
    let (user, settle) = (UserId::new("a"), guard.terms().settle_timeout);
    let mut roster = Roster::default();
    let mut counts = || {
        guard.note_changes(&mut roster);
        let (list, now) = (vec![user.clone()], clock::now());
        roster.take(list, now, now, Millis(0), settle).unwrap();
        roster.lists(&user)
    };
    let (first, second) = (guard.deleting(user.clone()), guard.deleting(user.clone()));
    tokio::time::advance(settle * 2).await;
    assert!(!counts(), "it is under way");
    drop(first);
    // SnapTrade knows no such user, which says nothing against the first.
    second.answered();
    tokio::time::advance(settle / 2).await;
    assert!(!counts());
    tokio::time::advance(settle / 2).await;
    assert!(counts());
    let refused = guard.deleting(user.clone());
    assert!(!counts());
    refused.answered();
    assert!(counts());
}

#[tokio::test(start_paused = true)]
async fn so_many_unanswered_deletions_are_noted_and_make_room_when_they_are_over() {
    let (guard, _) = alone();
    let noted = || lock(&guard.state.unanswered).len();
    for number in 0..2_000 {
        drop(guard.deleting(UserId::new(number.to_string())));
    }
    assert_eq!(noted(), 1_024);
    tokio::time::advance(guard.terms().settle_timeout).await;
    drop(guard.deleting(UserId::new("last")));
    assert_eq!(noted(), 1);
}

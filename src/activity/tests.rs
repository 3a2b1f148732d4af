use super::notes::{ID_BYTES_MAX, USERS_MAX};
use super::*;
use crate::admission::known::{Known, Source};
use crate::config::home::Home;
use crate::tasks::keep;

const TENANT: &str = "default";

/// A teller, a worker's notes, and a registry that remembers these users.
async fn told(users: &[&str]) -> (Teller, Notes, Arc<Registry>) {
    let registry = Arc::new(Registry::memory());
    let users: Vec<UserId> = users.iter().map(UserId::new).collect();
    registry.seen(TENANT, &users, Millis(1)).await.unwrap();
    let metrics = Arc::new(Metrics::new([(TENANT, 5)]));
    let teller = Teller::new(Arc::clone(&registry), metrics, "replica".into());
    let notes = teller.tally().notes();
    (teller, notes, registry)
}

async fn known(registry: &Registry, user: &str) -> Option<Known> {
    let users = registry.users(TENANT).await.unwrap();
    users
        .into_iter()
        .find_map(|(id, known)| (id.as_str() == user).then_some(known))
}

fn calls(count: u64) -> Calls {
    Calls {
        last: Instant::now(),
        count,
    }
}

#[tokio::test]
async fn what_all_workers_noted_is_told_once() {
    let (mut teller, first, registry) = told(&["a", "b"]).await;
    let second = teller.tally().notes();
    let now = Instant::now();
    first.called(TENANT, "a", now);
    first.called(TENANT, "a", now);
    second.called(TENANT, "a", now);
    second.called(TENANT, "stranger", now);
    second.called("other", "b", now);
    let before = Millis::from(std::time::SystemTime::now());
    for _ in 0..2 {
        teller.flush().await;
        let a = known(&registry, "a").await.unwrap();
        assert_eq!(a.calls, 3);
        // Between the two clocks lie some microseconds.
        assert!(before.since(a.last_active.unwrap()) < Duration::from_secs(5));
        assert_eq!(known(&registry, "b").await.unwrap().last_active, None);
        assert_eq!(known(&registry, "stranger").await, None);
    }
}

#[tokio::test]
async fn a_call_is_as_old_as_it_is_and_not_as_its_telling() {
    let (mut teller, notes, registry) = told(&["a"]).await;
    let Some(earlier) = Instant::now().checked_sub(Duration::from_secs(40)) else {
        panic!("the machine is younger than 40 s");
    };
    notes.called(TENANT, "a", earlier);
    notes.called(TENANT, "a", earlier.checked_sub(Duration::from_secs(1)).unwrap());
    teller.flush().await;
    let last = known(&registry, "a").await.unwrap().last_active.unwrap();
    let age = Millis::from(std::time::SystemTime::now()).since(last);
    assert!(
        (Duration::from_secs(39)..Duration::from_secs(41)).contains(&age),
        "{age:?}"
    );
}

#[test]
fn beyond_the_bounds_what_is_new_is_dropped_and_counted() {
    let mut noted = Noted::default();
    for number in 0..=USERS_MAX {
        noted.note(TENANT, &number.to_string(), calls(1));
    }
    noted.note(TENANT, "0", calls(1));
    assert_eq!((noted.users, noted.dropped), (USERS_MAX, 1));
    assert_eq!(noted.tenants[TENANT]["0"].count, 2);

    let mut noted = Noted::default();
    let long = "x".repeat(ID_BYTES_MAX);
    noted.note(TENANT, &long, calls(1));
    noted.note("other", "y", calls(3));
    assert_eq!((noted.users, noted.dropped), (1, 3));
    noted.forget(TENANT, &UserId::new(long));
    noted.note("other", "y", calls(1));
    assert_eq!((noted.users, noted.id_bytes, noted.dropped), (1, 1, 3));
}

#[tokio::test]
async fn r14_what_the_registry_does_not_take_is_told_later() {
    let names: Vec<String> = (0..2 * BATCH_MAX).map(|number| number.to_string()).collect();
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut teller, notes, registry) = told(&users).await;
    for user in &users {
        notes.called(TENANT, user, Instant::now());
    }
    teller.gather().await;
    let failed = || Err(RegistryError("it is down".to_owned()));
    let down = |_| std::future::ready(failed());
    // Two times not at all, then the first batch only.
    teller.tell(down).await;
    teller.tell(down).await;
    assert_eq!((teller.pending.users, teller.is_failing), (users.len(), true));
    let first = std::cell::Cell::new(true);
    let take = |batch: Vec<Activity>| {
        let (registry, is_first) = (Arc::clone(&registry), first.replace(false));
        async move {
            if is_first {
                registry.active(&batch).await
            } else {
                failed()
            }
        }
    };
    teller.tell(take).await;
    assert_eq!(teller.pending.users, BATCH_MAX);

    notes.called(TENANT, "0", Instant::now());
    teller.flush().await;
    assert_eq!((teller.pending.users, teller.is_failing), (0, false));
    for (user, known) in registry.users(TENANT).await.unwrap() {
        assert_eq!(known.calls, 1 + u32::from(user.as_str() == "0"), "{user}");
    }
}

#[tokio::test]
async fn what_was_dropped_is_in_the_metrics() {
    let (mut teller, notes, _registry) = told(&[]).await;
    for number in 0..USERS_MAX + 7 {
        notes.called(TENANT, &number.to_string(), Instant::now());
    }
    teller.flush().await;
    let text = teller
        .metrics
        .encode(crate::telemetry::metrics::Format::Prometheus);
    assert!(
        text.contains("\nsnaptrade_sidecar_activity_dropped_total 7\n"),
        "{text}"
    );
    // There is room again.
    assert_eq!((teller.pending.users, notes.noted().users), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn r5_no_decision_rests_on_calls_that_were_dropped() {
    let (mut teller, notes, _registry) = told(&[]).await;
    for number in 0..=USERS_MAX {
        notes.called(TENANT, &number.to_string(), clock::now());
    }
    let (tally, stop) = (teller.tally(), CancellationToken::new());
    let until = stop.clone();
    let running = tokio::spawn(async move { teller.run(until).await });
    let hour = Duration::from_hours(1);
    assert!(!tally.tell_now(hour).await);
    assert!(!tally.tell_now(Duration::ZERO).await, "they would be the latest");
    tokio::time::advance(hour / 2).await;
    assert!(!tally.tell_now(hour).await);
    tokio::time::advance(hour).await;
    assert!(tally.tell_now(hour).await);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_departed_user_leaves_no_calls_to_one_that_comes_by_its_id() {
    let (mut teller, notes, registry) = told(&["a", "b"]).await;
    teller.pending.note(TENANT, "a", calls(2));
    notes.called(TENANT, "a", Instant::now());
    notes.called(TENANT, "b", Instant::now());
    let departure = Change {
        tenant: TENANT.into(),
        user: UserId::new("a"),
        at: Millis(1),
        kind: ChangeKind::Departed,
    };
    teller.note_change(departure).await;
    assert_eq!(known(&registry, "a").await, None);
    let (a, at) = (UserId::new("a"), Millis(2));
    registry.registered(TENANT, &a, at, Source::Own).await.unwrap();
    teller.flush().await;
    assert_eq!(known(&registry, "a").await.unwrap().calls, 0);
    assert_eq!(known(&registry, "b").await.unwrap().calls, 1);
}

#[tokio::test]
async fn r5_whom_snaptrade_registered_past_the_guard_has_an_age_before_anybody_decides() {
    let (mut teller, _, registry) = told(&["a"]).await;
    let tally = teller.tally();
    tally.registered(TENANT, UserId::new("new"));
    tally.departed(TENANT, UserId::new("a"));
    tally.registered(TENANT, UserId::new("a"));
    teller.flush().await;
    for user in ["a", "new"] {
        let (_, source) = known(&registry, user).await.unwrap().registered.unwrap();
        assert_eq!(source, Source::Own);
    }
}

/// A teller and what fills it, whose registry takes nothing any more.
async fn closed(folder: &tempfile::TempDir) -> Teller {
    let home = Home::Sqlite(folder.path().join("registry.db"));
    let registry = Registry::open(&home).await.unwrap();
    registry.close().await;
    Teller::new(
        Arc::new(registry),
        Arc::new(Metrics::new([(TENANT, 5)])),
        "replica".into(),
    )
}

#[tokio::test]
async fn r5_no_decision_while_the_registry_has_not_taken_a_registration_that_went_by() {
    let folder = tempfile::tempdir().unwrap();
    let mut teller = closed(&folder).await;
    let (tally, stop) = (teller.tally(), CancellationToken::new());
    let until = stop.clone();
    let running = tokio::spawn(async move { teller.run(until).await });
    assert!(tally.tell_now(Duration::ZERO).await, "nothing went by yet");
    tally.registered(TENANT, UserId::new("new"));
    assert!(!tally.tell_now(Duration::ZERO).await);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn r4_who_is_gone_since_is_not_brought_back_by_a_registration_that_went_by() {
    let registry = Arc::new(Registry::memory());
    let mut teller = Teller::new(
        Arc::clone(&registry),
        Arc::new(Metrics::new([(TENANT, 5)])),
        "replica".into(),
    );
    let users = ["before", "after"].map(UserId::new);
    registry.gone(TENANT, &users, Millis(5)).await.unwrap();
    for (user, at) in users.iter().zip([4, 6]) {
        teller.untold.push_back(Change {
            tenant: TENANT.into(),
            user: user.clone(),
            at: Millis(at),
            kind: ChangeKind::Registered,
        });
    }
    teller.flush().await;
    assert!(teller.untold.is_empty());
    assert_eq!(known(&registry, "before").await, None);
    assert!(known(&registry, "after").await.is_some());
}

#[tokio::test]
async fn r5_registrations_that_went_by_and_are_dropped_stand_in_the_way_of_deciding() {
    let folder = tempfile::tempdir().unwrap();
    let mut teller = closed(&folder).await;
    let tally = teller.tally();
    let has_dropped = || tally.dropped.lock().unwrap().take().is_some();
    let fill =
        || (0..CHANGES_MAX).for_each(|number| tally.registered(TENANT, UserId::new(number.to_string())));
    fill();
    assert!(!has_dropped());
    tally.departed(TENANT, UserId::new("one more"));
    assert!(!has_dropped(), "the next list tells of it");
    tally.registered(TENANT, UserId::new("one more"));
    assert!(has_dropped(), "the channel is full");
    teller.flush().await;
    assert_eq!((teller.untold.len(), has_dropped()), (CHANGES_MAX, false));
    tally.registered(TENANT, UserId::new("one more"));
    teller.flush().await;
    assert!(has_dropped(), "what is kept is full");
}

#[tokio::test]
async fn r14_what_was_not_taken_of_a_user_who_is_gone_does_not_keep_from_evicting() {
    let (mut teller, notes, _registry) = told(&["a"]).await;
    notes.called(TENANT, "a", Instant::now());
    teller.gather().await;
    let down = |_| std::future::ready(Err(RegistryError("it is down".to_owned())));
    teller.tell(down).await;
    let departure = Change {
        tenant: TENANT.into(),
        user: UserId::new("a"),
        at: Millis(1),
        kind: ChangeKind::Departed,
    };
    teller.note_change(departure).await;
    let (tally, stop) = (teller.tally(), CancellationToken::new());
    let until = stop.clone();
    let running = tokio::spawn(async move { teller.run(until).await });
    assert!(tally.tell_now(Duration::ZERO).await, "nothing is left to tell");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_tells_every_few_seconds_and_at_the_end() {
    let (mut teller, notes, registry) = told(&["a", "gone"]).await;
    let tally = teller.tally();
    let stop = CancellationToken::new();
    let until = stop.clone();
    let running = tokio::spawn(async move { teller.run(until).await });
    tokio::time::sleep(INTERVAL / 2).await;
    notes.called(TENANT, "a", Instant::now());
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(known(&registry, "a").await.unwrap().calls, 1);
    notes.called(TENANT, "a", Instant::now());
    tally.departed(TENANT, UserId::new("gone"));
    stop.cancel();
    running.await.unwrap();
    assert_eq!(known(&registry, "a").await.unwrap().calls, 2);
    assert_eq!(known(&registry, "gone").await, None);
}

async fn told_to(fail: Option<oneshot::Receiver<()>>) -> Result<(), oneshot::error::RecvError> {
    match fail {
        Some(fail) => fail.await,
        None => std::future::pending().await,
    }
}

#[tokio::test(start_paused = true)]
async fn it_tells_on_after_a_panic() {
    let (teller, notes, registry) = told(&["a"]).await;
    let tally = teller.tally();
    let stop = CancellationToken::new();
    let (until, (fail, failing)) = (stop.clone(), oneshot::channel::<()>());
    let mut failing = Some(failing);
    let running = tokio::spawn(keep("activity", teller, move |teller| {
        let (until, failing) = (until.clone(), failing.take());
        Box::pin(async move {
            tokio::select! {
                () = teller.run(until) => {}
                Ok(()) = told_to(failing) => panic!("the one that this test wants"),
            }
        })
    }));
    notes.called(TENANT, "a", Instant::now());
    fail.send(()).unwrap();
    // Who asked just then is told that it did not work; the next is answered by the one that began anew.
    while !tally.tell_now(Duration::ZERO).await {}
    assert_eq!(known(&registry, "a").await.unwrap().calls, 1);
    stop.cancel();
    running.await.unwrap();
}

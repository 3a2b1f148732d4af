//! What a registration costs: calls to `SnapTrade`, and time.

use std::time::{Duration, Instant};

use snaptrade_sidecar::simulator::{CallKind, Options};

use crate::harness::{FIVE, Harness, options};

fn distant() -> Options {
    Options {
        round_trip: Duration::from_millis(50),
        ..options()
    }
}

#[tokio::test]
async fn a_free_slot_costs_two_calls() {
    let it = Harness::with_users(&["a"], distant(), &[]).await;
    let reply = it.register("new").await;
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "forwarded"));
    assert_eq!(it.kinds(), [CallKind::List, CallKind::Register]);
    it.stop().await;
}

#[tokio::test]
async fn a_full_key_costs_four_calls_when_the_deletion_settles_at_once() {
    let it = Harness::with_users(&FIVE, distant(), &[]).await;
    let began = Instant::now();
    let reply = it.register("new").await;
    let took = began.elapsed();
    assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    assert_eq!(reply.header("snaptrade-sidecar-evicted"), Some("a"));
    let expected = [
        CallKind::List,
        CallKind::Delete,
        CallKind::List,
        CallKind::Register,
    ];
    assert_eq!(it.kinds(), expected);
    assert_eq!(it.sim.users(), ["b", "c", "d", "e", "new"]);
    assert!(took < Duration::from_millis(350), "took {took:?}");
    it.stop().await;
}

#[tokio::test]
async fn r8_eight_at_once_on_a_full_key_all_succeed_within_25_calls() {
    let it = Harness::with_users(&FIVE, distant(), &[]).await;
    let names: Vec<String> = (0..8).map(|n| format!("new-{n}")).collect();
    let replies = futures(names.iter().map(|name| it.register(name))).await;
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), reply.admission()), (200, "evicted"));
    }
    assert_eq!(it.sim.deletions(), 8);
    assert!(it.sim.most_live() <= 5, "{} users at once", it.sim.most_live());
    let calls = it.kinds().len();
    assert!(calls <= 25, "{calls} calls");
    it.stop().await;
}

/// All of them at once.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (one, result) in &mut all {
            if result.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(output) => *result = Some(output),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    all.into_iter().filter_map(|(_, result)| result).collect()
}

//! What goes on beside the traffic goes on after a panic, too: a part that died in silence would be missed only when it is
//! needed.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Before what panicked begins anew; twice as long each time, so that one that always panics does no harm.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// What went on for so long begins anew as if for the first time.
const SOUND: Duration = Duration::from_mins(10);

type Running<'s> = Pin<Box<dyn Future<Output = ()> + Send + 's>>;

/// Runs what `start` begins to its end; after a panic it is begun anew, with the state as it was left. So it is only for what
/// looks anew at everything that it needs.
pub async fn keep<S, B>(task: &'static str, mut state: S, mut start: B)
where
    B: for<'s> FnMut(&'s mut S) -> Running<'s>,
{
    let mut pause = PAUSE_MIN;
    loop {
        let since = Instant::now();
        if is_completed(start(&mut state)).await {
            return;
        }
        if since.elapsed() >= SOUND {
            pause = PAUSE_MIN;
        }
        tracing::error!(
            task,
            pause_s = pause.as_secs(),
            "a task of the sidecar's own panicked and begins anew after a pause; the line before says where. Please report this"
        );
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Whether it came to its end, rather than panicked.
async fn is_completed(mut running: Running<'_>) -> bool {
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(true),
            Err(_) => Poll::Ready(false),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_ever_more_slowly_until_it_is_done() {
        let began = Instant::now();
        let mut seconds = Vec::new();
        keep("test", 0, |runs: &mut u32| {
            *runs += 1;
            seconds.push(began.elapsed().as_secs());
            let runs = *runs;
            Box::pin(async move {
                tokio::task::yield_now().await;
                assert!(runs > 8, "one of the panics that this test wants");
            })
        })
        .await;
        assert_eq!(seconds, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_on_for_long_begins_anew_soon() {
        let mut begun = Vec::new();
        let start = Instant::now();
        keep("test", 0, |runs: &mut u32| {
            *runs += 1;
            begun.push(start.elapsed().as_secs());
            let runs = *runs;
            Box::pin(async move {
                if runs == 3 {
                    sleep(SOUND).await;
                }
                assert!(runs > 3, "one of the panics that this test wants");
            })
        })
        .await;
        assert_eq!(begun, [0, 1, 3, 604]);
    }
}

//! A way from one machine to a server, over a network that delays, loses and is cut.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::sleep;

use super::dice::Dice;

/// How bad a way is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The longest that a message usually takes, in milliseconds.
    pub(crate) latency: u64,
    /// Percent of the messages that take seconds.
    pub(crate) slow: u64,
    /// Percent of the messages that are lost, and with them the connection.
    pub(crate) lossy: u64,
    /// Percent of the connections that take seconds to open.
    pub(crate) far: u64,
}

impl Weather {
    pub(crate) const FINE: Self = Self {
        latency: 30,
        slow: 0,
        lossy: 0,
        far: 0,
    };
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives(Duration),
    /// It is lost, and the connection breaks then.
    Breaks(Duration),
    /// It arrives, and then the connection breaks.
    ArrivesAndBreaks(Duration),
    /// Neither it nor anything after it arrives, and nobody is told.
    Vanishes,
}

#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    weather: Weather,
    dice: Dice,
    is_cut: bool,
    waiting: VecDeque<Waker>,
}

impl Link {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            weather,
            dice: Dice::new(seed),
            is_cut: false,
            waiting: VecDeque::new(),
        })))
    }

    /// Draws what becomes of the next message.
    pub(crate) fn fate(&self) -> Fate {
        let mut state = self.state();
        let (weather, dice) = (state.weather, &mut state.dice);
        let mut time = Duration::from_millis(1) + dice.millis(weather.latency);
        if dice.percent(weather.slow) {
            time += dice.millis(8000);
        }
        if !dice.percent(weather.lossy) {
            return Fate::Arrives(time);
        }
        match dice.below(3) {
            0 => Fate::Breaks(time),
            1 => Fate::ArrivesAndBreaks(time),
            _ => Fate::Vanishes,
        }
    }

    /// How much longer than a message it takes to open a connection.
    pub(crate) fn distance(&self) -> Duration {
        let mut state = self.state();
        let far = state.weather.far;
        if state.dice.percent(far) {
            state.dice.millis(4_000)
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Nothing gets through until it is mended.
    pub(crate) fn cut(&self) {
        self.state().is_cut = true;
    }

    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.is_cut = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state().is_cut
    }

    /// Registers `waker` for when it is mended; whether it is cut.
    pub(crate) fn is_cut_for(&self, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.is_cut {
            state.waiting.push_back(waker.clone());
        }
        state.is_cut
    }

    /// A message is on its way for `time`, and for as long as the way is cut.
    pub(crate) async fn travel(&self, time: Duration) {
        sleep(time).await;
        poll_fn(|cx| {
            if self.is_cut_for(cx.waker()) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

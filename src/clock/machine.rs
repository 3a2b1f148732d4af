//! The machines of a simulation: several in one thread, each with a clock on its wall, that can be stopped and killed at any
//! moment.
//!
//! What runs on a machine is wrapped by [`Machine::run`] or, from a task that runs there already, by [`here`].

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

thread_local! {
    static CURRENT: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

#[derive(Clone)]
pub(crate) struct Machine(Arc<Inner>);

struct Inner {
    name: String,
    booted: Instant,
    state: Mutex<State>,
}

struct State {
    life: Life,
    /// What the clock on the wall showed at the boot, as it was set since.
    wall: SystemTime,
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// As by SIGSTOP: time goes on, and nothing is done in it.
    Stopped,
    Dead,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// What the wall of the machine shows on which this is called, if it is one.
pub(super) fn wall() -> Option<SystemTime> {
    Machine::current().map(|machine| machine.wall())
}

/// Runs a task on the machine of whoever makes it.
pub(crate) fn here<F: Future>(task: F) -> Running<F> {
    Running {
        machine: Machine::current(),
        task: Some(Box::pin(task)),
        noted: None,
    }
}

impl Machine {
    pub(crate) fn boot(name: &str, wall: SystemTime) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            booted: Instant::now(),
            state: Mutex::new(State {
                life: Life::Running,
                wall,
                waiting: Vec::new(),
            }),
        }))
    }

    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// A task of this machine. It ends with it, in the middle of whatever it does, and then never returns.
    pub(crate) fn run<F: Future>(&self, task: F) -> Running<F> {
        Running {
            machine: Some(self.clone()),
            task: Some(Box::pin(task)),
            noted: None,
        }
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.state().wall + self.0.booted.elapsed()
    }

    /// Sets the clock on the wall forward, or back.
    pub(crate) fn set_wall(&self, by: Duration, is_back: bool) {
        let mut state = self.state();
        state.wall = if is_back { state.wall - by } else { state.wall + by };
    }

    pub(crate) fn stop(&self) {
        self.turn(Life::Stopped);
    }

    pub(crate) fn resume(&self) {
        self.turn(Life::Running);
    }

    pub(crate) fn kill(&self) {
        self.turn(Life::Dead);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().life == Life::Dead
    }

    fn turn(&self, life: Life) {
        let mut state = self.state();
        if state.life == Life::Dead {
            return;
        }
        state.life = life;
        // They stay noted, for the next turn.
        let waiting = state.waiting.clone();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task on a machine.
pub(crate) struct Running<F> {
    machine: Option<Machine>,
    task: Option<Pin<Box<F>>>,
    noted: Option<Waker>,
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let running = Pin::into_inner(self);
        if let Some(machine) = &running.machine {
            let mut state = machine.state();
            if state.life != Life::Running {
                if state.life == Life::Stopped {
                    state.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                drop(state);
                on(machine, || running.task = None);
            }
        }
        let Some(task) = &mut running.task else {
            return Poll::Pending;
        };
        match &running.machine {
            Some(machine) => {
                // To be woken when the machine dies, whatever it waits for.
                if !running
                    .noted
                    .as_ref()
                    .is_some_and(|noted| noted.will_wake(cx.waker()))
                {
                    machine.state().waiting.push(cx.waker().clone());
                    running.noted = Some(cx.waker().clone());
                }
                on(machine, || task.as_mut().poll(cx))
            }
            None => task.as_mut().poll(cx),
        }
    }
}

impl<F> Drop for Running<F> {
    fn drop(&mut self) {
        if let Some(machine) = &self.machine {
            on(machine, || self.task = None);
        }
    }
}

fn on<T>(machine: &Machine, work: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Some(machine.clone()));
    let done = work();
    CURRENT.replace(before);
    done
}

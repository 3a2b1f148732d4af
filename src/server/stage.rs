//! How far a worker is on its way to its end, for its connections to see at the cost of a look.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    Serving,
    /// Serve on, but have callers go elsewhere with their next request.
    Leaving,
    /// Finish what is being served, and take on no more.
    Stopping,
    /// Finish nothing.
    Cutting,
}

/// Shared by a worker and its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Course(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stage: Cell<Stage>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waker>>,
}

impl Course {
    pub(super) fn stage(&self) -> Stage {
        self.0.stage.get()
    }

    /// Goes on to a later stage, and wakes everybody.
    pub(super) fn advance(&self, stage: Stage) {
        self.0.stage.set(stage);
        for waker in self.0.waiting.borrow().values() {
            waker.wake_by_ref();
        }
    }

    /// Wakes this task at every step, until what is returned is dropped.
    pub(super) fn follow(&self, waker: &Waker) -> Following {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        self.0.waiting.borrow_mut().insert(number, waker.clone());
        Following {
            course: self.clone(),
            number,
        }
    }
}

pub(super) struct Following {
    course: Course,
    number: u64,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.course.0.waiting.borrow_mut().remove(&self.number);
    }
}

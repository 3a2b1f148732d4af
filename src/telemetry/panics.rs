//! Panics, told in the log like anything else, but for what they say: that may hold whatever the program had in hand (R13).

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Of this process, since [`tell`].
static COUNT: AtomicU64 = AtomicU64::new(0);

/// From now on, panics are counted and told in the log, and nowhere else.
pub fn tell() {
    panic::set_hook(Box::new(told));
}

/// How many there were.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn told(panic: &PanicHookInfo<'_>) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    tracing::error!(
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        reason = fixed(panic.payload()),
        "a panic, which is an error of the sidecar's own; please report this"
    );
}

/// What it says, if that was in the program's text; what was put together at run time is left out.
fn fixed(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_says_is_told_only_if_it_is_no_secret() {
        let said = |panic: fn()| fixed(&*panic::catch_unwind(panic).unwrap_err());
        assert_eq!(said(|| panic!("a fixed text")), Some("a fixed text"));
        assert_eq!(
            said(|| panic!("with {}", std::hint::black_box(String::from("s3cret")))),
            None
        );
        assert_eq!(said(|| "s3cret".parse::<u8>().map(drop).unwrap()), None);
    }
}

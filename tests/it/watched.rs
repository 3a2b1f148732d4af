//! R13, in all of these tests: whatever the sidecar says, at whatever level, no secret is in it.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::harness::{CONSUMER_KEY, Harness};

/// From now on, for the whole program.
pub(crate) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let own = Targets::new().with_target("snaptrade_sidecar", LevelFilter::TRACE);
        let layer = fmt::layer()
            .with_ansi(false)
            .with_writer(|| Watch)
            .with_filter(own);
        tracing_subscriber::registry().with(layer).init();
    });
}

/// How many were looked at.
static LINES: AtomicUsize = AtomicUsize::new(0);

struct Watch;

impl Write for Watch {
    /// Takes one line of the log.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if [CONSUMER_KEY, "userSecret", "signature="]
            .iter()
            .any(|secret| text.contains(secret))
        {
            // A panic would end a task of the sidecar's, which nobody may be waiting for.
            eprintln!("R13: there is a secret in the log: {text}");
            std::process::abort();
        }
        LINES.fetch_add(1, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn r13_what_the_sidecar_says_is_looked_at() {
    let it = Harness::start().await;
    assert_eq!(it.register("new").await.status, 200);
    it.stop().await;
    assert!(LINES.load(Ordering::Relaxed) > 0);
}

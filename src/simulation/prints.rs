//! What sidecars print and show: their log, settings, metrics and journal, and the errors that they answer. None of it has a secret
//! in it (R13), and of settings with faults each fault is said (R15).

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use super::plan::KEY;
use super::world::World;
use crate::telemetry::logging;
use crate::telemetry::metrics::Format;

/// All that was printed in a world.
#[derive(Clone, Default)]
pub(super) struct Prints(Arc<Mutex<Vec<u8>>>);

impl Prints {
    /// The log of this thread comes here, whatever its level, as long as what is returned is kept.
    pub(super) fn take_log(&self) -> DefaultGuard {
        let prints = self.clone();
        let filter = logging::filter("trace").expect("a level is a filter");
        let lines = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || prints.clone());
        registry().with(lines.with_filter(filter)).set_default()
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Prints {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl World {
    /// R13.
    pub(super) fn check_prints(&self) {
        let loaded = self.plan.load(&[]).expect("a plan is valid");
        let mut text = self.prints.text();
        let _ = writeln!(text, "{:?}\n{}", loaded.config, loaded.effective);
        for host in &*self.hosts.borrow() {
            let sidecar = &host.sidecar;
            let _ = writeln!(
                text,
                "{:?}\n{:?}",
                sidecar.guard,
                super::journal(&sidecar.registry)
            );
            text += &sidecar.metrics.encode(Format::OpenMetrics);
        }
        let users = self.vendor.users();
        let mut witness = self.witness();
        let mut secret: Vec<String> = users
            .iter()
            .filter_map(|user| self.vendor.secret_of(user))
            .collect();
        secret.extend(witness.secrets.iter().cloned());
        // What a query is known by.
        secret.extend([KEY.to_owned(), "clientId=".to_owned()]);
        for line in text.lines() {
            let is_quiet = !secret.iter().any(|secret| line.contains(secret));
            witness.require(is_quiet, || format!("R13: a secret is printed: {line}"));
        }
    }

    /// Before a sidecar starts, its operator mistypes some of the settings (R15).
    pub(super) fn mistype(&self, number: usize) {
        const MISTYPED: [(&str, &str); 4] = [
            ("tenants.default.max_users", "0"),
            ("proxy.response_timeout", "soon"),
            ("tenants.default.eviction.order", "[\"youngest\"]"),
            ("tenants.default.eviction.mode", "enforced"),
        ];
        let wrong = [0, 1].map(|next| MISTYPED[(number + next) % MISTYPED.len()]);
        let said = self.plan.load(&wrong).err();
        for (key, _) in wrong {
            let is_said = said
                .iter()
                .any(|faults| faults.faults().iter().any(|fault| fault.key == key));
            self.witness()
                .require(is_said, || format!("R15: {key} is wrong, and that is not said"));
        }
    }
}

//! Putting a configuration in force while the program runs: when its files changed, or somebody asks for it.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::MissedTickBehavior;

use super::shown::Shown;
use super::upkeep;
use crate::config::reload::{Bindings, Change, Kind, TenantChange, Waiting, change};
use crate::config::{self, Config, Faults, Files, Loaded, Sources, Tenant, Watch};
use crate::guard::{Guard, InForce, Live, Means, Remains};
use crate::registry::{Entry, Event};
use crate::telemetry::logging::Level;
use crate::types::Millis;

/// Between two looks at the files. What changed is read at the second look that finds it the same.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Warnings, changed keys and changed tenants that one reload is logged with.
const TOLD_MAX: usize = 20;
/// Faults that are logged; nobody corrects more at a time.
const FAULTS_MAX: usize = 1_000;
/// Tenants in whose journals a reload is entered that was refused for none of them in particular.
const ENTRIES_MAX: usize = 100;

/// What a running sidecar loads its configuration from anew.
#[derive(Debug)]
pub struct Reloading {
    pub sources: Sources,
    /// As they were when the program started with them.
    pub files: Files,
    /// Those that were told already.
    pub warnings: Vec<String>,
    pub level: Option<Level>,
    /// Somebody asks for a reload.
    pub asked: Arc<Notify>,
}

pub(super) struct Reloader {
    sources: Sources,
    watch: Watch,
    warned: HashSet<String>,
    waiting: Vec<Waiting>,
    level: Option<Level>,
    asked: Arc<Notify>,
    live: Live,
    means: Means,
    shown: Shown,
    bindings: Bindings,
    remains: HashMap<Arc<str>, Remains>,
    /// First looks at tenants that are new.
    looks: JoinSet<()>,
}

impl Reloader {
    pub(super) fn new(reloading: Reloading, live: Live, means: Means, shown: Shown) -> Self {
        let mut bindings = Bindings::default();
        bindings.bind(&live.load().config.tenants);
        Self {
            sources: reloading.sources,
            watch: Watch::new(reloading.files),
            warned: reloading.warnings.into_iter().collect(),
            waiting: Vec::new(),
            level: reloading.level,
            asked: reloading.asked,
            live,
            means,
            shown,
            bindings,
            remains: HashMap::new(),
            looks: JoinSet::new(),
        }
    }

    /// Reloads when it is asked to or the files changed, until it is dropped.
    pub(super) async fn run(&mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = self.asked.notified() => true,
                _ = looks.tick() => false,
                Some(_) = self.looks.join_next() => continue,
            };
            if is_asked || self.is_due().await {
                self.reload(is_asked).await;
            }
        }
    }

    async fn is_due(&mut self) -> bool {
        let read = self.watch.read().clone();
        if read.is_empty() {
            return false;
        }
        // In a thread of its own, since there may be thousands, on a disk that is slow.
        let now = spawn_blocking(move || read.now()).await;
        now.is_ok_and(|now| self.watch.is_due(now))
    }

    async fn reload(&mut self, is_asked: bool) {
        let (began, sources) = (Instant::now(), self.sources.clone());
        let loaded = spawn_blocking(move || config::load(sources)).await;
        let outcome = match loaded {
            Ok(Ok(loaded)) => self.apply(loaded, is_asked, began),
            Ok(Err(faults)) => self.refuse(&faults),
            Err(error) => {
                tracing::error!(%error, "the configuration could not be loaded anew; please report this");
                return;
            }
        };
        self.means.metrics.config_reload(outcome);
    }

    fn refuse(&mut self, faults: &Faults) -> &'static str {
        self.watch = Watch::new(faults.files().clone());
        let all = faults.faults();
        for fault in all.iter().take(FAULTS_MAX) {
            tracing::error!(%fault, "the configuration has a fault");
        }
        let remark = "the configuration on disk has faults, so that nothing of it is in force; the one before still is";
        tracing::error!(faults = all.len(), "{remark}");
        self.live
            .remark(vec![format!("{remark}. The log names every fault.")]);
        // What waits is told again with the next that has none.
        self.waiting.clear();
        let in_force = self.live.load();
        let named = |tenant: &&Arc<Tenant>| {
            let section = format!("tenants.{}.", tenant.name);
            all.iter().any(|fault| fault.key.starts_with(&section))
        };
        let mut concerned: Vec<&Arc<Tenant>> = in_force.config.tenants.iter().filter(named).collect();
        if concerned.is_empty() {
            concerned.extend(in_force.config.tenants.iter().take(ENTRIES_MAX));
        }
        let entries = concerned.into_iter().map(|tenant| {
            let why = format!("{} faults; the log names them", all.len());
            self.entry(tenant, "refused", why)
        });
        self.journal(entries.collect());
        "refused"
    }

    fn apply(&mut self, loaded: Loaded, is_asked: bool, began: Instant) -> &'static str {
        self.watch = Watch::new(loaded.files);
        self.warn(loaded.warnings);
        let overridden = loaded.overridden.iter();
        let overridden = listed(overridden.map(|(key, by)| format!("{key} ({by} goes over the file)")));
        let before = self.live.load();
        let change = change(&before.config, loaded.config, &self.bindings);
        let is_nothing = change.is_nothing();
        let Change {
            config,
            keys,
            tenants,
            waiting,
        } = change;
        let entries: Vec<Entry> = tenants
            .iter()
            .filter_map(|change| self.applied(change, &config, &before.config))
            .collect();
        if !is_nothing {
            self.put_in_force(&before, config, &keys, &tenants);
            let keys = listed(&keys);
            let tenants = listed(
                tenants
                    .iter()
                    .map(|TenantChange { name, kind }| format!("{name} ({kind})")),
            );
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(keys, tenants, overridden, took_ms, "reloaded the configuration");
        } else if is_asked || overridden.is_some() {
            tracing::info!(
                overridden,
                "reloaded the configuration, and nothing of what is in force changed"
            );
        }
        self.journal(entries);
        self.wait(waiting);
        if is_nothing { "unchanged" } else { "applied" }
    }

    fn put_in_force(
        &mut self,
        before: &InForce,
        config: Config,
        keys: &[&'static str],
        tenants: &[TenantChange],
    ) {
        self.shown.show(&config);
        let forwards_anew = keys.contains(&"proxy.response_timeout");
        if forwards_anew {
            let timeout = config.proxy.response_timeout;
            self.means.forwarder = self.means.forwarder.with_response_timeout(timeout);
        }
        if let Some(level) = self.level.as_ref().filter(|_| keys.contains(&"log.level")) {
            level.set(&config.log.level);
        }
        self.bindings.bind(&config.tenants);
        // Before the guards, which count by what there is.
        let limits = config.tenants.iter();
        self.means
            .metrics
            .set_tenants(limits.map(|tenant| (&*tenant.name, tenant.terms.max_users)));
        self.means.notices.set_tenants(&config.tenants);
        let in_force = InForce::new(config, |tenant| match before.named(&tenant.name) {
            Some(guard) if Arc::ptr_eq(guard.config(), tenant) && !forwards_anew => Arc::clone(guard),
            Some(guard) => Arc::new(guard.following(Arc::clone(tenant), self.means.clone())),
            None => Arc::new(self.guard(tenant)),
        });
        let is_new = |change: &&TenantChange| match &change.kind {
            Kind::Added => true,
            Kind::Removed => false,
            Kind::Changed(keys) => keys.contains(&"consumer_key"),
        };
        let to_look_at = tenants.iter().filter(is_new);
        let to_look_at: Vec<_> = to_look_at
            .filter_map(|change| in_force.named(&change.name).cloned())
            .collect();
        self.live.replace(in_force);
        self.remains.retain(|_, remains| !remains.is_gone());
        for change in tenants.iter().filter(|change| change.kind == Kind::Removed) {
            if let Some(guard) = before.named(&change.name) {
                self.remains.insert(Arc::clone(&change.name), guard.leave());
            }
        }
        if !to_look_at.is_empty() {
            self.looks.spawn(upkeep::first_looks(to_look_at));
        }
    }

    /// Of a tenant that was not there; or was some time ago, and its last admission may be under way.
    fn guard(&self, tenant: &Arc<Tenant>) -> Guard {
        match self.remains.get(&tenant.name) {
            Some(remains) => Guard::reviving(remains, Arc::clone(tenant), self.means.clone()),
            None => Guard::new(Arc::clone(tenant), self.means.clone()),
        }
    }

    /// Tells what was not told yet.
    fn warn(&mut self, warnings: Vec<String>) {
        let new = warnings.iter().filter(|warning| !self.warned.contains(*warning));
        for warning in new.take(TOLD_MAX) {
            tracing::warn!("{warning}");
        }
        self.warned = warnings.into_iter().collect();
    }

    /// What waits for a restart is told when it begins to, and shown as long as it does.
    fn wait(&mut self, waiting: Vec<Waiting>) {
        for what in waiting
            .iter()
            .filter(|what| !self.waiting.contains(what))
            .take(TOLD_MAX)
        {
            tracing::warn!(key = what.key, "{what}");
        }
        self.live
            .remark(waiting.iter().map(|what| format!("{what}.")).collect());
        self.waiting = waiting;
    }

    fn applied(&self, change: &TenantChange, config: &Config, before: &Config) -> Option<Entry> {
        let TenantChange { name, kind } = change;
        let of = |tenants: &[Arc<Tenant>]| {
            let place = tenants.binary_search_by(|tenant| tenant.name.cmp(name));
            place.ok().map(|place| Arc::clone(&tenants[place]))
        };
        // One that is gone is told as it was.
        let tenant = of(&config.tenants).or_else(|| of(&before.tenants))?;
        Some(self.entry(&tenant, "applied", kind.to_string()))
    }

    fn entry(&self, tenant: &Tenant, outcome: &str, why: String) -> Entry {
        let now = Millis::from(SystemTime::now());
        Entry {
            outcome: Some(outcome.to_owned()),
            reason: Some(why),
            limit: u32::try_from(tenant.terms.max_users).ok(),
            ..Entry::new(now, tenant.client_id.as_str(), Event::Reload, &self.means.replica)
        }
    }

    /// Beside all else: with thousands of tenants it takes a while, and nothing waits for it.
    fn journal(&self, entries: Vec<Entry>) {
        let registry = Arc::clone(&self.means.registry);
        tokio::spawn(async move {
            for entry in entries {
                if let Err(error) = registry.record(entry).await {
                    tracing::warn!(%error, "a reload of the configuration is not in the journal");
                    return;
                }
            }
        });
    }
}

/// The first of them, and how many more there are; `None` if there are none.
fn listed<T: Display>(all: impl IntoIterator<Item = T>) -> Option<String> {
    let mut all = all.into_iter();
    let told: Vec<String> = all.by_ref().take(TOLD_MAX).map(|one| one.to_string()).collect();
    let more = match all.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!told.is_empty()).then(|| told.join(", ") + &more)
}

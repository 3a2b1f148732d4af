//! What is in force: the configuration, and the guards made of it, replaced together by a reload.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Cache};

use super::{Guard, lock};
use crate::config::Config;

/// One configuration with its guards. Whoever has one in hand sees no reload until it asks again.
pub struct InForce {
    pub config: Config,
    /// In the order of their names, as in `config`.
    guards: Vec<Arc<Guard>>,
    by_client: HashMap<Box<str>, usize>,
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl InForce {
    /// `guard` makes the guard of a tenant. All of them are in force from now on, each for its tenant.
    pub fn new(config: Config, guard: impl FnMut(&Arc<crate::config::Tenant>) -> Arc<Guard>) -> Self {
        let guards: Vec<Arc<Guard>> = config.tenants.iter().map(guard).collect();
        guards.iter().for_each(Guard::enter);
        let numbered = guards.iter().enumerate();
        let by_client = numbered.map(|(place, guard)| (guard.client_id().into(), place));
        Self {
            by_client: by_client.collect(),
            guards,
            config,
        }
    }

    /// In the order of their names.
    pub fn guards(&self) -> &[Arc<Guard>] {
        &self.guards
    }

    /// The guard of the tenant of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Guard>> {
        let place = self.guards.binary_search_by(|guard| guard.tenant().cmp(name));
        place.ok().map(|place| &self.guards[place])
    }

    /// The guard of the tenant with this client id.
    pub fn of_client(&self, client_id: &str) -> Option<&Arc<Guard>> {
        self.by_client.get(client_id).map(|place| &self.guards[*place])
    }
}

/// What is in force now, for all parts of the program. Clones share it.
#[derive(Clone, Debug)]
pub struct Live {
    in_force: Arc<ArcSwap<InForce>>,
    remarks: Arc<Mutex<Vec<String>>>,
}

/// What is in force, as a thread asks again and again; asking costs one look at a shared pointer.
pub type Latest = Cache<Arc<ArcSwap<InForce>>, Arc<InForce>>;

impl Live {
    pub fn new(in_force: InForce) -> Self {
        Self {
            in_force: Arc::new(ArcSwap::from_pointee(in_force)),
            remarks: Arc::default(),
        }
    }

    pub fn load(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    pub fn latest(&self) -> Latest {
        Cache::new(Arc::clone(&self.in_force))
    }

    /// For all parts at once.
    pub fn replace(&self, in_force: InForce) {
        self.in_force.store(Arc::new(in_force));
    }

    /// What an operator should know of the last reload: that it was refused, or what of it waits for a restart.
    pub fn remarks(&self) -> Vec<String> {
        lock(&self.remarks).clone()
    }

    pub fn remark(&self, remarks: Vec<String>) {
        *lock(&self.remarks) = remarks;
    }
}

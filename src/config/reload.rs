//! What of a configuration that was loaded anew can be put in force while the program runs, and what waits for a restart.
//!
//! Pure: it compares two configurations, and makes of them the one that is to be in force from now on.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::hooks;
use super::{Config, Tenant};
use crate::types::ClientId;

/// Which key a name stood for since the program began, and which name a key had.
///
/// What is under way for a key goes by the tenant's name: its guard, and with it one admission at a time, and its metrics. So
/// that none of it is ever taken for another key's, a name keeps its key and a key its name until the program ends.
#[derive(Debug, Default)]
pub struct Bindings {
    clients: HashMap<Arc<str>, ClientId>,
    names: HashMap<ClientId, Arc<str>>,
}

impl Bindings {
    /// These are in force.
    pub fn bind(&mut self, tenants: &[Arc<Tenant>]) {
        for tenant in tenants {
            let (name, client) = (&tenant.name, &tenant.client_id);
            self.clients
                .entry(Arc::clone(name))
                .or_insert_with(|| client.clone());
            self.names
                .entry(client.clone())
                .or_insert_with(|| Arc::clone(name));
        }
    }

    /// The name that goes on with what it had, if this tenant cannot have its name or its key now; and why.
    fn conflict(&self, tenant: &Tenant) -> Option<(Arc<str>, Waiting)> {
        let name = &tenant.name;
        if self.clients.get(name).is_some_and(|had| *had != tenant.client_id) {
            return Some((Arc::clone(name), Waiting::client_id(name)));
        }
        let other = self.names.get(&tenant.client_id).filter(|other| *other != name)?;
        Some((Arc::clone(other), Waiting::renamed(name, other)))
    }
}

/// Something that is configured otherwise than it is in force, until the program is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub key: String,
    what: String,
}

impl Waiting {
    fn key(key: &str) -> Self {
        let what = "changed; that needs a restart".to_owned();
        Self {
            key: key.to_owned(),
            what,
        }
    }

    fn client_id(name: &str) -> Self {
        let what = "changed; that needs a restart, and until then this tenant stays as it was".to_owned();
        Self {
            key: format!("tenants.{name}.client_id"),
            what,
        }
    }

    fn renamed(name: &str, other: &str) -> Self {
        let what = format!(
            "has the client id of tenants.{other}; another name for a key needs a restart, and until then \
                 that tenant stays as it was"
        );
        Self {
            key: format!("tenants.{name}"),
            what,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.what)
    }
}

/// What a reload does to one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChange {
    pub name: Arc<str>,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Removed,
    /// The keys, without the tenant's name.
    Changed(Vec<&'static str>),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::Changed(keys) => f.write_str(&keys.join(", ")),
        }
    }
}

/// A reload, before anything of it is done.
#[derive(Debug)]
pub struct Change {
    /// To be in force from now on. Tenants that did not change are the same `Arc`s as before.
    pub config: Config,
    /// Keys outside of tenants that have another value now.
    pub keys: Vec<&'static str>,
    /// In the order of their names.
    pub tenants: Vec<TenantChange>,
    pub waiting: Vec<Waiting>,
}

impl Change {
    /// Whether what is in force stays as it is.
    pub fn is_nothing(&self) -> bool {
        self.keys.is_empty() && self.tenants.is_empty()
    }
}

/// The keys whose fields differ.
macro_rules! differing {
    ($old:expr, $new:expr; $($key:literal => $($field:ident).+),+ $(,)?) => {
        [$(($old.$($field).+ != $new.$($field).+).then_some($key)),+].into_iter().flatten()
    };
}

/// Sets the fields that differ back, and tells their keys.
macro_rules! kept {
    ($old:expr, $new:expr, $waiting:expr; $($key:literal => $($field:ident).+),+ $(,)?) => {
        $(if $old.$($field).+ != $new.$($field).+ {
            $new.$($field).+ = $old.$($field).+.clone();
            $waiting.push(Waiting::key($key));
        })+
    };
}

/// What it means to have `new` where `old` is in force.
pub fn change(old: &Config, mut new: Config, bindings: &Bindings) -> Change {
    let mut waiting = Vec::new();
    // Of what is bound, connected or opened at the start.
    kept!(old, new, waiting;
        "proxy.listen" => proxy.listen,
        "proxy.upstream" => proxy.upstream,
        "proxy.upstream_ca_file" => proxy.upstream_ca,
        "proxy.connect_timeout" => proxy.connect_timeout,
        "proxy.max_connections" => proxy.max_connections,
        "proxy.max_headers" => proxy.max_headers,
        "proxy.max_header_bytes" => proxy.max_header_bytes,
        "proxy.header_timeout" => proxy.header_timeout,
        "proxy.body_idle_timeout" => proxy.body_idle_timeout,
        "proxy.worker_threads" => proxy.worker_threads,
        "ops.listen" => ops.listen,
        "webhooks.listen" => webhooks.listen,
        "log.format" => log.format,
        "registry.url" => registry.home,
        // From a `.env` file: those of the process stay as they are.
        "OTEL_EXPORTER_OTLP_ENDPOINT, or another of OpenTelemetry's variables," => tracing,
    );
    // What speaks TLS goes on with another certificate, but not without one, nor does what speaks none begin to.
    for (key, old, new) in [
        ("proxy.tls_cert_file", &old.proxy.tls, &mut new.proxy.tls),
        ("ops.tls_cert_file", &old.ops.tls, &mut new.ops.tls),
        ("webhooks.tls_cert_file", &old.webhooks.tls, &mut new.webhooks.tls),
    ] {
        if old.is_some() != new.is_some() {
            new.clone_from(old);
            waiting.push(Waiting::key(key));
        }
    }
    // Checked against the addresses that were loaded with it, which may not be the ones in force.
    if hooks::leads_to_itself(&new) {
        kept!(old, new, waiting; "webhooks.forward_url" => webhooks.forward_url);
    }
    let keys = differing!(old, new;
        "proxy.upstream_cert_file" => proxy.upstream_identity,
        "proxy.tls_cert_file" => proxy.tls,
        "ops.tls_cert_file" => ops.tls,
        "webhooks.tls_cert_file" => webhooks.tls,
        "proxy.response_timeout" => proxy.response_timeout,
        "proxy.max_requests" => proxy.max_requests,
        "proxy.max_registration_bytes" => proxy.max_registration_bytes,
        "proxy.drain_delay" => proxy.drain_delay,
        "proxy.drain_timeout" => proxy.drain_timeout,
        "proxy.health_paths" => proxy.health_paths,
        "ops.token" => ops.token,
        "ops.hosts" => ops.hosts,
        "ops.allowed_origins" => ops.allowed_origins,
        "webhooks.forward_url" => webhooks.forward_url,
        "log.level" => log.level,
        "registry.journal_retention" => registry.journal_retention,
    );
    let keys = keys.collect();
    new.tenants = together(&old.tenants, new.tenants, bindings, &mut waiting);
    let tenants = tenants(&old.tenants, &new.tenants);
    Change {
        config: new,
        keys,
        tenants,
        waiting,
    }
}

/// The tenants to be in force: the new ones, but for those that cannot have their name or key yet.
fn together(
    old: &[Arc<Tenant>],
    new: Vec<Arc<Tenant>>,
    bindings: &Bindings,
    waiting: &mut Vec<Waiting>,
) -> Vec<Arc<Tenant>> {
    let old: HashMap<&str, &Arc<Tenant>> = old.iter().map(|tenant| (&*tenant.name, tenant)).collect();
    let mut staying = BTreeSet::new();
    let mut tenants = Vec::with_capacity(new.len());
    for tenant in new {
        if let Some((stays, what)) = bindings.conflict(&tenant) {
            waiting.push(what);
            staying.insert(stays);
        } else {
            let same = old.get(&*tenant.name).filter(|had| ***had == tenant);
            tenants.push(same.map_or(tenant, |had| Arc::clone(had)));
        }
    }
    let is_there = |tenants: &[Arc<Tenant>], name: &str| tenants.iter().any(|tenant| &*tenant.name == name);
    for name in staying {
        if let Some(had) = old.get(&*name).filter(|_| !is_there(&tenants, &name)) {
            tenants.push(Arc::clone(had));
        }
    }
    tenants.sort_by(|a, b| a.name.cmp(&b.name));
    tenants
}

/// Both in the order of their names.
fn tenants(old: &[Arc<Tenant>], new: &[Arc<Tenant>]) -> Vec<TenantChange> {
    let by_name = |tenants: &[Arc<Tenant>]| -> HashMap<Arc<str>, Arc<Tenant>> {
        let named = tenants
            .iter()
            .map(|tenant| (Arc::clone(&tenant.name), Arc::clone(tenant)));
        named.collect()
    };
    let (had, has) = (by_name(old), by_name(new));
    let names: BTreeSet<&Arc<str>> = had.keys().chain(has.keys()).collect();
    let kind = |name: &Arc<str>| match (had.get(name), has.get(name)) {
        (Some(old), Some(new)) if Arc::ptr_eq(old, new) => None,
        (Some(old), Some(new)) => Some(Kind::Changed(tenant_keys(old, new))),
        (None, Some(_)) => Some(Kind::Added),
        (_, None) => Some(Kind::Removed),
    };
    let change = |name: &Arc<str>| {
        let name = Arc::clone(name);
        kind(&name).map(|kind| TenantChange { name, kind })
    };
    names.into_iter().filter_map(change).collect()
}

fn tenant_keys(old: &Tenant, new: &Tenant) -> Vec<&'static str> {
    let url = |tenant: &Tenant| tenant.notify.as_ref().map(|notify| notify.url.clone());
    let secret = |tenant: &Tenant| tenant.notify.as_ref().map(|notify| notify.secret.clone());
    let notices = [
        (url(old) != url(new)).then_some("eviction.notify_url"),
        (secret(old) != secret(new)).then_some("eviction.notify_secret"),
    ];
    let keys = differing!(old, new;
        "consumer_key" => consumer_key,
        "max_users" => terms.max_users,
        "on_list_error" => terms.on_list_error,
        "signature_max_age" => signature_max_age,
        "manage_timeout" => manage_timeout,
        "settle_timeout" => terms.settle_timeout,
        "admission_timeout" => terms.admission_timeout,
        "queue_max" => queue_max,
        "replay_window" => replay_window,
        "eviction.mode" => terms.mode,
        "eviction.order" => terms.policy.order,
        "eviction.unknown_age" => terms.policy.unknown_age,
        "eviction.evictable" => terms.policy.evictable,
        "eviction.protect" => terms.policy.protect,
        "eviction.min_age" => terms.policy.min_age,
        "eviction.active_within" => terms.policy.active_within,
        "eviction.max_per_registration" => terms.max_per_registration,
        "eviction.fuse.evictions" => terms.fuse.evictions,
        "eviction.fuse.window" => terms.fuse.window,
        "limit_error.phrases" => phrases,
    );
    keys.chain(notices.into_iter().flatten()).collect()
}

#[cfg(test)]
pub(super) mod tests;

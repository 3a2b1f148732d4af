//! File, environment and flags, one above the other: the later wins, and each value knows where it comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Place, Problem};
use super::keys::{Key, Slot, fill, find};
use super::value::{Item, Value};

/// Keys of which one stands for the other, because a secret is written in one place only.
const EITHER: &[(&str, &str)] = &[
    ("ops.token", "ops.token_file"),
    ("registry.url", "registry.url_file"),
    ("tenants.*.consumer_key", "tenants.*.consumer_key_file"),
];

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What one source says.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) settings: Vec<(Slot, Setting)>,
    /// Tenants that the source names, even those of which it says nothing more.
    pub(super) tenants: Vec<(String, Place)>,
}

/// Whose key, if it is a tenant's, and which.
type Address = (Option<String>, &'static str);

/// What all sources say together.
#[derive(Default)]
pub(super) struct Layers {
    settings: BTreeMap<Address, Setting>,
    tenants: BTreeMap<String, Place>,
    overridden: BTreeMap<String, Place>,
}

impl Layers {
    /// Lays one source over the others. A secret given in one form replaces one that an earlier source gave in the
    /// other; both forms in one source stay, for validation to refuse.
    pub(super) fn apply(&mut self, layer: Layer) {
        let given: BTreeSet<_> = layer.settings.iter().map(|(slot, _)| address(slot)).collect();
        for (name, place) in layer.tenants {
            self.tenants.entry(name).or_insert(place);
        }
        for (slot, setting) in layer.settings {
            if let Some(name) = &slot.tenant {
                self.tenants
                    .entry(name.clone())
                    .or_insert_with(|| setting.place.clone());
            }
            let other = partner(slot.key.path).map(|path| (slot.tenant.clone(), path));
            let by = setting.place.clone();
            if let Some(other) = other.filter(|other| !setting.value.is_unset() && !given.contains(other))
                && let Some(lost) = self.settings.remove(&other)
            {
                self.note_overridden(&other, &lost, &by);
            }
            if let Some(lost) = self.settings.insert(address(&slot), setting) {
                self.note_overridden(&address(&slot), &lost, &by);
            }
        }
    }

    fn note_overridden(&mut self, (tenant, path): &Address, lost: &Setting, by: &Place) {
        let key = fill(path, tenant.as_deref());
        let is_in_file = matches!(lost.place, Place::File { .. }) || self.overridden.contains_key(&key);
        if is_in_file && *by != Place::Default {
            self.overridden.insert(key, by.clone());
        }
    }

    /// What stands in the file, and does not hold: the keys, each with what goes over the file.
    pub(super) fn overridden(&self) -> &BTreeMap<String, Place> {
        &self.overridden
    }

    /// Adds an entry to a list, whatever the sources made of it.
    pub(super) fn append(&mut self, path: &'static str, item: Item) {
        let place = item.place.clone();
        let setting = self.settings.entry((None, path)).or_insert(Setting {
            value: Value::List(Vec::new()),
            place,
        });
        if let Value::List(items) = &mut setting.value {
            items.push(item);
        }
    }

    /// The tenants by name, each with the first place that names it.
    pub(super) fn tenants(&self) -> &BTreeMap<String, Place> {
        &self.tenants
    }

    /// The value of a key, its default where nothing else was said.
    pub(super) fn get(&self, tenant: Option<&str>, key: &'static Key) -> Result<Setting, Problem> {
        match self.settings.get(&(tenant.map(str::to_owned), key.path)) {
            Some(setting) => Ok(setting.clone()),
            None => key.kind.preset(key.preset).map(|value| Setting {
                value,
                place: Place::Default,
            }),
        }
    }
}

fn address(slot: &Slot) -> Address {
    (slot.tenant.clone(), slot.key.path)
}

fn partner(path: &str) -> Option<&'static str> {
    EITHER
        .iter()
        .find_map(|(inline, file)| match path {
            _ if path == *inline => find(file),
            _ if path == *file => find(inline),
            _ => None,
        })
        .map(|key| key.path)
}

/// Whether a tenant may be called so: the name is a TOML key, a part of an environment variable, a metric's label
/// and a piece of a URL path, and must be the same tenant in each.
pub(super) fn is_tenant_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 64
        && name.chars().all(inner)
        && edge(name.chars().next())
        && edge(name.chars().last())
        && !variable_part(name).contains("__")
}

/// A tenant's name as a part of an environment variable's.
pub(super) fn variable_part(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

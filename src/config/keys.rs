//! Every configuration key, once: its path, what it takes, its default and what it is for. The file, the environment,
//! the flags, `config/sidecar.toml` and the print-out of `check` all follow this table.

use std::time::Duration;

use super::value::Kind::{self, Count, List, OneOf, Path, Secret, Span, Switch, Text};

/// The default of a key, as it would be written.
#[derive(Clone, Copy)]
pub(super) enum Preset {
    Text(&'static str),
    Count(u64),
    Switch(bool),
    List(&'static [&'static str]),
}

pub(super) struct Key {
    /// Dotted; `*` stands for a tenant's name.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) preset: Preset,
    pub(super) doc: &'static str,
}

const fn text(path: &'static str, kind: Kind, preset: &'static str, doc: &'static str) -> Key {
    let preset = Preset::Text(preset);
    Key {
        path,
        kind,
        preset,
        doc,
    }
}

const fn count(path: &'static str, min: u64, max: u64, preset: u64, doc: &'static str) -> Key {
    let kind = Count { min, max };
    let preset = Preset::Count(preset);
    Key {
        path,
        kind,
        preset,
        doc,
    }
}

const fn list(path: &'static str, preset: &'static [&'static str], doc: &'static str) -> Key {
    let preset = Preset::List(preset);
    Key {
        path,
        kind: List,
        preset,
        doc,
    }
}

const fn switch(path: &'static str, preset: bool, doc: &'static str) -> Key {
    let preset = Preset::Switch(preset);
    Key {
        path,
        kind: Switch,
        preset,
        doc,
    }
}

const ZERO: Duration = Duration::ZERO;
const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A timeout: zero would refuse everything, more than an hour is a slip of the unit.
const TIMEOUT: Kind = Span { min: MS, max: HOUR };
const PAUSE: Kind = Span { min: ZERO, max: HOUR };
const CENTURY: Kind = Span {
    min: ZERO,
    max: Duration::from_hours(36_500 * 24),
};

pub(super) const FORMATS: &[&str] = &["auto", "text", "json"];
pub(super) const MODES: &[&str] = &["enforce", "on-limit-error", "observe", "off"];
pub(super) const UNKNOWN_AGE: &[&str] = &["oldest", "list-order", "protect"];
pub(super) const ON_LIST_ERROR: &[&str] = &["forward", "reject"];
pub(super) const PHRASES: &[&str] = &[
    "connection limit reached",
    "limit reached",
    "maximum number of connections",
];

/// In the order in which `config/sidecar.toml` shows them; the keys of a section stand together.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    text("proxy.listen", Text, "127.0.0.1:8080", "Where the application reaches the sidecar: IP address and port."),
    text("proxy.upstream", Text, "https://api.snaptrade.com", "SnapTrade: scheme, host and port only; paths are never rewritten."),
    text("proxy.upstream_ca_file", Path, "", "PEM file of a CA to trust for the upstream, beside the built-in roots."),
    text("proxy.upstream_cert_file", Path, "", "PEM file of a certificate to show the upstream where it asks for one, and its chain."),
    text("proxy.upstream_key_file", Path, "", "PEM file of the key of that certificate."),
    text("proxy.tls_cert_file", Path, "", "PEM file of this listener's certificate, and its chain: then it speaks TLS only. Empty: plain HTTP."),
    text("proxy.tls_key_file", Path, "", "PEM file of the key of that certificate."),
    text("proxy.connect_timeout", TIMEOUT, "5s", "For reaching the upstream, TLS included."),
    text("proxy.response_timeout", TIMEOUT, "60s", "From the sent request to the head of the upstream's reply."),
    count("proxy.max_connections", 1, 1_000_000, 10_000, "Connections open at once; further ones wait, and quiet ones are closed to make room."),
    count("proxy.max_requests", 1, 1_000_000, 2_000, "Calls that may wait for the upstream at once; further ones get 503. Registrations queue instead."),
    count("proxy.max_headers", 1, 1_000, 100, "Header lines of a request; one with more gets 431."),
    count("proxy.max_header_bytes", 8_192, 400_000, 131_072, "For the head of a request, its target included; a larger one gets 431."),
    count("proxy.max_registration_bytes", 1, 16_777_216, 65_536, "For the body of a registration, which is read whole; a larger one gets 413."),
    text("proxy.header_timeout", TIMEOUT, "10s", "For a caller to send the head of a request."),
    text("proxy.body_idle_timeout", TIMEOUT, "60s", "For the next piece of a body, in either direction."),
    text("proxy.drain_delay", PAUSE, "0s", "After SIGTERM: not ready any more, but still accepting, for this long."),
    text("proxy.drain_timeout", PAUSE, "25s", "After that: how long requests in flight may take to finish."),
    count("proxy.worker_threads", 0, 1_024, 0, "Threads that carry traffic; 0: as many as the container may use."),
    switch("proxy.health_paths", true, "Answer GET /healthz and GET /readyz on this port too."),

    text("ops.listen", Text, "127.0.0.1:9090", "Where health, metrics, status and the admin calls are: IP address and port."),
    text("ops.tls_cert_file", Path, "", "PEM file of this listener's certificate, and its chain: then it speaks TLS only. Empty: plain HTTP."),
    text("ops.tls_key_file", Path, "", "PEM file of the key of that certificate."),
    text("ops.token", Secret, "", "Bearer token of the admin calls; without one nothing can be changed."),
    text("ops.token_file", Path, "", "File that holds the token, instead of `token`."),
    list("ops.hosts", &[], "Further host names to answer to, without port; IP addresses and localhost always work."),
    list("ops.allowed_origins", &[], "Browser origins that may call (CORS); \"https://*.vercel.app\" matches one label."),

    text("webhooks.listen", Text, "", "Where SnapTrade's webhooks arrive, at /webhooks/snaptrade: IP address and port; empty: nowhere."),
    text("webhooks.tls_cert_file", Path, "", "PEM file of this listener's certificate, and its chain: then it speaks TLS only. Empty: plain HTTP."),
    text("webhooks.tls_key_file", Path, "", "PEM file of the key of that certificate."),
    text("webhooks.forward_url", Text, "", "Where each verified webhook is passed on to, unchanged; SnapTrade gets the answer from there."),

    text("log.format", OneOf(FORMATS), "auto", "text, json, or auto: text on a terminal, JSON otherwise."),
    text("log.level", Text, "info", "off, error, warn, info, debug or trace; libraries below warn only by name: \"debug,h2=debug\"."),

    text("registry.url", Secret, "memory:", "What it remembers, where: memory: (nothing on disk), sqlite:///path/to/file.db, or postgres://user:password@host/database."),
    text("registry.url_file", Path, "", "File that holds the URL, instead of `url`."),
    text("registry.journal_retention", CENTURY, "90d", "How long entries of the journal are kept; open intents always are."),

    text("tenants.*.client_id", Text, "", "The client id of the SnapTrade API key."),
    text("tenants.*.consumer_key", Secret, "", "The consumer key that belongs to it; never printed."),
    text("tenants.*.consumer_key_file", Path, "", "File that holds the consumer key, instead of `consumer_key`."),
    count("tenants.*.max_users", 1, 1_000_000, 5, "How many users this key may have. A registration beyond it evicts one, and until this is set never more."),
    text("tenants.*.on_list_error", OneOf(ON_LIST_ERROR), "forward", "When the users cannot be listed: forward the registration as it is, or reject it with 503."),
    text("tenants.*.signature_max_age", Span { min: MS, max: DAY }, "300s", "How far a registration's timestamp may be from the clock for it to be managed."),
    text("tenants.*.manage_timeout", TIMEOUT, "5s", "For one listUsers or deleteUser of the sidecar's own."),
    text("tenants.*.settle_timeout", TIMEOUT, "20s", "How long a deletion may take to show in listUsers."),
    text("tenants.*.admission_timeout", TIMEOUT, "30s", "For a registration, its wait in the queue included; past it, forwarded as it is, or 503 if still queued."),
    count("tenants.*.queue_max", 1, 100_000, 64, "Registrations that may wait at once; further ones get 503."),
    text("tenants.*.replay_window", PAUSE, "2m", "How long a reply is kept whose caller left before it got it; 0s: not at all."),

    text("tenants.*.eviction.mode", OneOf(MODES), "enforce", "enforce; on-limit-error: only after SnapTrade refused; observe: decide but delete nobody; off."),
    list("tenants.*.eviction.order", &["oldest"], "Who goes first, by keys compared in turn: oldest, least-recently-active, never-active, least-active, no-connections, broken-connections."),
    text("tenants.*.eviction.unknown_age", OneOf(UNKNOWN_AGE), "oldest", "Users of unknown age: oldest: they go first, by place in listUsers; list-order: then places decide for all; protect: they stay."),
    list("tenants.*.eviction.evictable", &["*"], "Patterns of user ids that may be evicted; `*` is any number of characters, `?` is one."),
    list("tenants.*.eviction.protect", &[], "Patterns of user ids that are never evicted; they win over `evictable`."),
    text("tenants.*.eviction.min_age", CENTURY, "0s", "Never evict a user younger than this."),
    text("tenants.*.eviction.active_within", CENTURY, "0s", "Never evict a user that was active in this long."),
    count("tenants.*.eviction.max_per_registration", 1, 1_000, 3, "Evict nobody if making room would take more deletions than this; or than one, until max_users is set."),
    text("tenants.*.eviction.notify_url", Text, "", "Where the application is told of each eviction: a signed POST, tried until it is taken."),
    text("tenants.*.eviction.notify_secret", Secret, "", "What notices are signed with; the application has it too."),
    text("tenants.*.eviction.notify_secret_file", Path, "", "File that holds the secret, instead of `notify_secret`."),

    count("tenants.*.eviction.fuse.evictions", 1, 1_000_000, 60, "Evict nobody more once this many were within the window; it passes by itself."),
    text("tenants.*.eviction.fuse.window", Span { min: Duration::from_secs(1), max: Duration::from_hours(366 * 24) }, "1h", "For how long an eviction counts."),

    list("tenants.*.limit_error.phrases", PHRASES, "What SnapTrade says when the limit is reached, in any case; at least 5 characters each."),
];

/// A key of one tenant, or of nobody in particular.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) tenant: Option<String>,
    pub(super) key: &'static Key,
}

impl Slot {
    /// The key's path as a user would write it.
    pub(super) fn path(&self) -> String {
        fill(self.key.path, self.tenant.as_deref())
    }
}

/// What a path names.
pub(super) enum Named {
    Key(Slot),
    Section,
    Nothing,
}

pub(super) fn find(pattern: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == pattern)
}

pub(super) fn named(path: &[&str]) -> Named {
    let pattern = pattern(path);
    let tenant = path.get(1).filter(|_| path[0] == "tenants");
    if let Some(key) = find(&pattern) {
        let tenant = tenant.map(ToString::to_string);
        return Named::Key(Slot { tenant, key });
    }
    let section = format!("{pattern}.");
    if KEYS.iter().any(|key| key.path.starts_with(&section)) {
        Named::Section
    } else {
        Named::Nothing
    }
}

fn pattern(path: &[&str]) -> String {
    match path {
        ["tenants", _, rest @ ..] => [&["tenants", "*"], rest].concat().join("."),
        _ => path.join("."),
    }
}

pub(super) fn fill(pattern: &str, tenant: Option<&str>) -> String {
    tenant.map_or_else(|| pattern.to_owned(), |name| pattern.replacen('*', name, 1))
}

/// The known key or section that a mistyped path most likely means.
pub(super) fn nearest(path: &[&str]) -> Option<String> {
    nearest_of(path, &KEYS.iter().map(|key| key.path).chain(sections()))
}

/// The same where only a key will do.
pub(super) fn nearest_key(path: &[&str]) -> Option<String> {
    nearest_of(path, &KEYS.iter().map(|key| key.path))
}

fn nearest_of(path: &[&str], known: &(impl Iterator<Item = &'static str> + Clone)) -> Option<String> {
    let wanted = pattern(path);
    let leaf = path.last()?;
    let by_spelling = || closest(&wanted, known.clone().map(|known| (known, known)));
    let same_leaf = || known.clone().find(|known| known.rsplit('.').next() == Some(leaf));
    let tenant = path.get(1).filter(|_| path[0] == "tenants").copied();
    by_spelling()
        .or_else(same_leaf)
        .map(|known| fill(known, Some(tenant.unwrap_or("default"))))
}

/// The second of the pair whose first is `wanted` but for a few slips.
pub(super) fn closest<'a, T: Ord>(wanted: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    // More than a third of a word is another word: `foo` is not a mistyped `log`.
    let slips_max = (wanted.len() / 6).clamp(2, 4).min(wanted.len() / 3);
    known
        .map(|(spelling, meant)| (slips(wanted, spelling), meant))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, meant)| meant)
}

fn sections() -> impl Iterator<Item = &'static str> + Clone {
    KEYS.iter()
        .filter_map(|key| key.path.rsplit_once('.'))
        .map(|(section, _)| section)
        .chain(["tenants"])
}

/// Levenshtein distance: the number of single characters to add, drop or change.
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_leads_to_the_key_that_was_meant() {
        for (written, meant) in [
            (vec!["proxy", "listn"], Some("proxy.listen")),
            (vec!["proxi"], Some("proxy")),
            (vec!["tenant"], Some("tenants")),
            (
                vec!["tenants", "acme", "max_user"],
                Some("tenants.acme.max_users"),
            ),
            (
                vec!["tenants", "acme", "mode"],
                Some("tenants.acme.eviction.mode"),
            ),
            (vec!["ops", "max_connections"], Some("proxy.max_connections")),
            (vec!["eviction"], Some("tenants.default.eviction")),
            (vec!["colour"], None),
            (vec!["foo"], None),
        ] {
            assert_eq!(nearest(&written).as_deref(), meant, "{written:?}");
        }
    }

    #[test]
    fn every_default_is_one_that_its_key_accepts() {
        for key in KEYS {
            assert!(key.kind.preset(key.preset).is_ok(), "{}", key.path);
        }
    }
}

//! `replay`: what other policies would have done with what happened.
//!
//! - `past`: what happened, from the running sidecar's answers.
//! - `picture`: the outcomes as bars.

mod past;
mod picture;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::running::{Target, tenant_path};
use super::table::{ascii_json, shown, table};
use super::views::uptime;
use super::{Failure, control_runtime, say};
use crate::admission::policy::{Key, Policy};
use crate::ops::answers::{Entry, Hour, Policies, Users};
use crate::replay::{History, Outcome};
use past::Past;

/// What is compared beside the order in force, unless something else is asked for.
const ORDERS: [&[Key]; 3] = [&[Key::Oldest], &[Key::LeastRecentlyActive], &[Key::LeastActive]];

const CAVEAT: &str = "\
came back: evicted users who were wanted again. A user that was evicted could not call any more, so that no history tells whether it \
would have; what is known of it is when it was registered again.";

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Also by this order of eviction: keys as in eviction.order, with commas in between (can be given more than once)
    #[arg(long, value_name = "KEYS", value_parser = order)]
    order: Vec<Vec<Key>>,
    /// With so many users at most, instead of the tenant's max_users; several with commas in between
    #[arg(long, value_name = "USERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_users: Vec<u32>,
    /// Draw it, too: an SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// One way to do it, and what would have come of it.
#[derive(Debug, Serialize)]
struct Line {
    policy: String,
    max_users: usize,
    evictions: u64,
    returned: u64,
    median_gone_seconds: Option<u64>,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    tenant: String,
    from: Option<String>,
    to: Option<String>,
    lines: Vec<Line>,
}

pub(super) fn run(asked: Replay) -> Result<(), Failure> {
    let orders = asked.order;
    let running = asked.target.running()?;
    let (tenant, users, policies, entries, hours) = control_runtime()?.block_on(async {
        let tenant = running.tenant().await?;
        let policies: Policies = running.get(&tenant_path(&tenant, "overview")).await?;
        let users: Users = running.get(&tenant_path(&tenant, "users")).await?;
        let entries: Vec<Entry> = running.get(&tenant_path(&tenant, "journal")).await?;
        let hours: Vec<Hour> = running.get(&tenant_path(&tenant, "activity")).await?;
        Ok::<_, Failure>((tenant, users, policies, entries, hours))
    })?;
    let in_force = past::policy(&policies)?;
    let past = Past::of(&entries, &hours, &users);
    let mut sizes: Vec<usize> = asked.max_users.iter().map(|size| *size as usize).collect();
    if sizes.is_empty() {
        sizes.push(policies.limit);
    }
    let report = report(tenant, &past, &in_force, &orders, &sizes, policies.limit);
    if let Some(file) = &asked.picture {
        let drawn = picture::draw(&report);
        std::fs::write(file, drawn)
            .map_err(|error| Failure(format!("--picture: cannot write {}: {error}", file.display())))?;
    }
    if running.wants_json() {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Failure::new(&error))?;
        return say(ascii_json(&json));
    }
    say(told(&report, &in_force, &orders).trim_end())
}

/// As it is written in the configuration.
fn order(text: &str) -> Result<Vec<Key>, String> {
    let known = Key::ALL.map(Key::token).join(", ");
    let mut keys = Vec::new();
    for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let key =
            Key::from_token(token).ok_or_else(|| format!("{} is no key; known are {known}", shown(token)))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn name(order: &[Key]) -> String {
    if order.is_empty() {
        return "list-order".to_owned();
    }
    let tokens: Vec<&str> = order.iter().map(|key| key.token()).collect();
    tokens.join(",")
}

fn report(
    tenant: String,
    past: &Past,
    in_force: &Policy,
    orders: &[Vec<Key>],
    sizes: &[usize],
    limit: usize,
) -> Report {
    let wanted: Vec<&[Key]> = if orders.is_empty() {
        ORDERS.to_vec()
    } else {
        orders.iter().map(Vec::as_slice).collect()
    };
    let mut lines = vec![line("what happened".to_owned(), limit, &past.happened)];
    for size in sizes {
        let mut add = |policy: String, outcome: Outcome| lines.push(line(policy, *size, &outcome));
        let history: &History = &past.history;
        let own = format!("{} (in force)", name(&in_force.order));
        add(own, history.by_policy(in_force, *size));
        for order in wanted.iter().filter(|order| **order != in_force.order) {
            let policy = Policy {
                order: order.to_vec(),
                ..in_force.clone()
            };
            add(name(order), history.by_policy(&policy, *size));
        }
        add("perfect foresight".to_owned(), history.by_foresight(*size));
    }
    let span = past.history.span();
    Report {
        tenant,
        from: span.map(|(from, _)| past::time(from)),
        to: span.map(|(_, to)| past::time(to)),
        lines,
    }
}

fn line(policy: String, max_users: usize, outcome: &Outcome) -> Line {
    Line {
        policy,
        max_users,
        evictions: outcome.evictions,
        returned: outcome.returned,
        median_gone_seconds: outcome.gone.as_ref().map(Duration::as_secs),
        refused: outcome.refused,
    }
}

fn told(report: &Report, in_force: &Policy, orders: &[Vec<Key>]) -> String {
    let (Some(from), Some(to)) = (&report.from, &report.to) else {
        return format!(
            "tenant {}: nothing is recorded yet, neither a registration nor a call of a user",
            shown(&report.tenant)
        );
    };
    let head = [
        "policy",
        "max_users",
        "evictions",
        "came back",
        "gone for (median)",
        "refused",
    ];
    let rows: Vec<Vec<String>> = report.lines.iter().map(row).collect();
    let mut text = format!(
        "tenant {}, from {from} to {to}\n{}\n{CAVEAT}\n",
        shown(&report.tenant),
        table(&head, &rows)
    );
    let of_connections = [Key::NoConnections, Key::BrokenConnections];
    let mut keys = orders.iter().flatten().chain(&in_force.order);
    if keys.any(|key| of_connections.contains(key)) {
        let _ = writeln!(
            text,
            "note: which connections users had is not recorded; by no-connections and broken-connections all are alike here"
        );
    }
    text
}

fn row(line: &Line) -> Vec<String> {
    let share = (line.returned * 100).checked_div(line.evictions);
    let back = share.map_or_else(
        || line.returned.to_string(),
        |share| format!("{} ({share}%)", line.returned),
    );
    vec![
        line.policy.clone(),
        line.max_users.to_string(),
        line.evictions.to_string(),
        back,
        line.median_gone_seconds.map_or_else(|| "-".to_owned(), uptime),
        line.refused.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_in_the_configuration() {
        assert_eq!(
            order("never-active, oldest,oldest").unwrap(),
            [Key::NeverActive, Key::Oldest]
        );
        assert!(order("").unwrap().is_empty());
        assert_eq!(
            order("oldest,newest").unwrap_err(),
            "newest is no key; known are oldest, least-recently-active, never-active, least-active, no-connections, \
             broken-connections"
        );
        assert_eq!(name(&[Key::NeverActive, Key::Oldest]), "never-active,oldest");
        assert_eq!(name(&[]), "list-order");
    }

    #[test]
    fn a_row_tells_what_share_came_back() {
        let mut line = line(
            "oldest".to_owned(),
            5,
            &Outcome {
                evictions: 3,
                returned: 2,
                gone: Some(Duration::from_secs(3_700)),
                refused: 1,
            },
        );
        assert_eq!(row(&line), ["oldest", "5", "3", "2 (66%)", "1h 1m", "1"]);
        (line.evictions, line.returned, line.median_gone_seconds) = (0, 0, None);
        assert_eq!(row(&line), ["oldest", "5", "0", "0", "-", "1"]);
    }
}

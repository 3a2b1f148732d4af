//! Whole sidecars in a simulated world, each from one seed: proxy, guard, registry contract, upstream; one or several replicas,
//! over a network that delays, loses and is cut, with crashes, stops and clocks that are set. No socket, no thread, no real
//! time, and no chance that does not come from the seed. See `docs/simulation.md`.
//!
//! `SIMULATION_SEED=n` replays a seed and prints its steps; `SIMULATION_SEEDS=a..b` runs others than the usual.

mod caller;
mod checks;
mod end;
mod moments;
mod order;
mod plan;
mod prints;
mod sidecar;
mod trouble;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::registry::{Recorded, Registry};
use world::{Told, World};

/// As what the registry knows the tenant: by its client id.
pub(crate) const TENANT: &str = plan::CLIENT;

/// So many take about a minute of one core's time.
const SEEDS: std::ops::Range<u64> = 0..1000;

/// Everything that is in a registry's journal, asked without any way between.
fn journal(registry: &Registry) -> Vec<Recorded> {
    if let Registry::Simulated(simulated) = registry {
        return simulated.server().journal(TENANT);
    }
    // One in memory answers at once.
    let asked = pin!(registry.journal(TENANT, None, usize::MAX));
    match asked.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(journal)) => journal,
        _ => Vec::new(),
    }
}

/// Since when the machine has the turn, if it has.
fn granted(registries: &BTreeMap<String, Arc<Registry>>, machine: &str) -> Option<Instant> {
    match &**registries.get(machine)? {
        Registry::Simulated(simulated) => simulated.server().granted(TENANT, machine),
        _ => None,
    }
}

/// When the machine was last told what is known.
fn last_read(registries: &BTreeMap<String, Arc<Registry>>, machine: &str) -> Option<Instant> {
    match &**registries.get(machine)? {
        Registry::Simulated(simulated) => simulated.last_read(),
        _ => None,
    }
}

/// Runs one seed to its end.
fn run(seed: u64, is_verbose: bool) -> Told {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing");
    let told = LocalSet::new().block_on(&runtime, World::live(seed, is_verbose));
    crate::upstream::simulated::Network::leave();
    told
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("SIMULATION_SEEDS") else {
        return SEEDS;
    };
    let ends = wanted
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.expect("SIMULATION_SEEDS is from..to")
}

#[test]
fn simulation_of_whole_sidecars() {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        let told = run(seed.parse().expect("SIMULATION_SEED is a number"), true);
        eprintln!("{told:?}");
        assert!(told.faults.is_empty(), "{}", told.faults.join("\n"));
        return;
    }
    let mut all = Told::default();
    for seed in seeds() {
        let told = run(seed, false);
        assert!(
            told.faults.is_empty(),
            "seed {seed}:\n{}\nreplay with: SIMULATION_SEED={seed} cargo test --lib simulation_of_whole -- --nocapture",
            told.faults.join("\n")
        );
        all.add(&told);
    }
    eprintln!("{all:?}");
    // A simulation in which nothing happens proves nothing.
    let seeds = seeds().count();
    assert!(all.evictions > seeds && all.registrations > seeds * 3, "{all:?}");
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in [1, 2, 3, 4, 5, 6, 7, 8] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert!(first.steps > 20, "{first:?}");
    }
}

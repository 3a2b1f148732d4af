//! What a seed lays down: how SnapTrade, the network and the database behave, how the sidecars are configured, and what will
//! be done to them.

use std::time::Duration;

use crate::admission::Terms;
use crate::admission::policy::Mode;
use crate::clock::dice::Dice;
use crate::clock::link::Weather;
use crate::config::{self, Config, Faults, Loaded, Sources};
use crate::simulator::{ListOrder, Options};

pub(super) const CLIENT: &str = "C";
pub(super) const KEY: &str = "consumer-key";
/// The vendor's status for a limit error, which nothing else has.
pub(super) const LIMIT_STATUS: u16 = 402;

/// What may go wrong in this seed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a hardship by itself")]
pub(super) struct Hardships {
    pub(super) network: bool,
    pub(super) database: bool,
    pub(super) vendor: bool,
    pub(super) crashes: bool,
    pub(super) stops: bool,
    pub(super) walls: bool,
    /// SIGTERM.
    pub(super) terms: bool,
    /// Others who register and delete users, past the sidecars.
    pub(super) outsiders: bool,
    /// Users that the application deletes itself.
    pub(super) departures: bool,
    /// Callers that leave, and some that come back.
    pub(super) leavers: bool,
    /// Operators who protect, evict and pause.
    pub(super) hands: bool,
}

impl Hardships {
    fn drawn(dice: &mut Dice, is_calm: bool) -> Self {
        let mut is = |percent| !is_calm && dice.percent(percent);
        Self {
            network: is(40),
            database: is(40),
            vendor: is(45),
            crashes: is(40),
            stops: is(25),
            walls: is(15),
            terms: is(20),
            outsiders: is(20),
            departures: is(30),
            leavers: is(45),
            hands: is(25),
        }
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) is_calm: bool,
    pub(super) hardships: Hardships,
    pub(super) replicas: usize,
    /// By a database that they share, or each by its memory.
    pub(super) is_shared: bool,
    pub(super) vendor: Options,
    flags: Vec<(String, String)>,
    /// Users that are there before anybody comes.
    pub(super) there: Vec<String>,
    pub(super) network: Weather,
    pub(super) database: Weather,
    /// How long there is trouble, and callers.
    pub(super) time: Duration,
    pub(super) callers: u64,
    pub(super) troubles: u64,
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let is_calm = dice.percent(25);
        let hardships = Hardships::drawn(dice, is_calm);
        let is_shared = dice.percent(75);
        let replicas = if is_shared { dice.pick([1, 2, 2, 3]) } else { 1 };
        let max_users = dice.pick([1, 2, 3, 4, 5]);
        let vendor = vendor(dice, is_calm, replicas, max_users);
        let over = if is_calm { 0 } else { dice.pick([0, 0, 0, 1, 2]) };
        let there = dice.below(max_users as u64 + 1) + over;
        let name = |number| {
            let kind = if !is_calm && number % 3 == 2 { "vip" } else { "old" };
            format!("{kind}-{number}")
        };
        let weather = |dice: &mut Dice, is_bad: bool| Weather {
            latency: dice.pick([5, 30, 150]),
            slow: if is_bad { dice.below(6) } else { 0 },
            lossy: if is_bad { dice.below(8) } else { 0 },
            far: if is_bad { dice.pick([0, 10, 50]) } else { 0 },
        };
        Self {
            is_calm,
            hardships,
            replicas,
            is_shared,
            flags: flags(dice, is_calm, max_users),
            vendor,
            there: (0..there).map(name).collect(),
            network: weather(dice, hardships.network),
            database: weather(dice, hardships.database),
            time: Duration::from_secs(40),
            callers: 3 + dice.below(9),
            troubles: 2 + dice.below(10),
        }
    }

    pub(super) fn config(&self) -> Config {
        self.load(&[]).expect("a plan is valid").config
    }

    /// The settings, but for these.
    pub(super) fn load(&self, others: &[(&str, &str)]) -> Result<Loaded, Faults> {
        let is_other = |key: &str| others.iter().any(|(other, _)| *other == key);
        let kept = self.flags.iter().filter(|(key, _)| !is_other(key)).cloned();
        let others = others
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        config::load(Sources {
            flags: kept.chain(others).collect(),
            ..Sources::default()
        })
    }

    pub(super) fn terms(&self) -> Terms {
        self.config().tenants[0].terms.clone()
    }

    /// How long a deletion of ours may still come true that nobody saw happen.
    pub(super) fn doom(&self) -> Duration {
        self.terms().settle_timeout * 5
    }
}

fn vendor(dice: &mut Dice, is_calm: bool, replicas: usize, max_users: usize) -> Options {
    let settle = if is_calm { 3_000 } else { 6_000 };
    Options {
        client_id: CLIENT.to_owned(),
        consumer_key: KEY.into(),
        // SnapTrade may allow more than the tenant's owner does.
        user_limit: max_users + dice.pick([0, 0, 0, 2]),
        round_trip: dice.millis(100),
        settle_time: dice.millis(settle),
        delete_lag: dice.millis(3_000),
        list_lag: Duration::from_millis(if is_calm { 0 } else { dice.pick([0, 0, 1_000]) }),
        tombstones_count: dice.percent(30),
        tombstones_reserve_id: dice.percent(30),
        limit_status: LIMIT_STATUS,
        list_order: dice.pick([
            ListOrder::OldestFirst,
            ListOrder::NewestFirst,
            ListOrder::Alphabetical,
        ]),
        timestamp_freshness: Some(300),
        // Two sidecars may list in the same second, and then their signatures are the same.
        reject_replayed_signatures: replicas == 1 && dice.percent(50),
        rate_limit: 0,
        ..Options::default()
    }
}

fn flags(dice: &mut Dice, is_calm: bool, max_users: usize) -> Vec<(String, String)> {
    let mode = if is_calm {
        Mode::Enforce
    } else {
        dice.pick([
            Mode::Enforce,
            Mode::Enforce,
            Mode::Enforce,
            Mode::Enforce,
            Mode::Enforce,
            Mode::OnLimitError,
            Mode::Observe,
        ])
    };
    let span = |dice: &mut Dice| if is_calm { 0 } else { dice.pick([0, 0, 8]) };
    let (min_age, active_within) = (span(dice), span(dice));
    let evictions = if is_calm {
        60
    } else {
        dice.pick([1, 2, 3, 60, 60, 60])
    };
    let per_registration = if is_calm { 3 } else { dice.pick([1, 3, 3]) };
    let settle = dice.pick([12, 20]);
    let order = dice.pick(["oldest", "least-recently-active, oldest", "never-active, oldest"]);
    let order: Vec<String> = order.split(", ").map(|key| format!("{key:?}")).collect();
    let admission = if is_calm { 600 } else { dice.pick([30, 60]) };
    let values = [
        ("client_id", CLIENT.to_owned()),
        ("consumer_key", KEY.to_owned()),
        ("max_users", max_users.to_string()),
        ("settle_timeout", format!("{settle}s")),
        ("admission_timeout", format!("{admission}s")),
        ("on_list_error", dice.pick(["forward", "reject"]).to_owned()),
        ("eviction.mode", mode.token().to_owned()),
        ("eviction.order", format!("[{}]", order.join(", "))),
        ("eviction.protect", "[\"vip-*\"]".to_owned()),
        ("eviction.min_age", format!("{min_age}s")),
        ("eviction.active_within", format!("{active_within}s")),
        ("eviction.max_per_registration", per_registration.to_string()),
        ("eviction.fuse.evictions", evictions.to_string()),
        ("eviction.fuse.window", "60s".to_owned()),
    ];
    let mut flags: Vec<_> = values
        .into_iter()
        .map(|(key, value)| (format!("tenants.default.{key}"), value))
        .collect();
    let response = dice.pick([10, 20]);
    flags.push(("proxy.response_timeout".to_owned(), format!("{response}s")));
    flags.push(("proxy.upstream".to_owned(), "http://snaptrade.invalid".to_owned()));
    flags
}

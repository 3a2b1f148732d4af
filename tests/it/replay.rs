//! `replay` as a process, against a running sidecar that has a history.

use std::fs;
use std::time::SystemTime;

use serde_json::Value;
use snaptrade_sidecar::admission::known::Source;
use snaptrade_sidecar::registry::{Activity, Entry, Event, Hour, Registry};
use snaptrade_sidecar::types::{Millis, UserId};

use crate::by_hand::before;
use crate::harness::{CLIENT_ID, FIVE, Harness, options};
use crate::operate::{operate, refused, told};

/// The cells of a row.
fn cells(line: &str) -> Vec<&str> {
    let cells = line.split("  ").map(str::trim);
    cells.filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn what_other_policies_would_have_done_is_a_table_and_a_picture() {
    let it = before(&FIVE, &[]).await;
    let ended = operate(&it, &["replay"]).await;
    assert_eq!(
        told(&ended),
        "tenant default: nothing is recorded yet, neither a registration nor a call of a user\n"
    );
    // Each of the two who went first comes back, and another goes for it.
    for user in ["new", "a", "b"] {
        assert_eq!(it.register(user).await.admission(), "evicted");
    }
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("replay.svg");
    let arguments = [
        "replay",
        "--order",
        "least-active",
        "--max-users",
        "5,7",
        "--picture",
    ];
    let ended = operate(&it, &[&arguments[..], &[picture.to_str().unwrap()]].concat()).await;
    let lines: Vec<&str> = told(&ended).lines().collect();
    assert!(lines[0].starts_with("tenant default, from 20"), "{lines:?}");
    assert_eq!(
        cells(lines[1]),
        [
            "policy",
            "max_users",
            "evictions",
            "came back",
            "gone for (median)",
            "refused"
        ]
    );
    let rows: Vec<Vec<&str>> = lines[2..9].iter().map(|line| cells(line)).collect();
    let in_force = "oldest (in force)";
    for (row, expected) in rows.iter().zip([
        ["what happened", "5", "3", "2 (66%)", "0s", "0"],
        [in_force, "5", "3", "2 (66%)", "0s", "0"],
        ["least-active", "5", "3", "2 (66%)", "0s", "0"],
        ["perfect foresight", "5", "1", "0 (0%)", "-", "0"],
        [in_force, "7", "0", "0", "-", "0"],
        ["least-active", "7", "0", "0", "-", "0"],
        ["perfect foresight", "7", "0", "0", "-", "0"],
    ]) {
        assert_eq!(*row, expected);
    }
    let drawn = fs::read_to_string(&picture).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"),
        "{drawn}"
    );
    assert_eq!(drawn.matches("perfect foresight").count(), 2, "{drawn}");
    let ended = operate(&it, &["replay", "--json"]).await;
    let report: Value = serde_json::from_str(told(&ended)).unwrap();
    assert_eq!(report["lines"][0]["returned"], 2);
    assert_eq!(report["lines"].as_array().unwrap().len(), 5);
    let ended = operate(&it, &["replay", "--picture", "/nowhere/a.svg"]).await;
    assert!(
        refused(&ended).contains("--picture: cannot write /nowhere/a.svg"),
        "{ended:?}"
    );
    assert_eq!(it.stop().await.code, Some(0));
}

/// Who uses the application how often: of the hours, this share in percent.
const HABITS: [(&str, u32); 9] = [
    ("ada", 50),
    ("grace", 40),
    ("alan", 25),
    ("edsger", 15),
    ("barbara", 10),
    ("leslie", 6),
    ("donald", 5),
    ("tony", 3),
    ("niklaus", 2),
];
const HOUR: i64 = 3_600_000;

/// What a sidecar would have written in two weeks in which `HABITS` shared five slots, the oldest going first. Who is there in the
/// end.
async fn two_weeks(registry: &Registry) -> Vec<&'static str> {
    let now = Millis::from(SystemTime::now());
    let begin = now.0 - now.0.rem_euclid(HOUR) - 14 * 24 * HOUR;
    let mut dice: u64 = 7;
    let mut there: Vec<&str> = Vec::new();
    for hour in 0..14 * 24 {
        for (place, (name, percent)) in (0..).zip(HABITS) {
            // Knuth's MMIX generator, so that it is the same story every time.
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (dice >> 33) % 100 >= u64::from(percent) {
                continue;
            }
            let (user, at) = (UserId::new(name), Millis(begin + hour * HOUR + place * 60_000));
            if !there.contains(&name) {
                if there.len() == 5 {
                    let victim = UserId::new(there.remove(0));
                    let mut outcome = Entry::new(at, CLIENT_ID, Event::Outcome, "r");
                    (outcome.user, outcome.newcomer) = (Some(victim.clone()), Some(user.clone()));
                    outcome.outcome = Some("evicted".to_owned());
                    registry.record(outcome).await.unwrap();
                    registry.gone(CLIENT_ID, &[victim], at).await.unwrap();
                }
                let mut entry = Entry::new(at, CLIENT_ID, Event::Registration, "r");
                (entry.newcomer, entry.status) = (Some(user.clone()), Some(200));
                registry.record(entry).await.unwrap();
                registry
                    .registered(CLIENT_ID, &user, at, Source::Own)
                    .await
                    .unwrap();
                there.push(name);
            }
            let (tenant, last) = (CLIENT_ID.to_owned(), Millis(at.0 + 30_000));
            let calls = Activity {
                tenant,
                user,
                last,
                calls: 3,
            };
            registry.active(&[calls]).await.unwrap();
        }
    }
    there
}

#[tokio::test]
async fn the_policy_that_was_in_force_comes_out_as_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("registry.db").display());
    let registry = Registry::open(&url.parse().unwrap()).await.unwrap();
    let there = two_weeks(&registry).await;
    registry.close().await;
    drop(registry);
    let it = before(&there, &[("registry.url", &url)]).await;
    let picture = folder.path().join("replay.svg");
    let ended = operate(&it, &["replay", "--picture", picture.to_str().unwrap()]).await;
    let rows: Vec<Vec<&str>> = told(&ended).lines().skip(2).take(5).map(cells).collect();
    assert_eq!(rows[0][1..], rows[1][1..], "{}", ended.out);
    let evictions = |row: usize| rows[row][2].parse::<u32>().unwrap();
    assert_eq!(
        (rows[2][0], rows[4][0]),
        ("least-recently-active", "perfect foresight")
    );
    assert!(
        evictions(1) > evictions(2) && evictions(2) > evictions(4),
        "{}",
        ended.out
    );
    assert_eq!(it.stop().await.code, Some(0));
}

async fn journal(registry: &Registry) -> Vec<Entry> {
    let entries = registry.journal(CLIENT_ID, None, 100).await.unwrap();
    entries.into_iter().map(|recorded| recorded.entry).collect()
}

#[tokio::test]
async fn what_the_application_deletes_and_registers_unmanaged_is_in_the_journal() {
    let it = Harness::with_users(&FIVE, options(), &[("tenants.default.eviction.mode", "off")]).await;
    assert_eq!(it.delete("c").await.status, 200);
    assert_eq!(it.register("new").await.status, 200);
    let registry = it.registry.clone();
    it.stop().await;
    let entries = journal(&registry).await;
    let of = |event| entries.iter().find(|entry| entry.event == event).unwrap();
    let departure = of(Event::Departure);
    assert_eq!(departure.user, Some(UserId::new("c")));
    assert_eq!(departure.outcome.as_deref(), Some("deleted"));
    let registration = of(Event::Registration);
    assert_eq!(registration.newcomer, Some(UserId::new("new")));
    assert_eq!(
        (registration.outcome.as_deref(), registration.status),
        (Some("unmanaged"), Some(200))
    );
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn hours_are_read_as_they_are_kept() {
    let it = Harness::with_users(&FIVE, options(), &[]).await;
    let registry = &it.registry;
    registry
        .registered(CLIENT_ID, &UserId::new("a"), Millis(1), Source::Own)
        .await
        .unwrap();
    // Older ones are forgotten.
    let began = Millis(4_000_000_000_000 - 4_000_000_000_000 % HOUR);
    let last = Millis(began.0 + 5);
    let activity = Activity {
        tenant: CLIENT_ID.to_owned(),
        user: UserId::new("a"),
        last,
        calls: 3,
    };
    registry.active(&[activity]).await.unwrap();
    let kept = Hour {
        began,
        user: UserId::new("a"),
        last,
        calls: 3,
    };
    assert_eq!(registry.hours(CLIENT_ID, None, 9).await.unwrap(), [kept]);
    let url = format!("http://{}/api/tenants/default/activity", it.ops);
    let told = it.http.get(&url).send().await.unwrap().text().await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let hour = serde_json::json!({
        "hour": "2096-10-02T07:00:00Z", "user_id": "a", "last": "2096-10-02T07:00:00.005Z", "calls": 3
    });
    assert_eq!(told, serde_json::json!([hour]));
    it.stop().await;
}

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

/// A journal that is told from its beginning, and read from its end.
#[derive(Default)]
struct Journal(Vec<Entry>);

impl Journal {
    fn add(&mut self, at: u64, event: Event, edit: impl FnOnce(&mut Entry)) {
        let mut entry = Entry::new(minute(at), "t", event, "r");
        edit(&mut entry);
        self.0.push(entry);
    }

    /// Registered in so many milliseconds, `evicted` or `forwarded`.
    fn registered(&mut self, at: u64, user: &str, outcome: &str, took_ms: u32) {
        self.add(at, Event::Registration, |entry| {
            entry.newcomer = Some(UserId::new(user));
            entry.outcome = Some(outcome.to_owned());
            (entry.status, entry.took_ms) = (Some(200), Some(took_ms));
        });
    }

    fn ended(&mut self, at: u64, user: &str, outcome: &str) {
        self.add(at, Event::Outcome, |entry| {
            entry.user = Some(UserId::new(user));
            entry.outcome = Some(outcome.to_owned());
        });
    }

    fn refused(&mut self, at: u64, user: &str, reason: &str, status: u16) {
        self.add(at, Event::Refusal, |entry| {
            entry.newcomer = Some(UserId::new(user));
            entry.reason = Some(reason.to_owned());
            (entry.status, entry.took_ms) = (Some(status), Some(9));
        });
    }

    /// The hour from minute 60 to minute 120, in pieces of 20.
    fn analytics(&self) -> Analytics {
        let mut analyst = Analyst::new(hour());
        for entry in self.0.iter().rev() {
            if !analyst.read(entry) {
                break;
            }
        }
        analyst.finish()
    }
}

fn minute(at: u64) -> Millis {
    Millis(0).plus(MINUTE * u32::try_from(at).unwrap())
}

fn hour() -> Window {
    Window {
        from: minute(60),
        to: minute(120),
        bucket: MINUTE * 20,
    }
}

fn minutes(count: usize, median: u32, p95: u32) -> Spread {
    let (median, p95) = (MINUTE * median, MINUTE * p95);
    Spread { count, median, p95 }
}

#[test]
fn each_event_is_counted_in_its_piece_of_the_window() {
    let mut journal = Journal::default();
    journal.registered(59, "before", "forwarded", 1);
    journal.registered(60, "a", "forwarded", 10);
    journal.registered(79, "b", "forwarded", 30);
    journal.registered(80, "c", "forwarded", 20);
    journal.refused(119, "d", "fuse-blown", 409);
    journal.add(119, Event::WouldEvict, |_| ());
    journal.registered(120, "after", "forwarded", 1);
    let told = journal.analytics();
    let piece = |registrations, refusals, took| Bucket {
        registrations,
        refusals,
        took,
        ..Bucket::default()
    };
    let pieces = [
        piece(2, 0, Some((10, 30))),
        piece(1, 0, Some((20, 20))),
        piece(0, 1, None),
    ];
    assert_eq!(told.buckets, pieces);
    assert_eq!((told.registrations, told.refusals, told.would_evict), (3, 1, 1));
    assert_eq!(
        told.refusal_reasons,
        BTreeMap::from([("fuse-blown".to_owned(), 1)])
    );
}

#[test]
fn a_refused_admission_that_snaptrade_had_room_for_is_a_registration_too() {
    let mut journal = Journal::default();
    journal.refused(70, "a", "nobody-evictable", 200);
    let told = journal.analytics();
    assert_eq!((told.registrations, told.refusals), (1, 1));
}

#[test]
fn a_lifetime_is_from_the_registration_to_the_eviction_also_where_that_was_long_ago() {
    let mut journal = Journal::default();
    journal.registered(10, "old", "forwarded", 1);
    journal.registered(20, "old", "forwarded", 1);
    journal.registered(61, "young", "forwarded", 1);
    journal.ended(70, "young", "evicted");
    journal.ended(80, "old", "evicted");
    journal.ended(81, "unknown", "evicted");
    journal.ended(82, "stays", "refused");
    let told = journal.analytics();
    assert_eq!(told.evictions, 3);
    assert_eq!(told.lifetime, Some(minutes(2, 9, 60)));
}

#[test]
fn regret_is_who_came_back_and_how_soon() {
    let mut journal = Journal::default();
    journal.ended(60, "a", "evicted");
    journal.registered(65, "a", "evicted", 400);
    journal.ended(66, "b", "evicted");
    journal.ended(70, "a", "evicted");
    // Past the window: it is known all the same.
    journal.registered(130, "a", "evicted", 200);
    let told = journal.analytics();
    let regret = Regret {
        evicted: 3,
        returned: 2,
        gone: Some(minutes(2, 5, 60)),
    };
    assert_eq!(told.regret, regret);
    let slot = Duration::from_millis(400);
    let spread = Spread {
        count: 1,
        median: slot,
        p95: slot,
    };
    assert_eq!(told.time_to_slot, Some(spread));
}

#[test]
fn who_was_evicted_before_the_window_is_not_its_regret() {
    let mut journal = Journal::default();
    journal.ended(50, "a", "evicted");
    journal.registered(70, "a", "forwarded", 1);
    assert_eq!(journal.analytics().regret, Regret::default());
}

#[test]
fn no_more_is_read_than_matters() {
    let mut analyst = Analyst::new(hour());
    let mut journal = Journal::default();
    journal.registered(10, "a", "forwarded", 1);
    journal.registered(50, "b", "forwarded", 1);
    journal.ended(70, "a", "evicted");
    let reads: Vec<bool> = journal.0.iter().rev().map(|entry| analyst.read(entry)).collect();
    assert_eq!(reads, [true, true, false], "whose registration is waited for");
}

#[test]
fn the_last_pieces_begin_where_those_of_a_later_look_do() {
    let day = Duration::from_hours(24);
    let window = Window::last(day, minute(100_007));
    assert_eq!((window.bucket, window.count()), (MINUTE * 30, 48));
    assert_eq!(window.to, minute(100_020));
    assert_eq!(window.starts().next(), Some(window.from));
    assert_eq!(Window::last(day, minute(100_019)), window);
    assert_eq!(window.bucket_of(window.from), Some(0));
    assert_eq!(window.bucket_of(minute(100_019)), Some(47));
    assert_eq!(window.bucket_of(window.to), None);
}

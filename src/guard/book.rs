//! What an admission reads in the registry and leaves there, under the tenant's turn.

mod intend;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::journal::{now, within};
use super::{Admitted, Guard};
use crate::admission::known::Source;
use crate::admission::roster::Roster;
use crate::admission::{Note, Reason};
use crate::clock;
use crate::registry::{Entry, EntryId, Event, Hold, OpenIntent, RegistryError, Version};
use crate::types::{Millis, UserId};
pub(super) use intend::Intention;

/// For how long a process keeps the turn while further registrations wait in its queue, before other replicas have theirs.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// Users that vanished of whom the journal is told one by one, while a registration waits.
const VANISHED_MAX: usize = 100;

/// What a tenant's lock protects.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) roster: Roster,
    /// The turn among the replicas, and since when, while it is kept from one admission to the next.
    turn: Option<(Hold, Instant)>,
    /// Up to where the roster knows what the registry does; `None` if that is not certain.
    known: Option<Version>,
    /// Outcomes that the registry did not take, and is told of before anything else is asked.
    unwritten: Vec<Entry>,
    /// Registrations by SnapTrade that the registry did not take, and when they were.
    pub(super) unregistered: Vec<(UserId, Millis)>,
    /// Intents that may have been recorded, although nothing came back: nobody was deleted for them.
    pub(super) unsent: Vec<Entry>,
}

impl Held {
    /// Gives the turn up, unless others of this process wait for it and have not had it for long.
    pub(super) fn hand_over(&mut self, others_wait: bool) {
        self.turn
            .take_if(|(_, since)| !others_wait || clock::since(*since) > HOLD_MAX);
    }
}

/// The registry, as one admission uses it.
pub(super) struct Book<'a> {
    guard: &'a Guard,
    newcomer: Option<UserId>,
    /// `None` if the registry cannot be relied on: then nobody is deleted.
    hold: Option<&'a mut Hold>,
    known: &'a mut Option<Version>,
    unwritten: &'a mut Vec<Entry>,
    unregistered: &'a mut Vec<(UserId, Millis)>,
    unsent: &'a mut Vec<Entry>,
    /// Those that are open, and when ours was recorded.
    intents: HashMap<UserId, EntryId>,
    intended: Option<Instant>,
}

impl<'a> Book<'a> {
    /// Takes the turn, unless it is held, and tells the roster what is known. Waits for `patience` at most.
    pub(super) async fn open(
        guard: &'a Guard,
        newcomer: Option<UserId>,
        held: &'a mut Held,
        patience: Duration,
    ) -> (Self, &'a mut Roster) {
        let Held {
            roster,
            turn,
            known,
            unwritten,
            unregistered,
            unsent,
        } = held;
        let mut book = Self {
            guard,
            newcomer,
            hold: None,
            known,
            unwritten,
            unregistered,
            unsent,
            intents: HashMap::new(),
            intended: None,
        };
        if let Err(error) = take_turn(guard, turn, roster, patience).await {
            book.unreadable(&error, roster);
            return (book, roster);
        }
        book.hold = turn.as_mut().map(|(hold, _)| hold);
        book.catch_up(roster).await;
        (book, roster)
    }

    /// Tells the roster what is known now: whoever is chosen next may just have been active, or protected by hand. Where the
    /// turn is lost, as by a process that stood still, others act meanwhile, and what they have under way is not taken over.
    pub(super) async fn learn(&mut self, roster: &mut Roster) {
        let Some(turn) = &mut self.hold else { return };
        if turn.is_held().await {
            self.catch_up(roster).await;
        } else {
            let lost = "the turn is lost, and another replica may have it".to_owned();
            self.unreadable(&RegistryError(lost), roster);
        }
    }

    async fn catch_up(&mut self, roster: &mut Roster) {
        // First, since whom the application deleted here may be registered again by way of another replica.
        self.guard.note_changes(roster);
        if let Err(error) = within(self.read(roster)).await {
            self.unreadable(&error, roster);
        }
    }

    async fn read(&mut self, roster: &mut Roster) -> Result<(), RegistryError> {
        let (registry, tenant) = (&self.guard.means.registry, self.guard.client_id());
        self.guard.set_paused(registry.is_paused(tenant).await?);
        if !self
            .guard
            .means
            .tally
            .tell_now(self.guard.terms().policy.active_within)
            .await
        {
            return Err(RegistryError(
                "it could not be recorded who was active last".to_owned(),
            ));
        }
        let known = self.known.take();
        if known.is_none() {
            roster.forget();
        }
        self.write_registrations(roster).await?;
        let changes = registry.changes(tenant, known).await?;
        self.write_owed().await?;
        let window = self.guard.terms().fuse.window;
        let deletions = registry.deletions(tenant, now().minus(window)).await?;
        let open = registry.open_intents(tenant).await?;
        if changes.is_whole {
            roster.remember(changes.users, deletions);
        } else {
            roster.update(&changes.gone, changes.users, deletions, clock::now());
        }
        *self.known = Some(changes.version);
        self.guard.see_fuse(roster);
        self.take_over(open, roster).await;
        roster.welcome_back(clock::now(), now());
        Ok(())
    }

    /// Records the registrations that the registry did not take before.
    async fn write_registrations(&mut self, roster: &mut Roster) -> Result<(), RegistryError> {
        let (registry, tenant) = (&self.guard.means.registry, self.guard.client_id());
        while let Some((user, at)) = self.unregistered.first() {
            registry.registered_before(tenant, user, *at).await?;
            roster.written(user);
            self.unregistered.remove(0);
        }
        Ok(())
    }

    /// What others left open, and settled, is as if we had. That the victim was registered since is not taken for a sign that
    /// it was gone: by which of two clocks, or before which was set, nobody can say. For the same reason it is waited for from
    /// when it was first seen here.
    async fn take_over(&mut self, mut open: Vec<OpenIntent>, roster: &mut Roster) {
        let unsent = std::mem::take(self.unsent);
        let is_unsent = |intent: &mut OpenIntent| {
            unsent.iter().any(|entry| {
                let of = (entry.user.as_ref(), entry.at, &entry.replica);
                of == (Some(&intent.victim), intent.at, &intent.replica)
            })
        };
        let kept: Vec<OpenIntent> = open.extract_if(.., is_unsent).collect();
        self.intents = open
            .iter()
            .map(|intent| (intent.victim.clone(), intent.id))
            .collect();
        let unresolved = roster.unresolved.as_ref();
        if unresolved.is_some_and(|unresolved| !self.intents.contains_key(&unresolved.victim)) {
            roster.settled_elsewhere();
        }
        if roster.unresolved.is_none()
            && let Some(intent) = open.first()
        {
            let (seen, age) = (clock::now(), now().since(intent.at));
            let intended = seen.checked_sub(age).unwrap_or(seen);
            roster.await_deletion(intent.victim.clone(), intended, seen, false);
        }
        for intent in kept {
            let mut entry = self.entry(Event::Outcome);
            entry.user = Some(intent.victim);
            entry.outcome = Some("withdrawn".to_owned());
            entry.intent = Some(intent.id);
            self.write(entry).await;
        }
    }

    /// Records an outcome, now or as soon as the registry takes it.
    async fn write(&mut self, entry: Entry) {
        let written = within(self.guard.means.registry.record(entry.clone())).await;
        if written.is_err() {
            self.unwritten.push(entry);
        }
        self.guard.note_failure(written);
    }

    /// Records the outcomes that the registry did not take before.
    async fn write_owed(&mut self) -> Result<(), RegistryError> {
        while let Some(entry) = self.unwritten.first() {
            self.guard.means.registry.record(entry.clone()).await?;
            self.unwritten.remove(0);
        }
        Ok(())
    }

    /// From here on nobody is deleted.
    fn unreadable(&mut self, error: &RegistryError, roster: &mut Roster) {
        self.hold = None;
        roster.forget_list();
        let tenant = self.guard.tenant();
        tracing::error!(tenant, %error, "the registry cannot be relied on; registrations are forwarded and nobody is evicted");
    }

    /// Whether what is known could be read, and the turn is ours.
    pub(super) fn is_open(&self) -> bool {
        self.hold.is_some()
    }

    /// Records what happened.
    pub(super) async fn note(&mut self, notes: &[Note]) {
        for note in notes {
            let (event, user, outcome, why) = match note {
                Note::Evicted(user) | Note::EvictionOvertaken(user) => {
                    (Event::Outcome, user, "evicted", None)
                }
                Note::EvictionRefused(user) => (Event::Outcome, user, "refused", None),
                Note::EvictionUnsettled(user) | Note::EvictionUnknown(user) => {
                    (Event::Outcome, user, "unsettled", None)
                }
                Note::EvictionWithdrawn(user) => (Event::Outcome, user, "withdrawn", None),
                Note::WouldEvict(user, why) => (Event::WouldEvict, user, "observe", Some(why.to_string())),
                Note::TombstonesCount => continue,
            };
            let mut entry = self.entry(event);
            entry.user = Some(user.clone());
            entry.outcome = Some(outcome.to_owned());
            entry.reason = why;
            entry.intent = (event == Event::Outcome)
                .then(|| self.intents.remove(user))
                .flatten();
            if event == Event::Outcome {
                self.write(entry).await;
            } else {
                self.guard.journal(entry).await;
            }
            if outcome == "evicted" {
                self.guard.forget(std::slice::from_ref(user)).await;
            }
        }
    }

    /// Brings the registry up to what just happened: a list came, or SnapTrade registered a user for us.
    pub(super) async fn follow(&mut self, roster: &mut Roster, is_list: bool, registered: Option<&UserId>) {
        if is_list {
            self.note_listed(roster).await;
        }
        if let Some(user) = registered {
            let (registry, tenant) = (&self.guard.means.registry, self.guard.client_id());
            let at = now();
            let noted = within(registry.registered(tenant, user, at, Source::Own)).await;
            if noted.is_ok() {
                roster.written(user);
            } else {
                self.unregistered.push((user.clone(), at));
            }
            self.guard.note_failure(noted);
        }
    }

    /// Records how the registration ended.
    pub(super) async fn close(self, roster: &Roster, admitted: &Admitted, took: Duration) {
        self.guard.see_fuse(roster);
        let event = if admitted.reason.is_some_and(kept_room_from_being_made) {
            let (metrics, tenant) = (&self.guard.means.metrics, self.guard.tenant());
            metrics.refusal(tenant, admitted.reason.map_or("", Reason::token));
            Event::Refusal
        } else {
            Event::Registration
        };
        let mut entry = self.entry(event);
        entry.outcome = Some(admitted.outcome().to_owned());
        entry.reason = admitted.reason.map(|reason| reason.token().to_owned());
        entry.users = roster
            .list()
            .and_then(|_| u32::try_from(roster.bare().count()).ok());
        entry.request_id = admitted.answer.as_ref().ok().and_then(|reply| {
            let id = reply.headers().get("x-request-id")?;
            id.to_str().ok().map(str::to_owned)
        });
        entry.status = admitted.answer.as_ref().ok().map(|reply| reply.status().as_u16());
        entry.took_ms = u32::try_from(took.as_millis()).ok();
        self.guard.journal(entry).await;
    }

    fn entry(&self, event: Event) -> Entry {
        let mut entry = self.guard.entry(event);
        entry.newcomer.clone_from(&self.newcomer);
        entry
    }

    async fn note_listed(&mut self, roster: &mut Roster) {
        let (registry, tenant) = (&self.guard.means.registry, self.guard.client_id());
        let seen = roster.take_newly_seen();
        if !seen.is_empty()
            && let Err(error) = within(registry.seen(tenant, &seen, now())).await
        {
            // To be told again next time.
            *self.known = None;
            self.guard.note_failure::<()>(Err(error));
        }
        let vanished = roster.take_vanished(clock::now());
        if !vanished.is_empty() {
            self.guard.forget(&vanished).await;
        }
        for user in vanished.into_iter().take(VANISHED_MAX) {
            let mut entry = self.guard.entry(Event::Departure);
            entry.user = Some(user);
            entry.outcome = Some("vanished".to_owned());
            if let Err(error) = within(registry.record(entry)).await {
                self.guard.note_failure::<()>(Err(error));
                break;
            }
        }
    }
}

async fn take_turn(
    guard: &Guard,
    turn: &mut Option<(Hold, Instant)>,
    roster: &mut Roster,
    patience: Duration,
) -> Result<(), RegistryError> {
    if let Some((hold, _)) = turn
        && hold.is_held().await
    {
        return Ok(());
    }
    // What is known is from another turn (R3).
    *turn = None;
    roster.forget_list();
    let hold = guard.means.registry.turn(guard.client_id(), patience).await?;
    *turn = Some((hold, clock::now()));
    Ok(())
}

/// Rather than that none was needed.
fn kept_room_from_being_made(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::AlreadyListed | Reason::NoUserId | Reason::Observed | Reason::CallerGone
    )
}

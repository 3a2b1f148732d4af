"""The rules, checked against what really happened. Each check returns how much it looked at, and what was wrong."""

import json
from collections import Counter, defaultdict

from explain import DATABASE, DATABASE_BACK_SECONDS, GONE, STILL
from world import CONSUMER_KEY, MANAGE_SECONDS, NOTIFY_SECRET, PROTECTED, SETTLE_SECONDS, TENANTS, TOKEN, UNSETTLED_SECONDS

# Of admissions in these modes somebody makes room first.
MANAGED = {tenant.client_id: tenant for tenant in TENANTS if tenant.mode == "enforce"}
# A deletion of the application's own may pass a list of the other replica that is under way; where its reply is lost, lists
# may name the user there for as long as they lag (ARCHITECTURE.md, known edges).
CROSSING_MS = 2_000
LAGGING_MS = SETTLE_SECONDS * 1000
# Reasons for which a registration is forwarded although there may be no room (R14).
FORWARDED = (
    "list-failed",
    "registry-down",
    "not-journaled",
    "timed-out",
    "deletion-unsettled",
    "deletion-rejected",
    "nobody-evictable",
    "fuse-blown",
    "shutting-down",
    "too-many-over-limit",
    "already-listed",
    # It takes the slot that was made for it, and makes no more (R4).
    "caller-gone",
)


def sidecars_deletions(facts):
    return [
        moment
        for moment in facts.moments
        if moment[0] == "arrived" and moment[4].call == "delete" and not moment[4].label
    ]


def intent_before_deed(facts):
    """R7: for every deletion that the sidecars sent, an intent of its own that was recorded before."""
    intents = defaultdict(list)
    for row in facts.journal:
        if row["event"] == "intent":
            intents[row["tenant"], row["user_id"]].append(row["at"])
    wrong, deletions = [], sidecars_deletions(facts)
    used = Counter()
    for _, at, client, user, _ in deletions:
        recorded = sum(intent <= at for intent in intents[client, user])
        used[client, user] += 1
        if recorded < used[client, user]:
            wrong.append(f"{user} of {client}: deletion {used[client, user]} at {at}, and {recorded} intents before it")
    return len(deletions), wrong


def outcome_of_each(facts):
    """R7: no intent is left open at the end."""
    intents = [row for row in facts.journal if row["event"] == "intent"]
    return len(intents), [f"intent {row['id']} about {row['user_id']} is open" for row in intents if row["is_open"]]


def nobody_protected(facts, operator):
    """R5: whom a pattern or a hand protects is not deleted."""
    wrong = []
    for _, at, client, user, entry in sidecars_deletions(facts):
        if user in PROTECTED:
            wrong.append(f"{user} of {client} at {at}")
        for tenant, by_hand, began, ended in operator.protected:
            owner = next(each for each in TENANTS if each.name == tenant)
            if (client, user) == (owner.client_id, by_hand) and began * 1000 <= at <= ended * 1000:
                wrong.append(f"{user} of {client} at {at}, protected by hand (call {entry.number})")
    return len(PROTECTED) * len(TENANTS) + len(operator.protected), wrong


def one_for_each_slot(facts):
    """R8: nobody is deleted while there is room already, not counting those whose deletion is under way."""
    present, sent, gone = defaultdict(set), defaultdict(set), defaultdict(list)
    by_hand = {(row["tenant"], row["user_id"]) for row in facts.journal if row["event"] == "manual"}
    wrong, looked = [], 0
    for kind, at, client, user, entry in facts.moments:
        if kind in ("registered", "added"):
            present[client].add(user)
            sent[client].discard(user)
        elif kind in ("deleted", "removed"):
            present[client].discard(user)
            if entry is None or entry.label:
                gone[client].append(at + (LAGGING_MS if entry and entry.fault else CROSSING_MS))
        elif entry.call == "delete" and not entry.label and client in MANAGED:
            looked += 1
            count = len(present[client] - sent[client])
            crossed = sum(at <= until for until in gone[client])
            # Whose deletion is under way may be chosen again by another replica (ARCHITECTURE.md, known edges).
            goes = user in present[client]
            if goes and count + crossed < MANAGED[client].max_users and (client, user) not in by_hand:
                wrong.append(f"{user} of {client} at {at}, with {count} users and {crossed} that just went")
            # One that SnapTrade never carried out takes nobody away.
            if entry.status == 200:
                sent[client].add(user)
    return looked, wrong


def reasons_logged(world):
    """Why no room was made for a registration, by the logs: (tenant, newcomer, reason)."""
    reasons = set()
    for replica in world.replicas:
        with replica.log.open(errors="replace") as text:
            for line in text:
                if '"message":"registration"' in line and '"reason":' in line:
                    said = json.loads(line)
                    reasons.add((said["tenant"], said["newcomer"], said["reason"]))
    return reasons


def most_before(facts, said):
    """By the number of each registration, how many users its client had when its caller asked."""
    changes = defaultdict(list)
    for kind, at, client, _, entry in facts.moments:
        if kind in ("registered", "deleted") and entry:
            changes[client].append((at, len(entry.live)))
    before = {}
    for entry in facts.entries.values():
        if entry.call == "register" and entry.label:
            began = said[entry.label].began * 1000
            earlier = [count for at, count in changes[entry.client] if at < began]
            before[entry.number] = earlier[-1] if earlier else 0
    return before


def never_too_many(facts, book, world):
    """R8: a managed registration leaves no more users than the limit. One that could not be is forwarded (R14)."""
    said = {call.label: call for call in book.calls}
    reasons = reasons_logged(world)
    deletions = sidecars_deletions(facts)
    wrong, looked = [], 0
    before = most_before(facts, said)
    # Who was registered by another program, and when.
    others = {(client, user): at for kind, at, client, user, _ in facts.moments if kind == "added"}
    for kind, at, client, user, entry in facts.moments:
        if kind != "registered" or client not in MANAGED or not entry.label:
            continue
        looked += 1
        tenant = MANAGED[client]
        # Of whom it is not known whether they will go, nobody counts; an answer that came too late was not heard.
        doubtful = {
            deletion.user
            for _, sent, of, _, deletion in deletions
            if of == client
            and at - UNSETTLED_SECONDS * 1000 <= sent <= at
            and not (deletion.status and deletion.done_at <= min(at, sent + MANAGE_SECONDS * 1000))
        }
        call = said[entry.label]
        # Whom another program registered since the caller asked, the list need not have named.
        unlisted = {other for other in entry.live if others.get((client, other), 0) >= call.began * 1000}
        if len(set(entry.live) - doubtful - unlisted) <= tenant.max_users:
            continue
        forwarded = any((tenant.name, user, reason) in reasons for reason in FORWARDED)
        paused = tenant.name == "paused" and facts.had_trouble(call, ("pause by hand",), 6)
        # Whoever took a slot that was made, of a key that had too many before, leaves as many as there were.
        grew = len(entry.live) > before.get(entry.number, 0)
        untaken = facts.had_trouble(call, DATABASE, DATABASE_BACK_SECONDS) or facts.had_trouble(
            call, (*GONE, *STILL), 5
        )
        lagged = facts.had_trouble(call, ("list lags behind",), 1)
        if grew and not (forwarded or paused or untaken or lagged):
            wrong.append(
                f"{len(entry.live)} users of {client} when {user} came at {at} "
                f"({call.outcome}, {call.admission or 'no word'})"
            )
    return looked, wrong


def no_secret_lost(facts, book):
    """R12: a user secret that SnapTrade gave out reached a caller, or a fault explains that its reply did not."""
    took = {call.secret_sha256 for call in book.calls if call.secret_sha256}
    said = {call.label: call for call in book.calls}
    counts, wrong = Counter(), []
    for kind, at, client, user, entry in facts.moments:
        if kind != "registered" or not entry.label:
            continue
        call = said[entry.label]
        if entry.secret_sha256 in took:
            replayed = call.secret_sha256 != entry.secret_sha256
            counts["replayed to another caller" if replayed else "reached its caller"] += 1
        elif call.left:
            counts["its caller had left"] += 1
        elif entry.fault in (
            "status_done",
            "reset_after",
            "close_after",
            "hang_after",
            "truncated_body",
            "delay_ms",
            "delay_after_ms",
        ):
            counts["a fault took the reply"] += 1
        elif facts.had_trouble(call, (*GONE, *STILL, "network cut", "SnapTrade stopped"), 1):
            counts["trouble took the reply"] += 1
        else:
            wrong.append(f"that of {user} of {client} at {at}; its caller got {call.outcome}")
    return dict(counts), wrong


def every_byte(book):
    """R1: what passed through whole is what was sent."""
    whole = [call for call in book.calls if not call.left and not call.failure and call.status in call.expected]
    return len(whole), [f"{call.label} ({call.shape}): {call.damage}" for call in book.calls if call.damage]


def notices(facts, application, lost_replicas):
    """Each eviction was told of, unless the process that had the notice was killed."""
    told = {(each["client_id"], each["user_id"]) for each in application.notices.values() if each["taken"]}
    wrong, evictions = list(application.wrong), 0
    for row in facts.journal:
        if row["event"] != "outcome" or row["outcome"] != "evicted":
            continue
        evictions += 1
        if (row["tenant"], row["user_id"]) not in told and row["replica"] not in lost_replicas:
            wrong.append(f"nobody was told of {row['user_id']} of {row['tenant']} (outcome {row['id']})")
    return evictions, wrong


def quiet_logs(world):
    """R13, and that nothing panicked."""
    wrong, lines = [], 0
    secrets = (CONSUMER_KEY, TOKEN, NOTIFY_SECRET, "s3cret", "userSecret")
    for log in [world.simulator.log, *(replica.log for replica in world.replicas)]:
        with log.open(errors="replace") as text:
            for line in text:
                lines += 1
                if "panicked" in line:
                    wrong.append(f"{log.name}: {line.strip()[:300]}")
                if any(secret in line for secret in secrets):
                    wrong.append(f"{log.name}:{lines} has a secret")
    return lines, wrong


def errors_logged(world):
    """The log's own errors, by their words."""
    counts = Counter()
    for replica in world.replicas:
        with replica.log.open(errors="replace") as text:
            for line in text:
                try:
                    said = json.loads(line)
                except ValueError:
                    counts[f"not JSON: {line.strip()[:100]}"] += 1
                    continue
                level = said.get("level")
                if level in ("ERROR", "WARN"):
                    words = said.get("message") or said.get("fields", {}).get("message", "")
                    # By another name in each run.
                    counts[f"{level} {words.replace(str(world.folder), '…')[:110]}"] += 1
    return counts

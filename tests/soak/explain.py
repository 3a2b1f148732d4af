"""What explains an error that a caller saw: a fault that struck this very call, or a trouble at that time, and only if
it can bring about that error. What nothing here explains fails the soak."""

from world import ADMISSION_SECONDS, RESPONSE_SECONDS, SETTLE_SECONDS, TENANTS, UNSETTLED_SECONDS

BROKEN = ("reset_before", "reset_after", "close_before", "close_after")
UNANSWERED = ("hang", "hang_after", "delay_ms", "delay_after_ms")
GONE = ("replica killed", "replica restarted", "replica without DNS")
STILL = ("replica stopped", "replica stopped past its turn")
# The last is nobody's doing, and measured.
DATABASE = ("database frozen", "database restarted", "database slow")
# The sidecar tries to reach its database every 5 s at most.
DATABASE_BACK_SECONDS = 7
# What one replica is told by hand reaches the others within 5 s.
PAUSE_KNOWN_SECONDS = 6
CLIENTS = {tenant.name: tenant for tenant in TENANTS}

# How a connection ends under a caller.
LOST = (
    "ConnectionRefusedError",
    "ConnectionResetError",
    "BrokenPipeError",
    "RemoteDisconnected",
    "IncompleteRead",
    "BadStatusLine",
    # How an operator's call says that nothing listens.
    "URLError",
)
UPSTREAM = (
    "sidecar_upstream_broke_off",
    "sidecar_upstream_unreachable",
    "sidecar_connect_timeout",
    "sidecar_upstream_timeout",
    "sidecar_upstream_unresolved",
)
MADE_UP_STATUSES = (500, 502, 503, 520)


def explanation(call, facts):
    """The name of what explains the error of a call, or None."""
    faults = facts.faults(call)
    if call.failure:
        return _lost(call, facts, faults)
    if call.shape == "HEAD" and call.code == "(HEAD)" or call.status == 429 and not call.code:
        return _by_status(call, facts, faults)
    if call.code == "soak":
        return "fault: made-up answer" if faults & {"status", "status_done"} else None
    own = call.code.startswith("sidecar_")
    return _sidecars(call, facts, faults) if own else _snaptrades(call, facts, faults)


def _lost(call, facts, faults):
    if call.failure not in LOST:
        return None
    if facts.had_trouble(call, GONE, 0.5):
        return "the replica had ended"
    if faults & {"truncated_body"}:
        return "fault: reply cut short"
    if call.failure in ("IncompleteRead", "ConnectionResetError", "RemoteDisconnected"):
        if facts.had_trouble(call, ("network cut",), 1):
            return "the network was cut"
    return None


def _by_status(call, facts, faults):
    """HEAD has no body that could say more."""
    found = _sidecars_upstream(call, facts, faults, UPSTREAM)
    if call.status in MADE_UP_STATUSES and faults & {"status", "status_done"}:
        return "fault: made-up answer"
    return found or _snaptrades(call, facts, faults)


def _sidecars_upstream(call, facts, faults, codes):
    for code in codes:
        if code == "sidecar_upstream_broke_off":
            if faults & {*BROKEN, "truncated_body"}:
                return "fault: connection lost"
            if facts.had_trouble(call, ("network cut",), 1):
                return "the network was cut"
        if code in ("sidecar_upstream_unreachable", "sidecar_connect_timeout"):
            if facts.had_trouble(call, ("network cut",), 1):
                return "the network was cut"
            if facts.had_trouble(call, ("replica without DNS",)):
                return "SnapTrade's name had no address"
        if code in ("sidecar_upstream_timeout", "sidecar_connect_timeout"):
            if faults & set(UNANSWERED):
                return "fault: no answer in time"
            if facts.had_trouble(call, ("SnapTrade stopped", *STILL), 1):
                return "SnapTrade or the replica stood still"
        if code == "sidecar_upstream_unresolved" and facts.had_trouble(call, ("replica without DNS",)):
            return "SnapTrade's name had no address"
    return None


def _sidecars(call, facts, faults):
    found = _sidecars_upstream(call, facts, faults, (call.code,))
    if found:
        return found
    client = CLIENTS[call.tenant].client_id if call.tenant else ""
    if call.code in ("sidecar_queue_full", "sidecar_queued_too_long"):
        # Those before it wait for SnapTrade, for the database, or for a deletion to show.
        return _delayed(call, facts, client)
    if call.code in ("sidecar_list_failed", "sidecar_deletion_refused", "sidecar_deletion_unsettled"):
        if facts.had_own_fault(call, client, ("list", "delete"), UNSETTLED_SECONDS):
            return "fault: the sidecar's own calls"
        return _outside(call, facts)
    if call.code == "sidecar_registry_down" and facts.had_trouble(call, (*DATABASE, *STILL), DATABASE_BACK_SECONDS):
        return "the database was away"
    if call.code in ("sidecar_shutting_down",) and facts.had_trouble(call, GONE, 0.5):
        return "the replica had ended"
    return None


def _delayed(call, facts, client):
    if facts.had_own_fault(call, client, ("list", "delete"), ADMISSION_SECONDS + RESPONSE_SECONDS):
        return "fault: others before it waited"
    if facts.had_register_fault(call, client, ADMISSION_SECONDS + RESPONSE_SECONDS):
        return "fault: others before it waited"
    return _outside(call, facts, ADMISSION_SECONDS)


def _outside(call, facts, before=0.0):
    kinds = {
        "the network was cut": ("network cut",),
        "SnapTrade or the replica stood still": ("SnapTrade stopped",),
        "SnapTrade throttled": ("throttled",),
    }
    for name, troubles in kinds.items():
        if facts.had_trouble(call, troubles, before + 2):
            return name
    if facts.had_trouble(call, DATABASE, before + DATABASE_BACK_SECONDS):
        return "the database was away"
    # Also another replica's, which may hold the turn.
    for trouble in facts.troubles:
        if trouble.kind in (*STILL, *GONE) and trouble.began <= call.ended and call.began <= trouble.ended + before + 5:
            return "a replica ended or stood still"
    return None


def _snaptrades(call, facts, faults):
    if call.status == 429:
        if faults & {"throttled"} or facts.had_trouble(call, ("throttled",), 1):
            return "SnapTrade throttled"
        return None
    if call.code == "1010":
        return "registered before" if _was_there(call, facts) else None
    if call.code == "1083" and call.shape == "deletion":
        return "gone already" if _was_deleted(call, facts) else None
    if "limit reached" in call.detail.lower():
        return _limit(call, facts)
    return None


def _was_there(call, facts):
    """By another call, or by this one before it was sent again."""
    client = CLIENTS[call.tenant].client_id
    before = [
        moment for moment in facts.moments if moment[2:4] == (client, call.user) and moment[1] <= call.ended * 1000
    ]
    return any(moment[0] == "registered" for moment in before)


def _was_deleted(call, facts):
    client = CLIENTS[call.tenant].client_id
    return any(
        kind in ("deleted", "removed") and (of, user) == (client, call.user) and at <= call.ended * 1000
        for kind, at, of, user, _ in facts.moments
    )


def _took_a_slot(call, facts, client):
    return any(
        kind == "registered" and of == client and call.began * 1000 <= at <= call.ended * 1000
        for kind, at, of, _, _ in facts.moments
    )


def _limit(call, facts):
    """SnapTrade's limit error reached the caller: why no room was made."""
    tenant = CLIENTS[call.tenant]
    reason = call.admission.partition("reason=")[2]
    if tenant.mode == "observe":
        return "the tenant is only observed"
    if tenant.name == "paused" and facts.had_trouble(call, ("pause by hand",), PAUSE_KNOWN_SECONDS):
        return "the tenant was paused"
    # Nor does a replica hear of the end of a pause while it cannot ask.
    if tenant.name == "paused" and reason == "paused" and facts.had_trouble(call, DATABASE, DATABASE_BACK_SECONDS):
        return "the database was away"
    if reason == "fuse-blown" and tenant.name == "fused":
        return "the fuse had blown"
    if reason == "registry-down" and call.ended - call.began >= ADMISSION_SECONDS:
        # Another replica had the turn all that time.
        return _delayed(call, facts, tenant.client_id)
    if reason in ("registry-down", "not-journaled"):
        if facts.had_trouble(call, (*DATABASE, *STILL, *GONE), DATABASE_BACK_SECONDS):
            return "the database was away"
        return None
    if reason in ("list-failed", "timed-out", "deletion-unsettled", "deletion-rejected", "nobody-evictable"):
        before = UNSETTLED_SECONDS if reason == "nobody-evictable" else 1
        if facts.had_own_fault(call, tenant.client_id, ("list", "delete"), before):
            return "fault: the sidecar's own calls"
        # Until it is known whether it is gone, nobody goes for a newcomer.
        if reason == "timed-out" and facts.had_unanswered_deletion(call, SETTLE_SECONDS):
            return "a deletion by the application had no answer"
        if reason == "timed-out" and (found := _delayed(call, facts, tenant.client_id)):
            return found
        return _outside(call, facts)
    if not reason and "retried" in call.admission:
        if facts.had_trouble(call, ("list lags behind",), 1):
            return "the list lagged behind"
        # Whose deletion did not show does not count, and may be there (R10).
        if facts.had_own_fault(call, tenant.client_id, ("delete",), UNSETTLED_SECONDS):
            return "fault: the sidecar's own calls"
        # In this mode they are forwarded first, and one that comes just then may take a slot that was freed for nobody.
        if tenant.mode == "on-limit-error" and _took_a_slot(call, facts, tenant.client_id):
            return "somebody else took the slot"
        # Without turns, another replica may take the slot that was made.
        if facts.had_trouble(call, DATABASE, DATABASE_BACK_SECONDS):
            return "the database was away"
    if reason == "shutting-down" and facts.had_trouble(call, GONE):
        return "the replica had ended"
    return None

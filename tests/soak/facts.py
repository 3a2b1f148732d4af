"""What really happened: the simulator's record and the journal, joined and ordered."""

import json
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Entry:
    """A call as SnapTrade had it. Times are milliseconds since the Unix epoch."""

    number: int
    at: int
    call: str
    client: str
    user: str
    # Its caller's own name for it; the sidecar's own calls have none.
    label: str
    fault: str
    done_at: int = 0
    status: int = 0
    live: list = field(default_factory=list)
    secret_sha256: str = ""


class Facts:
    def __init__(self, record, journal, book):
        self.entries = {}
        # In its order: ("arrived" | "registered" | "deleted" | "added" | "removed", at, client, user, entry).
        self.moments = []
        self.lines = 0
        with record.open() as lines:
            for line in lines:
                self._read(json.loads(line))
        self.journal = journal
        self.troubles = book.troubles
        self.calls = book.calls
        self.by_label = defaultdict(list)
        for entry in self.entries.values():
            if entry.label:
                self.by_label[entry.label].append(entry)
        self.own_faults = [entry for entry in self.entries.values() if entry.fault and not entry.label]
        self.register_faults = [
            entry for entry in self.entries.values() if entry.fault and entry.label and entry.call == "register"
        ]

    def _read(self, line):
        self.lines += 1
        kind, at = line["event"], line["at_ms"]
        if kind == "call":
            entry = Entry(
                line["number"], at, line["call"], *(line[name] or "" for name in ("client", "user", "label", "fault"))
            )
            self.entries[entry.number] = entry
            self.moments.append(("arrived", at, entry.client, entry.user, entry))
        elif kind == "done":
            entry = self.entries[line["number"]]
            entry.done_at, entry.status = at, line["status"]
            entry.live = line["live"] or []
            entry.secret_sha256 = line["secret_sha256"] or ""
            deed = {"register": "registered", "delete": "deleted"}.get(entry.call)
            if deed and entry.status == 200:
                self.moments.append((deed, at, entry.client, entry.user, entry))
        else:
            self.moments.append((kind, at, "SOAK", line["user"], None))

    def faults(self, call):
        """What struck this call on its way, by its label."""
        return {entry.fault for entry in self.by_label[call.label] if entry.fault}

    def had_trouble(self, call, kinds, before=0.0):
        """Whether one of these overlaps with a call, or ended at most `before` seconds before it."""
        for trouble in self.troubles:
            fits = trouble.kind in kinds and trouble.target in ("", call.replica, call.tenant)
            if fits and trouble.began <= call.ended and call.began - before <= trouble.ended:
                return True
        return False

    def had_unanswered_deletion(self, call, before):
        """Whether a deletion by the application had no answer meanwhile, or so many seconds before."""
        return any(
            other.shape == "deletion"
            and other.tenant == call.tenant
            and (other.failure or other.left or other.status >= 500)
            and other.began <= call.ended
            and call.began - before <= other.ended
            for other in self.calls
        )

    def had_own_fault(self, call, client, calls, before=0.0):
        """Whether one of the sidecar's own calls for this client went wrong meanwhile, or so many seconds before."""
        return self._struck(self.own_faults, call, client, calls, before)

    def had_register_fault(self, call, client, before=0.0):
        """Whether a registration of this client went wrong meanwhile, this one or another."""
        return self._struck(self.register_faults, call, client, ("register",), before)

    @staticmethod
    def _struck(faults, call, client, calls, before):
        began, ended = (call.began - before) * 1000, call.ended * 1000
        return any(
            fault.client == client and fault.call in calls and began <= fault.at <= ended + 1 for fault in faults
        )

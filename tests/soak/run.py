"""The soak: two sidecars over one PostgreSQL before a SnapTrade that fails, under mixed traffic, while everything that
they rest on goes away and comes back. Afterwards every error that a caller saw has to have its explanation, every rule
has to have held, and memory and descriptors have to be where they were. Writes a report; ends with 1 if anything is
amiss."""

import argparse
import dataclasses
import json
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter

import report
import rules
from book import Book
from explain import explanation
from facts import Facts
from load import Passer
from trouble import Outside, strike
from users import Operator, Registrar, Users, register
from watch import rise, sample, watch, watch_database
from world import CROWD, PROTECTED, TENANTS, UNSETTLED_SECONDS, World

PASSERS = 6
PASS_PAUSE_SECONDS = 0.15
BURST_PAUSE_SECONDS = 4
FAULT_PAUSE_SECONDS = 0.7
TROUBLE_PAUSE_SECONDS = 5
OPERATOR_PAUSE_SECONDS = 2
# After the last trouble: what was left open is settled sooner.
CALM_SECONDS = UNSETTLED_SECONDS
# Of the run, until memory counts: caches and pools fill, and replies are kept for a while.
WARM_UP = 0.25
# How much the line through the samples may rise from the warm-up to the end.
MEMORY_RISE_KIB_MAX = 8 * 1024
DESCRIPTORS_RISE_MAX = 15
# Of one replica, between any two looks after the warm-up: the threads that wait for name lookups come and go.
THREADS_SPREAD_MAX = 4
LOG_BYTES_PER_CALL_MAX = 4_000


class Soak:
    def __init__(self, arguments, folder):
        self.binary = arguments.binary
        self.seconds = arguments.seconds
        self.seed = arguments.seed
        self.notes = []
        self.faults = []
        self.checks = []
        self.explained = Counter()
        self.samples = []
        self.book = Book()
        self.users = Users()
        self.world = World(self.binary, pathlib.Path(__file__).resolve().parent.parent, folder, self.seed)
        self.operator = Operator(self.world, self.book, self.users, TENANTS)
        self._threads = []

    def _spawn(self, work, *arguments):
        def guarded():
            try:
                work(*arguments)
            except Exception as error:
                self.book.note(f"{getattr(work, '__qualname__', work)} failed: {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded)
        thread.start()
        self._threads.append(thread)

    def _settle_in(self):
        """Whoever is there before the application is: the protected, and too many of one tenant."""
        for replica in self.world.replicas:
            replica.start()
        direct = self.world.replicas[0]
        for user in PROTECTED:
            self.world.simulator.control("POST", f"/users/{user}")
            for tenant in TENANTS[1:]:
                call = register(self.book, direct, tenant, user)
                if call.status != 200:
                    self.book.note(f"{user} of {tenant.name} could not be registered: {call.outcome} {call.detail}")
        for number in range(CROWD):
            self.world.simulator.control("POST", f"/users/crowd-{number}")

    def _load(self):
        over = self.world.over
        self._spawn(watch, self.world, self.samples)
        self._spawn(watch_database, self.world, self.book)
        for number in range(PASSERS):
            self._spawn(Passer(self.world, self.book, self.users, number).run, over, PASS_PAUSE_SECONDS)
        for tenant in TENANTS:
            self._spawn(Registrar(self.world, self.book, self.users, tenant).run, BURST_PAUSE_SECONDS)
        self._spawn(self.operator.run, OPERATOR_PAUSE_SECONDS)
        self._spawn(strike, self.world, FAULT_PAUSE_SECONDS)
        self._spawn(Outside(self.world, self.book).run, TROUBLE_PAUSE_SECONDS)

    def run(self):
        self._settle_in()
        self.began = time.time()
        self._load()
        try:
            self.world.over.wait(self.seconds)
        finally:
            self.world.over.set()
            self.ended = time.time()
            for thread in self._threads:
                thread.join()
        self._calm()

    def _calm(self):
        """Nothing goes wrong any more: what was left open is settled, and everything works."""
        self.world.application.is_calm = True
        self.world.simulator.control("DELETE", "/faults")
        self.world.simulator.control(
            "PATCH", "/options", {"rate_limit": 0, "delete_lag_ms": 0, "tombstones_count": False}
        )
        # Nothing tells when the last deletion that was given up counts again.
        threading.Event().wait(CALM_SECONDS)
        self.calm_began = time.time()
        for replica in self.world.replicas:
            for tenant in TENANTS:
                call = register(self.book, replica, tenant, f"calm-{replica.name}")
                if call.status != 200 and tenant.mode == "enforce" and tenant.name != "fused":
                    self.faults.append(
                        f"after all that {tenant.name} still gets {call.outcome} {call.admission} {call.detail}"
                    )
            status, said = replica.admin("GET", "/readyz")
            if status != 200:
                self.faults.append(f"after all that replica {replica.name} is not ready: {said}")
        over = threading.Event()
        threading.Timer(5, over.set).start()
        Passer(self.world, self.book, self.users, "calm").run(over, 0.05)
        self.left = [sample(replica) for replica in self.world.replicas]
        live = {entry for entry in self.world.simulator.control("GET", "")["users"]}
        if len(live) > TENANTS[0].max_users:
            self.faults.append(f"after all that {len(live)} users are left of {TENANTS[0].name}")

    def judge(self):
        journal = self.world.database.rows("SELECT * FROM snaptrade_sidecar.journal ORDER BY id")
        with (self.world.folder / "journal.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in journal)
        with (self.world.folder / "calls.jsonl").open("w") as file:
            seen = [*self.book.calls, *self.book.troubles]
            file.writelines(json.dumps(dataclasses.asdict(each)) + "\n" for each in seen)
        self.faults += self.book.wrong
        self.facts = facts = Facts(self.world.simulator.record, journal, self.book)
        self._explain(facts)
        lost = self._lost_replicas(journal)
        book, application = self.book, self.world.application
        self._check("R1: bodies arrive intact", rules.every_byte(book))
        self._check("R5: nobody protected is deleted", rules.nobody_protected(facts, self.operator))
        self._check("R7: an intent before each deletion", rules.intent_before_deed(facts))
        self._check("R7: an outcome for each intent", rules.outcome_of_each(facts))
        self._check("R8: never more users than the limit", rules.never_too_many(facts, book, self.world))
        self._check("R8: one deletion for each slot", rules.one_for_each_slot(facts))
        self._check("R12: no user secret is lost", rules.no_secret_lost(facts, book))
        self._check("each eviction is told of", rules.notices(facts, application, lost))
        self._check("R13: no secret in a log, and no panic", rules.quiet_logs(self.world))
        self._flat()
        self.logged = rules.errors_logged(self.world)
        webhooks = ", ".join(f"{count} {what}" for what, count in sorted(application.webhooks.items()))
        events = Counter(row["event"] for row in journal)
        self.notes.append(f"Webhooks: {webhooks}.")
        self.notes.append(
            f"Notices: {len(application.notices)}, "
            f"{sum(each['refused'] for each in application.notices.values())} tries refused."
        )
        self.notes.append("Journal: " + ", ".join(f"{count} {event}" for event, count in sorted(events.items())) + ".")

    def _lost_replicas(self, journal):
        """Those whose process had ended before the last word of it could be told."""
        last = {replica.name for replica in self.world.replicas if replica.program.is_there()}
        alive = {row["replica"] for row in journal if row["newcomer"] in {f"calm-{name}" for name in last}}
        return {row["replica"] for row in journal} - alive

    def _explain(self, facts):
        unexplained = []
        for call in self.book.calls:
            if not call.is_error:
                continue
            why = explanation(call, facts)
            if why is None:
                unexplained.append(call)
                why = "**nothing**"
            self.explained[
                f"{call.shape if call.shape.startswith('operator') else ''} {call.outcome}".strip(), why
            ] += 1
        for call in unexplained:
            self.faults.append(
                f"unexplained: {call.label} {call.shape} at {call.replica}, {call.tenant} {call.user}: {call.outcome} "
                f"'{call.detail[:90]}' [{call.admission}] {call.began:.3f} to {call.ended:.3f}, "
                f"struck by {facts.faults(call)}"
            )
        errors = sum(call.is_error for call in self.book.calls)
        self.checks.append(
            ("every error is explained", errors, f"{len(unexplained)} unexplained" if unexplained else "yes")
        )

    def _check(self, name, found):
        looked, wrong = found
        if isinstance(looked, dict):
            looked = ", ".join(f"{count} {what}" for what, count in sorted(looked.items()))
        self.checks.append((name, looked, f"**{len(wrong)} wrong**" if wrong else "holds"))
        self.faults += [f"{name}: {each}" for each in wrong]

    def _flat(self):
        warm = self.began + WARM_UP * (self.ended - self.began)
        # The other one is ended and begun anew all the time.
        steady = [each for each in self.samples if each.replica == "a" and warm <= each.at <= self.ended]
        memory = rise([(each.at, each.rss_kib) for each in steady])
        descriptors = rise([(each.at, each.descriptors) for each in steady])
        threads = [each.threads for each in steady]
        self._bound("memory, rise in KiB", round(memory), MEMORY_RISE_KIB_MAX)
        self._bound("descriptors, rise", round(descriptors, 1), DESCRIPTORS_RISE_MAX)
        self._bound("threads, most less fewest", max(threads) - min(threads), THREADS_SPREAD_MAX)
        size = sum(replica.log.stat().st_size for replica in self.world.replicas)
        self._bound("log, bytes for each call", size // len(self.book.calls), LOG_BYTES_PER_CALL_MAX)

    def _bound(self, name, value, most):
        self.checks.append((name, value, f"holds: at most {most}" if value <= most else f"**over {most}**"))
        if value > most:
            self.faults.append(f"{name}: {value}, at most {most}")

    @property
    def verdict(self):
        return f"Failed: {len(self.faults)} faults" if self.faults else "Passed"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path, help="the program under test")
    parser.add_argument("--seconds", type=int, default=1200, help="of load and trouble")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--folder", required=True, type=pathlib.Path, help="for the report and the logs")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds} s; --seed {arguments.seed} deals the same troubles", flush=True)
    # PostgreSQL's own user has to get there, and a socket's path may have 107 bytes.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    folder.chmod(0o755)
    soak = Soak(arguments, folder)
    try:
        soak.run()
        soak.judge()
    finally:
        soak.faults += soak.world.stop()
        _keep(folder, arguments.folder)
    report.write(arguments.folder / "report.md", soak)
    print(f"{soak.verdict}; see {arguments.folder / 'report.md'}")
    for fault in soak.faults[:40]:
        print(f"- {fault}")
    failed = sum(1 for _, _, result in soak.checks if "**" in result or "unexplained" in result)
    failed = max(failed, 1 if soak.faults else 0)
    print(f"{len(soak.checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _keep(folder, to):
    """The logs and the record, for whoever wants to know more."""
    to.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.suffix in (".log", ".jsonl"):
            shutil.copy(file, to / file.name)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

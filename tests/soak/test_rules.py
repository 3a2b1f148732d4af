"""That the rules bite: each holds for a small run in which all went well, and finds what is wrong in another."""

import json
import pathlib
import tempfile
import types
import unittest

import rules
from book import Book, Call, Trouble
from explain import explanation
from facts import Facts
from watch import rise
from world import MANAGE_SECONDS, TENANTS

CLIENT, TENANT = "SOAK-2", "full"
START_MS = 1_000_000_000_000


class Run:
    """A run that is put together call by call."""

    def __init__(self, client=CLIENT, tenant=TENANT):
        self.client, self.tenant = client, tenant
        self.book = Book()
        self.lines = []
        self.journal = []
        self.live = []
        self.now = START_MS

    def _call(self, call, user, label="", fault="", status=200, took=0, **done):
        number, self.now = len(self.lines), self.now + 100
        known = {"number": number, "call": call, "client": self.client, "user": user, "label": label, "fault": fault}
        self.lines.append({"event": "call", "at_ms": self.now, **known})
        if status:
            said = {"live": list(self.live), "secret_sha256": None, **done}
            self.now += took
            self.lines.append({"event": "done", "at_ms": self.now, "number": number, "status": status, **said})

    def register(self, user, fault="", **seen):
        self.live.append(user)
        call = Call(f"call-{len(self.lines)}", "registration", "a", self.tenant, user, status=200)
        call.secret_sha256 = f"secret of {user}"
        self._call("register", user, call.label, fault, secret_sha256=f"secret of {user}")
        call.began, call.ended = self.now / 1000, self.now / 1000 + 0.1
        for name, value in seen.items():
            setattr(call, name, value)
        self.book.calls.append(call)
        return call

    def add(self, user):
        """By another program, under the first client id."""
        self.now += 100
        self.live.append(user)
        self.lines.append({"event": "added", "at_ms": self.now, "user": user})

    def intend(self, user, **columns):
        row = {"id": len(self.journal), "event": "intent", "tenant": self.client, "user_id": user, "at": self.now}
        self.journal.append({**row, "newcomer": None, "is_open": False, "replica": "r", "outcome": None, **columns})

    def evict(self, user, fault="", status=200, took=0):
        if status == 200:
            self.live.remove(user)
        self._call("delete", user, fault=fault, status=status, took=took)

    def fill(self, count=8):
        for number in range(count):
            self.register(f"user-{number}")
        return self

    def facts(self):
        with tempfile.TemporaryDirectory() as folder:
            record = pathlib.Path(folder) / "record.jsonl"
            record.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
            return Facts(record, self.journal, self.book)


class Rules(unittest.TestCase):
    def setUp(self):
        self.world = types.SimpleNamespace(replicas=[])
        self.operator = types.SimpleNamespace(protected=[])
        self.run_of = Run().fill()

    def holds(self, found):
        self.assertEqual(found[1], [])

    def is_wrong(self, found):
        self.assertEqual(len(found[1]), 1, found)

    def test_a_deletion_needs_an_intent_from_before_it(self):
        self.run_of.intend("user-0")
        self.run_of.evict("user-0")
        self.holds(rules.intent_before_deed(self.run_of.facts()))
        self.run_of.evict("user-1")
        self.run_of.now += 1
        self.run_of.intend("user-1")
        self.is_wrong(rules.intent_before_deed(self.run_of.facts()))

    def test_an_intent_is_for_one_deletion(self):
        self.run_of.intend("user-0")
        self.run_of.evict("user-0", "hang", 0)
        self.run_of.evict("user-0")
        self.is_wrong(rules.intent_before_deed(self.run_of.facts()))

    def test_no_intent_stays_open(self):
        self.run_of.intend("user-0")
        self.holds(rules.outcome_of_each(self.run_of.facts()))
        self.run_of.intend("user-1", is_open=True)
        self.is_wrong(rules.outcome_of_each(self.run_of.facts()))

    def test_nobody_protected_goes(self):
        self.run_of.evict("user-0")
        self.holds(rules.nobody_protected(self.run_of.facts(), self.operator))
        now = self.run_of.now / 1000
        self.operator.protected.append((TENANT, "user-1", now, now + 10))
        self.run_of.evict("user-1")
        self.is_wrong(rules.nobody_protected(self.run_of.facts(), self.operator))
        self.run_of.register("vip-1")
        self.run_of.evict("vip-1")
        self.assertEqual(len(rules.nobody_protected(self.run_of.facts(), self.operator)[1]), 2)

    def test_one_goes_for_each_slot(self):
        self.run_of.evict("user-0")
        self.run_of.register("new")
        self.run_of.evict("user-1")
        self.holds(rules.one_for_each_slot(self.run_of.facts()))
        self.run_of.evict("user-2")
        self.is_wrong(rules.one_for_each_slot(self.run_of.facts()))

    def test_a_list_may_lag_after_a_deletion_whose_reply_was_lost(self):
        for fault, is_well in (("close_after", True), ("", False)):
            run_of = Run()
            run_of.fill()
            run_of.live.remove("user-0")
            run_of._call("delete", "user-0", "a call", fault)
            run_of.now += 3_000
            run_of.evict("user-1")
            _, wrong = rules.one_for_each_slot(run_of.facts())
            self.assertEqual(not wrong, is_well)

    def test_who_is_on_the_way_out_already_may_be_deleted_again(self):
        self.run_of.evict("user-0")
        self.run_of.live.append("user-0")
        self.run_of.evict("user-0")
        self.holds(rules.one_for_each_slot(self.run_of.facts()))

    def test_a_deletion_that_was_not_carried_out_made_no_room(self):
        self.run_of.evict("user-0", "status", 0)
        self.run_of.evict("user-1")
        self.holds(rules.one_for_each_slot(self.run_of.facts()))

    def test_there_are_never_too_many(self):
        self.holds(rules.never_too_many(self.run_of.facts(), self.run_of.book, self.world))
        self.run_of.register("one more")
        self.is_wrong(rules.never_too_many(self.run_of.facts(), self.run_of.book, self.world))

    def test_whom_another_program_registers_meanwhile_does_not_count(self):
        run_of = Run("SOAK", "over").fill(4)
        asked = run_of.now / 1000
        run_of.add("crowd")
        run_of.register("new", began=asked)
        self.holds(rules.never_too_many(run_of.facts(), run_of.book, self.world))

    def test_whom_another_program_registered_before_counts(self):
        run_of = Run("SOAK", "over").fill(4)
        run_of.add("crowd")
        run_of.register("new")
        self.is_wrong(rules.never_too_many(run_of.facts(), run_of.book, self.world))

    def test_who_may_still_go_does_not_count(self):
        self.run_of.evict("user-0", "hang", 0)
        self.run_of.register("one more")
        self.holds(rules.never_too_many(self.run_of.facts(), self.run_of.book, self.world))

    def test_who_may_still_go_as_far_as_was_heard_does_not_count(self):
        self.run_of.evict("user-0", "delay_ms", 429, took=MANAGE_SECONDS * 1000 + 1)
        self.run_of.register("one more")
        self.holds(rules.never_too_many(self.run_of.facts(), self.run_of.book, self.world))

    def test_who_will_not_go_counts(self):
        self.run_of.evict("user-0", "delay_ms", 429, took=MANAGE_SECONDS * 1000)
        self.run_of.register("one more")
        self.is_wrong(rules.never_too_many(self.run_of.facts(), self.run_of.book, self.world))

    def test_no_secret_is_lost_without_a_reason(self):
        self.run_of.register("left", left=True, secret_sha256="")
        self.run_of.register("struck", "reset_after", status=502, secret_sha256="")
        counts, wrong = rules.no_secret_lost(self.run_of.facts(), self.run_of.book)
        reasons = {"reached its caller": 8, "its caller had left": 1, "a fault took the reply": 1}
        self.assertEqual((counts, wrong), (reasons, []))
        self.run_of.register("lost", status=502, secret_sha256="")
        self.is_wrong(rules.no_secret_lost(self.run_of.facts(), self.run_of.book))

    def test_each_eviction_is_told_of_unless_its_replica_was_killed(self):
        application = types.SimpleNamespace(notices={}, wrong=[])
        self.run_of.intend("user-0", event="outcome", outcome="evicted")
        facts = self.run_of.facts()
        self.is_wrong(rules.notices(facts, application, set()))
        self.holds(rules.notices(facts, application, {"r"}))
        application.notices["n"] = {"client_id": CLIENT, "user_id": "user-0", "taken": 1}
        self.holds(rules.notices(facts, application, set()))

    def test_bodies_are_whole(self):
        self.holds(rules.every_byte(self.run_of.book))
        self.run_of.book.calls[0].damage = "1 of 2 bytes came"
        self.is_wrong(rules.every_byte(self.run_of.book))

    def test_a_log_has_no_panic_and_no_secret(self):
        with tempfile.NamedTemporaryFile("w") as log:
            self.world.simulator = types.SimpleNamespace(log=pathlib.Path(log.name))
            for line, wrong in (("all is well", 0), ("the thread panicked", 1), ("userSecret=1", 2)):
                log.write(f"{line}\n")
                log.flush()
                self.assertEqual(len(rules.quiet_logs(self.world)[1]), wrong)


class Explanations(unittest.TestCase):
    def explained(self, fault="", troubles=(), **seen):
        run = Run()
        call = run.register("new", fault, **seen)
        run.book.troubles += [Trouble(kind, target, call.began, call.ended) for kind, target in troubles]
        return explanation(call, run.facts())

    def test_a_fault_explains_only_what_it_can_bring_about(self):
        broke_off = {"status": 502, "code": "sidecar_upstream_broke_off"}
        self.assertEqual(self.explained("reset_before", **broke_off), "fault: connection lost")
        self.assertIsNone(self.explained("hang", **broke_off))
        self.assertIsNone(self.explained(**broke_off))
        self.assertIsNone(self.explained("reset_before", status=500, code="sidecar_internal_error"))

    def test_a_trouble_explains_only_what_met_it(self):
        refused = {"failure": "ConnectionRefusedError"}
        self.assertEqual(self.explained(troubles=[("replica killed", "a")], **refused), "the replica had ended")
        self.assertIsNone(self.explained(troubles=[("replica killed", "b")], **refused))
        # Passing calls through needs no database.
        broke_off = {"status": 502, "code": "sidecar_upstream_broke_off"}
        self.assertIsNone(self.explained(troubles=[("database restarted", "")], **broke_off))

    def test_a_limit_error_needs_the_reason_that_fits(self):
        limit = {"status": 400, "code": "1012", "detail": "Connection Limit Reached"}
        down = {"admission": "forwarded; reason=registry-down", **limit}
        self.assertEqual(self.explained(troubles=[("database frozen", "")], **down), "the database was away")
        self.assertIsNone(self.explained(**down))
        self.assertIsNone(self.explained(troubles=[("database frozen", "")], **limit))


    def test_where_all_are_forwarded_first_somebody_else_may_take_the_slot(self):
        run = Run()
        call = run.register("late", status=409, code="1012", detail="Connection Limit Reached")
        call.admission = "forwarded; retried"
        self.assertIsNone(explanation(call, run.facts()))
        call.tenant = "limit"
        client = next(tenant.client_id for tenant in TENANTS if tenant.name == "limit")
        for line in run.lines:
            if line["event"] == "call":
                line["client"] = client
        self.assertEqual(explanation(call, run.facts()), "somebody else took the slot")

    def test_a_deletion_without_an_answer_explains_that_no_room_was_made(self):
        run = Run()
        call = run.register("late", status=400, code="1012", detail="Connection Limit Reached")
        call.admission = "forwarded; reason=timed-out"
        before = {"began": call.began - 2, "ended": call.began - 1}
        for status, explained in ((200, None), (502, "a deletion by the application had no answer")):
            run.book.calls.append(Call("a deletion", "deletion", "a", TENANT, "gone", status=status, **before))
            self.assertEqual(explanation(call, run.facts()), explained)


class Rising(unittest.TestCase):
    def test_what_rises_is_seen_through_what_goes_up_and_down(self):
        self.assertEqual(round(rise([(at, 100 + at % 2) for at in range(101)])), 0)
        self.assertEqual(round(rise([(at, at / 2 + at % 2) for at in range(101)])), 50)


if __name__ == "__main__":
    # As tests/run counts.
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    raise SystemExit(1 if failed else 0)

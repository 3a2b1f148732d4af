"""The alerts, their runbook and the Grafana board: by themselves with promtool, and by a real Prometheus that scrapes a
sidecar to which everything happens that they tell of."""

import argparse
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

from programs import JOB, Prometheus, Watched
from processes import CLIENT_ID, Simulator, call, until

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RULES = ROOT / "config/prometheus-alerts.yml"
RUNBOOK = ROOT / "docs/runbook.md"
CASES = HERE / "cases.yml"
BOARD = json.loads((ROOT / "config/grafana-dashboard.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
GRID_COLUMNS = 24
USERS_MAX = 5
CALLS = 20
CALLS_THAT_FAIL = 4

# What is brought about raises these, or has them wait until it has lasted, and no others.
RAISED = [
    "SidecarDown",
    "UpstreamFailing",
    "KeyRefused",
    "FuseBlown",
    "SignatureNotRecognised",
    "NoEvictionPossible",
    "UsersNotCounted",
    "ReloadRefused",
    "AtLimit",
]

settings = argparse.Namespace()


def promtool(*arguments, text=None):
    """What it says; fails with that where it finds a fault."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def alerts():
    """Name, severity and address of the runbook's heading, as the file has them."""
    found = re.findall(
        r"- alert: (\w+)$.*?severity: (\w+) .*?runbook_url: (\S+)$", RULES.read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(found) == RULES.read_text().count("- alert:"), found
    return found


def sections(markdown):
    """The text under each heading of the second level, by the heading's address."""
    parts = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)[1:]
    named = zip(parts[::2], parts[1::2], strict=True)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-"): text for heading, text in named}


def queries():
    """Panel and target of each query of the board, with what stands for its variables."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in (("$__rate_interval", "1m"), ("$job", JOB), ("$tenant", ".+")):
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            yield panel, target, expression


class ByThemselves(unittest.TestCase):
    def test_the_rules_are_well_formed(self):
        self.assertIn(f"{len(alerts())} rules found", promtool("check", "rules", RULES))

    def test_each_alert_is_raised_when_it_should_be_and_not_before(self):
        promtool("test", "rules", CASES)

    def test_each_alert_has_a_case_that_raises_it_and_one_that_does_not(self):
        raised, not_raised = set(), set()
        for case in re.split(r"^  - name: ", CASES.read_text(), flags=re.MULTILINE)[1:]:
            names = set(re.findall(r"alertname: (\w+)", case))
            (raised if "exp_labels" in case else not_raised).update(names)
        self.assertEqual(raised, {name for name, _, _ in alerts()})
        self.assertEqual(not_raised, raised)

    def test_each_alert_has_its_heading_in_the_runbook_and_each_heading_its_alert(self):
        places = sections(RUNBOOK.read_text())
        words = {"info": "information"}
        expected = {url.removeprefix("docs/runbook.md#"): (name, severity) for name, severity, url in alerts()}
        self.assertEqual(list(places), list(expected), "headings, in the order of the alerts")
        for place, (name, severity) in expected.items():
            self.assertTrue(places[place].startswith(f"\n\n*{name}, {words.get(severity, severity)}.* "), place)

    def test_the_panels_have_units_legends_and_descriptions_and_do_not_overlap(self):
        self.assertEqual(len({panel["id"] for panel in BOARD["panels"]}), len(BOARD["panels"]))
        taken = set()
        for panel in BOARD["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], GRID_COLUMNS, panel["title"])
            taken |= cells
        for panel in PANELS:
            self.assertTrue(panel["description"], panel["title"])
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            self.assertTrue(all(target["legendFormat"] for target in panel["targets"]), panel["title"])


class Watching(unittest.TestCase):
    """One sidecar to which everything happens that can be brought about, an instance where nothing answers, and a
    Prometheus that has seen the sidecar before and after."""

    @classmethod
    def setUpClass(cls):
        cls.programs = []
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        folder = pathlib.Path(folder.name)
        # Bound and not listening: nothing answers there, and nobody else can take the port.
        vacant = socket.socket()
        cls.addClassCleanup(vacant.close)
        vacant.bind(("127.0.0.1", 0))
        cls.simulator = cls.started(Simulator(settings.binary, "--tenants", "3"))
        cls.sidecar = cls.started(Watched(settings.binary, folder, cls.simulator.url))
        targets = [urllib.parse.urlsplit(cls.sidecar.ops).netloc, f"127.0.0.1:{vacant.getsockname()[1]}"]
        cls.prometheus = cls.started(Prometheus(folder, RULES, targets))
        until("a first scrape", lambda: cls.prometheus.query("snaptrade_sidecar_build_info"))
        cls.bring_about()

    @classmethod
    def started(cls, program):
        cls.programs.append(program)
        cls.addClassCleanup(program.stop)
        return program

    @classmethod
    def bring_about(cls):
        """What begins a series twice, with a scrape between: a rate is only of what comes after the first."""
        sidecar = cls.sidecar
        cls.call_through()
        # Five find room, and one has it made.
        statuses = [sidecar.register("evicting", f"user-{number}") for number in range(USERS_MAX + 1)]
        assert statuses == [200] * (USERS_MAX + 1), statuses
        begun = (
            'snaptrade_sidecar_requests_total{status="502"}',
            'snaptrade_sidecar_admission_duration_seconds_count{outcome="evicted"}',
        )
        for series in begun:
            until("a scrape between", lambda series=series: cls.prometheus.query(series))
        cls.call_through()
        # One more has room made, then the fuse blows, and SnapTrade refuses the last.
        statuses = [sidecar.register("evicting", f"late-{number}") for number in range(2)]
        assert statuses[0] == 200 and statuses[1] != 200, statuses
        # The last finds nobody who may go.
        statuses = [sidecar.register("keeping", f"user-{number}") for number in range(USERS_MAX + 1)]
        assert statuses[:-1] == [200] * USERS_MAX and statuses[-1] != 200, statuses
        # With the wrong key nothing is known of users, and nothing verified that the application signs.
        statuses = [sidecar.register("mistaken", f"user-{number}") for number in range(3)]
        assert 200 not in statuses, statuses
        assert sidecar.register_signed(f"{CLIENT_ID}-3", "unverified") == 200
        with socket.create_connection(sidecar.address(), 10) as malformed:
            malformed.sendall(b"no HTTP\r\n\r\n")
            assert malformed.recv(1000).startswith(b"HTTP/1.1 400 ")
        sidecar.spoil_configuration()

    @classmethod
    def call_through(cls):
        """Calls that go well, fail, and get no answer."""
        url = cls.sidecar.url
        for number in range(CALLS):
            assert call(f"{url}/accounts?clientId={CLIENT_ID}&number={number}")[0] == 200
        for _ in range(CALLS_THAT_FAIL):
            assert call(f"{url}/_status/500?clientId={CLIENT_ID}")[0] == 500
        cls.simulator.fault({"call": "other", "kind": "close_after"})
        assert call(f"{url}/orders", "POST", b"{}")[0] == 502

    def test_the_metrics_are_as_prometheus_wants_them(self):
        promtool("check", "metrics", text=self.sidecar.metrics())

    def test_every_query_of_the_board_has_data_and_the_labels_of_its_legend(self):
        waiting = list(queries())

        def answered():
            for panel, target, expression in list(waiting):
                if found := self.prometheus.query(expression):
                    waiting.remove((panel, target, expression))
                    labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
                    names = {tuple(series[label] for label in labels) for series in found}
                    self.assertEqual(len(names), len(found), f"lines of one name in {panel['title']}: {found}")
            return not waiting

        until("data", answered, lambda: [(panel["title"], expression) for panel, _, expression in waiting])

    def test_every_variable_of_the_board_has_values(self):
        asked = [variable for variable in BOARD["templating"]["list"] if variable["type"] == "query"]
        values = {}
        for variable in asked:
            text = variable["query"]["query"].replace("$job", JOB)
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", text).groups()
            values[variable["name"]] = self.prometheus.ask(f"label/{label}/values", **{"match[]": selector})
        self.assertEqual(values, {"job": [JOB], "tenant": ["evicting", "keeping", "mistaken"]})

    def test_every_series_that_the_rules_ask_for_is_there(self):
        selectors = set(re.findall(r"snaptrade_sidecar_\w+(?:{[^}]*})?", RULES.read_text()))
        self.assertTrue(selectors)

        def missing():
            return [selector for selector in selectors if not self.prometheus.query(selector)]

        until("series", lambda: not missing(), missing)

    def test_no_rule_has_an_error_and_those_alerts_are_raised_that_should_be(self):
        expected = {f"SnapTrade{name}" for name in RAISED}

        def raised():
            return {rule["name"] for rule in self.prometheus.rules() if rule["state"] != "inactive"}

        until(f"raised: {expected}", lambda: raised() == expected, raised)
        for rule in self.prometheus.rules():
            self.assertEqual((rule["health"], rule.get("lastError")), ("ok", None), rule["name"])


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar")
    arguments.add_argument("tests", nargs="*", help="only these, such as ByThemselves")
    arguments.parse_args(namespace=settings)
    loader = unittest.defaultTestLoader
    here = sys.modules[__name__]
    tests = loader.loadTestsFromModule(here)
    if settings.tests:
        tests = loader.loadTestsFromNames(settings.tests, here)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    if not result.wasSuccessful():
        print(*[line for program in getattr(Watching, "programs", []) for line in program.output], sep="\n")
    failed = len({test.id() for test, _ in [*result.failures, *result.errors, *result.skipped]})
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if result.testsRun and not failed else 1


if __name__ == "__main__":
    sys.exit(main())

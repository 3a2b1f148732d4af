"""A test of the dashboard: its programs, its visits, and how it brings about what the page shows."""

import argparse
import json
import pathlib
import sys
import urllib.parse
import urllib.request

from browser import Visit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from processes import CALL_SECONDS_MAX, Case, Sidecar, Simulator  # noqa: E402

TOKEN = "a-token-of-the-tests-0123456789"
USERS = ["ada", "grace", "edsger", "barbara", "donald"]

settings = argparse.Namespace()


class DashboardCase(Case):
    """A simulator with room for five, a sidecar with a token, and as many visits as a test wants."""

    limit = 5
    keys = {"OPS__TOKEN": TOKEN}
    simulated = ()

    def setUp(self):
        self.simulator = self.started(Simulator(settings.binary, "--limit", str(self.limit), *self.simulated))
        self.sidecar = self.start_sidecar()

    def start_sidecar(self, **keys):
        keys = {"TENANTS__DEFAULT__MAX_USERS": str(self.limit), **self.keys, **keys}
        return self.started(Sidecar(settings.binary, self.simulator.url, **keys), exit_code=0)

    def same_ports(self):
        """For another sidecar in the place of this one."""
        at = {"PROXY__LISTEN": self.sidecar.url, "OPS__LISTEN": self.sidecar.ops}
        return {key: urllib.parse.urlsplit(url).netloc for key, url in at.items()}

    def visit(self, **options):
        """A tab that is signed in, unless told otherwise, and that must not have done wrong when the test is over."""
        options = {"token": TOKEN, "folder": settings.page, **options}
        visit = Visit(settings.browser, self.sidecar.ops, **options)
        self.addCleanup(lambda: self.assertEqual(visit.wrongs(), []))
        self.addCleanup(visit.close)
        return visit

    def visit_live(self, **options):
        visit = self.visit(**options)
        visit.await_live()
        return visit

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.sidecar.ops + path, method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            return json.load(reply)

    def register(self, *users):
        for user in users:
            answer = self.ask("POST", "/api/snaptrade/register?tenant=default", {"user_id": user})
            self.assertIs(answer["success"], True, answer)

    def act(self, action, user=None):
        of_user = f"users/{urllib.parse.quote(user, safe='')}/" if user else ""
        self.ask("POST", f"/api/tenants/default/{of_user}{action}")

    def manual_acts(self):
        """What the journal says was done by hand, oldest first."""
        entries = self.ask("GET", "/api/tenants/default/evictions")["entries"]
        return [(entry["outcome"], entry["user_id"]) for entry in reversed(entries) if entry["event"] == "manual"]

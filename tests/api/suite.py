"""The ops API against its own description: schemathesis asks a sidecar what `/api/openapi.json` says that it answers, and
what it says that it does not."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from processes import CALL_SECONDS_MAX, Case, Sidecar, Simulator, environment, run_tests  # noqa: E402

TOKEN = "an-operators-token"
SEED = 1
# Room for everybody who is registered, so that a user can only go by hand.
USERS_MAX = 10_000
USERS = ["ada", "b o b", "käthe/1"]
RUN_SECONDS_MAX = 120
# After so many, answers to tokens wait for a second or two.
WRONG_TOKENS_QUICKLY = 5

settings = argparse.Namespace()


class Fuzzed(Case):
    keys = {"OPS__TOKEN": TOKEN}

    def setUp(self):
        self.simulator = self.started(Simulator(settings.binary, "--limit", str(USERS_MAX), "--rate-limit", "0"))
        self.simulator.add_users(USERS)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.restart()

    def restart(self):
        """Another sidecar in the place of the one before, or the first one."""
        keys = {"TENANTS__DEFAULT__MAX_USERS": str(USERS_MAX), **self.keys}
        self.sidecar = self.started(Sidecar(settings.binary, self.simulator.url, **keys), exit_code=0)

    def fuzz(self, *options, token=None):
        """Fails with what schemathesis says, where it finds a fault."""
        command = [pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
        command += ["run", f"{self.sidecar.ops}/api/openapi.json", "--seed", str(SEED), "--continue-on-failure"]
        command += ["--generation-database", "none", *options]
        if token:
            command += ["--header", f"Authorization: Bearer {token}"]
        done = subprocess.run(
            command,
            cwd=self.folder.name,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
        print(done.stdout)
        self.assertEqual(done.returncode, 0, "schemathesis found a fault, see above")

    def evicted(self):
        """Those of whom the journal says that they were evicted by hand."""
        request = urllib.request.Request(f"{self.sidecar.ops}/api/tenants/default/journal")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            entries = json.load(reply)
        return {entry["user_id"] for entry in entries if (entry["event"], entry["outcome"]) == ("manual", "evict")}


class WithTheToken(Fuzzed):
    def test_what_it_answers_is_what_is_described(self):
        self.fuzz("--exclude-checks", "ignored_auth", "--max-examples", "100", token=TOKEN)
        evicted = self.evicted()
        self.assertTrue(evicted)
        self.assertLessEqual(set(USERS) - set(self.simulator.users()), evicted)


class WithAWrongToken(Fuzzed):
    def test_what_needs_the_token_takes_no_other_and_none(self):
        guarded = self.guarded()
        self.assertTrue(guarded)
        # With each wrong token answers wait for twice as long, so that all by one sidecar would take a minute.
        while some := [guarded.pop() for _ in guarded[:WRONG_TOKENS_QUICKLY]]:
            only = [argument for name in some for argument in ("--include-operation-id", name)]
            only += ["--checks", "ignored_auth", "--phases", "fuzzing", "--mode", "positive", "--max-examples", "1"]
            self.fuzz(*only, token=TOKEN)
            self.restart()

    def guarded(self):
        """The names of all calls that need the token."""
        with urllib.request.urlopen(f"{self.sidecar.ops}/api/openapi.json", timeout=CALL_SECONDS_MAX) as reply:
            paths = json.load(reply)["paths"]
        calls = [call for methods in paths.values() for call in methods.values()]
        return [call["operationId"] for call in calls if "401" in call["responses"]]


class WithoutTheToken(Fuzzed):
    def test_nothing_is_changed(self):
        self.fuzz("--max-examples", "10")
        self.assertEqual(self.simulator.users(), USERS)
        self.assertEqual(self.evicted(), set())


class WhereNoneIsConfigured(Fuzzed):
    keys = {}

    def test_who_is_local_reads_and_changes_nothing(self):
        self.fuzz("--exclude-checks", "ignored_auth", "--max-examples", "10")
        self.assertEqual(self.simulator.users(), USERS)
        self.assertEqual(self.evicted(), set())


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    path = {"type": lambda text: pathlib.Path(text).resolve()}
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar", **path)
    arguments.add_argument("tests", nargs="*", help="only these, such as WithTheToken")
    arguments.parse_args(namespace=settings)
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())

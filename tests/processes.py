"""The programs of a test (simulator, sidecar and others), each a child process that is ended by its id, and what the
suites that start them have in common."""

import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

START_SECONDS_MAX = 30
# Above the sidecar's own bound on an admission, so that it is the sidecar that gives up first.
CALL_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
# For what is seen a scrape or two after it happened, or a look of the sidecar at its files.
WAIT_SECONDS_MAX = 30
LOOK_SECONDS = 0.1

CLIENT_ID = "SIMULATOR"
# With characters that JavaScript's `encodeURI` changes: one client signs with the changed key, two do not.
CONSUMER_KEY = "a key: 100% clé"


class Program:
    """A child process, and what it wrote."""

    def __init__(self, name, command, environment, folder=None):
        self.name = name
        self.output = []
        self._lines = {"stdout": queue.Queue(), "stderr": queue.Queue()}
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._readers = [self._read("stdout"), self._read("stderr")]

    def _read(self, source):
        stream = getattr(self._process, source)

        def read():
            for line in stream:
                self.output.append(f"{self.name} {source}: {line.rstrip()}")
                self._lines[source].put(line)
            self._lines[source].put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return reader

    def await_start(self, source, read):
        """What the program says once it serves; one that does not say it is ended."""
        try:
            return self.await_line(source, read, START_SECONDS_MAX)
        except AssertionError:
            self.stop()
            raise

    def send(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def await_line(self, source, read, seconds):
        """The first line of which `read` makes something other than None, made into that."""
        until = time.monotonic() + seconds
        while True:
            try:
                line = self._lines[source].get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self._story(f"said nothing of use in {seconds} s")) from None
            if line is None:
                raise AssertionError(self._story(f"ended with code {self._process.wait()}"))
            made = read(line)
            if made is not None:
                return made

    @property
    def pid(self):
        return self._process.pid

    def stop(self):
        """Ends the process and returns its exit code; one that does not end by itself has failed."""
        self._process.stdin.close()
        self._process.terminate()
        return self._ended()

    def _ended(self):
        """The exit code of a process that was told to end."""
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(self._story(f"did not end within {STOP_SECONDS_MAX} s")) from None
        finally:
            for reader in self._readers:
                reader.join()
            self._process.stdout.close()
            self._process.stderr.close()

    def _story(self, what):
        return "\n".join([f"{self.name} {what}; it wrote:", *self.output])


def environment(**variables):
    """Nothing of the caller's environment that could configure a program under test."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, **variables}


class Simulator(Program):
    """A stand-in for SnapTrade, with room for five users unless told otherwise."""

    def __init__(self, binary, *options):
        command = [binary, "simulate", *options, "--listen", "127.0.0.1:0", "--round-trip", "0ms"]
        command += ["--settle-time", "200ms", "--client-id", CLIENT_ID, "--consumer-key", CONSUMER_KEY]
        super().__init__("simulator", command, environment())
        self.url = self.await_start("stdout", self._address)

    @staticmethod
    def _address(line):
        before, found, address = line.partition("simulator listening on ")
        return address.strip() if found and not before else None

    def _control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_simulator{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            return reply.read()

    def state(self):
        return json.loads(self._control("GET", ""))

    def users(self):
        return self.state()["users"]

    def add_users(self, ids):
        """By one connection: there may be thousands."""
        caller = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=CALL_SECONDS_MAX)
        for user_id in ids:
            caller.request("POST", f"/_simulator/users/{urllib.parse.quote(user_id, safe='')}")
            reply = caller.getresponse()
            reply.read()
            assert reply.status == 201, (user_id, reply.status)
        caller.close()

    def remove_user(self, user_id):
        self._control("DELETE", f"/users/{urllib.parse.quote(user_id, safe='')}")

    def set_options(self, **options):
        self._control("PATCH", "/options", options)

    def fault(self, fault):
        self._control("POST", "/faults", fault)

    def refuse_next_registration(self, status, body):
        self.fault({"call": "register", "kind": {"status": {"status": status, "body": body}}})


class Sidecar(Program):
    """The product, configured by its environment alone; keys by the names of their variables, without the prefix."""

    def __init__(self, binary, upstream, **keys):
        variables = {
            "SNAPTRADE_CLIENT_ID": CLIENT_ID,
            "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY,
            "SNAPTRADE_SIDECAR__PROXY__LISTEN": "127.0.0.1:0",
            "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": upstream,
            "SNAPTRADE_SIDECAR__OPS__LISTEN": "127.0.0.1:0",
            "SNAPTRADE_SIDECAR__LOG__FORMAT": "json",
            **{f"SNAPTRADE_SIDECAR__{name}": value for name, value in keys.items()},
        }
        super().__init__("sidecar", [binary, "serve"], environment(**variables))
        self.url, self.ops = self.await_start("stderr", self._addresses)

    @staticmethod
    def _addresses(line):
        try:
            logged = json.loads(line)
        except ValueError:
            return None
        return (logged["proxy"], logged["ops"]) if "proxy" in logged else None


class Case(unittest.TestCase):
    """A test with programs of its own."""

    def run(self, result=None):
        """Runs the test; one that failed shows what its programs wrote."""
        self.programs = []
        troubles = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > troubles:
            print(*[line for program in self.programs for line in program.output], sep="\n")

    def started(self, program, exit_code=None):
        """The program, which is ended after the test, and then has to exit with this code."""

        def stop():
            code = program.stop()
            if exit_code is not None:
                self.assertEqual(code, exit_code, f"the exit code of {program.name}")

        self.programs.append(program)
        self.addCleanup(stop)
        return program


def until(what, condition, told=lambda: ""):
    """What `condition` says once that is true of anything; what `told` says is how far it came."""
    over = time.monotonic() + WAIT_SECONDS_MAX
    while not (said := condition()):
        if time.monotonic() > over:
            raise AssertionError(f"not within {WAIT_SECONDS_MAX} s: {what}; {told()}")
        threading.Event().wait(LOOK_SECONDS)
    return said


def call(url, method="GET", body=None, **headers):
    """Status, headers and body of an answer, also of a refusal."""
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers, refusal.read()


def run_tests(module, names):
    """Runs the module's tests, or only those named (such as Python13.test_lists_the_users); returns the exit code."""
    loader = unittest.defaultTestLoader
    tests = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    failed = len({test.id() for test, _ in [*result.failures, *result.errors, *result.skipped]})
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if result.testsRun and not failed else 1

"""The programs of a test: simulator, sidecar and client, each a child process that is ended by its id."""

import base64
import json
import os
import queue
import subprocess
import threading
import time
import urllib.parse
import urllib.request

START_SECONDS_MAX = 30
# Above the sidecar's own bound on an admission, so that it is the sidecar that gives up first.
CALL_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40

CLIENT_ID = "SIMULATOR"
# With characters that JavaScript's `encodeURI` changes: one client signs with the changed key, two do not.
CONSUMER_KEY = "a key: 100% clé"


class Program:
    """A child process, and what it wrote."""

    def __init__(self, name, command, environment):
        self.name = name
        self.output = []
        self._lines = {"stdout": queue.Queue(), "stderr": queue.Queue()}
        self._process = subprocess.Popen(
            command,
            env=environment,
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

    def stop(self):
        """Ends the process and returns its exit code; one that does not end by itself has failed."""
        self._process.stdin.close()
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(self._story(f"did not end within {STOP_SECONDS_MAX} s of SIGTERM")) from None
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
    """A stand-in for SnapTrade with room for five users."""

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
        for user_id in ids:
            self._control("POST", f"/users/{urllib.parse.quote(user_id, safe='')}")

    def fault(self, fault):
        self._control("POST", "/faults", fault)

    def refuse_next_registration(self, status, body):
        self.fault({"call": "register", "kind": {"status": {"status": status, "body": body}}})


class Sidecar(Program):
    """The product, configured by its environment alone."""

    def __init__(self, binary, upstream):
        variables = {
            "SNAPTRADE_CLIENT_ID": CLIENT_ID,
            "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY,
            "SNAPTRADE_SIDECAR__PROXY__LISTEN": "127.0.0.1:0",
            "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": upstream,
            "SNAPTRADE_SIDECAR__OPS__LISTEN": "127.0.0.1:0",
            "SNAPTRADE_SIDECAR__LOG__FORMAT": "json",
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


class Client(Program):
    """An official SDK."""

    def __init__(self, command, base_url, consumer_key=CONSUMER_KEY):
        super().__init__("client", [*command, base_url, CLIENT_ID, consumer_key], environment())

    def call(self, call, **arguments):
        self.send(json.dumps({"call": call, **arguments}))
        answer = self.await_line("stdout", json.loads, CALL_SECONDS_MAX)
        answer["raw"] = base64.b64decode(answer["raw"])
        return answer

    def list(self):
        return self.call("list")

    def register(self, user_id):
        return self.call("register", user_id=user_id)

    def delete(self, user_id):
        return self.call("delete", user_id=user_id)

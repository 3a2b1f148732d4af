"""The example backends as programs, each with a simulator and a sidecar beside it."""

import contextlib
import hashlib
import hmac
import json
import pathlib
import socket
import sqlite3
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from processes import (  # noqa: E402
    CLIENT_ID,
    CONSUMER_KEY,
    Case,
    Program,
    Sidecar,
    Simulator,
    call,
    environment,
    until,
)

EXAMPLES = ROOT / "examples"
LIMIT = 5
NOTICE = "/api/snaptrade/evicted"
TOKEN = "an-operators-token-0123456789"
OF_SIDECAR = "SNAPTRADE_SIDECAR__"
EVICTION = f"{OF_SIDECAR}TENANTS__DEFAULT__EVICTION__"
OF_NOTICES = ("NOTICE_SECRET", f"{EVICTION}NOTIFY_URL", f"{EVICTION}NOTIFY_SECRET")


def ask(method, url, body=None, **headers):
    """Status and JSON of an answer, also of a refusal; `body` is sent as JSON unless it is bytes."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    status, _, said = call(url, method, data, **{"Content-Type": "application/json", **headers})
    return status, json.loads(said or "null")


def variables(**changed):
    """What the examples tell their readers to set, with addresses and key of the test."""
    lines = (EXAMPLES / "simulator.env").read_text(encoding="utf-8").splitlines()
    told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert changed.keys() <= told.keys(), f"{changed.keys() - told.keys()} is not among what the examples set"
    return {**told, **changed}


class ExampleCase(Case):
    """A simulator, a sidecar in front of it, and a backend that is given its address."""

    # Whether sidecar and backend are set up for notices.
    notified = True

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.simulator = self.started(Simulator(self.settings.binary, "--limit", str(LIMIT)))
        self.port = self.reserved_port()
        self.url = f"http://127.0.0.1:{self.port}"
        told = variables(
            SNAPTRADE_CLIENT_ID=CLIENT_ID,
            SNAPTRADE_CONSUMER_KEY=CONSUMER_KEY,
            FRONTEND_URL=self.url,
            SNAPTRADE_SIDECAR__PROXY__UPSTREAM=self.simulator.url,
            SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__NOTIFY_URL=self.url + NOTICE,
        )
        self.secret = told["NOTICE_SECRET"]
        if not self.notified:
            told = {name: value for name, value in told.items() if name not in OF_NOTICES}
        keys = {name.removeprefix(OF_SIDECAR): value for name, value in told.items() if name.startswith(OF_SIDECAR)}
        sidecar = Sidecar(self.settings.binary, self.simulator.url, **keys, OPS__TOKEN=TOKEN)
        self.sidecar = self.started(sidecar, exit_code=0)
        of_backend = {name: value for name, value in told.items() if not name.startswith(OF_SIDECAR)}
        self.backend = self.started(self.start_backend({**of_backend, "SNAPTRADE_API_HOST": sidecar.url}))

    def reserved_port(self):
        """Of a program that others are told of before it starts: bound here, so that nobody else gets it."""
        held = self.enterContext(socket.socket())
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]

    def ask(self, method, path, body=None, **headers):
        return ask(method, self.url + path, body, **headers)

    def register(self, *users):
        """By the backend; what it says of the last."""
        for user in users:
            status, answer = self.ask("POST", "/api/snaptrade/register", {"user_id": user})
            self.assertEqual((status, answer.get("user_id")), (201, user), answer)
        return answer

    def register_past_the_backend(self, user):
        """By the sidecar's ops port, as another program would: the backend gets no reply."""
        url = f"{self.sidecar.ops}/api/snaptrade/register?tenant=default"
        status, answer = ask("POST", url, {"user_id": user}, Authorization=f"Bearer {TOKEN}")
        self.assertEqual((status, answer["success"]), (200, True), answer)

    def notice(self, user, at, secret=None, age_seconds=0, after_signing=b""):
        """The status that a notice gets which says that this user was evicted at that time."""
        said = {"type": "user.evicted", "user_id": user, "at": at.isoformat(), "outcome": "evicted"}
        body = json.dumps(said).encode()
        timestamp = str(int(time.time()) - age_seconds)
        key = (self.secret if secret is None else secret).encode()
        signature = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        signed = {"Snaptrade-Sidecar-Timestamp": timestamp, "Snaptrade-Sidecar-Signature": f"sha256={signature}"}
        return self.ask("POST", NOTICE, body + after_signing, **signed)[0]

    def shown(self):
        status, users = self.ask("GET", "/api/users")
        self.assertEqual(status, 200, users)
        return [user["user_id"] for user in users]

    def await_secrets_of(self, users):
        """Returns once the backend has the secrets of these and no others, by its file and by what it shows."""
        until(
            f"the backend has the secrets of {users}",
            lambda: sorted(self.secrets()) == sorted(self.shown()) == sorted(users),
            lambda: f"{sorted(self.secrets())} stored, {sorted(self.shown())} shown",
        )


class Fastapi(ExampleCase):
    def start_backend(self, told):
        command = [self.settings.python, "-m", "uvicorn", "app:app", "--port", str(self.port)]
        command += ["--app-dir", str(EXAMPLES / "fastapi-backend")]
        backend = Program("backend", command, environment(**told, DATABASE=str(self.folder / "users.db")))
        backend.await_start("stderr", lambda line: line if f"running on {self.url}" in line else None)
        return backend

    def secrets(self):
        """The secrets in its file, by their users."""
        with contextlib.closing(sqlite3.connect(self.folder / "users.db")) as database:
            return dict(database.execute("SELECT user_id, secret FROM users"))


class TypeScript(ExampleCase):
    def start_backend(self, told):
        command = ["node", str(EXAMPLES / "typescript-backend" / "dist" / "server.js")]
        told = {**told, "DATABASE": str(self.folder / "users.json"), "PORT": str(self.port)}
        backend = Program("backend", command, environment(**told))
        backend.await_start("stdout", lambda line: line if f"listening on {self.url}" in line else None)
        return backend

    def secrets(self):
        file = self.folder / "users.json"
        return {user: kept["secret"] for user, kept in json.loads(file.read_text())} if file.exists() else {}

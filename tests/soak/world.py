"""What a soak is about: the tenants and their configuration, the replicas, and the application's own server."""

import base64
import hashlib
import hmac
import json
import random
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from programs import Database, Replica, Simulator, ask

CONSUMER_KEY = "soak consumer key é"
TOKEN = "soak-operators-token"
NOTIFY_SECRET = "soak-notify-secret"

# Users that SnapTrade allows under each key. The sidecar's limit is lower for some, so that SnapTrade does not keep it.
VENDOR_LIMIT = 8
# Calls in any 60 seconds, of one key: more than there are.
RATE_LIMIT = 6000
RESPONSE_SECONDS = 8
MANAGE_SECONDS = 2
SETTLE_SECONDS = 4
# After its deletion was sent and did not show, a user does not count for five settle times (R10).
UNSETTLED_SECONDS = 6 * SETTLE_SECONDS
ADMISSION_SECONDS = 20
REPLAY_SECONDS = 30

WEBHOOKS_LOST = 0.05
WEBHOOKS_TWICE = 0.1
REFUSED = 0.15


@dataclass(frozen=True)
class Tenant:
    name: str
    number: int
    max_users: int
    mode: str = "enforce"
    more: str = ""

    @property
    def client_id(self):
        return "SOAK" if self.number == 1 else f"SOAK-{self.number}"


TENANTS = (
    Tenant("over", 1, 5),
    Tenant("full", 2, VENDOR_LIMIT),
    Tenant("paused", 3, 5),
    Tenant("observed", 4, 5, "observe"),
    Tenant("limit", 5, 5, "on-limit-error"),
    Tenant("fused", 6, 5, "enforce", 'fuse = { evictions = 6, window = "60s" }'),
)
# The fuse is for the tenant that is there to blow it.
FUSE = 'fuse = { evictions = 1000000, window = "1h" }'
# Registered before anything else, and never to be deleted.
PROTECTED = ("vip-1", "vip-2")
# What the first tenant has too many of at the start.
CROWD = 25


def configuration(upstream, registry, application, order="oldest", level="info"):
    text = f"""
[proxy]
listen = "127.0.0.1:0"
upstream = "{upstream}"
connect_timeout = "2s"
response_timeout = "{RESPONSE_SECONDS}s"
body_idle_timeout = "10s"
drain_timeout = "15s"
[ops]
listen = "127.0.0.1:0"
token = "{TOKEN}"
[webhooks]
listen = "127.0.0.1:0"
forward_url = "{application}/webhooks"
[log]
format = "json"
level = "{level}"
[registry]
url = "{registry}"
"""
    for tenant in TENANTS:
        text += f"""
[tenants.{tenant.name}]
client_id = "{tenant.client_id}"
consumer_key = "{CONSUMER_KEY}"
max_users = {tenant.max_users}
manage_timeout = "{MANAGE_SECONDS}s"
settle_timeout = "{SETTLE_SECONDS}s"
admission_timeout = "{ADMISSION_SECONDS}s"
replay_window = "{REPLAY_SECONDS}s"
[tenants.{tenant.name}.eviction]
mode = "{tenant.mode}"
order = ["{order}"]
protect = ["vip-*"]
max_per_registration = 40
notify_url = "{application}/notices"
notify_secret = "{NOTIFY_SECRET}"
{tenant.more or FUSE}
"""
    return text


def signature(path, query, body):
    content = json.loads(body) if body else None
    signed = json.dumps(
        {"content": content or None, "path": path, "query": query}, separators=(",", ":"), sort_keys=True
    )
    digest = hmac.new(CONSUMER_KEY.encode(), signed.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def query(tenant, **more):
    return urllib.parse.urlencode({"clientId": tenant.client_id, "timestamp": int(time.time()), **more})


class World:
    """Everything that runs, and how to reach it."""

    def __init__(self, binary, scripts, folder, seed):
        self.seed = seed
        # Set when load and troubles are to end; whoever paces itself waits for it.
        self.over = threading.Event()
        self.folder = folder
        self.application = Application(self, seed)
        self.database = Database(scripts / "postgres.sh", folder / "postgres", folder / "postgres.log")
        try:
            setting = {
                "client-id": TENANTS[0].client_id,
                "consumer-key": CONSUMER_KEY,
                "tenants": len(TENANTS),
                "limit": VENDOR_LIMIT,
                "round-trip": "20ms",
                "rate-limit": RATE_LIMIT,
                "delete-lag": "200ms",
                "settle-time": "400ms",
                "webhook-url": f"{self.application.url}/vendor",
            }
            self.simulator = Simulator(binary, folder, setting)
        except BaseException:
            self.database.stop()
            raise
        self.replicas = [Replica(binary, name, folder, TOKEN) for name in ("a", "b")]
        for replica in self.replicas:
            self.configure(replica)

    def configure(self, replica, upstream=None, **more):
        text = configuration(upstream or self.simulator.url, self.database.url, self.application.url, **more)
        # It holds a secret.
        replica.configuration.touch(0o600)
        replica.configuration.write_text(text)

    def stop(self):
        """Ends everything, whatever state it is in, and returns what went wrong with that."""
        ends = [(f"replica {replica.name}", replica.program) for replica in self.replicas if replica.program]
        ends += [
            ("the simulator", self.simulator),
            ("PostgreSQL", self.database),
            ("the application", self.application),
        ]
        wrong = []
        for name, part in ends:
            try:
                code = part.stop()
            except Exception as error:  # What is left has to be ended too.
                wrong.append(f"{name} did not end well: {error}")
                continue
            if code and name.startswith("replica"):
                wrong.append(f"{name} ended with code {code}")
        return wrong


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """One whose process was killed ends its connections anyhow."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.application.wrong.append(f"the application failed: {type(error).__name__}: {error}")


class Application:
    """The application's own server: it takes notices and webhooks, and stands for the network that webhooks come by."""

    def __init__(self, world, seed):
        self.notices = {}
        self.webhooks = {}
        self.wrong = []
        self.is_calm = False
        self.lock = threading.Lock()
        self._world = world
        self._dice = random.Random(f"{seed} application")
        self._server = Server(("127.0.0.1", 0), self._handler())
        self._server.application = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def roll(self):
        with self.lock:
            return self._dice.random()

    def count(self, what):
        with self.lock:
            self.webhooks[what] = self.webhooks.get(what, 0) + 1

    def _handler(self):
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = application.take(self.path, self.headers, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

    def take(self, path, headers, body):
        if path == "/vendor":
            return self._pass_on(headers, body)
        refused = not self.is_calm and self.roll() < REFUSED
        if path == "/notices":
            return self._notice(headers, body, refused)
        self.count("refused by the application" if refused else "taken by the application")
        return 500 if refused else 200

    def _notice(self, headers, body, refused):
        stamp = headers["Snaptrade-Sidecar-Timestamp"]
        signed = hmac.new(NOTIFY_SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        told = json.loads(body)
        with self.lock:
            if headers["Snaptrade-Sidecar-Signature"] != f"sha256={signed}":
                self.wrong.append(f"a notice about {told['user_id']} is signed wrongly")
            taken = self.notices.setdefault(told["id"], {**told, "refused": 0, "taken": 0})
            taken["refused" if refused else "taken"] += 1
        return 503 if refused else 204

    def _pass_on(self, headers, body):
        """To one of the replicas, as a load balancer would; or the network loses it, or brings it twice."""
        roll = self.roll()
        if roll < WEBHOOKS_LOST and not self.is_calm:
            self.count("lost on the way")
            return 200
        twice = roll < WEBHOOKS_LOST + WEBHOOKS_TWICE
        for _ in range(2 if twice else 1):
            replica = self._world.replicas[int(self.roll() * len(self._world.replicas))]
            kept = {name: headers[name] for name in ("Content-Type", "Signature")}
            try:
                status, _ = ask(replica.webhooks, "POST", body, kept, 10)
                self.count(f"answered {status}")
            except OSError:
                self.count("met no replica")
        return 200

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

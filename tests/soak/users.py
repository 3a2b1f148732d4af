"""The application's side of registrations: bursts, its own deletions, and what its operator does by hand."""

import contextlib
import functools
import hashlib
import json
import random
import socket
import threading
import time
import urllib.parse

from load import CALL_SECONDS_MAX, LABEL, connect, read_refusal
from world import query, signature

BURST_MAX = 5
REGISTER = "/snapTrade/registerUser"
DELETE = "/snapTrade/deleteUser"


class Users:
    """Whom the application has registered and not seen go, by tenant."""

    def __init__(self):
        self._lock = threading.Lock()
        self._known = {}

    def add(self, tenant, user):
        with self._lock:
            self._known.setdefault(tenant.name, []).append(user)

    def remove(self, tenant, user):
        with self._lock, contextlib.suppress(ValueError):
            self._known.get(tenant.name, []).remove(user)

    def any(self, tenant, dice):
        with self._lock:
            # The last ones: of the others most are gone.
            known = self._known.get(tenant.name, [])[-8:]
        return dice.choice(known) if known else None


def register(book, replica, tenant, user, leave=None):
    """One registration; with `leave`, its caller closes the connection after that was called."""
    left = leave is not None
    with book.call("registration", replica, tenant=tenant.name, user=user, left=left) as call:
        body = json.dumps({"userId": user})
        asked = query(tenant)
        headers = {
            "Content-Type": "application/json",
            "Signature": signature(REGISTER, asked, body),
            LABEL: call.label,
        }
        if left:
            _send_and_leave(replica, f"{REGISTER}?{asked}", headers, body, leave)
            return call
        with contextlib.closing(connect(replica)) as connection:
            connection.request("POST", f"{REGISTER}?{asked}", body, headers)
            reply = connection.getresponse()
            text = reply.read()
            call.status = reply.status
            call.admission = reply.headers.get("Snaptrade-Sidecar-Admission", "")
            if reply.status != 200:
                read_refusal(call, text)
                return call
            told = json.loads(text)
            call.secret_sha256 = hashlib.sha256(told["userSecret"].encode()).hexdigest()
            if told["userId"] != user:
                call.damage = f"it is about {told['userId']}"
    return call


def _send_and_leave(replica, target, headers, body, leave):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    with socket.create_connection(replica.address, CALL_SECONDS_MAX) as line:
        line.sendall(head.encode() + body.encode())
        leave()


def delete(book, replica, tenant, user):
    """The application's own deletion."""
    with book.call("deletion", replica, tenant=tenant.name, user=user) as call:
        asked = query(tenant, userId=user)
        headers = {"Signature": signature(DELETE, asked, ""), LABEL: call.label}
        with contextlib.closing(connect(replica)) as connection:
            connection.request("DELETE", f"{DELETE}?{asked}", headers=headers)
            reply = connection.getresponse()
            text = reply.read()
            call.status = reply.status
            if reply.status != 200:
                read_refusal(call, text)
    return call


class Registrar:
    """Registers users of one tenant in bursts, over all replicas, and deletes some of its own accord."""

    def __init__(self, world, book, users, tenant):
        self._world = world
        self._book = book
        self._users = users
        self._tenant = tenant
        self._dice = random.Random(f"{world.seed} registrar {tenant.name}")
        self._made = 0

    def run(self, pause_seconds):
        while not self._world.over.is_set():
            self._burst()
            if self._dice.random() < (0.7 if self._tenant.mode == "observe" else 0.15):
                self._delete_one()
            self._world.over.wait(self._dice.uniform(0.2, 1.8) * pause_seconds)

    def _burst(self):
        callers = []
        for _ in range(self._dice.randint(1, BURST_MAX)):
            self._made += 1
            user = f"{self._tenant.name}-{self._made}"
            replica = self._dice.choice(self._world.replicas)
            leave_after = self._dice.uniform(0, 1.5) if self._dice.random() < 0.12 else None
            callers.append(threading.Thread(target=self._one, args=(replica, user, leave_after)))
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()

    def _one(self, replica, user, leave_after):
        over, leave = self._world.over, None
        if leave_after is not None:
            leave = functools.partial(over.wait, leave_after)
        call = register(self._book, replica, self._tenant, user, leave)
        if call.left:
            # As a backend does whose own caller was gone: the reply may be kept for it.
            over.wait(1)
            call = register(self._book, replica, self._tenant, user)
        if call.status == 200:
            self._users.add(self._tenant, user)

    def _delete_one(self):
        user = self._users.any(self._tenant, self._dice)
        if user:
            replica = self._dice.choice(self._world.replicas)
            if delete(self._book, replica, self._tenant, user).status == 200:
                self._users.remove(self._tenant, user)


class Operator:
    """Looks at everything, protects somebody for a while, pauses a tenant, evicts by hand."""

    def __init__(self, world, book, users, tenants):
        self._world = world
        self._book = book
        self._users = users
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._dice = random.Random(f"{world.seed} operator")
        # (tenant, user, from, to): who was protected by hand from when to when, in seconds since the Unix epoch.
        self.protected = []

    def run(self, pause_seconds):
        deeds = [self._look, self._look, self._protect, self._pause, self._evict]
        while not self._world.over.is_set():
            self._dice.choice(deeds)()
            self._world.over.wait(self._dice.uniform(0.5, 1.5) * pause_seconds)

    def _ask(self, shape, method, path, tenant="", user="", expected=(200,)):
        replica = self._dice.choice(self._world.replicas)
        with self._book.call(shape, replica, tenant=tenant, user=user, expected=expected) as call:
            call.status, told = replica.admin(method, path)
            if call.status != 200:
                call.code = told.get("code", "")
                call.detail = told.get("detail", "")
        return call

    def _look(self):
        tenant = self._dice.choice(list(self._tenants))
        path = self._dice.choice(("/", "users", "next", "evictions?all=true&limit=50"))
        self._ask("operator looks", "GET", path if path == "/" else f"/api/tenants/{tenant}/{path}", tenant)

    def _path(self, tenant, user, deed):
        return f"/api/tenants/{tenant}/users/{urllib.parse.quote(user, safe='')}/{deed}"

    def _protect(self):
        tenant = self._dice.choice(("over", "full"))
        user = self._users.any(self._tenants[tenant], self._dice)
        if not user:
            return
        call = self._ask("operator protects", "POST", self._path(tenant, user, "protect"), tenant, user)
        if call.status != 200:
            return
        # What is known by then reaches whoever decides before it does.
        began = time.time()
        self._world.over.wait(6)
        self.protected.append((tenant, user, began, time.time()))
        while not self._world.over.is_set():
            if (
                self._ask("operator unprotects", "POST", self._path(tenant, user, "unprotect"), tenant, user).status
                == 200
            ):
                return
            self._world.over.wait(2)

    def _pause(self):
        path = "/api/tenants/paused/"
        with self._book.trouble("pause by hand", "paused"):
            self._ask("operator pauses", "POST", f"{path}pause", "paused")
            self._world.over.wait(8)
            while (
                self._ask("operator resumes", "POST", f"{path}resume", "paused").status != 200
                and not self._world.over.is_set()
            ):
                self._world.over.wait(2)

    def _evict(self):
        tenant = self._dice.choice(("over", "full", "limit"))
        user = self._users.any(self._tenants[tenant], self._dice)
        if user:
            refusals = (200, 404, 409)
            self._ask("operator evicts", "POST", self._path(tenant, user, "evict"), tenant, user, refusals)

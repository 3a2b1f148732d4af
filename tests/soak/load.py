"""Calls that pass through, in many shapes, each checked to the last byte."""

import contextlib
import hashlib
import http.client
import json
import random
import socket

from world import TENANTS, query

# Above every bound of the sidecar's own, so that it is the sidecar that gives up first.
CALL_SECONDS_MAX = 45
LARGE_BYTES = 1_500_000
SLOW_BYTES = 4_000_000
UPLOAD_BYTES_MAX = 120_000
PIECE_BYTES = 8_192
LABEL = "X-Simulator-Label"


def read_refusal(call, body):
    """The code and the words of SnapTrade's errors, and of the sidecar's."""
    with contextlib.suppress(ValueError, AttributeError):
        said = json.loads(body)
        call.code = str(said.get("code", said.get("default_code", "")))
        call.detail = str(said.get("detail", said.get("default_detail", "")))


def connect(replica):
    return http.client.HTTPConnection(*replica.address, timeout=CALL_SECONDS_MAX)


class Passer:
    """One caller that makes calls of many shapes, one after the other, at some pace."""

    def __init__(self, world, book, users, number):
        self._world = world
        self._book = book
        self._users = users
        self._dice = random.Random(f"{world.seed} passer {number}")
        self._kept = {}
        self._shapes = {
            "small, kept connection": (40, self._small_kept),
            "small, new connection": (15, self._small_new),
            "HTTP/1.0": (10, self._old),
            "HEAD": (4, self._head),
            "odd status": (5, self._odd_status),
            "large reply": (6, self._large),
            "slow reader": (2, self._slow_reader),
            "upload": (6, self._upload),
            "streamed upload": (6, self._streamed_upload),
            "left before the reply": (4, self._leave),
            "left during the upload": (2, self._leave_upload),
        }

    def run(self, over, pause_seconds):
        weights = [weight for weight, _ in self._shapes.values()]
        while not over.is_set():
            name = self._dice.choices(list(self._shapes), weights)[0]
            replica = self._dice.choice(self._world.replicas)
            self._shapes[name][1](name, replica)
            over.wait(self._dice.uniform(0.5, 1.5) * pause_seconds)
        for connection, _ in self._kept.values():
            connection.close()

    def _target(self, path="/accounts"):
        tenant = self._dice.choice(TENANTS)
        more = {"odd": "%2F a+b/~é"} if self._dice.random() < 0.2 else {}
        user = self._users.any(tenant, self._dice)
        if user:
            more["userId"] = user
        return f"{path}?{query(tenant, **more)}"

    def _send(self, call, connection, target, method="GET", body=None, headers=()):
        # Where the answer comes before the upload has ended, the rest of that cannot be sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, {LABEL: call.label, **dict(headers)})
        reply = connection.getresponse()
        return self._read(call, reply)

    @staticmethod
    def _read(call, reply):
        body = reply.read()
        call.status = reply.status
        if reply.status not in (200, 418):
            read_refusal(call, body)
        return body

    @staticmethod
    def _check_description(call, body, target, sent=b""):
        if call.status != 200:
            return
        told = json.loads(body)
        if told["target"] != target:
            call.damage = f"the target arrived as {told['target']}"
        if told["body_sha256"] != hashlib.sha256(sent).hexdigest():
            call.damage = f"{told['body_length']} of {len(sent)} bytes arrived, or others"

    def _small_kept(self, shape, replica):
        with self._book.call(shape, replica) as call:
            # A connection to a process that is gone is not used again, as a pool would see to it.
            connection, address = self._kept.pop(replica.name, (None, None))
            if address != replica.address:
                connection, address = connect(replica), replica.address
            target = self._target()
            body = self._send(call, connection, target)
            self._check_description(call, body, target)
            self._kept[replica.name] = connection, address

    def _small_new(self, shape, replica):
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            target = self._target()
            self._check_description(call, self._send(call, connection, target, headers={"Connection": "close"}), target)

    def _old(self, shape, replica):
        """By hand, since Python speaks no HTTP/1.0. The reply ends with the connection or its length."""
        with (
            self._book.call(shape, replica) as call,
            socket.create_connection(replica.address, CALL_SECONDS_MAX) as line,
        ):
            target = self._target()
            line.sendall(f"GET {target} HTTP/1.0\r\n{LABEL}: {call.label}\r\n\r\n".encode())
            reply = http.client.HTTPResponse(line)
            reply.begin()
            self._check_description(call, self._read(call, reply), target)

    def _head(self, shape, replica):
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            self._send(call, connection, f"/_bytes/{LARGE_BYTES}", "HEAD")
            if call.status >= 500:
                # Nothing but the status can tell, as HEAD has no body.
                call.code = "(HEAD)"

    def _odd_status(self, shape, replica):
        with self._book.call(shape, replica, expected=(418,)) as call:
            with contextlib.closing(connect(replica)) as connection:
                self._send(call, connection, "/_status/418?reason=Short")
                if call.status == 200:
                    call.damage = "the status is 200"

    def _large(self, shape, replica):
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            body = self._send(call, connection, f"/_bytes/{LARGE_BYTES}")
            if call.status == 200 and body != b"x" * LARGE_BYTES:
                call.damage = f"{len(body)} bytes came, or others"

    def _slow_reader(self, shape, replica):
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            connection.request("GET", f"/_bytes/{SLOW_BYTES}", headers={LABEL: call.label})
            reply = connection.getresponse()
            if reply.status != 200:
                self._read(call, reply)
                return
            length = 0
            while piece := reply.read(PIECE_BYTES * 16):
                length += len(piece)
                self._world.over.wait(0.05)
            call.status = 200
            if length != SLOW_BYTES:
                call.failure = "IncompleteRead"

    def _upload(self, shape, replica):
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            sent = self._dice.randbytes(self._dice.randrange(UPLOAD_BYTES_MAX))
            target = self._target("/upload")
            self._check_description(call, self._send(call, connection, target, "POST", sent), target, sent)

    def _streamed_upload(self, shape, replica):
        """In chunks with pauses; it comes back as it went."""
        with self._book.call(shape, replica) as call, contextlib.closing(connect(replica)) as connection:
            sent = self._dice.randbytes(self._dice.randrange(1, UPLOAD_BYTES_MAX))
            pause = self._dice.choice((0, 0.02))

            def pieces():
                for at in range(0, len(sent), PIECE_BYTES):
                    yield sent[at : at + PIECE_BYTES]
                    self._world.over.wait(pause)

            body = self._send(call, connection, "/_echo/soak", "POST", pieces())
            if call.status == 200 and body != sent:
                call.damage = f"{len(body)} of {len(sent)} bytes came back, or others"

    def _leave(self, shape, replica):
        with self._book.call(shape, replica, left=True) as call:
            with socket.create_connection(replica.address, CALL_SECONDS_MAX) as line:
                line.sendall(f"GET {self._target()} HTTP/1.1\r\nHost: a\r\n{LABEL}: {call.label}\r\n\r\n".encode())
                self._world.over.wait(self._dice.uniform(0, 0.05))

    def _leave_upload(self, shape, replica):
        with self._book.call(shape, replica, left=True) as call:
            with socket.create_connection(replica.address, CALL_SECONDS_MAX) as line:
                head = f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n{LABEL}: {call.label}\r\n\r\n"
                line.sendall(head.encode() + b"x" * self._dice.randrange(100_000))
                self._world.over.wait(self._dice.uniform(0, 0.05))

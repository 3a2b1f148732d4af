"""Callers: as many requests as the proxy takes (wrk), or so many a second, each timed from when it was due."""

import contextlib
import gc
import pathlib
import random
import re
import select
import socket
import subprocess
import time

from processes import Failed

CONNECTIONS = 64
STOP_SECONDS_MAX = 15
REPLY_SECONDS_MAX = 5
SAMPLE_SECONDS = 0.2

# As an SDK calls; the values are made up.
QUERY = "clientId=BENCH&timestamp=1760000000&userId=u-1&userSecret=5e0c9d14"
HEADERS = {
    "User-Agent": "snaptrade/13",
    "Accept": "application/json",
    "Signature": "c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE=",
}


def saturate(folder, name, port, path, body_bytes, seconds, observe=None):
    """Requests answered in `seconds` over 64 connections; `observe` is called meanwhile."""
    script = folder / f"body-{body_bytes}.lua"
    script.write_text(_script(body_bytes))
    url = f"http://127.0.0.1:{port}{path}?{QUERY}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as wrk:
        try:
            said = _watch(wrk, seconds + STOP_SECONDS_MAX, observe)
        except BaseException:
            wrk.kill()
            raise
    answered = re.search(r"(\d+) requests in", said)
    if wrk.returncode != 0 or not answered or int(answered[1]) == 0 or re.search("Non-2xx|Socket errors", said):
        raise Failed(f"{name} returned errors, so that no figure counts ({path}):\n{said}")
    return int(answered[1])


def _script(body_bytes):
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS.items()]
    if body_bytes:
        lines += ['wrk.method = "POST"', f'wrk.body = string.rep("x", {body_bytes})']
        lines += ['wrk.headers["Content-Type"] = "application/json"']
    return "\n".join(lines) + "\n"


def _watch(wrk, seconds_max, observe):
    until = time.monotonic() + seconds_max
    while observe and time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return wrk.communicate(timeout=SAMPLE_SECONDS)[0]
        observe()
    return wrk.communicate(timeout=max(1, until - time.monotonic()))[0]


def latencies(name, port, rate, seconds, seed):
    """Seconds from when each request was due to its whole reply. The gaps are random, the same for the same seed."""
    gaps = random.Random(seed)
    due = [gaps.expovariate(rate)]
    while due[-1] < seconds:
        due.append(due[-1] + gaps.expovariate(rate))
    with blamed_on(name), contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(name, port)) for _ in range(CONNECTIONS)]
        for caller in callers:
            caller.call(0)
            caller.await_reply()
        gc.disable()
        stack.callback(gc.enable)
        stack.enter_context(waking_on_time())
        return _keep_to(due, callers)


@contextlib.contextmanager
def blamed_on(name):
    try:
        yield
    except OSError as error:
        raise Failed(f"{name} broke off, so that no figure counts: {error}") from error


@contextlib.contextmanager
def waking_on_time():
    """The kernel may wake a sleeper 50 µs late to save power, which is as long as a request takes."""
    slack = pathlib.Path("/proc/self/timerslack_ns")
    slack.write_text("1")
    try:
        yield
    finally:
        # The default again, since the programs that are started inherit it.
        slack.write_text("0")


def _keep_to(due, callers):
    begun = time.perf_counter()
    free, busy, took, sent = list(callers), set(), [], 0
    while len(took) < len(due):
        now = time.perf_counter() - begun
        while sent < len(due) and due[sent] <= now and free:
            caller = free.pop()
            caller.call(due[sent])
            busy.add(caller)
            sent += 1
        waits = due[sent] - now if free and sent < len(due) else REPLY_SECONDS_MAX
        ready, _, _ = select.select(busy, [], [], max(0, waits))
        if not ready and waits == REPLY_SECONDS_MAX:
            raise Failed(f"{callers[0].name} left a request unanswered for {REPLY_SECONDS_MAX} s")
        for caller in ready:
            if caller.has_whole_reply():
                took.append(time.perf_counter() - begun - caller.due)
                busy.remove(caller)
                free.append(caller)
    return took


class Caller:
    """One connection that is kept."""

    def __init__(self, name, port):
        self.name, self.due, self._reply = name, 0, b""
        head = "".join(f"{header}: {value}\r\n" for header, value in HEADERS.items())
        self._request = f"GET /1k.json?{QUERY} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n".encode()
        self._socket = socket.create_connection(("127.0.0.1", port), REPLY_SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def call(self, due):
        self.due, self._reply = due, b""
        self._socket.sendall(self._request)

    def await_reply(self):
        while not self.has_whole_reply():
            pass

    def has_whole_reply(self):
        """Reads what has arrived."""
        piece = self._socket.recv(65536)
        self._reply += piece
        head, end, body = self._reply.partition(b"\r\n\r\n")
        if not piece or not self._reply.startswith(b"HTTP/1.1 200"[: len(self._reply)]):
            raise Failed(f"{self.name} returned errors, so that no figure counts: {self._reply[:200]}")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if end and not length:
            raise Failed(f"{self.name} sent a reply without a length: {head}")
        return bool(end) and len(body) >= int(length[1])

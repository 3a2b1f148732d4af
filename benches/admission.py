"""Admissions from end to end: the key is full, so each lists, deletes one user, lists again and registers."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import time

import peers
import quick
from load import blamed_on
from processes import Failed, free_port

ADMISSIONS = 500
# Of benches/hot.rs.
OWN_CASES = ("verify", "admission")
FEW, MANY = 1_000, 51_000
LIMIT = 5
CLIENT_ID = "SIMULATOR"
CONSUMER_KEY = "bench-consumer-key"
PATH = "/api/v1/snapTrade/registerUser"
CALL_SECONDS_MAX = 10


def cpu(rig):
    """Microseconds of the sidecar's processor time for each admission, its calls to the upstream included."""
    with blamed_on(peers.SIDECAR), rig.ended_after():
        simulator = free_port()
        options = ["--listen", f"127.0.0.1:{simulator}", "--rate-limit", "0", "--limit", LIMIT]
        options += ["--client-id", CLIENT_ID, "--consumer-key", CONSUMER_KEY]
        rig.run("simulator", [rig.binary, "simulate", *options], [rig.cpus[1]]).await_answer(simulator)
        port = free_port()
        # More than a fuse would let go.
        fuse = {"SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__FUSE__EVICTIONS": str(2 * ADMISSIONS)}
        env = peers.sidecar_environment(CLIENT_ID, f"http://127.0.0.1:{simulator}", 1, fuse)
        sidecar = rig.run(peers.SIDECAR, [rig.binary, "serve", *peers.sidecar_ports(port)], rig.cpus[:1], env)
        sidecar.await_answer(port)
        _register(port, range(LIMIT), "forwarded")
        before = sidecar.cpu_seconds()
        _register(port, range(LIMIT, LIMIT + ADMISSIONS), "evicted")
        return (sidecar.cpu_seconds() - before) / ADMISSIONS * 1e6


def _register(port, numbers, expected):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS_MAX)
    for number in numbers:
        body = {"userId": f"user-{number}"}
        query = f"clientId={CLIENT_ID}&timestamp={int(time.time())}"
        headers = {"Content-Type": "application/json", "Signature": _signature(body, query)}
        connection.request("POST", f"{PATH}?{query}", json.dumps(body), headers)
        reply = connection.getresponse()
        text, outcome = reply.read(), reply.getheader("Snaptrade-Sidecar-Admission", "")
        if reply.status != 200 or not outcome.startswith(expected):
            raise Failed(f"registration {number} was not {expected}, but {reply.status} {outcome}: {text}")
    connection.close()


def _signature(body, query):
    canonical = json.dumps({"content": body, "path": PATH, "query": query}, separators=(",", ":"), sort_keys=True)
    return base64.b64encode(hmac.digest(CONSUMER_KEY.encode(), canonical.encode(), hashlib.sha256)).decode()


def own_cpu():
    """Microseconds of processor time for an admission's own work: the proof of who asks, and every step of the decision.

    All but its HTTP: the two cases of benches/hot.rs, each at two numbers of times, so that the program's start falls out.
    """
    hot = quick.build()
    return sum((_seconds(hot, case, MANY) - _seconds(hot, case, FEW)) / (MANY - FEW) * 1e6 for case in OWN_CASES)


def _seconds(hot, case, times):
    with subprocess.Popen([hot, case, str(times)]) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"{hot} {case} {times} ended with {child.returncode}")
    return used.ru_utime + used.ru_stime

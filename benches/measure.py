"""What is measured, and how. Peers take turns within a round, so that what disturbs the machine disturbs them all."""

import contextlib
import dataclasses
import time

import peers
from load import Caller, blamed_on, latencies, saturate
from processes import Failed

WARM_UP_SECONDS = 1
RATE = 4000
# The peers take turns often, since a machine that is disturbed for a second would tell more than any of them does.
LATENCY_SLICES = 8
IDLE_CONNECTIONS = 1000
STARTS = 9
# The first figure of a flat memory is taken after this part of all requests, when every buffer has its size.
SETTLED_PART = 0.1
MILLION_SECONDS_MAX = 180


@dataclasses.dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: int
    requests: int


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    path: str
    body_bytes: int
    workers: int
    tls: bool
    names: tuple


def cases():
    """Of processor time."""
    found = [
        Case("1 KiB reply", "/1k.json", 0, workers, tls, tuple(peers.PEERS))
        for workers in (1, 2)
        for tls in (True, False)
    ]
    others = [("100 KiB reply", "/100k.json", 0), ("1 KiB post", "/post", 1024), ("16 KiB upload", "/post", 16 * 1024)]
    found += [Case(*other, 1, tls, tuple(peers.PAIR)) for other in others for tls in (True, False)]
    return found


def cpu(rig, case, settings):
    """Microseconds of the proxy's processor time for each request: one figure a round, by peer."""
    took = {name: [] for name in case.names}
    with rig.proxies(case.names, case.tls, case.workers) as running:
        for name, (_, port) in running.items():
            saturate(rig.folder, name, port, case.path, case.body_bytes, WARM_UP_SECONDS)
        for _ in range(settings.rounds):
            for name, (process, port) in running.items():
                before = process.cpu_seconds()
                answered = saturate(rig.folder, name, port, case.path, case.body_bytes, settings.seconds)
                took[name].append((process.cpu_seconds() - before) / answered * 1e6)
    return took


def own_share(rig, tls, settings):
    """As `cpu`, of the whole program and of its data plane alone, which are built in the same way."""
    released, rig.binary = rig.binary, rig.beside_bare
    try:
        return cpu(rig, Case("", "/1k.json", 0, 1, tls, (peers.SIDECAR, peers.BARE)), settings)
    finally:
        rig.binary = released


def latency(rig, tls, settings):
    """Microseconds from when a request was due to its whole reply, by peer, for each round."""
    seconds = settings.seconds * 2
    took = {name: [] for name in [*peers.PAIR, "no proxy"]}
    with rig.proxies(peers.PAIR, tls, 1) as running:
        ports = {name: port for name, (_, port) in running.items()}
        for name, port in ports.items():
            saturate(rig.folder, name, port, "/1k.json", 0, WARM_UP_SECONDS)
        # The direct way shows what of it is the upstream's and the caller's own; it is never TLS.
        ports["no proxy"] = rig.port(False)
        for turn in range(settings.rounds):
            for found in took.values():
                found.append([])
            for slice_ in range(LATENCY_SLICES):
                seed = turn * LATENCY_SLICES + slice_
                for name, port in ports.items():
                    found = latencies(name, port, RATE, seconds / LATENCY_SLICES, seed)
                    took[name][-1] += [second * 1e6 for second in found]
    return took


def memory(rig, name, tls, settings):
    """MiB: after the start, at the most under load, and with idle connections that had a reply each."""
    with rig.proxies([name], tls, 1) as running:
        process, port = running[name]
        idle, loaded = process.memory_mib(), []
        sample = lambda: loaded.append(process.memory_mib())
        saturate(rig.folder, name, port, "/1k.json", 0, settings.seconds, sample)
    with rig.proxies([name], tls, 1) as running, blamed_on(name), contextlib.ExitStack() as stack:
        process, port = running[name]
        for _ in range(IDLE_CONNECTIONS):
            caller = stack.enter_context(Caller(name, port))
            caller.call(0)
            caller.await_reply()
        return {"idle": idle, "loaded": max(loaded), "connected": process.memory_mib()}


def memory_over(rig, requests):
    """MiB of the sidecar after a tenth of so many requests, and after all of them."""
    with rig.proxies([peers.SIDECAR], True, 1) as running:
        process, port = running[peers.SIDECAR]
        until, answered, settled = time.monotonic() + MILLION_SECONDS_MAX, 0, None
        while answered < requests:
            if time.monotonic() > until:
                raise Failed(f"{answered} of {requests} requests in {MILLION_SECONDS_MAX} s: lower BENCH_REQUESTS")
            answered += saturate(rig.folder, peers.SIDECAR, port, "/1k.json", 0, 2)
            if settled is None and answered >= requests * SETTLED_PART:
                settled = process.memory_mib()
        return {"settled": settled, "all": process.memory_mib(), "requests": answered}


def first_served(rig, name, tls):
    """Milliseconds from the start of the program to the first byte of its first reply, one figure a start."""
    took = []
    for _ in range(STARTS):
        with rig.proxies([name], tls, 1) as running:
            took.append(running[name][0].first_served * 1e3)
    return took

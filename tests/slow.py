"""Slow callers, by slowhttptest: a thousand that send their heads or bodies a few bytes a second, or read their replies
so. Meanwhile another caller must get its answers as before, and so must whoever asks the ops port."""

import argparse
import http.client
import statistics
import subprocess
import sys
import time
import unittest
import urllib.request

from processes import Sidecar, Simulator

CALLS = 200
# Much more than the system keeps for a connection.
REPLY_BYTES = 100_000_000
ATTACKERS = 1000
# At most: the attack is ended when it has been measured.
ATTACK_SECONDS = 30
ATTACKERS_PER_SECOND = 500
# How much slower than without attackers the middle one of the calls may be, and what is fast enough in any case: they
# share the machine with the attackers.
SLOWER_MAX = 5
FAST_SECONDS = 0.020

ATTACKS = {
    "heads": ["-H", "-i", "1", "-x", "8"],
    "bodies": ["-B", "-i", "1", "-x", "8", "-s", "65536"],
    "reads": ["-X", "-n", "1", "-w", "1", "-y", "512", "-z", "32", "-k", "3"],
}
SETTINGS = argparse.Namespace()


def median_seconds(address, calls):
    """The middle one of the times that this many calls take, one after the other by one connection."""
    times = []
    caller = http.client.HTTPConnection(address, timeout=10)
    for _ in range(calls):
        began = time.perf_counter()
        caller.request("GET", "/_bytes/1024")
        reply = caller.getresponse()
        reply.read()
        times.append(time.perf_counter() - began)
        assert reply.status == 200, reply.status
    caller.close()
    return statistics.median(times)


class SlowCallers(unittest.TestCase):
    def setUp(self):
        self.simulator = Simulator(SETTINGS.binary, "--rate-limit", "0")
        self.addCleanup(self.simulator.stop)
        self.sidecar = Sidecar(SETTINGS.binary, self.simulator.url)
        self.addCleanup(self.sidecar.stop)

    def connections(self):
        return int(self.metric("connections_open"))

    def metric(self, name):
        with urllib.request.urlopen(f"{self.sidecar.ops}/metrics", timeout=10) as reply:
            for line in reply.read().decode().splitlines():
                if line.startswith(f"snaptrade_sidecar_{name} "):
                    return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"there is no metric {name}")

    def attack(self, name):
        address = self.sidecar.url.removeprefix("http://")
        before = median_seconds(address, CALLS)
        command = ["slowhttptest", *ATTACKS[name], "-c", str(ATTACKERS), "-r", str(ATTACKERS_PER_SECOND)]
        command += ["-l", str(ATTACK_SECONDS), "-u", f"{self.sidecar.url}/_bytes/{REPLY_BYTES}"]
        attackers = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + ATTACK_SECONDS / 2
            most = 0
            while most < ATTACKERS * 0.9 and time.monotonic() < until:
                most = max(most, self.connections())
            during = median_seconds(address, CALLS)
            still = self.connections()
        finally:
            attackers.terminate()
            attackers.wait()
        print(
            f"{name}: {most} slow callers, {still} after the calls; median {before * 1000:.2f} ms before, "
            f"{during * 1000:.2f} ms during the attack"
        )
        self.assertGreaterEqual(min(most, still), ATTACKERS * 0.9, "the attack did not come about")
        self.assertLess(during, max(before * SLOWER_MAX, FAST_SECONDS))

    def test_heads(self):
        self.attack("heads")

    def test_bodies(self):
        self.attack("bodies")

    def test_reads(self):
        self.attack("reads")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="the program under test")
    parser.parse_args(namespace=SETTINGS)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(SlowCallers)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Programs under measurement: pinned, counted by the kernel's own books, and ended by their process ids."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

ANSWER_SECONDS_MAX = 10
STOP_SECONDS_MAX = 10
LOOK_SECONDS = 0.01

REQUEST = b"GET /1k.json HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Failed(Exception):
    """A program did not do its part: what was measured of it is worth nothing."""


class Process:
    """A program on processors of its own; its children belong to it."""

    def __init__(self, name, command, cpus, log, env=None):
        self.name = name
        # The child inherits the processors: a program in between that sets them would count as start-up time.
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)
        try:
            self.started = time.perf_counter()
            # A session of its own, so that Ctrl-C reaches the benchmark alone, which then ends everything in order.
            self._child = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, env=env, start_new_session=True
            )
        finally:
            os.sched_setaffinity(0, ours)

    def _pids(self):
        found, waiting = [], [self._child.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                waiting += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu_seconds(self):
        """Processor time of every thread so far, user and system."""
        nanoseconds = 0
        for pid in self._pids():
            for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    nanoseconds += int(stat.read_text().split()[0])
        return nanoseconds / 1e9

    def memory_mib(self):
        """Resident memory; of pages that several processes share, each has its part (PSS)."""
        kib = 0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return kib / 1024

    def await_answer(self, port):
        """Seconds from the start of the program to the first byte of its first reply."""
        until = time.perf_counter() + ANSWER_SECONDS_MAX
        while time.perf_counter() < until:
            if self.has_ended():
                raise Failed(f"{self.name} ended before it answered")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as caller:
                caller.sendall(REQUEST)
                if caller.recv(12) == b"HTTP/1.1 200":
                    return time.perf_counter() - self.started
        raise Failed(f"{self.name} did not answer 200 within {ANSWER_SECONDS_MAX} s on port {port}")

    def has_ended(self):
        # Not reaped before its whole group is ended, so that the group's number cannot become somebody else's.
        found = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def stop(self):
        """Asks the whole family to end, and ends by force what has not. Does nothing the second time."""
        if self._child.returncode is not None:
            return
        os.killpg(self._child.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS_MAX
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

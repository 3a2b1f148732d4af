"""Memory, descriptors and threads of the replicas, looked at every second; and whether the database answers by itself."""

import os
import pathlib
import time
from dataclasses import dataclass

from book import Trouble
from explain import DATABASE

# Half of what the sidecar waits for.
DATABASE_SECONDS_MAX = 1.0


@dataclass
class Sample:
    at: float
    replica: str
    pid: int
    rss_kib: int
    descriptors: int
    threads: int


def sample(replica):
    """None where the process is not there."""
    pid = replica.program.pid
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in values:
        return None
    rss, threads = int(values["VmRSS"].split()[0]), int(values["Threads"])
    return Sample(time.time(), replica.name, pid, rss, descriptors, threads)


def watch(world, samples, pause_seconds=1.0):
    while not world.over.is_set():
        for replica in world.replicas:
            taken = sample(replica)
            if taken:
                samples.append(taken)
        world.over.wait(pause_seconds)


def watch_database(world, book, pause_seconds=0.3):
    """Notes when a change took long although nobody meddled with the database: the machine's disk was busy."""
    beat = "CREATE TABLE IF NOT EXISTS beats (n int); INSERT INTO beats VALUES (1) RETURNING n;\n"
    session = world.database.session()
    while not world.over.wait(pause_seconds):
        began = time.time()
        try:
            session.stdin.write(beat)
            has_answered = session.stdout.readline() == "1\n"
        except OSError:
            has_answered = False
        ended = time.time()
        meddled = any(
            trouble.kind in DATABASE and began < trouble.ended + 1 and trouble.began < ended
            for trouble in list(book.troubles)
        )
        if has_answered and ended - began > DATABASE_SECONDS_MAX and not meddled:
            with book.lock:
                book.troubles.append(Trouble("database slow", "", began, ended))
        if not has_answered:
            session.kill()
            session.communicate()
            session = world.database.session()
    session.communicate()


def rise(points):
    """How much the least-squares line through (time, value) rises from the first time to the last."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_at = sum(at for at, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean) for at, value in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])

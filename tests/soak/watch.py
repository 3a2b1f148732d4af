"""Memory, descriptors and threads of the replicas, looked at every second."""

import os
import pathlib
import time
from dataclasses import dataclass


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

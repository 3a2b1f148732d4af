"""`make bench`: the sidecar against the proxies it would be compared with, on this machine, in some ten minutes."""

import argparse
import os
import pathlib
import signal
import sys
import tempfile
import time

import admission
import machine
import measure
import peers
import report
import targets
from processes import Failed
from rig import Rig

DOCUMENT = pathlib.Path("docs/performance.md")
CHARTS = pathlib.Path("docs/performance")
LOG_LINES_SHOWN = 20
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    arguments = read_arguments()
    settings = measure.Settings(
        rounds=bounded("BENCH_ROUNDS", 5, 50),
        seconds=bounded("BENCH_SECONDS", 2, 60),
        requests=bounded("BENCH_REQUESTS", 1_000_000, 5_000_000),
    )
    for number in ENDING:
        signal.signal(number, end)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        # Workers of nginx run as somebody else when it is started by root.
        folder.chmod(0o755)
        try:
            with Rig(folder, arguments.binary, arguments.bare, arguments.beside_bare) as rig:
                facts = machine.facts(rig.cpus, settings)
                results = run(rig, settings)
        except Failed as failure:
            show_log(folder / "processes.log")
            raise SystemExit(f"FAILED: {failure}") from failure
    report.write(DOCUMENT, CHARTS, results, facts)
    print(report.terminal(results))
    missed = [row.what for row in targets.rows(results) if row.is_met is False]
    print(f"{len(missed)} targets missed on this machine" + "".join(f"\n  missed: {what}" for what in missed))
    print(f"written to {DOCUMENT} and {CHARTS}/")


def end(number, _):
    """Once: another signal meanwhile would leave programs behind."""
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(f"ended by {signal.Signals(number).name}, and so has everything that was started")


def run(rig, settings):
    """Every figure, by its name."""
    both = (True, False)
    return {
        "cpu": {case: step(targets.case_title(case), measure.cpu, rig, case, settings) for case in measure.cases()},
        "latency": {tls: step("latency", measure.latency, rig, tls, settings) for tls in both},
        "memory": {name: step(f"memory of {name}", measure.memory, rig, name, True, settings) for name in peers.PEERS},
        "memory_over": step("memory over many requests", measure.memory_over, rig, settings.requests),
        "first_served": {
            name: {tls: step(f"start of {name}", measure.first_served, rig, name, tls) for tls in both}
            for name in peers.PEERS
        },
        "binary_bytes": rig.binary.stat().st_size,
        "own_share": {tls: step("own share", measure.own_share, rig, tls, settings) for tls in both},
        "admission": step("admissions", admission.cpu, rig),
        "admission_alone": step("an admission's own work", admission.own_cpu),
    }


def step(title, measured, *arguments):
    begun = time.monotonic()
    found = measured(*arguments)
    print(f"{time.monotonic() - begun:5.0f} s  {title}", flush=True)
    return found


def bounded(name, default, most):
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise SystemExit(f"{name}={text}: a whole number from 1 to {most} is wanted")
    return int(text)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the sidecar, built for release")
    parser.add_argument("--bare", type=pathlib.Path, required=True, help="its data plane alone")
    parser.add_argument("--beside-bare", type=pathlib.Path, required=True, help="the sidecar, built as that is")
    found = parser.parse_args()
    for name in ("binary", "bare", "beside_bare"):
        setattr(found, name, getattr(found, name).resolve())
    return found


def show_log(log):
    if log.exists():
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        print("the last that the programs wrote:", *lines, sep="\n  ", file=sys.stderr)


if __name__ == "__main__":
    main()

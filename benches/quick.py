#!/usr/bin/env python3
"""Counts the instructions of the hot path (benches/hot.rs), and fails where a case needs over 3 % more than
benches/baseline.json says.

Instructions do not depend on how busy the machine is. They do depend on compiler, C library and processor family, so that
the baseline names those it was counted with; with others, only growth that they do not explain fails. `--write` stores
what was counted as the new baseline: commit it together with the change that it is due to.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benches" / "baseline.json"
CHANGE_MAX = 0.03
# With another compiler or C library than the baseline's.
CHANGE_MAX_ELSEWHERE = 0.10
CASE_SECONDS_MAX = 300
# How often each case is run, twice: what both have in common is the program's start.
CASES = {
    "classify": (1_000, 21_000),
    "headers": (1_000, 21_000),
    "verify": (100, 2_100),
    "admission": (100, 2_100),
    "request": (500, 2_500),
}
REWRITE = "`make bench-quick WRITE=1`"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="store the counts as the new baseline")
    write = arguments.parse_args().write
    binary = build()
    here = setting()
    counts = {case: count(binary, case, *times) for case, times in CASES.items()}
    if write:
        baseline = {"counted_with": here, "instructions": counts}
        BASELINE.write_text(json.dumps(baseline, indent=2) + "\n")
    return compare(counts, here, json.loads(BASELINE.read_text()))


def build():
    """Returns the path of the program that benches/hot.rs becomes."""
    command = ["cargo", "bench", "--locked", "--bench", "hot", "--no-run", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(f"{' '.join(command)} failed")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    paths = [message.get("executable") for message in messages if message.get("target", {}).get("name") == "hot"]
    return paths[-1]


def setting():
    """What the counts depend on beside the code."""
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "rustc": rustc.stdout.split()[1],
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
    }


def count(binary, case, few, many):
    """Returns the instructions of one repetition."""
    return round((collected(binary, case, many) - collected(binary, case, few)) / (many - few))


def collected(binary, case, times):
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", binary, case, str(times)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=CASE_SECONDS_MAX)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr[-2000:]}")
    return int(found.group(1))


def compare(counts, here, baseline):
    there = baseline["counted_with"]
    allowed = CHANGE_MAX if here == there else CHANGE_MAX_ELSEWHERE
    failed, shrunk = 0, 0
    print(f"{'case':<10} {'instructions':>12} {'baseline':>10} {'change':>8}")
    for case, counted in counts.items():
        before = baseline["instructions"].get(case)
        change = counted / before - 1 if before else float("inf")
        is_worse = change > allowed
        failed += is_worse
        shrunk += change < -CHANGE_MAX
        verdict = f"  FAILED: more than {allowed:.0%} above the baseline" if is_worse else ""
        print(f"{case:<10} {counted:>12} {before or 'none':>10} {change:>+8.1%}{verdict}")
    if here != there:
        print(
            f"The baseline was counted with {described(there)}; this is {described(here)}. Therefore {allowed:.0%} are "
            f"allowed instead of {CHANGE_MAX:.0%}; {REWRITE} stores a baseline for this."
        )
    if failed:
        print(f"If what it buys is worth it, {REWRITE} stores a new baseline, to be committed with the change.")
    elif shrunk and here == there:
        print(f"What was gained can be lost again unnoticed: {REWRITE} stores a new baseline, to be committed.")
    print(f"{len(counts) - failed} passed, {failed} failed")
    return 1 if failed else 0


def described(where):
    return f"rustc {where['rustc']}, {where['libc']}, {where['machine']}"


if __name__ == "__main__":
    sys.exit(main())

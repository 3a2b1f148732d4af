#!/usr/bin/env python3
"""Switches off the rules one by one, as tests/mutations.toml says, and tells who notices. Fails if nobody does.

All of them are built into one copy of the program's unit tests, each behind a switch, so that it is built once. In it
`before` becomes `if off(n) { after } else { before }`. `tests/mutations.py R7 "no fuse"` is for those of a rule, or for one."""

import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
COPY = TARGET / "mutations"
NAME = re.compile(r'^name = "snaptrade-sidecar"\nversion = "[^"]+', re.MULTILINE)
SIMULATION = "simulation_of_whole_sidecars"
# Without a switch the seeds take some 50 s of one idle core's time.
SECONDS_MAX = 600

SWITCH = """
/// Which rule is switched off here.
pub(crate) fn off(rule: usize) -> bool {
    static OFF: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *OFF.get_or_init(|| std::env::var("MUTATION").ok()?.parse().ok()) == Some(rule)
}
"""


def mutations():
    """All of them, by the number of their switch."""
    listed = tomllib.loads((ROOT / "tests/mutations.toml").read_text())["mutation"]
    return dict(enumerate(listed))


def switched(text, changes):
    """A file's text with these changes, of which none touches another, unless two are of the very same text."""
    places = collections.defaultdict(list)
    for number, change in changes:
        before = change["before"]
        if text.count(before) != 1:
            sys.exit(f"{change['file']} has {text.count(before)} times, and not once: {before}")
        at = text.index(before)
        places[at, at + len(before)].append(f"if crate::off({number}) {{ {change['after']} }} else ")
    end = len(text)
    for start, stop in sorted(places, reverse=True):
        if stop > end:
            sys.exit(f"two mutations change a part of the same: {text[start:stop]}")
        end = start
        text = f"{text[:start]}({''.join(places[start, stop])}{{ {text[start:stop]} }}){text[stop:]}"
    return text


def write(wanted):
    """The copy, with all switches."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    shutil.copy2(ROOT / "README.md", COPY)
    for entry in ("Cargo.toml", "Cargo.lock"):
        # By another version, or cargo would take what is built of the copy for what is built of the original.
        text, count = NAME.subn(r"\g<0>-switches", (ROOT / entry).read_text())
        if count != 1:
            sys.exit(f"{entry} gives the program's version {count} times, and not once")
        (COPY / entry).write_text(text)
    for folder in ("src", "config", "benches", "proptest-regressions"):
        shutil.copytree(ROOT / folder, COPY / folder)
    files = collections.defaultdict(list)
    for number, mutation in wanted.items():
        for change in mutation["change"]:
            files[change["file"]].append((number, change))
    for file, changes in files.items():
        path = COPY / file
        path.write_text(switched(path.read_text(), changes))
    library = COPY / "src/lib.rs"
    library.write_text(f"#![allow(warnings)]\n{library.read_text()}{SWITCH}")


def build():
    """The program of its unit tests."""
    command = ["cargo", "test", "--locked", "--lib", "--no-run", "--message-format", "json-render-diagnostics"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    built = subprocess.run(command, cwd=COPY, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        sys.exit("a mutation does not compile, see above")
    messages = map(json.loads, built.stdout.splitlines())
    return next(message["executable"] for message in messages if message.get("executable"))


def run(program, test, number):
    """What the test says with this rule switched off: what it found, or `None` if it is content."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIMULATION_")}
    if number is not None:
        environment["MUTATION"] = str(number)
    try:
        ended = subprocess.run(
            [program, test], env=environment, cwd=COPY, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {SECONDS_MAX} s"
    said = ended.stdout + ended.stderr
    if "running 0 tests" in said:
        sys.exit(f"there is no test {test}")
    if not ended.returncode:
        return None
    seed = re.search(r"^seed (\d+):\n(.*)", said, re.MULTILINE)
    return f"seed {seed[1]}: {seed[2]}" if seed else f"`{test}`"


def main():
    wanted = {
        number: mutation
        for number, mutation in mutations().items()
        if not sys.argv[1:] or any(word in (mutation["rule"], mutation["off"]) for word in sys.argv[1:])
    }
    write(wanted)
    program = build()

    def tried(number):
        found_by = wanted[number]["found_by"]
        return run(program, SIMULATION if found_by == "simulation" else found_by, number)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        without = pool.submit(run, program, SIMULATION, None)
        survived = 0
        for number, found in zip(wanted, pool.map(tried, wanted), strict=True):
            mutation = wanted[number]
            survived += found is None
            print(f"| {mutation['rule']} | {mutation['off']} | {found or 'SURVIVED'} |", flush=True)
        if without.result():
            sys.exit(f"with every rule in force: {without.result()}")
    print(f"{len(wanted) - survived} of {len(wanted)} found")
    sys.exit(survived > 0)


if __name__ == "__main__":
    main()

"""What the figures were taken on: without it they cannot be compared with any others."""

import datetime
import os
import pathlib
import platform
import re
import subprocess

VERSION_SECONDS_MAX = 10


def facts(cpus, settings):
    """[(name, value)], for people."""
    of_us = f"rounds {settings.rounds}, {settings.seconds} s each"
    return [
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("sidecar", _commit()),
        ("processor", f"{_cpu_model()}, {os.cpu_count()} cores, of which {cpus[0]} and {cpus[1]} were used"),
        ("system", f"{_distribution()}, Linux {platform.release()}"),
        ("nginx, upstream too", _version("nginx", "-v")),
        ("HAProxy", _version("haproxy", "-v")),
        ("Caddy", _version("caddy", "version")),
        ("wrk", _version("wrk", "-v")),
        ("settings", of_us),
    ]


def _commit():
    try:
        commit = _said("git", "rev-parse", "--short=12", "HEAD").strip()
        changed = _said("git", "status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock").strip()
    except (OSError, subprocess.CalledProcessError):
        return "of no known commit"
    return f"commit {commit}" + (", with changes that are not committed" if changed else "")


def _version(command, flag):
    """The first number with dots in what it says of itself; wrk says it with an exit code of 1."""
    found = re.search(r"\d+\.\d+[\w.+~-]*", _said(command, flag, may_fail=True))
    return found[0] if found else "of no known version"


def _said(*command, may_fail=False):
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=not may_fail,
        timeout=VERSION_SECONDS_MAX,
    )
    return done.stdout


def _cpu_model():
    found = re.search(r"model name\s*: (.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _distribution():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "a system of no known name"

"""The packages for pip and npm: made of the program, installed without an index, used as a start command names them."""

import argparse
import base64
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import unittest
import urllib.request
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGING = HERE.parent.parent / "packaging"
sys.path[:0] = [str(HERE.parent), str(PACKAGING)]
import npm  # noqa: E402
import wheel  # noqa: E402
from binary import Unusable, needs  # noqa: E402
from processes import (  # noqa: E402
    CALL_SECONDS_MAX,
    CLIENT_ID,
    CONSUMER_KEY,
    Case,
    Program,
    Simulator,
    environment,
    run_tests,
)

LIMIT = 5
USERS = ["ada", "grace", "edsger", "barbara", "donald", "leslie"]

settings = argparse.Namespace()


def version():
    return tomllib.loads((PACKAGING.parent / "Cargo.toml").read_text())["package"]["version"]


def checked(*command, folder=None, **variables):
    """What a command printed that has to end well."""
    ended = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment(**variables), capture_output=True, text=True
    )
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


@functools.cache
def folder():
    """One for the whole run, removed at its end."""
    made = tempfile.TemporaryDirectory(prefix="packages-")
    unittest.addModuleCleanup(made.cleanup)
    return pathlib.Path(made.name)


@functools.cache
def stripped():
    """The program as it would be packed: what is left out is of no use without a debugger."""
    path = folder() / "stripped"
    checked("strip", "-o", path, settings.binary)
    return path


@functools.cache
def static():
    """A program that needs nothing."""
    source, path = folder() / "static.c", folder() / "static"
    source.write_text("int main(void) { return 0; }\n")
    checked("cc", "-static", "-o", path, source)
    return path.read_bytes()


def on_aarch64(binary):
    """The same, said to be for another machine: e_machine of elf(5)."""
    return binary[:18] + (183).to_bytes(2, "little") + binary[20:]


@functools.cache
def made(script, *binaries):
    """The packages that a script makes, by their names."""
    out = folder() / f"{script}-{len(binaries)}"
    given = [part for path in binaries for part in ("--binary", path)]
    paths = checked(sys.executable, PACKAGING / script, *given, "--out", out).split()
    return [pathlib.Path(path) for path in paths]


@functools.cache
def python():
    """A fresh virtual environment with the wheel and nothing else."""
    path = folder() / "venv"
    checked(sys.executable, "-m", "venv", path)
    pip = [path / "bin/pip", "install", "--no-index", "--disable-pip-version-check", "--no-cache-dir"]
    checked(*pip, *made("wheel.py", stripped()))
    return path / "bin"


@functools.cache
def node():
    """A fresh npm project with the packages and nothing else, without a registry."""
    path = folder() / "project"
    path.mkdir()
    (path / "package.json").write_text('{"name": "project", "private": true}')
    install = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    checked(*install, *made("npm.py", stripped()), folder=path, npm_config_cache=str(folder() / "cache"))
    return path / "node_modules/.bin"


class Wheel(unittest.TestCase):
    def test_its_platform_is_what_the_binary_needs(self):
        [path] = made("wheel.py", stripped())
        # As another reader tells it.
        symbols = checked("objdump", "--dynamic-syms", stripped())
        newest = max((int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols))
        tag = f"manylinux_{newest[0]}_{newest[1]}_{platform.machine()}"
        self.assertEqual(path.name, f"snaptrade_sidecar-{version()}-py3-none-{tag}.whl")

    def test_a_binary_without_libraries_runs_everywhere(self):
        tags = [f"manylinux_2_17_{platform.machine()}", f"musllinux_1_1_{platform.machine()}"]
        self.assertEqual(wheel.platforms(static()), tags)
        other = wheel.platforms(on_aarch64(static()))
        self.assertEqual(other, ["manylinux_2_17_aarch64", "musllinux_1_1_aarch64"])
        self.assertIn(".".join(other), wheel.build(on_aarch64(static()), folder()).name)

    def test_what_would_not_run_is_refused(self):
        with self.assertRaisesRegex(Unusable, "ELF"):
            wheel.platforms(b"#!/bin/sh\n")
        with self.assertRaisesRegex(Unusable, "cannot be read"):
            needs(static()[:100])
        source, path, library = (folder() / name for name in ("stranger.c", "stranger", "libstranger.so.1"))
        source.write_text("int stranger(void) { return 0; }\n")
        checked("cc", "-shared", f"-Wl,-soname,{library.name}", "-o", library, source)
        source.write_text("int stranger(void);\nint main(void) { return stranger(); }\n")
        checked("cc", "-o", path, source, library)
        with self.assertRaisesRegex(Unusable, library.name):
            wheel.platforms(path.read_bytes())

    def test_cargos_versions_are_written_as_pythons(self):
        for cargo, python in [("1.2.3", "1.2.3"), ("1.2.3-rc.4", "1.2.3rc4"), ("0.1.0-alpha.1", "0.1.0a1")]:
            self.assertEqual(wheel.python_version(cargo), python)
        with self.assertRaises(Unusable):
            wheel.python_version("1.2.3-nightly")

    def test_it_is_the_same_each_time_and_its_record_is_right(self):
        [path] = made("wheel.py", stripped())
        again = wheel.build(stripped().read_bytes(), pathlib.Path(tempfile.mkdtemp(dir=folder())))
        self.assertEqual(path.read_bytes(), again.read_bytes())
        with zipfile.ZipFile(path) as archive:
            self.assertIsNone(archive.testzip())
            names = archive.namelist()
            record = archive.read(names[-1]).decode().splitlines()
            self.assertEqual([line.split(",")[0] for line in record], names)
            for line in record[:-1]:
                name, digest, size = line.split(",")
                data = archive.read(name)
                sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                self.assertEqual((digest, size), (f"sha256={sha256}", str(len(data))))
            self.assertEqual(record[-1], f"{names[-1]},,")

    def test_installed_it_is_on_path_and_nothing_is_left_of_it(self):
        path = folder() / "other"
        checked(sys.executable, "-m", "venv", path)
        pip = [path / "bin/pip", "--disable-pip-version-check", "--no-cache-dir"]
        checked(*pip, "install", "--no-index", *made("wheel.py", stripped()))
        program = path / "bin/snaptrade-sidecar"
        self.assertEqual(checked(program, "--version"), f"snaptrade-sidecar {version()}\n")
        self.assertEqual(program.read_bytes(), stripped().read_bytes())
        checked(*pip, "check")
        checked(*pip, "uninstall", "--yes", "snaptrade-sidecar")
        self.assertFalse(program.exists())


class Npm(unittest.TestCase):
    def test_it_is_the_same_each_time(self):
        paths = made("npm.py", stripped())
        again = npm.build([stripped().read_bytes()], pathlib.Path(tempfile.mkdtemp(dir=folder())))
        self.assertEqual([path.name for path in paths], [path.name for path in again])
        for path, other in zip(paths, again):
            self.assertEqual(path.read_bytes(), other.read_bytes())

    def test_installed_without_scripts_it_runs(self):
        said = checked("npx", "--offline", "snaptrade-sidecar", "--version", folder=node().parent.parent)
        self.assertEqual(said, f"snaptrade-sidecar {version()}\n")

    def test_each_platform_has_its_package(self):
        binaries = [stripped().read_bytes(), on_aarch64(static())]
        if platform.machine() == "aarch64":
            binaries = [static()[:18] + (62).to_bytes(2, "little") + static()[20:], stripped().read_bytes()]
        main, _ = npm.main_package([npm.platform(binary)[0]["name"] for binary in binaries])
        names = ["@snaptrade-sidecar/linux-arm64", "@snaptrade-sidecar/linux-x64"]
        self.assertEqual(main["optionalDependencies"], {name: version() for name in names})
        # One that needs glibc is not installed beside musl, where it would not start.
        self.assertEqual(npm.platform(stripped().read_bytes())[0]["libc"], ["glibc"])
        self.assertNotIn("libc", npm.platform(static())[0])
        with self.assertRaisesRegex(Unusable, "two binaries"):
            npm.build([static(), static()], folder())

    def test_without_the_platforms_package_it_says_what_is_missing(self):
        lone = folder() / "lone"
        shutil.copytree(node().parent / "snaptrade-sidecar", lone)
        script = lone / "bin/snaptrade-sidecar.cjs"
        ended = subprocess.run(["node", script], env=environment(), capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertIn("is not installed; it is an optional dependency", ended.stderr)


class Service(Program):
    """A backend with the sidecar, as a hosting platform starts it: by a shell, with a PORT."""

    def __init__(self, simulator, command, path, **variables):
        variables |= {
            "PATH": os.pathsep.join([str(part) for part in path] + [os.environ["PATH"]]),
            # The system chooses one, and the application says which.
            "PORT": "0",
            "SNAPTRADE_CLIENT_ID": CLIENT_ID,
            "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY,
            "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": simulator.url,
        }
        super().__init__("service", ["sh", "-c", f"exec {command}"], environment(**variables))
        self.url = self.await_start("stderr", self._address)

    @staticmethod
    def _address(line):
        found = re.search(r"running on (http://127\.0\.0\.1:\d+) \(Press CTRL\+C to quit\)", line)
        return found and found[1]

    def register(self, user_id):
        request = urllib.request.Request(f"{self.url}/users/{user_id}", method="POST")
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            return reply.read()


class Services(Case):
    """Each registers one user more than there is room for, and is ended as platforms do."""

    def serve(self, command, path, code, **variables):
        simulator = self.started(Simulator(settings.binary))
        service = self.started(Service(simulator, command, path, **variables), exit_code=code)
        for user_id in USERS:
            answer = service.register(user_id).decode().replace(" ", "")
            self.assertEqual(answer, f'{{"user_id":"{user_id}","has_secret":true}}')
        state = simulator.state()
        self.assertEqual((state["users"], state["deletions"]), (USERS[1:], 1))
        self.assertLessEqual(state["most_live"], LIMIT)

    def test_uvicorn_with_the_wheel(self):
        # Once it has ended well, uvicorn lets the signal have its way.
        command = "snaptrade-sidecar run -- uvicorn app:app --host 127.0.0.1 --port $PORT"
        path = [python(), settings.python.parent]
        self.serve(command, path, 128 + signal.SIGTERM, PYTHONPATH=str(HERE / "service"))

    def node(self, path, **variables):
        command = f"snaptrade-sidecar run -- node {HERE / 'service/server.cjs'}"
        self.serve(command, [*path, node()], 0, NODE_PATH=str(settings.modules), **variables)

    def test_node_with_the_packages(self):
        """By the machine's own Node, whichever that is."""
        self.node([])

    def test_a_node_that_becomes_the_program(self):
        machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
        newer = settings.modules / f"node-linux-{machine}/bin"
        self.assertEqual(checked(newer / "node", "-p", "typeof process.execve"), "function\n")
        self.node([newer])
        self.assertNotIn("ExperimentalWarning", "\n".join(self.programs[-1].output))

    def test_a_node_that_cannot_passes_signals_and_status_on(self):
        # Too old for it, whichever it is.
        old = folder() / "old.cjs"
        old.write_text("delete process.execve;\n")
        self.node([], NODE_OPTIONS=f"--require {old}")
        for script, code in [("exit 9", 9), ("kill -KILL $$", 137)]:
            command = [node() / "snaptrade-sidecar", "run", "--", "sh", "-c", script]
            variables = {"SNAPTRADE_CLIENT_ID": CLIENT_ID, "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY}
            variables["NODE_OPTIONS"] = f"--require {old}"
            ended = subprocess.run(command, env=environment(**variables), capture_output=True)
            self.assertEqual(ended.returncode, code, ended.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar")
    arguments.add_argument("--python", required=True, type=pathlib.Path, help="a Python that has uvicorn and the SDK")
    arguments.add_argument("--modules", required=True, type=pathlib.Path, help="node_modules with the SDK and a Node")
    arguments.add_argument("tests", nargs="*", help="only these, such as Wheel")
    arguments.parse_args(namespace=settings)
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())

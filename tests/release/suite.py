"""What is released: the Dockerfile's steps, one after the other, where no container engine is. Its build runs in a folder
that holds what it copies; what it makes runs in a root without a file, as the image's user, on a network of its own."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import dockerfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))
from processes import CLIENT_ID, CONSUMER_KEY, Case, Program, Simulator, run_tests  # noqa: E402

BYTES_MAX = 15_000_000
RUN_SECONDS_MAX = 60
NAME, ADDRESS = "snaptrade.example", "127.0.0.1"
# Of a program header (elf(5)): the name of a dynamic linker.
PT_INTERP = 3

settings = argparse.Namespace()


class Binary(Case):
    def test_it_needs_no_library_and_is_small(self):
        program = settings.binary.read_bytes()
        self.assertEqual(program[:5], b"\x7fELF\x02")
        offset, size, count = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
        kinds = [struct.unpack_from("<I", program, offset + size * number)[0] for number in range(count)]
        self.assertNotIn(PT_INTERP, kinds)
        self.assertLess(len(program), BYTES_MAX)

    def test_it_says_of_what_it_was_built(self):
        said = subprocess.run([settings.binary, "--version"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(said, f"snaptrade-sidecar {version()} ({settings.commit})\n")

    def test_it_does_not_tell_where_it_was_built(self):
        program = settings.binary.read_bytes()
        for place in (SOURCE, settings.made, pathlib.Path.home() / ".cargo"):
            self.assertNotIn(os.fsencode(place), program)


class Image(Case):
    """The last stage of the Dockerfile: nothing but the program, and how it is run."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.root.chmod(0o755)
        _, self.stage = dockerfile.read(SOURCE)
        self.assertEqual(dockerfile.only(self.stage, "FROM"), "scratch")
        for made, place, owner in dockerfile.taken(self.stage):
            aim = self.root / place.lstrip("/")
            source = settings.made / made.removeprefix("/out/")
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, aim)
            os.chown(aim, *owner)

    def inside(self, command):
        return [shutil.which("chroot"), f"--userspec={dockerfile.only(self.stage, 'USER')}", self.root, *command]

    def program(self, *arguments):
        return self.inside([*dockerfile.command(dockerfile.only(self.stage, "ENTRYPOINT")), *arguments])

    def test_the_demo_works_in_an_empty_root(self):
        done = subprocess.run(
            self.program("demo", "--exit"), capture_output=True, text=True, env={}, timeout=RUN_SECONDS_MAX, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("6 users registered, 1 deleted to make room, never more than 5 at once.", done.stdout)

    def test_it_serves_and_is_healthy_and_stops(self):
        simulator = self.started(Simulator(settings.binary))
        # The image's own variables, and the operator's. The name has to be looked up, which takes no library either.
        upstream = simulator.url.replace(ADDRESS, NAME)
        own = dockerfile.environment(self.stage)
        variables = {
            **own,
            "SNAPTRADE_CLIENT_ID": CLIENT_ID,
            "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY,
            "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": upstream,
            "SNAPTRADE_SIDECAR__LOG__FORMAT": "json",
            "SNAPTRADE_SIDECAR__REGISTRY__URL": "sqlite:///data/sidecar.db",
        }
        self.addCleanup(answer_names(self.root).close)
        arguments = dockerfile.command(dockerfile.only(self.stage, "CMD"))
        sidecar = self.started(Program("sidecar", self.program(*arguments), variables), exit_code=0)
        ready = sidecar.await_start("stderr", lambda line: json.loads(line) if "is ready" in line else None)
        self.assertEqual(ready["proxy"], f"http://0.0.0.0:{own['PORT']}")
        probe = self.inside(dockerfile.command(dockerfile.only(self.stage, "HEALTHCHECK")))
        done = subprocess.run(
            probe, capture_output=True, text=True, env=variables, timeout=RUN_SECONDS_MAX, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with socket.create_connection((ADDRESS, int(own["PORT"]))) as caller:
            caller.sendall(b"GET /api/v1/ HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\n\r\n")
            self.assertEqual(caller.recv(12), b"HTTP/1.1 200")
        self.assertEqual(dockerfile.only(self.stage, "STOPSIGNAL"), signal.SIGTERM.name)


class Bill(Case):
    def test_the_bill_of_materials_is_valid_and_whole(self):
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        text = settings.sbom.read_text()
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_5).validate_str(text))
        bill = json.loads(text)
        self.assertEqual(bill["metadata"]["component"]["version"], version())
        told = {(component["name"], component["version"]) for component in bill["components"]}
        tree = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]
        said = subprocess.run(tree, cwd=SOURCE, capture_output=True, text=True, check=True).stdout
        linked = {tuple(line.replace(" v", " ").split()[:2]) for line in said.splitlines() if line}
        self.assertEqual(linked - told - {("snaptrade-sidecar", version())}, set())
        self.assertNotIn(str(SOURCE), text)


class Workflows(Case):
    def test_they_are_what_the_schema_says_and_nothing_unsafe_is_found(self):
        tools = pathlib.Path(sys.executable).parent
        files = sorted((SOURCE / ".github" / "workflows").glob("*.yml"))
        self.assertTrue(files)
        schema = [tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files]
        audit = [tools / "zizmor", "--offline", "--min-severity", "medium", "--no-progress", SOURCE / ".github"]
        for command in (schema, audit):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)


def version():
    lines = (SOURCE / "Cargo.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version"))


def answer_names(root):
    """A name server for programs in this root, which knows one name; the socket that ends it when it is closed."""
    (root / "etc").mkdir()
    (root / "etc" / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Its port cannot be chosen in resolv.conf; the network is the suite's own (see tests/run).
    server.bind((ADDRESS, 53))
    asked = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split(".")) + b"\0"

    def serve():
        while True:
            try:
                query, sender = server.recvfrom(512)
            except OSError:
                return
            name_end = query.index(b"\0", 12) + 1
            is_known = query[12:name_end].lower() == asked and query[name_end : name_end + 2] == b"\0\1"
            # RFC 1035 4.1: the question again, and for an address of the known name one answer that points at it.
            head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_known else b"\0\0") + b"\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(ADDRESS) if is_known else b""
            server.sendto(head + query[12 : name_end + 4] + answer, sender)

    threading.Thread(target=serve, daemon=True).start()
    return server


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    path = {"type": lambda text: pathlib.Path(text).resolve()}
    arguments.add_argument("--made", required=True, help="the folder that the Dockerfile's build made", **path)
    arguments.add_argument("--sbom", required=True, help="its bill of materials", **path)
    arguments.add_argument("--commit", required=True, help="what it was built of")
    arguments.add_argument("tests", nargs="*", help="only these, such as Image")
    arguments.parse_args(namespace=settings)
    settings.binary = settings.made / "snaptrade-sidecar"
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())

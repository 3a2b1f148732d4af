"""The processes of a soak: PostgreSQL, the simulator and the replicas, each ended by its process id."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
LOOK_SECONDS = 0.05
CALL_SECONDS_MAX = 30


def environment():
    """Nothing of the caller's environment that could configure a program under test."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}


def ask(url, method="GET", body=None, headers=(), seconds=CALL_SECONDS_MAX):
    """Status and text of an answer, also of a refusal; fails where there is none."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, name, command, log, **options):
        self.name = name
        self.log = pathlib.Path(log)
        self._began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            # A session of its own, so that Ctrl-C reaches the soak alone, which then ends everything in order.
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=output,
                env=environment(),
                start_new_session=True,
                **options,
            )
        self.pid = self._process.pid

    def written(self):
        """The lines of this process so far."""
        with self.log.open("rb") as output:
            output.seek(self._began)
            return output.read().decode(errors="replace").splitlines()

    def await_line(self, read):
        """The first line of which `read` makes something other than None, made into that."""
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until:
            for line in self.written():
                made = read(line)
                if made is not None:
                    return made
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)
                break
        raise AssertionError(
            f"{self.name} did not say what was waited for; it wrote:\n" + "\n".join(self.written()[-20:])
        )

    def signal(self, number):
        self._process.send_signal(number)

    def is_there(self):
        return self._process.poll() is None

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Asks it to end and returns its exit code; one that does not end by itself is killed, and that is an error."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_SECONDS_MAX} s of SIGTERM") from None


class Database:
    """A private PostgreSQL server, by tests/postgres.sh."""

    def __init__(self, script, folder, log):
        self._folder = folder
        folder.mkdir()
        folder.chmod(0o755)
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [script, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment(),
                start_new_session=True,
                encoding="utf-8",
            )
        said = self._process.stdout.readline().strip()
        if said != "ready":
            raise AssertionError(f"PostgreSQL did not start: {said}")
        self.url = f"postgres://sidecar:s3cret@/postgres?host={folder}"

    def _order(self, word):
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        if said != "done":
            raise AssertionError(f"PostgreSQL did not {word}: {said}")

    def restart(self, over, seconds):
        """Ends it at once, as a crash would, and starts it again after so long, or when all is over."""
        self._order("stop")
        try:
            over.wait(seconds)
        finally:
            self._order("start")

    def freeze(self, over, seconds):
        """Stops every process of the server, so that whoever asks gets neither an answer nor an error."""
        head = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = pathlib.Path(f"/proc/{head}/task/{head}/children").read_text().split()
        family = [head, *map(int, children)]
        for pid in family:
            send(pid, signal.SIGSTOP)
        try:
            over.wait(seconds)
        finally:
            for pid in family:
                send(pid, signal.SIGCONT)

    def _psql(self):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/psql"))
        psql = programs[-1] if programs else "psql"
        return [psql, "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname", self.url]

    def session(self):
        """One that takes statements line by line."""
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        return subprocess.Popen(self._psql(), stderr=subprocess.DEVNULL, encoding="utf-8", bufsize=1, **pipes)

    def rows(self, select):
        """What a query says, each row a dictionary."""
        said = subprocess.run(
            self._psql(),
            input=f"SELECT row_to_json(found) FROM ({select}) AS found;",
            capture_output=True,
            encoding="utf-8",
            check=True,
            timeout=CALL_SECONDS_MAX,
        )
        return [json.loads(line) for line in said.stdout.splitlines() if line]

    def stop(self):
        self._process.stdin.close()
        self._process.wait(STOP_SECONDS_MAX)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Simulator(Program):
    """The stand-in for SnapTrade, which writes down everything that it does."""

    def __init__(self, binary, folder, setting):
        self.record = folder / "record.jsonl"
        command = [binary, "simulate", "--listen", "127.0.0.1:0", "--record", self.record]
        for flag, value in setting.items():
            command += [f"--{flag}", value]
        super().__init__("simulator", command, folder / "simulator.log")
        self.url = self.await_line(self._address)

    @staticmethod
    def _address(line):
        before, found, address = line.partition("simulator listening on ")
        return address.strip() if found and not before else None

    def control(self, method, path, body=None):
        status, text = ask(f"{self.url}/_simulator{path}", method, body, {"Content-Type": "application/json"})
        if status >= 300:
            raise AssertionError(f"the simulator answered {status} to {method} {path}: {text!r}")
        return json.loads(text)


class Replica:
    """One sidecar that is ended and started again; each of its processes has ports of its own."""

    def __init__(self, binary, name, folder, token):
        self.name = name
        self.token = token
        self.configuration = folder / f"{name}.toml"
        self.log = folder / f"{name}.log"
        self.program = None
        self.proxy = self.ops = self.webhooks = None
        self.lock = threading.Lock()
        self._binary = binary

    def start(self):
        program = Program(self.name, [self._binary, "serve", "--config", self.configuration], self.log)
        # It is ended with the soak, whatever it comes to say.
        self.program = program
        ready = program.await_line(self._ready)
        self.proxy, self.ops, self.webhooks = (ready[name] for name in ("proxy", "ops", "webhooks"))

    @staticmethod
    def _ready(line):
        try:
            logged = json.loads(line)
        except ValueError:
            return None
        return logged if "proxy" in logged and "ops" in logged else None

    @property
    def address(self):
        host, _, port = self.proxy.removeprefix("http://").partition(":")
        return host, int(port)

    def admin(self, method, path, body=None, seconds=CALL_SECONDS_MAX):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        status, text = ask(f"{self.ops}{path}", method, body, headers, seconds)
        return status, json.loads(text)

"""Plays a page: its blocks of code in order, in a folder of its own, beside a simulated SnapTrade and a sidecar."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import yaml
from processes import CALL_SECONDS_MAX, Program, Sidecar, Simulator, environment

PROGRAM = "snaptrade-sidecar"
CLIENT_ID = "SIMULATOR"
CONSUMER_KEY = "simulator-consumer-key"
TOKEN = "a-token-of-the-documents-0123456789"
USERS = ("ada", "grace", "edsger", "barbara", "donald", "leslie")
RUN_SECONDS_MAX = 60
# The documents say: within seconds.
RELOAD_SECONDS_MAX = 10
ANY_PORT = "127.0.0.1:0"

# The addresses in the documents. What listens there in a test has a port that the system chose.
SIMULATED, PROXY, OPS = "127.0.0.1:8090", "127.0.0.1:8080", "127.0.0.1:9090"

# Why a block is not run; each is said in the block's first line, as ```sh,no-run,docker.
REASONS = {
    "choose": "commands of which a reader takes one; that each is one is checked all the same",
    "docker": "there need not be a container engine",
    "elsewhere": "it is for another machine, or needs what only that has",
    "long": "another section of tests/run does it, or it takes much longer than a test may",
    "tool": "a program of somebody else",
}
# Pages whose commands a suite of their own runs, with the files that they are about; here the shell only reads them.
RUN_ELSEWHERE = ("docs/deploy/", "examples/")
# What else may stand in the first line of a block, by language; a word with a dot names the file that a block becomes.
WORDS = {
    "sh": {"serves", "fails"},
    "toml": {"alone", "faulty"},
    "text": {"output"},
    "http": {"shown"},
    "python": {"before"},
}
# The languages of blocks that are only shown: drawings, lines of a log, what SnapTrade or the sidecar sends.
SHOWN = {"", "text", "diff"}

ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")
FILE_KEY = re.compile(r'^(\s*\w*(?:secret|token|key|url)_file = )"([^"]+)"', re.M)


class Unfit(AssertionError):
    """What is wrong with a block."""


class Simulated(Simulator):
    """A simulator that a page starts."""

    def __init__(self, options, variables, folder):
        Program.__init__(self, "simulator", [PROGRAM, "simulate", *options], variables, folder)
        self.url = self.await_start("stdout", self._address)


class Served(Sidecar):
    """A sidecar that a page starts."""

    def __init__(self, arguments, variables, folder):
        Program.__init__(self, "sidecar", [PROGRAM, *arguments], variables, folder)
        self.url, self.ops = self.await_start("stderr", self._addresses)
        self.await_start("stderr", self._first_look)

    @staticmethod
    def _first_look(line):
        """From here on it knows how many users there are."""
        return True if "SnapTrade answers for this key" in line else None


class Scene:
    """Where a page is played."""

    def __init__(self, settings, case, page):
        self._settings, self._case, self._page = settings, case, page
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="book-"))
        case.addCleanup(lambda: subprocess.run(["rm", "-r", str(self._folder)], check=True))
        self._work = self._folder / "work"
        self._work.mkdir()
        programs = self._folder / "bin"
        programs.mkdir()
        (programs / PROGRAM).symlink_to(settings.binary)
        # For curl, which otherwise shows how far it came.
        (self._folder / ".curlrc").write_text("silent\nshow-error\n")
        self._at = {}
        self._variables = environment(
            PATH=f"{programs}:{os.environ['PATH']}",
            SNAPTRADE_CLIENT_ID=CLIENT_ID,
            SNAPTRADE_CONSUMER_KEY=CONSUMER_KEY,
            SNAPTRADE_SIDECAR__PROXY__LISTEN=ANY_PORT,
            SNAPTRADE_SIDECAR__OPS__LISTEN=ANY_PORT,
            SNAPTRADE_SIDECAR__OPS__TOKEN=TOKEN,
            SNAPTRADE_SIDECAR__LOG__FORMAT="json",
            TOKEN=TOKEN,
            CURL_HOME=str(self._folder),
        )
        self._said = self._sidecar = None
        self._brings_its_own = any("serves" in block.words for block in page.blocks())
        self.played = 0

    def play(self):
        for block in page_blocks(self._page):
            try:
                self._play(block)
            except AssertionError as wrong:
                raise Unfit(f"{block.place()}: {wrong}") from wrong

    def _play(self, block):
        check_words(block)
        if block.language in SHOWN and "output" not in block.words:
            return
        self.played += 1
        if "no-run" in block.words:
            if block.language == "python":
                compile(block.text, block.place(), "exec")
            return
        play = {
            "sh": self._play_shell,
            "text": self._compare,
            "toml": self._play_toml,
            "json": self._play_json,
            "yaml": lambda block: list(yaml.safe_load_all(block.text)),
            "http": self._play_http,
            "python": self._play_python,
            "ts": self._play_typescript,
        }
        play[block.language](block)

    # Programs

    def _await_programs(self):
        """A simulator with a full key, and a sidecar before it that made room once; unless the page starts its own."""
        if SIMULATED not in self._at:
            self._simulate([])
        if PROXY not in self._at and not self._brings_its_own:
            self._serve([], {})
            for user in USERS:
                register(f"http://{self._at[OPS]}", user)

    def _simulate(self, options):
        if "--listen" not in options:
            options = [*options, "--listen", ANY_PORT]
        simulator = self._case.started(Simulated(options, self._variables, self._work), exit_code=0)
        self._at[SIMULATED] = simulator.url.removeprefix("http://")
        self._variables["SNAPTRADE_SIDECAR__PROXY__UPSTREAM"] = simulator.url

    def _serve(self, arguments, variables):
        """In the place of the one before it, if the page has started one."""
        if self._sidecar:
            self._sidecar.stop()
        self._variables["SNAPTRADE_SIDECAR__OPS__LISTEN"] = ANY_PORT
        sidecar = Served(arguments, {**self._variables, **variables}, self._work)
        self._sidecar = self._case.started(sidecar, exit_code=0)
        self._at[PROXY], self._at[OPS] = (url.removeprefix("http://") for url in (sidecar.url, sidecar.ops))
        self._variables["SNAPTRADE_SIDECAR__OPS__LISTEN"] = self._at[OPS]
        self._variables["SNAPTRADE_API_HOST"] = sidecar.url

    def _play_servers(self, block):
        """Each command of the block is a program that stays until the page is over."""
        for command in commands(block.text):
            words = shlex.split(self._here(command.removesuffix("&")), comments=True)
            variables = dict(word.split("=", 1) for word in words if ASSIGNMENT.match(word))
            program, *arguments = words[len(variables) :]
            assert program == PROGRAM, f"{program} is no program that this can wait for"
            variables = {name: value for name, value in variables.items() if value != "…"}
            if arguments[:1] == ["simulate"]:
                self._simulate(arguments[1:])
            else:
                if SIMULATED not in self._at:
                    self._simulate([])
                self._serve(arguments, variables)

    # Blocks

    def _play_shell(self, block):
        if block.page.startswith(RUN_ELSEWHERE):
            done = self._run(["bash", "-n", "-c", block.text])
            assert done.returncode == 0, done.stdout
            return
        if "serves" in block.words:
            self._play_servers(block)
            return
        self._await_programs()
        # Its own values where a reader puts theirs.
        text = re.sub(r"\b([A-Z_][A-Z0-9_]*)=…", r'\1="$\1"', self._here(block.text))
        exported = self._folder / "exported"
        done = self._run(["bash", "-c", f"set -eu\n{text}\nenv -0 >{exported}\n"])
        self._said = self._there(done.stdout)
        if "fails" in block.words:
            assert done.returncode != 0, f"it does not fail; it says:\n{self._said}"
        else:
            assert done.returncode == 0, f"it ends with {done.returncode}; it says:\n{self._said}"
            # What a block exports holds for the next.
            self._variables = dict(line.split("=", 1) for line in exported.read_text().strip("\0").split("\0"))

    def _compare(self, block):
        """What the block before it said. `…` is whatever stands there, alone in a line any number of lines."""
        assert self._said is not None, "no block before it was run"
        wanted = []
        for line in block.text.splitlines():
            if line.strip() == "…":
                wanted.append("(?:.*\n)*")
            else:
                words = [".*".join(map(re.escape, word.split("…"))) for word in line.split()]
                wanted.append(" *" + " +".join(words) + " *\n")
        said = self._said if self._said.endswith("\n") else self._said + "\n"
        assert re.fullmatch("".join(wanted), said), f"what was said is something else:\n{said}"

    def _play_toml(self, block):
        """As a configuration, to `check`. The files with secrets that it names are made."""

        def there(found):
            secret = self._folder / re.sub(r"\W", "_", found[2])
            secret.touch(mode=0o600)
            secret.write_text("memory:" if "url_file" in found[1] else "a secret of the documents, long enough")
            return f"{found[1]}{json.dumps(str(secret))}"

        named = [word for word in block.words if "." in word]
        path = self._work / named[0] if named else self._folder / "block.toml"
        is_changed = path.exists() and bool(named)
        path.touch(mode=0o600)
        path.write_text(FILE_KEY.sub(there, self._here(block.text)))
        variables = dict(self._variables)
        if "alone" in block.words:
            for name in ("SNAPTRADE_CLIENT_ID", "SNAPTRADE_CONSUMER_KEY"):
                del variables[name]
        done = self._run([PROGRAM, "check", "--config", str(path)], variables)
        if "faulty" in block.words:
            assert done.returncode != 0, "it is valid"
        else:
            assert done.returncode == 0, done.stdout
        if is_changed and self._sidecar:
            self._sidecar.await_line("stderr", reloaded, RELOAD_SECONDS_MAX)

    def _play_json(self, block):
        text, decoder = block.text.strip(), json.JSONDecoder()
        while text:
            _, end = decoder.raw_decode(text)
            text = text[end:].strip()

    def _play_http(self, block):
        """Each line is a call of the simulator's controls."""
        if "shown" in block.words:
            return
        self._await_programs()
        for line in block.text.splitlines():
            method, path, *body = line.split(" ", 2)
            data = body[0].encode() if body else None
            request = urllib.request.Request(f"http://{self._at[SIMULATED]}{path}", data, method=method)
            try:
                urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX).close()
            except urllib.error.HTTPError as refusal:
                raise AssertionError(f"{line}: {refusal.status} {refusal.read()!r}") from refusal

    def _play_python(self, block):
        if block.page.startswith(RUN_ELSEWHERE):
            compile(block.text, block.place(), "exec")
            return
        self._await_programs()
        text = self._here(block.text)
        if "before" in block.words:
            # As it was without a sidecar.
            text = text.replace("https://api.snaptrade.com", f"http://{self._at[SIMULATED]}")
        done = self._run([self._settings.python, "-c", text])
        self._said = self._there(done.stdout)
        assert done.returncode == 0, self._said

    def _play_typescript(self, block):
        typescript(self._settings, block.text, self._work)

    def _run(self, command, variables=None):
        """Ends what it has started, too, so that nothing stays that a block left behind."""
        running = subprocess.Popen(
            command,
            env=variables or self._variables,
            cwd=self._work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            said, _ = running.communicate(timeout=RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            said, _ = running.communicate()
            late = f"it does not end within {RUN_SECONDS_MAX} s; what stays is a block of its own: ```sh,serves"
            raise AssertionError(f"{late}; it says:\n{said}") from None
        return subprocess.CompletedProcess(command, running.returncode, said)

    def _here(self, text):
        """With the addresses of this scene."""
        for shown, actual in self._at.items():
            text = text.replace(shown, actual)
        return text

    def _there(self, text):
        for shown, actual in self._at.items():
            text = text.replace(actual, shown)
        return text


def register(ops, user):
    """By the ops port of a sidecar that has the documents' token."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{ops}/api/snaptrade/register", json.dumps({"user_id": user}).encode(), headers)
    with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
        assert json.load(reply)["success"], user


def typescript(settings, text, folder):
    """Compiles it, and returns the path of the JavaScript."""
    path = pathlib.Path(folder) / "block.mts"
    path.write_text(text)
    compiler = ["node", str(settings.node_modules / "typescript/bin/tsc"), "--strict", "--types", "node", "--typeRoots"]
    compiler += [str(settings.node_modules / "@types"), "--module", "nodenext", "--target", "es2022", str(path)]
    done = subprocess.run(compiler, env=environment(), stdout=subprocess.PIPE, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    return str(path.with_suffix(".mjs"))


def reloaded(line):
    """Whether a line of the log says that a change of the file is in force."""
    return True if "reloaded the configuration" in line else None


def page_blocks(page):
    blocks = page.blocks()
    outputs = [block for block in blocks if "output" in block.words]
    for block in outputs:
        before = blocks[blocks.index(block) - 1] if blocks.index(block) else None
        assert before and before.language in ("sh", "python"), f"{block.place()}: no block before it says anything"
    return blocks


def check_words(block):
    """So that no block goes by unchecked because of a slip."""
    known = WORDS.get(block.language, set())
    no_run, *rest = block.words if block.words[:1] == ("no-run",) else ("", *block.words)
    if no_run:
        assert len(rest) == 1 and rest[0] in REASONS, f"say why it is not run: one of {', '.join(REASONS)}"
        return
    for word in block.words:
        assert word in known or "." in word and block.language == "toml", f"{word!r} says nothing of {block.language!r}"
    languages = {"sh", "toml", "json", "yaml", "http", "python", "ts", *SHOWN}
    assert block.language in languages, f"{block.language!r} is not a language that is checked"


def commands(text):
    """The commands of a block, those over several lines as one, without comments."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = (line.strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]

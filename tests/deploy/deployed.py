"""A sidecar as a deployment file describes it, run on this machine: with those arguments, that environment and those
files, but other folders, ports and SnapTrade."""

import base64
import dataclasses
import hashlib
import hmac
import http.server
import json
import pathlib
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))
from processes import CLIENT_ID, CONSUMER_KEY, Program, Sidecar, call, environment  # noqa: E402

RUN_SECONDS_MAX = 120
# By which a notice's body is bounded; one is a few hundred bytes.
NOTICE_BYTES_MAX = 64 * 1024


@dataclasses.dataclass
class Deployment:
    """What one file says of one sidecar. `files` are text and mode by path, `folders` what it may write to."""

    page: str
    arguments: list
    environment: dict
    files: dict
    folders: list
    grace_seconds: float
    # Of the configuration's file, which the page says how to change.
    configuration: str


def run(command, **options):
    """What it writes to its output; fails with all that it wrote where it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=RUN_SECONDS_MAX, check=False, text=True, **options
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def seconds(text):
    """Of a length of time as Compose, the sidecar and systemd write it: 35s, 1m0s, 40."""
    units = {"h": 3600, "m": 60, "s": 1, "": 1}
    parts = re.findall(r"(\d+)([hms]?)", str(text))
    assert parts and "".join(number + unit for number, unit in parts) == str(text), text
    return sum(int(number) * units[unit] for number, unit in parts)


def blocks(page, language="sh"):
    """The code blocks of a page of docs/deploy, those of lists too."""
    text = (ROOT / "docs/deploy" / page).read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def block(page, word, language="sh"):
    """The one code block in which the word stands."""
    (found,) = [text for text in blocks(page, language) if word in text]
    return found


def image():
    """Of the Dockerfile's last stage: what runs in the image, with what arguments and environment."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    variables = [shlex.split(line) for line in re.findall(r"^ENV (.+)$", last, re.MULTILINE)]
    entrypoint = json.loads(re.search(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[1])
    command = json.loads(re.search(r"^CMD (.+)$", last, re.MULTILINE)[1])
    return entrypoint, command, dict(pair.split("=", 1) for line in variables for pair in line)


class Example:
    """The example backend, as its files have it."""

    folder = ROOT / "examples/fastapi-backend"
    text = "".join(path.read_text() for path in sorted(folder.glob("*.py")))
    image = (folder / "Dockerfile").read_text()

    @classmethod
    def reads(cls, names):
        """Whether it looks at each of these variables."""
        return all(f'"{name}"' in cls.text for name in names)

    @classmethod
    def takes(cls, url):
        """Whether notices are taken in at this URL's path, at the port that its image serves."""
        place = urllib.parse.urlsplit(url)
        return f'@app.post("{place.path}"' in cls.text and f"\nEXPOSE {place.port}\n" in cls.image

    @classmethod
    def keeps_at(cls, path):
        """Whether its image keeps users in this folder."""
        return f"\nENV DATABASE={path}/" in cls.image


class Place:
    """A folder in which a deployment's files lie under their paths, and its words with those paths."""

    def __init__(self, folder, deployment):
        self.folder = pathlib.Path(folder)
        self._deployment = deployment
        roots = {str(pathlib.PurePosixPath(path).parent) for path in deployment.files} | set(deployment.folders)
        longest_first = sorted(map(re.escape, roots), key=len, reverse=True)
        self._paths = re.compile(rf"(?<![\w.-])({'|'.join(longest_first)})(?=/|$)")
        for path in deployment.folders:
            self.path(path).mkdir(parents=True)
        for path, (text, mode) in deployment.files.items():
            file = self.path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.here(text))
            file.chmod(mode)
        self.arguments = [self.here(argument) for argument in deployment.arguments]
        self.environment = environment(**{key: self.here(value) for key, value in deployment.environment.items()})
        self.laid = self.written()

    def path(self, path):
        return self.folder / path.lstrip("/")

    def here(self, text):
        return self._paths.sub(lambda found: f"{self.folder}{found[1]}", text)

    def written(self):
        return {path for path in self.folder.rglob("*") if path.is_file()}

    def check(self, binary):
        """The configuration that is in effect, as `check` prints it, and what it says of it."""
        assert self.arguments[0] == "serve", self.arguments
        command = [binary, "check", *self.arguments[1:]]
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return tomllib.loads(done.stdout), done.stderr.splitlines()

    def change_as_the_page_says(self):
        """By the command of the page that has the sidecar evict."""
        (command,) = [line for text in blocks(self._deployment.page) for line in text.splitlines() if "sed -i" in line]
        file = self.path(self._deployment.configuration)
        before = file.read_text()
        run([*shlex.split(command)[:-1], file])
        assert file.read_text() != before, f"{command} changes nothing"


class Deployed(Sidecar):
    """The product as deployed in a place, on ports of the system's choosing, before a simulated SnapTrade."""

    def __init__(self, binary, place, upstream, wrapper=()):
        self.place = place
        self._binary = binary
        flags = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--upstream", upstream]
        Program.__init__(self, "sidecar", [*wrapper, binary, *place.arguments, *flags], place.environment)
        self.url, self.ops = self.await_start("stderr", self._addresses)

    def ask(self, *arguments):
        """What an operator's command says, with the configuration of the place."""
        return run([self._binary, *arguments, "--url", self.ops], env=self.place.environment)

    def mode(self):
        return json.loads(self.ask("users", "--json"))["mode"]

    def register(self, user_id):
        """As a backend does, signed with its key: the status, and what the sidecar says that it did."""
        return register(self.url, user_id)


class Database(Program):
    """A private PostgreSQL server, which ends with its standard input."""

    def __init__(self, folder):
        folder.chmod(0o755)
        super().__init__("postgresql", [HERE.parent / "postgres.sh", folder], environment())
        self.await_start("stdout", lambda line: line.strip() == "ready" or None)
        self.url = f"postgres://sidecar:s3cret@/postgres?host={folder}"

    def stop(self):
        self._process.stdin.close()
        return self._ended()


def register(base, user_id):
    path, content = "/snapTrade/registerUser", {"userId": user_id}
    query = urllib.parse.urlencode({"clientId": CLIENT_ID, "timestamp": int(time.time())})
    told = {"content": content, "path": path, "query": query}
    signed = json.dumps(told, separators=(",", ":"), sort_keys=True)
    digest = hmac.new(CONSUMER_KEY.encode(), signed.encode(), hashlib.sha256).digest()
    headers = {"Signature": base64.b64encode(digest).decode(), "Content-Type": "application/json"}
    status, replied, _ = call(f"{base}{path}?{query}", "POST", json.dumps(content).encode(), **headers)
    return status, replied["Snaptrade-Sidecar-Admission"]


class Application:
    """What is at the other end of `notify_url`: takes notices that are signed with this secret."""

    def __init__(self, secret):
        self.notices = queue.Queue()
        notices = self.notices

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(min(int(self.headers["Content-Length"]), NOTICE_BYTES_MAX))
                signed = self.headers["Snaptrade-Sidecar-Timestamp"].encode() + b"." + body
                signature = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
                is_genuine = signature == self.headers["Snaptrade-Sidecar-Signature"]
                notices.put((self.path, is_genuine, json.loads(body)["user_id"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

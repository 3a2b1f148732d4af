"""What docs/notices.md and docs/webhooks.md give applications to tell what is genuine, tried on what is sent."""

import base64
import http.server
import json
import queue
import subprocess
import tempfile
import threading

from pages import ROOT, Page
from play import typescript
from processes import CALL_SECONDS_MAX, environment

# Appended to the TypeScript: asks the function of the page, once for each of the arguments that are given.
ASK = """
const given: [any, string, string][] = JSON.parse(process.argv[2]!);
console.log(JSON.stringify(given.map(([told, body, secret]) => isGenuine(told, Buffer.from(body, "base64"), secret))));
"""


class Listener:
    """Takes whatever is posted to it, on a port that the system chose."""

    def __init__(self):
        self.posted = queue.Queue()
        posted = self.posted

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                posted.put((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                """Nothing: what was posted is what matters."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self):
        return self.posted.get(timeout=CALL_SECONDS_MAX)

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def function(path, language):
    """The text of the block of a page that has the function."""
    blocks = Page(path, (ROOT / path).read_text(encoding="utf-8")).blocks()
    (text,) = (block.text for block in blocks if block.language == language)
    return text


def by_python(path, calls):
    namespace = {}
    exec(compile(function(path, "python"), path, "exec"), namespace)
    return [namespace["is_genuine"](*call) for call in calls]


def as_node(told):
    """Headers as Node.js gives them to an application: in lower case."""
    return told if isinstance(told, str) else {name.lower(): value for name, value in told.items()}


def by_typescript(settings, path, calls):
    with tempfile.TemporaryDirectory() as folder:
        compiled = typescript(settings, function(path, "ts") + ASK, folder)
        given = [(as_node(told), base64.b64encode(body).decode(), secret) for told, body, secret in calls]
        command = ["node", compiled, json.dumps(given)]
        done = subprocess.run(command, env=environment(), capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

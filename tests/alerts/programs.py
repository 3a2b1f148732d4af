"""What is watched, and the Prometheus that watches it."""

import base64
import hashlib
import hmac
import json
import math
import pathlib
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from processes import CLIENT_ID, CONSUMER_KEY, Program, Sidecar, call, environment  # noqa: E402

TOKEN = "an-operators-token"
# The job of the sidecars, by which alerts and board tell them from others.
JOB = "watched"

# A tenant that evicts until its fuse blows, one that may evict nobody, and one that has another key than its
# application.
CONFIGURATION = """
[proxy]
listen = "127.0.0.1:0"
upstream = {upstream}

[ops]
listen = "127.0.0.1:0"
token = {token}

[log]
format = "json"

[tenants.evicting]
client_id = "{client}"
consumer_key = {key}
eviction.fuse.evictions = 2

[tenants.keeping]
client_id = "{client}-2"
consumer_key = {key}
eviction.protect = ["*"]

[tenants.mistaken]
client_id = "{client}-3"
consumer_key = "not the key of its application"
"""

SCRAPED = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{rules}]
scrape_configs:
  - job_name: {job}
    static_configs: [{{ targets: [{targets}] }}]
"""


class Watched(Sidecar):
    """The product with three tenants, configured by a file that can be spoilt."""

    def __init__(self, binary, folder, upstream):
        self._file = folder / "sidecar.toml"
        self._file.touch(mode=0o600)
        # What JSON quotes, TOML reads.
        quoted = {"upstream": json.dumps(upstream), "token": json.dumps(TOKEN), "key": json.dumps(CONSUMER_KEY)}
        self._file.write_text(CONFIGURATION.format(client=CLIENT_ID, **quoted))
        command = [binary, "serve", "--config", str(self._file)]
        Program.__init__(self, "sidecar", command, environment())
        self.url, self.ops = self.await_start("stderr", self._addresses)

    def spoil_configuration(self):
        with self._file.open("a") as configuration:
            configuration.write("no_such_key = 1\n")

    def address(self):
        place = urllib.parse.urlsplit(self.url)
        return place.hostname, place.port

    def metrics(self):
        status, _, text = call(f"{self.ops}/metrics")
        assert status == 200, status
        return text

    def register(self, tenant, user_id):
        """By the ops port, which signs it itself; returns the status."""
        body = json.dumps({"user_id": user_id}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        status, _, _ = call(f"{self.ops}/api/snaptrade/register?tenant={tenant}", "POST", body, **headers)
        return status

    def register_signed(self, client_id, user_id):
        """As an application does, by the proxy's port; returns the status."""
        path, content = "/api/v1/snapTrade/registerUser", {"userId": user_id}
        query = urllib.parse.urlencode({"clientId": client_id, "timestamp": int(time.time())})
        told = {"content": content, "path": path, "query": query}
        signed = json.dumps(told, separators=(",", ":"), sort_keys=True)
        digest = hmac.new(CONSUMER_KEY.encode(), signed.encode(), hashlib.sha256).digest()
        headers = {"Signature": base64.b64encode(digest).decode(), "Content-Type": "application/json"}
        status, _, _ = call(f"{self.url}{path}?{query}", "POST", json.dumps(content).encode(), **headers)
        return status


class Prometheus(Program):
    """The real one, on a port of its own and with a folder of its own."""

    def __init__(self, folder, rules, targets):
        configuration = folder / "prometheus.yml"
        listed = ", ".join(json.dumps(target) for target in targets)
        configuration.write_text(SCRAPED.format(rules=json.dumps(str(rules)), job=JOB, targets=listed))
        command = ["prometheus", "--config.file", str(configuration), "--web.listen-address", "127.0.0.1:0"]
        command += ["--storage.tsdb.path", str(folder / "prometheus"), "--log.format", "json"]
        super().__init__("prometheus", command, environment())
        self._url = self.await_start("stderr", self._address)
        self.await_start("stderr", self._ready)

    @staticmethod
    def _address(line):
        logged = json.loads(line)
        return f"http://{logged['address']}" if logged.get("msg") == "Listening on" else None

    @staticmethod
    def _ready(line):
        return json.loads(line).get("msg") == "Server is ready to receive web requests." or None

    def ask(self, path, **query):
        status, _, body = call(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), (query, answer)
        return answer["data"]

    def query(self, expression):
        """The labels of each series that has a number now."""
        result = self.ask("query", query=expression)["result"]
        return [series["metric"] for series in result if math.isfinite(float(series["value"][1]))]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

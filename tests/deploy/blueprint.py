"""deploy/render, held against what Render documents of its Blueprints, and its start command run as Render does: in a
shell, with the example backend."""

import base64
import json
import os
import secrets
import shlex
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
import yaml

from deployed import HERE, ROOT
from processes import CLIENT_ID, CONSUMER_KEY, Case, Program, Simulator, call, environment, until
from story import USERS_MAX, Folder, settings

BLUEPRINT = ROOT / "deploy/render/render.yaml"
SCHEMA = json.loads((HERE / "render.schema.json").read_text())
# As the deployment without the sidecar names them.
ASKED_FOR = {
    "SNAPTRADE_CLIENT_ID": CLIENT_ID,
    "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY,
    "FRONTEND_URL": "https://frontend.vercel.app",
}
# After which Render kills what it asked to end.
GRACE_SECONDS = 30
MODE = "SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__MODE"
OPS = "SNAPTRADE_SIDECAR__OPS__LISTEN"
# What uvicorn ends with on SIGTERM: as it would without its own handling of it.
ENDED_BY_SIGTERM = 143


def service():
    (found,) = yaml.safe_load(BLUEPRINT.read_text())["services"]
    return found


def vacant_port():
    """One that the system chose; an application of which the platform sets the port cannot ask for any."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def variables():
    """As Render sets them: what is asked for, what it makes up, and what the Blueprint says."""
    values = {}
    for variable in service()["envVars"]:
        if "value" in variable:
            value = str(variable["value"])
        elif "generateValue" in variable:
            value = base64.b64encode(secrets.token_bytes(32)).decode()
        else:
            value = ASKED_FOR[variable["key"]]
        values[variable["key"]] = value
    return values


class Service(Program):
    """What the start command starts, and the sidecar in it."""

    def __init__(self, values, path):
        place = ROOT / service()["rootDir"]
        command = f"cd {shlex.quote(str(place))} && {service()['startCommand']}"
        told = environment(**values)
        super().__init__("service", ["bash", "-c", command], {**told, "PATH": f"{path}:{told['PATH']}"})
        self.url = f"http://127.0.0.1:{values['PORT']}"
        until("the backend answers", lambda: self.answers(service()["healthCheckPath"]), lambda: self.output)

    def answers(self, path):
        try:
            return call(self.url + path)[0] == 200
        except urllib.error.URLError:
            return False

    def register(self, user_id):
        body = json.dumps({"user_id": user_id}).encode()
        status, _, said = call(
            f"{self.url}/api/snaptrade/register", "POST", body, **{"Content-Type": "application/json"}
        )
        return status, json.loads(said)

    def users(self):
        return call(f"{self.url}/api/users")[2].decode()


class RenderBlueprint(Folder, Case):
    def test_it_has_what_render_documents_and_no_more(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        jsonschema.validate(yaml.safe_load(BLUEPRINT.read_text()), SCHEMA)

    def test_its_variables_are_those_of_the_deployment_without_the_sidecar_and_the_sidecars(self):
        asked_for = {variable["key"] for variable in service()["envVars"] if "sync" in variable}
        self.assertEqual(asked_for, set(ASKED_FOR))
        values = variables()
        notify_url = urllib.parse.urlsplit(values["SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__NOTIFY_URL"])
        self.assertEqual((notify_url.hostname, str(notify_url.port)), ("127.0.0.1", values["PORT"]))
        for path in (values["DATABASE"], values["SNAPTRADE_SIDECAR__REGISTRY__URL"].removeprefix("sqlite://")):
            self.assertEqual(os.path.dirname(path), service()["disk"]["mountPath"])

    def test_the_service_registers_evicts_and_forgets(self):
        simulator = self.started(Simulator(settings.binary))
        values = self.values(simulator)
        observing = self.started(Service(values, self.path()), exit_code=ENDED_BY_SIGTERM)
        statuses = [observing.register(f"user-{number}")[0] for number in range(USERS_MAX + 1)]
        self.assertEqual(statuses, [201] * USERS_MAX + [400])
        self.ended_in_time(observing)
        # What is changed in the Blueprint is in the environment of the next start.
        enforcing = self.started(Service({**values, MODE: "enforce"}, self.path()), exit_code=ENDED_BY_SIGTERM)
        self.assertEqual(enforcing.register("newcomer"), (201, {"user_id": "newcomer", "evicted": ["user-0"]}))
        self.assertNotIn("user-0", simulator.users())
        # By the notice too, which is signed with what both were told.
        until("the notice is taken", lambda: any("told the application" in line for line in enforcing.output))
        self.assertNotIn("user-0", enforcing.users())
        self.assertIn("user-1", enforcing.users())
        self.ended_in_time(enforcing)

    def values(self, simulator):
        """With this machine's folder, ports and SnapTrade in the place of Render's."""
        values = variables()
        disk, here, port = service()["disk"]["mountPath"], str(self.folder()), str(vacant_port())
        values = {key: value.replace(disk, here).replace(values["PORT"], port) for key, value in values.items()}
        self.assertEqual(values[OPS], "127.0.0.1:9090")
        return {**values, OPS: "127.0.0.1:0", "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": simulator.url}

    def path(self):
        """The programs of the wheel and of the requirements."""
        folder = self.folder()
        (folder / "snaptrade-sidecar").symlink_to(os.path.abspath(settings.binary))
        return f"{folder}:{os.path.dirname(os.path.abspath(settings.backend))}"

    def ended_in_time(self, ending):
        began = time.monotonic()
        self.assertEqual(ending.stop(), ENDED_BY_SIGTERM)
        self.assertLess(time.monotonic() - began, GRACE_SECONDS)

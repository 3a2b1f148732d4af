"""What every deployment has to do, whatever the file that describes it."""

import argparse
import dataclasses
import json
import pathlib
import re
import tempfile
import time
import urllib.parse

from deployed import Application, Database, Deployed, Place, seconds
from processes import CLIENT_ID, CONSUMER_KEY, WAIT_SECONDS_MAX, Simulator, call, until

USERS_MAX = 5
NOTIFY_URL = re.compile(r'(?<=notify_url = ")(http://[^/"]+)(/[^"]*)')

settings = argparse.Namespace()


class Folder:
    """For test cases that lay files out."""

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)


class Story(Folder):
    """A deployment from `check` to its end."""

    # Where it listens in earnest.
    proxy = "0.0.0.0:8080"
    ops = "0.0.0.0:9090"
    # By which the sidecar is run, if not by itself.
    wrapper = ()

    def deployment(self):
        raise NotImplementedError

    def secret(self, effective, *path):
        for name in path:
            effective = effective[name]
        return pathlib.Path(effective).read_text().rstrip("\n")

    def laid(self, deployment, origin=None):
        """The deployment in a folder of its own, with notices for the application at `origin`."""
        if origin:
            text, mode = deployment.files[deployment.configuration]
            told, count = NOTIFY_URL.subn(rf"{origin}\2", text)
            assert count == 1, text
            files = {**deployment.files, deployment.configuration: (told, mode)}
            deployment = dataclasses.replace(deployment, files=files)
        return Place(self.folder(), deployment)

    def begin(self, deployment):
        """The application that gets notices, the simulator and the sidecar."""
        secret = deployment.files[self.notify_secret_file(deployment)][0].rstrip("\n")
        application = Application(secret)
        self.addCleanup(application.stop)
        simulator = self.started(Simulator(settings.binary))
        place = self.laid(deployment, application.origin)
        # By its name, so that names are resolved as in earnest.
        upstream = f"http://localhost:{urllib.parse.urlsplit(simulator.url).port}"
        sidecar = self.started(Deployed(settings.binary, place, upstream, self.wrapper), exit_code=0)
        return application, simulator, sidecar

    @staticmethod
    def notify_secret_file(deployment):
        return deployment.environment["SNAPTRADE_SIDECAR__TENANTS__DEFAULT__EVICTION__NOTIFY_SECRET_FILE"]

    def test_check_accepts_it_and_warns_of_nothing(self):
        effective, said = self.laid(self.deployment()).check(settings.binary)
        self.assertEqual(said, ["the configuration is valid: 1 tenant"])
        self.assertEqual((effective["proxy"]["listen"], effective["ops"]["listen"]), (self.proxy, self.ops))
        tenant = effective["tenants"]["default"]
        self.assertEqual(tenant["client_id"], CLIENT_ID)
        self.assertEqual(self.secret(tenant, "consumer_key_file"), CONSUMER_KEY)
        self.assertGreaterEqual(len(self.secret(effective, "ops", "token_file")), 32)
        self.assertGreaterEqual(len(self.secret(tenant, "eviction", "notify_secret_file")), 32)
        self.assertEqual(tenant["eviction"]["mode"], "observe", "nobody is deleted before somebody has looked")

    def test_it_is_given_the_time_to_drain(self):
        deployment = self.deployment()
        effective, _ = self.laid(deployment).check(settings.binary)
        drain = seconds(effective["proxy"]["drain_delay"]) + seconds(effective["proxy"]["drain_timeout"])
        # Notices and activity are told after the drain, in some seconds.
        self.assertGreaterEqual(deployment.grace_seconds, drain + 5)

    def test_it_observes_then_evicts_once_told_to_and_stops_in_time(self):
        deployment = self.deployment()
        application, simulator, sidecar = self.begin(deployment)
        self.look(sidecar)
        outcomes = [sidecar.register(f"user-{number}") for number in range(USERS_MAX + 1)]
        self.assertEqual(outcomes[:-1], [(200, "forwarded")] * USERS_MAX)
        self.assertEqual(outcomes[-1], (400, "forwarded; reason=observe"))
        sidecar.place.change_as_the_page_says()
        self.changed(sidecar)
        until("the mode is enforce", lambda: sidecar.mode() == "enforce", lambda: sidecar.output[-3:])
        self.assertEqual(sidecar.register("newcomer"), (200, "evicted"))
        path = NOTIFY_URL.search(deployment.files[deployment.configuration][0])[2]
        self.assertEqual(application.notices.get(timeout=WAIT_SECONDS_MAX), (path, True, "user-0"))
        left = [f"user-{number}" for number in range(1, USERS_MAX)]
        self.assertEqual(set(simulator.users()), {*left, "newcomer"})
        self.ended_in_time(deployment, sidecar)
        self.written_where_it_may(deployment, sidecar.place)

    def look(self, sidecar):
        """As those look who keep it running, and operators."""
        for path in ("/healthz", "/readyz", "/metrics"):
            # By a name that the sidecar was not told of.
            self.assertEqual(call(f"{sidecar.ops}{path}", Host="sidecar.internal:9090")[0], 200, path)
        self.assertIn("default", sidecar.ask("status"))
        self.assertEqual(json.loads(sidecar.ask("users", "--json"))["mode"], "observe")

    def changed(self, sidecar):
        """After the configuration was changed: where something has to be done for it to be taken up."""

    def ended_in_time(self, deployment, sidecar):
        began = time.monotonic()
        self.assertEqual(sidecar.stop(), 0)
        self.assertLess(time.monotonic() - began, deployment.grace_seconds)

    def written_where_it_may(self, deployment, place):
        new = place.written() - place.laid
        folders = [place.path(folder) for folder in deployment.folders]
        strays = [path for path in new if not any(folder in path.parents for folder in folders)]
        self.assertEqual(strays, [])
        if folders:
            self.assertIn("registry.db", {path.name for path in new})


class TwoReplicas(Folder):
    """A deployment of two sidecars that share a registry."""

    def together(self, deployment, url_file):
        """Both evict for each other, as one."""
        database = self.started(Database(self.folder()))
        simulator = self.started(Simulator(settings.binary))
        files = {**deployment.files, url_file: (database.url, deployment.files[url_file][1])}
        deployment = dataclasses.replace(deployment, files=files)
        sidecars = []
        for _ in range(2):
            place = Place(self.folder(), deployment)
            place.change_as_the_page_says()
            sidecars.append(self.started(Deployed(settings.binary, place, simulator.url), exit_code=0))
        outcomes = [sidecars[number % 2].register(f"user-{number}") for number in range(USERS_MAX + 2)]
        self.assertEqual(outcomes, [(200, "forwarded")] * USERS_MAX + [(200, "evicted")] * 2)
        told = [json.loads(sidecar.ask("evictions", "--json"))["entries"] for sidecar in sidecars]
        self.assertEqual(told[0], told[1])
        evicted = [entry["user_id"] for entry in told[0] if entry["outcome"] == "evicted"]
        self.assertEqual(evicted, ["user-1", "user-0"])

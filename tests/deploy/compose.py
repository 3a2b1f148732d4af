"""deploy/compose, as Compose itself reads it."""

import json
import pathlib
import shutil
import stat
import sys
import urllib.parse

from deployed import ROOT, Deployment, Example, block, image, run, seconds
from processes import CLIENT_ID, CONSUMER_KEY, Case, environment
from story import Folder, Story, TwoReplicas

FOLDER = ROOT / "deploy/compose"
FILES = ["compose.yaml", "compose.postgres.yaml"]
PAGE = "compose.md"
# The last of each block that makes some.
SECRETS = ["ops_token", "postgres_password"]
# The program is that of the Python environment that runs this.
COMPOSE = pathlib.Path(sys.executable).parent / "docker-compose"
# Compose's own form of Docker's.
PROGRAM = "/snaptrade-sidecar"


class Project:
    """A copy of the folder, with `.env`, policy and secrets made as the page says, and what Compose makes of it."""

    def __init__(self, folder, *files):
        # In its place in the project, since it names other folders of that.
        self.folder = folder / "deploy/compose"
        # Without what is this machine's own.
        shutil.copytree(FOLDER, self.folder, ignore=shutil.ignore_patterns("config", "secrets"))
        (folder / "config").symlink_to(ROOT / "config")
        example = (self.folder / ".env.example").read_text()
        values = {"SNAPTRADE_CLIENT_ID": CLIENT_ID, "SNAPTRADE_CONSUMER_KEY": CONSUMER_KEY, "NOTICE_SECRET": "n" * 64}
        for name, value in values.items():
            assert f"{name}=''\n" in example, f"{name} is not in .env.example"
            example = example.replace(f"{name}=''\n", f"{name}='{value}'\n")
        (self.folder / ".env").write_text(example)
        makes = ["install -d -m 755 config", *(f"openssl rand -hex 32 > secrets/{name}" for name in SECRETS)]
        for words in makes:
            run(["sh", "-euc", block(PAGE, words)], cwd=self.folder, env=environment())
        chosen = [part for file in files for part in ("--file", file)]
        said = run([COMPOSE, *chosen, "config", "--format", "json"], cwd=self.folder, env=environment())
        self.model = json.loads(said)
        self.services = self.model["services"]

    def secrets(self, service):
        """Path in the container, and file here."""
        named = self.services[service].get("secrets", [])
        return {secret["target"]: pathlib.Path(self.model["secrets"][secret["source"]]["file"]) for secret in named}

    def names(self, service):
        """By which other services of a network find it."""
        networks = self.services[service]["networks"]
        return {(network, alias) for network, of in networks.items() for alias in (of or {}).get("aliases", [])}

    def finds(self, service, url, other):
        """Whether this URL leads the one service to the other, by a name that SnapTrade's Python SDK takes."""
        host = urllib.parse.urlsplit(url).hostname
        common = {network for network, alias in self.names(other) if alias == host}
        return "." in host and bool(common & set(self.services[service]["networks"]))

    def deployment(self):
        sidecar = self.services["sidecar"]
        entrypoint, command, variables = image()
        assert (entrypoint, sidecar["entrypoint"]) == ([PROGRAM], None)
        mounts = {mount["target"]: mount for mount in sidecar["volumes"]}
        (configuration,) = [path for path, mount in mounts.items() if mount["type"] == "bind"]
        bound = pathlib.Path(mounts[configuration]["source"])
        files = {f"{configuration}/{file.name}": (file.read_text(), 0o644) for file in bound.iterdir()}
        for path, file in self.secrets("sidecar").items():
            files[path] = (file.read_text(), stat.S_IMODE(file.stat().st_mode))
        return Deployment(
            page=PAGE,
            arguments=sidecar["command"] or command,
            environment={**variables, **sidecar["environment"]},
            files=files,
            folders=[path for path, mount in mounts.items() if mount["type"] == "volume"],
            grace_seconds=seconds(sidecar["stop_grace_period"]),
            configuration=sidecar["environment"]["SNAPTRADE_SIDECAR_CONFIG"],
        )


class ComposeFiles(Folder, Case):
    def projects(self):
        return [Project(self.folder(), *FILES[: count + 1]) for count in range(len(FILES))]

    def test_every_container_is_hardened_and_watched(self):
        for project in self.projects():
            for name, service in project.services.items():
                told = (service["read_only"], service["cap_drop"], service["security_opt"])
                self.assertEqual(told, (True, ["ALL"], ["no-new-privileges:true"]), name)
                self.assertEqual(service["restart"], "unless-stopped", name)
                self.assertTrue(service["healthcheck"]["test"], name)
                published = [port.get("host_ip") for port in service.get("ports", [])]
                self.assertEqual(set(published) - {"127.0.0.1"}, set(), f"{name} is published beyond this machine")

    def test_the_backend_finds_the_sidecar_and_the_sidecar_the_backend(self):
        for project in self.projects():
            sidecar, backend = (project.services[name] for name in ("sidecar", "backend"))
            host = backend["environment"]["SNAPTRADE_API_HOST"]
            self.assertTrue(project.finds("backend", host, "sidecar"))
            self.assertEqual(urllib.parse.urlsplit(host).port, int(image()[2]["PORT"]))
            text = project.deployment().files[sidecar["environment"]["SNAPTRADE_SIDECAR_CONFIG"]][0]
            (notify_url,) = [line.split('"')[1] for line in text.splitlines() if line.startswith("notify_url")]
            self.assertTrue(project.finds("sidecar", notify_url, "backend"))
            self.assertIn(urllib.parse.urlsplit(notify_url).port, {port["target"] for port in backend["ports"]})
            self.assertEqual(backend["depends_on"]["sidecar"]["condition"], "service_healthy")
            self.assertEqual(backend["environment"]["NOTICE_SECRET"], "n" * 64)
            self.assertTrue(Example.reads(backend["environment"]))
            self.assertTrue(Example.takes(notify_url))
            self.assertTrue(Example.keeps_at(backend["volumes"][0]["target"]))

    def test_prometheus_scrapes_the_sidecars_and_has_the_alerts(self):
        for project in self.projects():
            volumes = project.services["prometheus"]["volumes"]
            mounts = {volume["target"]: pathlib.Path(volume["source"]) for volume in volumes}
            configuration = mounts["/etc/prometheus/prometheus.yml"]
            # Where it lies in the container, the file of the rules lies beside it.
            beside = self.folder()
            shutil.copy(configuration, beside)
            shutil.copy(mounts["/etc/prometheus/prometheus-alerts.yml"], beside)
            said = run(["promtool", "check", "config", beside / configuration.name])
            self.assertRegex(said, r"\d\d rules found")
            self.assertIn("names: [sidecar.internal], type: A, port: 9090", configuration.read_text())
            self.assertTrue(project.finds("prometheus", "http://sidecar.internal:9090", "sidecar"))

    def test_the_database_is_the_one_that_the_sidecars_are_told_of(self):
        project = self.projects()[1]
        url = urllib.parse.urlsplit(project.secrets("sidecar")["/run/secrets/registry_url"].read_text())
        database = project.services["postgres"]["environment"]
        self.assertTrue(project.finds("sidecar", url.geturl(), "postgres"))
        told = (url.scheme, url.username, url.path, url.port)
        self.assertEqual(told, ("postgres", database["POSTGRES_USER"], f"/{database['POSTGRES_DB']}", 5432))
        password = project.secrets("postgres")[database["POSTGRES_PASSWORD_FILE"]].read_text().rstrip("\n")
        self.assertEqual(url.password, password)
        self.assertGreaterEqual(len(password), 32)
        self.assertTrue(project.model["networks"]["registry"]["internal"])


class Compose(Story, Case):
    def deployment(self):
        return self.project.deployment()

    def setUp(self):
        self.project = Project(self.folder(), FILES[0])

    def look(self, sidecar):
        super().look(sidecar)
        check = self.project.services["sidecar"]["healthcheck"]["test"]
        self.assertEqual(check[:2], ["CMD", PROGRAM])
        sidecar.ask(*check[2:])


class ComposeWithPostgres(TwoReplicas, Case):
    def test_two_sidecars_evict_as_one(self):
        project = Project(self.folder(), *FILES)
        self.assertEqual(project.services["sidecar"]["deploy"]["replicas"], 2)
        self.together(project.deployment(), "/run/secrets/registry_url")

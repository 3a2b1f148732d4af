"""deploy/kubernetes, as kubectl builds it."""

import base64
import json
import os
import shutil

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

from deployed import ROOT, Deployment, Example, block, blocks, image, run
from processes import CLIENT_ID, CONSUMER_KEY, Case, call, environment
from story import NOTIFY_URL, Folder, Story, TwoReplicas

FOLDER = ROOT / "deploy/kubernetes"
PAGE = "kubernetes.md"
# Its overlay.
OVERLAY = "deploy/kubernetes/mine"
MONITORING = "../monitoring"
KUBERNETES_VERSION = "1.37"
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def built(folder):
    """The objects of a kustomization."""
    return list(yaml.safe_load_all(run(["kubectl", "kustomize", folder], env=environment())))


def secret(folder, *more):
    """What the page's commands make, by kubectl without a cluster; and a file more, as the page has it for two Pods."""
    (command,) = [text for text in blocks(PAGE) if "create secret" in text]
    for word, value in (("'CLIENT-ID'", f"'{CLIENT_ID}'"), ("'CONSUMER-KEY'", f"'{CONSUMER_KEY}'")):
        assert word in command, command
        command = command.replace(word, value)
    kubectl = shutil.which("kubectl")
    (folder / "bin").mkdir()
    (folder / "bin/kubectl").write_text(f'#!/bin/sh\nexec {kubectl} "$@" --dry-run=client --output=json\n')
    (folder / "bin/kubectl").chmod(0o755)
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    made = json.loads(run(["sh", "-euc", command], cwd=folder, env={**environment(), **path}))
    return made["metadata"], {**made["data"], **dict(more)}


class Cluster:
    """The objects of a kustomization and the secret, by kind and name."""

    def __init__(self, objects, secret_data):
        self.objects = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
        self._secret = secret_data
        self.workload = self.objects["Deployment", "backend"]["spec"]
        self.pod = self.workload["template"]["spec"]
        (self.sidecar,) = self.pod["initContainers"]
        (self.backend,) = self.pod["containers"]

    def _decoded(self, key):
        return base64.b64decode(self._secret[key]).decode()

    def variables(self, container):
        values = {}
        for variable in container["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                assert reference["name"] == "snaptrade", reference
            values[variable["name"]] = self._decoded(reference["key"]) if reference else variable["value"]
        return values

    def deployment(self):
        entrypoint, _, variables = image()
        assert "command" not in self.sidecar and entrypoint == ["/snaptrade-sidecar"]
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        files, folders = {}, []
        for mount in self.sidecar["volumeMounts"]:
            volume, path = volumes[mount["name"]], mount["mountPath"]
            if "configMap" in volume:
                texts = self.objects["ConfigMap", volume["configMap"]["name"]]["data"]
                files |= {f"{path}/{name}": (text, 0o644) for name, text in texts.items()}
            elif "secret" in volume:
                assert volume["secret"]["secretName"] == "snaptrade", volume
                mode = volume["secret"]["defaultMode"]
                items = volume["secret"]["items"]
                files |= {f"{path}/{item['path']}": (self._decoded(item["key"]), mode) for item in items}
            else:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in self.objects, claim
                folders.append(path)
        return Deployment(
            page=PAGE,
            arguments=self.sidecar["args"],
            environment={**variables, **self.variables(self.sidecar)},
            files=files,
            folders=folders,
            grace_seconds=self.pod["terminationGracePeriodSeconds"],
            configuration="/etc/snaptrade-sidecar/sidecar.toml",
        )


class Laid(Folder):
    """For tests that want the kustomizations beside an overlay such as the page's."""

    def overlay(self, *components):
        """The page's overlay, with these components more."""
        return built(self.laid_overlay(*components) / OVERLAY)

    def laid_overlay(self, *components):
        """A folder with a copy of the project's, and the overlay in it that the page's commands and text make."""
        folder = self.folder()
        # Without what is this machine's own.
        shutil.copytree(FOLDER, folder / "deploy/kubernetes", ignore=shutil.ignore_patterns("mine"))
        run(["sh", "-euc", block(PAGE, f"mkdir {OVERLAY}")], cwd=folder, env=environment())
        text = yaml.safe_load(block(PAGE, "resources: [../base]", "yaml"))
        assert "components" not in text, "what not every cluster has is chosen"
        text["components"] = list(components)
        (folder / OVERLAY / "kustomization.yaml").write_text(yaml.safe_dump(text))
        return folder


class KubernetesFiles(Laid, Case):
    def test_every_object_is_as_its_schema_wants_it(self):
        objects = [*built(FOLDER / "base"), *self.overlay(MONITORING, "../replicas")]
        kinds = {thing["kind"] for thing in objects}
        self.assertLessEqual({"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor"}, kinds)
        for thing in objects:
            if thing["apiVersion"].startswith("monitoring.coreos.com/"):
                self.assertEqual(monitored(thing), thing)
            else:
                kubernetes_validate.validate(thing, KUBERNETES_VERSION, strict=True)

    def test_a_key_that_no_schema_has_is_noticed(self):
        for thing in self.overlay(MONITORING, "../replicas"):
            thing["spec" if "spec" in thing else "metadata"]["noSuchKey"] = "x"
            if thing["apiVersion"].startswith("monitoring.coreos.com/"):
                self.assertNotEqual(monitored(thing), thing)
            else:
                with self.assertRaises(kubernetes_validate.ValidationError):
                    kubernetes_validate.validate(thing, KUBERNETES_VERSION, strict=True)

    def test_the_alerts_become_a_rule_of_the_operator(self):
        (command,) = [text for text in blocks(PAGE) if "PrometheusRule" in text]
        made, applied = command.rsplit("|", 1)
        self.assertEqual(applied.split(), "kubectl --namespace snaptrade apply -f -".split())
        rule = yaml.safe_load(run(["sh", "-euc", made], cwd=ROOT, env=environment()))
        prometheus_operator.PrometheusRule.model_validate(rule)
        self.assertEqual(rule["spec"], yaml.safe_load((ROOT / "config/prometheus-alerts.yml").read_text()))

    def test_every_container_is_hardened(self):
        for objects in (built(FOLDER / "base"), self.overlay("../replicas")):
            cluster = Cluster(objects, {})
            for container in (cluster.sidecar, cluster.backend):
                self.assertEqual(container["securityContext"], HARDENED, container["name"])
                self.assertIn("memory", container["resources"]["limits"])
            told = cluster.pod["securityContext"]
            self.assertTrue(told["runAsNonRoot"])
            self.assertEqual(told["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse(cluster.pod["automountServiceAccountToken"])
            self.assertEqual(cluster.sidecar["restartPolicy"], "Always", "else it is no native sidecar")

    def test_who_looks_for_the_ops_port_finds_it_and_nobody_else(self):
        cluster = Cluster(self.overlay(MONITORING), {})
        ports = {port["name"]: port["containerPort"] for port in cluster.sidecar["ports"]}
        monitor = cluster.objects["PodMonitor", "snaptrade-sidecar"]["spec"]
        self.assertEqual([end["port"] for end in monitor["podMetricsEndpoints"]], list(ports))
        labels = cluster.workload["template"]["metadata"]["labels"].items()
        policy = cluster.objects["NetworkPolicy", "backend"]["spec"]
        for selector in (monitor["selector"], policy["podSelector"], cluster.workload["selector"]):
            self.assertLessEqual(selector["matchLabels"].items(), labels)
        self.assertLessEqual(cluster.objects["Service", "backend"]["spec"]["selector"].items(), labels)
        from_anywhere = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
        from_some = [port["port"] for rule in policy["ingress"] if "from" in rule for port in rule["ports"]]
        self.assertEqual((from_anywhere, from_some), (["http"], [ports["ops"]]))

    def test_the_overlay_of_the_page_sets_what_it_says(self):
        cluster = Cluster(self.overlay(), secret(self.folder())[1])
        values = cluster.variables(cluster.backend)
        self.assertEqual(values["FRONTEND_URL"], "https://your.frontend")
        self.assertEqual(cluster.backend["image"], "your.registry/backend:1")
        self.assertEqual(cluster.sidecar["image"], "your.registry/snaptrade-sidecar:0.1.0")

    def test_the_overlay_wants_nothing_that_a_cluster_need_not_have(self):
        self.assertIn(f"# components: [{MONITORING}]", block(PAGE, "resources: [../base]", "yaml"))
        own = [thing["kind"] for thing in self.overlay() if thing["apiVersion"].startswith("monitoring.coreos.com/")]
        self.assertEqual(own, [])

    def test_the_overlays_configuration_is_the_sidecars_and_a_change_keeps_its_name(self):
        folder = self.laid_overlay()
        before = Cluster(built(folder / OVERLAY), secret(self.folder())[1])
        run(["sh", "-euc", block(PAGE, "sed -i")], cwd=folder, env=environment())
        after = Cluster(built(folder / OVERLAY), secret(self.folder())[1])
        # So that no Pod is replaced for it.
        self.assertEqual(after.workload, before.workload)
        deployment = after.deployment()
        self.assertIn('\nmode = "enforce"\n', deployment.files[deployment.configuration][0])


def monitored(thing):
    """What is left of an object once the operator's types have read it: what they do not know is lost."""
    kind = getattr(prometheus_operator, thing["kind"])
    read = kind.model_validate(thing)
    return json.loads(read.model_dump_json(by_alias=True, exclude_none=True))


class Kubernetes(Laid, Story, Case):
    proxy = "127.0.0.1:8080"

    def setUp(self):
        made, data = secret(self.folder())
        self.assertEqual(made["name"], "snaptrade")
        self.cluster = Cluster(self.overlay(), data)

    def deployment(self):
        return self.cluster.deployment()

    def look(self, sidecar):
        super().look(sidecar)
        ports = {port["name"]: port["containerPort"] for port in self.cluster.sidecar["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = self.cluster.sidecar[probe]["httpGet"]
            self.assertEqual(ports[asked["port"]], int(self.ops.rpartition(":")[2]))
            self.assertEqual(call(sidecar.ops + asked["path"], Host="10.0.0.7:9090")[0], 200, probe)

    def test_the_backend_has_the_sidecar_as_its_host_and_the_same_secrets(self):
        values = self.cluster.variables(self.cluster.backend)
        self.assertEqual(values["SNAPTRADE_API_HOST"], f"http://{self.proxy}")
        self.assertEqual((values["SNAPTRADE_CLIENT_ID"], values["SNAPTRADE_CONSUMER_KEY"]), (CLIENT_ID, CONSUMER_KEY))
        deployment = self.deployment()
        self.assertEqual(values["NOTICE_SECRET"], deployment.files[self.notify_secret_file(deployment)][0])
        self.assertTrue(Example.reads(values))
        (notify_url,) = NOTIFY_URL.findall(deployment.files[deployment.configuration][0])
        self.assertTrue(Example.takes("".join(notify_url)))
        (mount,) = self.cluster.backend["volumeMounts"]
        self.assertTrue(Example.keeps_at(mount["mountPath"]))


class KubernetesWithPostgres(Laid, TwoReplicas, Case):
    def test_two_sidecars_evict_as_one(self):
        cluster = Cluster(self.overlay("../replicas"), secret(self.folder(), ("registry_url", ""))[1])
        self.assertEqual(cluster.workload["replicas"], 2)
        self.assertEqual(cluster.deployment().folders, [])
        self.together(cluster.deployment(), "/run/secrets/snaptrade/registry_url")

"""deploy/systemd, as systemd itself verifies and rates it, and the unit's process under the eyes of strace."""

import collections
import os
import re
import shlex
import subprocess

from deployed import ROOT, Deployment, blocks, run, seconds
from processes import CLIENT_ID, CONSUMER_KEY, Case, environment
from story import Folder, Story, settings

UNIT = ROOT / "deploy/systemd/snaptrade-sidecar.service"
PAGE = "systemd.md"
PROGRAM = "/usr/local/bin/snaptrade-sidecar"
CONFIGURATION_FOLDER = "/etc/snaptrade-sidecar"
# In tenths, as systemd-analyze takes it. What is left: the network, which it is there for.
EXPOSURE_MAX = 11
# The C library asks the kernel for the machine's addresses when it resolves a name, and does without where it may not.
FAMILIES_DONE_WITHOUT = {"AF_NETLINK"}
# SQLite sets the owner of its files where it is root's, which the unit's process is not.
CALLS_OF_ROOT = {"fchown"}


def unit():
    """The settings of the section that counts, each with its values in order."""
    found = collections.defaultdict(list)
    for line in UNIT.read_text().partition("[Service]\n")[2].partition("\n[")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def prepared(folder):
    """The folder of the configuration, made by the page's commands in this one."""
    (command,) = [text for text in blocks(PAGE) if "secrets/ops_token" in text and "install -d" in text]
    for word, value in (("CLIENT-ID", CLIENT_ID), ("CONSUMER-KEY", CONSUMER_KEY)):
        assert word in command, command
        command = command.replace(word, value)
    (folder / "etc").mkdir()
    here = folder / CONFIGURATION_FOLDER.lstrip("/")
    run(["sh", "-euc", command.replace(CONFIGURATION_FOLDER, str(here))], cwd=ROOT, env=environment())
    return here


def calls_of(sets):
    """The system calls of such sets, sets in them included."""
    calls = set()
    for name in sets:
        listed = run(["systemd-analyze", "syscall-filter", name]).splitlines()[1:]
        words = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
        calls |= {word for word in words if not word.startswith("@")}
        calls |= calls_of([word for word in words if word.startswith("@")])
    return calls


class SystemdUnit(Folder, Case):
    def test_systemd_finds_no_fault_in_it(self):
        # Where the program is: systemd looks whether it can be run.
        here = self.folder() / UNIT.name
        here.write_text(UNIT.read_text().replace(PROGRAM, os.path.abspath(settings.binary)))
        done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, check=False, text=True)
        told = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
        self.assertEqual((done.returncode, told), (0, []))

    def test_systemd_rates_its_exposure_as_low_as_the_page_says(self):
        command = ["systemd-analyze", "security", "--offline=true"]
        told = run([*command, f"--threshold={EXPOSURE_MAX}", UNIT])
        exposure = re.search(r"Overall exposure level.*: (\d\.\d)", told)[1]
        page = (ROOT / "docs/deploy" / PAGE).read_text()
        self.assertIn(f"`systemd-analyze security` gives it {exposure};", page)

    def test_a_faulty_configuration_is_not_started_again(self):
        folder = self.folder()
        faulty = folder / "faulty.toml"
        faulty.write_text("no_such_key = 1\n")
        command = [settings.binary, "serve", "--config", str(faulty)]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        self.assertEqual([str(done.returncode)], unit()["RestartPreventExitStatus"])
        self.assertEqual(unit()["Restart"], ["on-failure"])


class Systemd(Story, Case):
    proxy = "127.0.0.1:8080"
    ops = "127.0.0.1:9090"

    def deployment(self):
        settings_of_unit = unit()
        here = prepared(self.folder())
        program, *arguments = shlex.split(settings_of_unit["ExecStart"][0])
        self.assertEqual(program, PROGRAM)
        # What systemd puts for %d.
        credentials = f"/run/credentials/{UNIT.name}"
        variables = [line.replace("%d", credentials) for line in settings_of_unit["Environment"]]
        (environment_file,) = settings_of_unit["EnvironmentFile"]
        variables += (here / os.path.relpath(environment_file, CONFIGURATION_FOLDER)).read_text().splitlines()
        configuration = arguments[arguments.index("--config") + 1]
        files = {configuration: ((here / os.path.basename(configuration)).read_text(), 0o644)}
        for credential in settings_of_unit["LoadCredential"]:
            name, _, path = credential.partition(":")
            file = here / os.path.relpath(path, CONFIGURATION_FOLDER)
            self.assertEqual(file.stat().st_mode & 0o077, 0, "for root alone")
            # As systemd lays them.
            files[f"{credentials}/{name}"] = (file.read_text(), 0o400)
        return Deployment(
            page=PAGE,
            arguments=arguments,
            environment=dict(line.split("=", 1) for line in variables),
            files=files,
            folders=[f"/var/lib/{name}" for name in settings_of_unit["StateDirectory"]],
            grace_seconds=seconds(settings_of_unit["TimeoutStopSec"][0]),
            configuration=configuration,
        )

    def changed(self, sidecar):
        (reload,) = unit()["ExecReload"]
        run(shlex.split(reload.replace("$MAINPID", str(sidecar.pid))))

    def test_it_observes_then_evicts_once_told_to_and_stops_in_time(self):
        """And with each system call looked up in what the unit allows."""
        trace = self.folder() / "trace"
        # As a process beside it, so that pid and exit code are the sidecar's.
        self.wrapper = ["strace", "--daemonize", "--follow-forks", "--quiet=all", f"--output={trace}"]
        super().test_it_observes_then_evicts_once_told_to_and_stops_in_time()
        text = trace.read_text()
        called = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
        self.assertIn("accept4", called)
        lines = unit()["SystemCallFilter"]
        added = calls_of(name for line in lines if line[0] != "~" for name in line.split())
        taken = calls_of(name for line in lines if line[0] == "~" for name in line[1:].split())
        # What every filter lets through stays.
        allowed = (added - taken) | calls_of(["@default"])
        self.assertEqual(called - allowed - CALLS_OF_ROOT, set())
        families = set(re.findall(r"\bsocket\((AF_\w+)", text))
        self.assertEqual(families - set(unit()["RestrictAddressFamilies"][0].split()) - FAMILIES_DONE_WITHOUT, set())
        # MemoryDenyWriteExecute refuses memory that is written and run.
        self.assertNotRegex(text, r"PROT_WRITE\|PROT_EXEC")

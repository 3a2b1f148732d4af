"""The documents, as their readers use them: the book is built, its links lead somewhere, its blocks are run, and every
command, key, variable, metric and code that is named anywhere is there.

What a block is, its first line says:

- `sh` is run, in the order of its page and with what the blocks before it exported. `sh,serves` are programs that
  stay until the page is over, or until others are started. `sh,fails` has to fail. `sh,no-run,WHY` is not run, for one
  of the reasons in play.REASONS.
- `text,output` is what the block before it says; `…` is whatever stands there.
- `toml` has to be a valid configuration, beside the two variables of a key or without them (`toml,alone`), or a faulty
  one (`toml,faulty`). `toml,NAME.toml` becomes a file for the blocks that follow.
- `json` and `yaml` are parsed, `python` is run (`python,before`: as it was without a sidecar), `ts` is compiled, and
  each line of `http` is sent to the simulator's controls, unless it is only shown (`http,shown`).
- Without a language it is only shown.
"""

import argparse
import copy
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import genuine  # noqa: E402
import mentions  # noqa: E402
import pages  # noqa: E402
import play  # noqa: E402
import site_links  # noqa: E402
from processes import CONSUMER_KEY, Case, Sidecar, Simulator, environment, run_tests  # noqa: E402

settings = argparse.Namespace()
PAGES = pages.pages()
# What is said of the past need not hold any more, and what is said to those who build the program is not for its users.
CHAPTERS = [page for page in PAGES if page.path != "CHANGELOG.md"]


class Book(Case):
    """mdBook's."""

    def build(self, site, **variables):
        done = subprocess.run(
            [settings.mdbook, "build", "--dest-dir", site, "docs"],
            cwd=pages.ROOT,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        troubles = [line for line in done.stdout.splitlines() if "WARN" in line or "ERROR" in line]
        self.assertEqual(troubles, [])

    def test_it_is_built_without_warnings_and_every_link_in_it_leads_somewhere(self):
        self.build(settings.site)
        self.assertEqual(site_links.broken_links(pathlib.Path(settings.site)), [])

    def test_a_file_that_is_no_chapter_is_named_or_found_in_the_repository(self):
        file, repository = "config/prometheus-alerts.yml", "https://example.com/sidecar"
        with tempfile.TemporaryDirectory() as site:
            chapter = pathlib.Path(site) / "runbook.html"
            self.build(site)
            told = chapter.read_text()
            self.assertIn(file, told)
            self.assertNotIn(f'{file}"', told)
            self.build(site, MDBOOK_OUTPUT__HTML__GIT_REPOSITORY_URL=repository)
            self.assertIn(f'href="{repository}/blob/HEAD/{file}"', chapter.read_text())

    def test_every_document_is_a_chapter(self):
        summary = (pages.ROOT / "docs/SUMMARY.md").read_text()
        chapters = [page.path for page in PAGES if page.path.startswith("docs/") and page.path != "docs/SUMMARY.md"]
        missing = [path for path in chapters if f"({path.removeprefix('docs/')})" not in summary]
        self.assertEqual(missing, [], "not in docs/SUMMARY.md")


class Words(Case):
    """What the documents speak of."""

    def all(self, find, is_there, among=None):
        """Fails with everything that is found in the documents and is not there."""
        found = [(f"{page.path}:{at}", what) for page in among or CHAPTERS for at, what in find(page)]
        self.assertGreater(len(found), 10, "hardly anything is found: the search is broken")
        wrong = [f"{place}: {what}" for place, what in found if not is_there(what)]
        self.assertEqual(wrong, [])

    def test_every_command_line_is_understood(self):
        told = {}

        def is_understood(arguments):
            key = tuple(arguments)
            if key not in told:
                told[key] = mentions.fault_of_command(settings.binary, arguments)
            return told[key] is None

        self.all(mentions.command_lines, is_understood)

    def test_every_key_is_there(self):
        known = mentions.known_keys(settings.binary)
        self.all(mentions.keys, lambda key: mentions.is_key(key, known))
        self.all(mentions.variables, lambda name: mentions.is_variable(name, known))

    def test_every_variable_without_a_key_is_read(self):
        known = mentions.known_variables()
        self.all(mentions.other_variables, lambda name: name in known)

    def test_every_metric_is_exported(self):
        simulator = self.started(Simulator(settings.binary))
        sidecar = self.started(Sidecar(settings.binary, simulator.url), exit_code=0)
        families = mentions.exported(sidecar)
        self.all(mentions.metrics, lambda name: mentions.is_exported(name, families))

    def test_every_code_is_the_programs(self):
        known = mentions.known_codes()
        self.all(mentions.codes, lambda code: code in known)


class Genuine(Case):
    """What the documents tell applications to trust."""

    def setUp(self):
        self.listener = genuine.Listener()
        self.addCleanup(self.listener.stop)

    def try_both(self, path, calls, expected):
        self.assertEqual(genuine.by_python(path, calls), expected)
        self.assertEqual(genuine.by_typescript(settings, path, calls), expected)

    def test_a_notice(self):
        secret = "a secret that both have: schön"
        simulator = self.started(Simulator(settings.binary))
        simulator.add_users(["ada", "grace", "edsger", "barbara", "donald"])
        token = {"OPS__TOKEN": play.TOKEN}
        prefix = "TENANTS__DEFAULT__EVICTION__NOTIFY"
        keys = {**token, f"{prefix}_URL": self.listener.url, f"{prefix}_SECRET": secret}
        sidecar = self.started(Sidecar(settings.binary, simulator.url, **keys), exit_code=0)
        play.register(sidecar.ops, "leslie")
        headers, body = self.listener.take()
        old = copy.deepcopy(headers)
        old.replace_header("Snaptrade-Sidecar-Timestamp", "1767225600")
        calls = [(headers, body, secret), (headers, body + b" ", secret), (headers, body, "other"), (old, body, secret)]
        self.try_both("docs/notices.md", calls, [True, False, False, False])

    def test_a_webhook(self):
        simulator = self.started(Simulator(settings.binary, "--webhook-url", self.listener.url))
        simulator.add_users(["zoë"])
        headers, body = self.listener.take()
        signature = headers["Signature"]
        forged = body.replace(b"zo", b"ba")
        calls = [(signature, body, CONSUMER_KEY), (signature, forged, CONSUMER_KEY), (signature, body, "other")]
        self.try_both("docs/webhooks.md", calls, [True, False, False])


class Blocks(Case):
    """A test for each page that has blocks of code; they are added below."""


def add_pages():
    def test_of(page):
        def test(self):
            scene = play.Scene(settings, self, page)
            scene.play()
            print(f"{scene.played} blocks", end=" ", flush=True)

        return test

    for page in CHAPTERS:
        if page.blocks():
            name = page.path.removesuffix(".md").replace("/", "_").replace("-", "_")
            setattr(Blocks, f"test_{name}", test_of(page))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--mdbook", required=True, help="the program that builds the book")
    parser.add_argument("--site", required=True, type=lambda path: str(pathlib.Path(path).resolve()), help="where to")
    parser.add_argument("--python", required=True, help="one with the official SDK")
    parser.add_argument("--node-modules", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("tests", nargs="*", help="such as Blocks.test_docs_policy; all, if none is named")
    parser.parse_args(namespace=settings)
    settings.python = str(pathlib.Path(settings.python).absolute())
    add_pages()
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())

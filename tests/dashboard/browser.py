"""Chromium, and a visit of it to the dashboard during which everything is noted that a page should not do."""

import json
import os
import re
import shutil
import time
import urllib.parse

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

WAIT_MS_MAX = 15_000
DESKTOP = {"width": 1440, "height": 1000}
PHONE = {"width": 390, "height": 844}
TOKEN_KEY = "snaptrade-sidecar-token"
# What axe calls an obstacle to somebody, rather than a nuisance.
GRAVE = ("serious", "critical")

expect.set_options(timeout=WAIT_MS_MAX)


class Browser:
    """Debian's Chromium, for all visits of a suite."""

    def __init__(self):
        program = shutil.which("chromium")
        assert program, "there is no chromium: install the Debian package chromium"
        self._playwright = sync_playwright().start()
        # Its sandbox refuses to work for root.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._chromium = self._playwright.chromium.launch(executable_path=program, args=options)

    def context(self, **options):
        return self._chromium.new_context(locale="en-GB", timezone_id="UTC", reduced_motion="reduce", **options)

    def close(self):
        self._chromium.close()
        self._playwright.stop()


class Visit:
    """A tab at the dashboard of a sidecar, with a token or without; or at another page of a server.

    With `folder` the page's files are taken from there and all else (headers too) from the sidecar, so that a change to
    the page can be seen without building the program.
    """

    def __init__(
        self, browser, ops, token=None, viewport=DESKTOP, scheme="light", folder=None, scale=1, path="/dashboard"
    ):
        self.ops = ops
        self.faults = []
        self._tolerated = []
        self._context = browser.context(viewport=viewport, color_scheme=scheme, device_scale_factor=scale)
        self._context.set_default_timeout(WAIT_MS_MAX)
        # Chromium tells of it in its console too, but not of each kind.
        self._context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        if token:
            self._context.add_init_script(f"sessionStorage.setItem({TOKEN_KEY!r}, {json.dumps(token)})")
        self.page = self._context.new_page()
        self._watch()
        if folder:
            self.page.route(re.compile(r"/dashboard(/[^/]+)?(\?.*)?$"), lambda route: from_folder(route, folder))
        self.page.goto(ops + path)

    def _watch(self):
        def on_console(message):
            if message.type in ("warning", "error"):
                self.faults.append(f"console {message.type}: {message.text}")

        def on_request(request):
            where, own = urllib.parse.urlsplit(request.url), urllib.parse.urlsplit(self.ops)
            if where.scheme in ("http", "https", "ws", "wss") and where.netloc != own.netloc:
                self.faults.append(f"request to {request.url}")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self._context.on("request", on_request)

    def tolerate(self, pattern):
        """What a test brings about on purpose is no fault; the browser may tell of it late."""
        self._tolerated.append(pattern)

    def wrongs(self):
        """The faults that the test did not bring about."""
        return [fault for fault in self.faults if not any(re.search(pattern, fault) for pattern in self._tolerated)]

    def await_fault(self, pattern):
        """Gives the browser the time to tell of it."""
        until = time.monotonic() + WAIT_MS_MAX / 1000
        while not any(re.search(pattern, fault) for fault in self.faults):
            assert time.monotonic() < until, f"nothing like {pattern} among {self.faults}"
            # Playwright delivers what the browser tells while it is asked something.
            self.page.title()

    def stored_token(self):
        return self.page.evaluate(f"sessionStorage.getItem({TOKEN_KEY!r})")

    def focused(self):
        """What the keyboard is on: its name, and whether that can be seen; `None` where it is on nothing."""
        return self.page.evaluate("""() => {
            const on = document.activeElement;
            if (on === document.body) return null;
            const label = on.getAttribute("aria-label") ?? on.labels?.[0]?.textContent ?? on.textContent;
            return { name: label.trim(), outline: getComputedStyle(on).outlineStyle };
        }""")

    def close(self):
        self._context.close()

    def at(self, selector):
        return self.page.locator(selector)

    def button(self, name, within="body"):
        return self.at(within).get_by_role("button", name=name, exact=True)

    def await_live(self):
        expect(self.at("#live")).to_have_text("Live")

    def row(self, user):
        name = self.page.get_by_role("rowheader", name=user, exact=True)
        return self.at("#users tbody tr").filter(has=name)

    def grave_findings(self):
        """What axe finds that keeps somebody from using the page, each with its elements."""
        findings = Axe().run(self.page).response["violations"]
        return [
            (finding["id"], finding["help"], [node["html"][:200] for node in finding["nodes"]])
            for finding in findings
            if finding["impact"] in GRAVE
        ]

    def overflow(self):
        """How many pixels of the page are out of sight to the right."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def from_folder(route, folder):
    name = urllib.parse.urlsplit(route.request.url).path.rpartition("/")[2]
    file = folder / ("index.html" if name == "dashboard" else name)
    route.fulfill(response=route.fetch(), body=file.read_text(encoding="utf-8"))

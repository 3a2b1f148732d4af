"""The pictures of the documents: a day of a busy key, on a desk and on a phone, by day and by night."""

import contextlib
import datetime
import io
import re
import sqlite3
import tempfile
import time

from browser import DESKTOP, PHONE
from case import DashboardCase, settings
from PIL import Image
from playwright.sync_api import expect

PICTURE_BYTES_MAX = 200_000
COLOURS = 128
REGISTRY = "registry.db"
NAMES = (
    "ada grace edsger barbara donald leslie frances alan radia ken margaret dennis shafi tony jean niklaus hedy john "
    "adele edgar karen robin lynn butler mary ron susan whit anita vint"
).split()
# Who comes back after they were evicted, and after how many others.
BACK = {14: "edsger", 23: "radia"}
MINUTE_MS = 60_000
DAY_MINUTES = 23 * 60
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


class Scenes(DashboardCase):
    limit = 8

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        # So that the pictures show no path of the machine on which they were taken.
        self.enterContext(contextlib.chdir(folder.name))
        self.keys = {**self.keys, "REGISTRY__URL": f"sqlite://{REGISTRY}"}
        super().setUp()

    def test_pictures(self):
        for number, name in enumerate(NAMES):
            # Slower and faster, as SnapTrade is.
            self.simulator.set_options(round_trip_ms=15 + number * 37 % 60)
            self.register(name, *([BACK[number]] if number in BACK else []))
        self.act("protect", "mary")
        self.assertEqual(self.sidecar.stop(), 0)
        spread_over_a_day()
        self.sidecar = self.start_sidecar()
        self.simulator.set_options(round_trip_ms=0)
        settings.screenshots.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            self.take(f"desktop-{scheme}", full_page=True, viewport=DESKTOP, scheme=scheme)
            # What is seen first.
            self.take(f"phone-{scheme}", full_page=False, viewport=PHONE, scheme=scheme, scale=2)

    def take(self, name, full_page, **options):
        visit = self.visit_live(**options)
        expect(visit.row("mary")).to_contain_text("protected")
        expect(visit.at("#times canvas")).to_be_visible()
        picture = Image.open(io.BytesIO(visit.page.screenshot(full_page=full_page)))
        file = settings.screenshots / f"{name}.png"
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        self.assertLess(file.stat().st_size, PICTURE_BYTES_MAX, file)


def spread_over_a_day():
    """Moves what was recorded within seconds apart, as if it had taken a day till some minutes ago."""
    database = sqlite3.connect(REGISTRY)
    now = int(time.time() * 1000)
    entries = database.execute("SELECT id, event, user_id, newcomer, reason FROM journal ORDER BY id").fetchall()
    since = {}
    for place, (entry, event, victim, newcomer, reason) in enumerate(entries):
        # Busier by day than by night.
        part = (place + 1) / len(entries)
        at = now - int((1 - part**0.6) * DAY_MINUTES + 4) * MINUTE_MS
        if event == "registration":
            since[newcomer] = at
        told = datetime.datetime.fromtimestamp(since.get(victim, at) / 1000, datetime.UTC).isoformat(timespec="seconds")
        reason = reason and INSTANT.sub(told.replace("+00:00", "Z"), reason)
        database.execute("UPDATE journal SET at = ?, reason = ? WHERE id = ?", (at, reason, entry))
    for place, (user, at) in enumerate(since.items()):
        used = (at + now) // 2 if place % 3 else None
        database.execute(
            "UPDATE users SET registered = ?, first_seen = ?, last_active = ?, calls = ? WHERE id = ?",
            (at, at, used, place * 7 if used else 0, user),
        )
    database.commit()
    database.close()

"""How the page looks and is operated: on a phone, in the dark, by keyboard, and by who cannot see it."""

from browser import DESKTOP, PHONE
from case import USERS, DashboardCase
from playwright.sync_api import expect

LONG = "a-user-whose-id-has-no-place-to-break-it-and-goes-on-and-on-0123456789-0123456789-0123456789"
STOPS_MAX = 80


class Looks(DashboardCase):
    def setUp(self):
        super().setUp()
        self.register(LONG, *USERS[:4], "frank", "heidi")
        self.register(LONG)
        self.act("protect", "frank")

    def look(self, viewport, scheme):
        visit = self.visit_live(viewport=viewport, scheme=scheme)
        expect(visit.row("frank")).to_contain_text("protected")
        expect(visit.at("#times canvas")).to_be_visible()
        return visit

    def assert_no_grave_findings(self, visit, where):
        self.assertEqual(visit.grave_findings(), [], where)

    def assert_everybody_can_use_it(self, viewport, scheme):
        visit = self.look(viewport, scheme)
        self.assert_no_grave_findings(visit, "the page")
        visit.row("barbara").get_by_role("button", name="Evict").click()
        self.assert_no_grave_findings(visit, "the dialog of an eviction")
        visit.at("#evict-id").fill("barbara")
        self.assert_no_grave_findings(visit, "the same with the id typed")
        visit.page.keyboard.press("Escape")
        visit.at("#counts summary").click()
        self.assert_no_grave_findings(visit, "the page with a table open")
        self.assertLessEqual(visit.overflow(), 0)
        unsigned = self.visit(token=None, viewport=viewport, scheme=scheme)
        expect(unsigned.at("#token-dialog")).to_be_visible()
        unsigned.tolerate("status of 401")
        self.assert_no_grave_findings(unsigned, "the dialog for the token")

    def test_everybody_can_use_it_in_the_light(self):
        self.assert_everybody_can_use_it(DESKTOP, "light")

    def test_everybody_can_use_it_in_the_dark(self):
        self.assert_everybody_can_use_it(DESKTOP, "dark")

    def test_everybody_can_use_it_on_a_phone(self):
        self.assert_everybody_can_use_it(PHONE, "light")

    def test_everybody_can_use_it_on_a_phone_in_the_dark(self):
        self.assert_everybody_can_use_it(PHONE, "dark")

    def test_dark_is_dark(self):
        shades = {}
        for scheme in ("light", "dark"):
            visit = self.look(DESKTOP, scheme)
            paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
            shades[scheme] = sum(int(part) for part in paper.removeprefix("rgb(").removesuffix(")").split(","))
        # Of 765.
        self.assertLess(shades["dark"], 150, shades)
        self.assertGreater(shades["light"], 600, shades)

    def test_nothing_of_a_narrow_page_is_out_of_sight(self):
        for width in (320, 390, 768):
            visit = self.look({"width": width, "height": 800}, "light")
            self.assertLessEqual(visit.overflow(), 0, width)
            button = visit.row("barbara").get_by_role("button", name="Evict").bounding_box()
            self.assertGreaterEqual(button["x"], 0)
            self.assertLessEqual(button["x"] + button["width"], width)

    def test_the_keyboard_is_enough(self):
        visit = self.look(DESKTOP, "light")
        reached = set()
        while True:
            visit.page.keyboard.press("Tab")
            focused = visit.focused()
            # Past the last one it leaves the page.
            if focused is None:
                break
            self.assertLess(len(reached), STOPS_MAX, reached)
            self.assertNotEqual(focused["outline"], "none", focused)
            reached.add(focused["name"])
        stops = "Skip to the users, Sign out, Pause, Find a user, Evict… barbara, Protect barbara, 24 hours, CSV"
        self.assertLessEqual(set(stops.split(", ")), reached)

    def test_a_dialog_by_keyboard(self):
        visit = self.look(DESKTOP, "light")
        evict = visit.row("barbara").get_by_role("button", name="Evict")
        evict.focus()
        visit.page.keyboard.press("Enter")
        expect(visit.at("#evict-id")).to_be_focused()
        visit.page.keyboard.press("Escape")
        expect(visit.at("#evict-dialog")).to_be_hidden()
        expect(evict).to_be_focused()
        evict.press("Enter")
        visit.page.keyboard.type("barbara")
        visit.page.keyboard.press("Enter")
        expect(visit.row("barbara")).to_have_count(0)


class Watch(DashboardCase):
    def test_what_a_page_must_not_do_is_noticed(self):
        visit = self.visit_live()
        for wrong, pattern in [
            ("console.warn('a warning')", "console warning: a warning"),
            ("setTimeout(() => { throw new Error('an error') })", "uncaught: .*an error"),
            ("document.body.setAttribute('style', 'color: red')", "policy violated: style-src"),
            ("fetch('http://127.0.0.2:9/').catch(() => {})", "policy violated: connect-src http://127.0.0.2:9/"),
            ("location.href = 'http://127.0.0.2:9/'", "request to http://127.0.0.2:9/"),
        ]:
            visit.page.evaluate(wrong)
            visit.await_fault(pattern)
            visit.faults.clear()

    def test_an_obstacle_is_noticed(self):
        visit = self.visit_live()
        visit.page.evaluate("document.querySelector('label:has(#find)').replaceWith(document.querySelector('#find'))")
        self.assertEqual([name for name, _, _ in visit.grave_findings()], ["label"])

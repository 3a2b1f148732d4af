"""What the page shows."""

import pathlib

from case import USERS, DashboardCase
from playwright.sync_api import expect

HOSTILE = "<img src=x onerror=alert(1)>"


class Shown(DashboardCase):
    def test_every_panel_is_filled(self):
        self.register(*USERS, "frank")
        visit = self.visit_live()
        expect(visit.at("h1")).to_have_text("5 of 5 slots used")
        expect(visit.at("#subline")).to_have_text("The next registration evicts grace.")
        expect(visit.at("#mode")).to_contain_text("Enforcing")
        expect(visit.at(".slot.used")).to_have_count(5)
        expect(visit.at("#next .who")).to_have_text("grace")
        expect(visit.at("#next .why")).to_contain_text("oldest")
        expect(visit.at("#timeline li").first).to_contain_text("ada evicted for frank")
        expect(visit.at("#users tbody tr")).to_have_count(5)
        expect(visit.row("grace")).to_contain_text("oldest")
        expect(visit.at("#counts canvas")).to_be_visible()
        expect(visit.at("#times canvas")).to_be_visible()
        figures = visit.at("#figures > div")
        expect(figures.filter(has_text="Registrations").locator("b")).to_have_text("6")
        expect(figures.filter(has_text="Evictions").locator("b")).to_have_text("1")
        expect(visit.at("#signs")).to_contain_text("Closed: 1 of")
        expect(visit.at("#signs")).to_contain_text("In memory: a restart forgets it.")
        expect(visit.at("#policy")).to_contain_text("5 users")
        for panel in ("#slots", "#next", "#timeline", "#users", "#counts", "#times", "#figures", "#signs", "#policy"):
            expect(visit.at(panel)).not_to_be_empty()
        self.assert_nothing_leaks(visit)

    def assert_nothing_leaks(self, visit):
        """Of how the page is programmed."""
        text = visit.page.inner_text("main")
        for word in ("null", "undefined", "NaN", "[object", "Invalid Date"):
            self.assertNotIn(word, text)

    def test_the_empty_state_says_so(self):
        visit = self.visit_live()
        expect(visit.at("#users")).to_contain_text("No users yet")
        expect(visit.at("#timeline")).to_contain_text("Nobody was evicted yet")
        expect(visit.at("#next")).to_contain_text("There are no users")
        expect(visit.at("h1")).to_have_text("0 of 5 slots used")
        self.assert_nothing_leaks(visit)

    def test_a_registration_shows_without_a_reload(self):
        self.register(*USERS[:4])
        visit = self.visit_live()
        expect(visit.at("h1")).to_have_text("4 of 5 slots used")
        visit.page.evaluate("window.marked = true")
        self.register("donald")
        expect(visit.at("h1")).to_have_text("5 of 5 slots used")
        expect(visit.row("donald")).to_be_visible()
        self.register("frank")
        expect(visit.at("#timeline li").first).to_contain_text("ada evicted for frank")
        expect(visit.row("frank")).to_be_visible()
        expect(visit.row("ada")).to_have_count(0)
        expect(visit.at("#next .who")).to_have_text("grace")
        self.assertIs(visit.page.evaluate("window.marked"), True)

    def test_a_user_who_came_back_is_regretted(self):
        self.register(*USERS, "frank", "ada")
        visit = self.visit_live()
        regret = visit.at("#figures > div").filter(has_text="Regret")
        expect(regret).to_contain_text("50 %")
        expect(regret).to_contain_text("1 evicted user came back")

    def test_a_hostile_id_is_shown_as_text(self):
        self.register(HOSTILE, *USERS)
        self.register(HOSTILE)
        self.act("protect", HOSTILE)
        visit = self.visit_live()
        expect(visit.row(HOSTILE)).to_be_visible()
        expect(visit.at("#timeline")).to_contain_text(HOSTILE)
        visit.row(HOSTILE).get_by_role("button", name="Evict").click()
        expect(visit.at("#evict-who")).to_have_text(HOSTILE)
        self.assertEqual(visit.at("main img, dialog img").count(), 0)

    def test_a_search_finds_a_user_and_leaves_who_goes_next(self):
        self.register(*USERS)
        visit = self.visit_live()
        visit.at("#find").fill("DON")
        expect(visit.at("#users tbody tr")).to_have_count(1)
        expect(visit.row("donald")).to_be_visible()
        # The next one is known, although the search does not show it.
        self.act("protect", "ada")
        expect(visit.at("#next .who")).to_have_text("grace")
        visit.at("#find").fill("nobody")
        expect(visit.at("#users")).to_contain_text("No user's id has “nobody” in it.")
        visit.at("#find").fill("")
        expect(visit.at("#users tbody tr")).to_have_count(5)

    def test_how_it_went_is_told_for_other_times_too(self):
        self.register(*USERS)
        visit = self.visit_live()
        expect(visit.at("#figures b").first).to_have_text("5")
        for name in ("1 hour", "7 days", "30 days"):
            with visit.page.expect_response(lambda reply: "/analytics?window=" in reply.url) as answer:
                visit.button(name).click()
            self.assertEqual(answer.value.status, 200)
            expect(visit.at("[aria-pressed=true]")).to_have_text(name)
            expect(visit.at("#figures b").first).to_have_text("5")
        visit.at("#counts summary").click()
        expect(visit.at("#counts details tbody tr")).to_have_count(1)

    def test_the_journal_is_saved_as_a_file(self):
        self.register(*USERS, "frank")
        visit = self.visit_live()
        with visit.page.expect_download() as saved:
            visit.at("#export").get_by_text("CSV").click()
        self.assertEqual(saved.value.suggested_filename, "default-journal.csv")
        self.assertIn(",frank,", pathlib.Path(saved.value.path()).read_text(encoding="utf-8"))

"""The page of the FastAPI backend, clicked."""

import re

from backends import LIMIT, TOKEN, Fastapi
from browser import DESKTOP, PHONE, Visit
from calls import NEWCOMER, USERS
from playwright.sync_api import expect


class Clicks(Fastapi):
    def visit(self, url, path, **options):
        """A tab that must not have done wrong when the test is over."""
        visit = Visit(self.settings.browser, url, path=path, **options)
        self.addCleanup(lambda: self.assertEqual(visit.wrongs(), []))
        self.addCleanup(visit.close)
        return visit

    def visit_page(self, **options):
        visit = self.visit(self.url, "/", **options)
        expect(visit.at("#count")).to_have_text(re.compile(f"of {LIMIT} users"))
        return visit

    def of_user(self, visit, user):
        return visit.at("#users li").filter(has=visit.page.get_by_text(user, exact=True))

    def click_through(self, visit, *users):
        for user in users:
            visit.page.get_by_label("User id").fill(user)
            visit.button("Register").click()
            expect(visit.at("#news li").filter(has_text=f"{user} was registered")).to_have_count(1)
            expect(self.of_user(visit, user)).to_have_count(1)

    def test_the_whole_path(self):
        visit = self.visit_page()
        expect(visit.at("#nobody")).to_be_visible()
        self.click_through(visit, *USERS)
        expect(visit.at("#count")).to_have_text(f"{LIMIT} of {LIMIT} users")
        expect(visit.at("#slots .used")).to_have_count(LIMIT)
        self.assertCountEqual(self.secrets(), USERS)

        self.click_through(visit, NEWCOMER)
        expect(visit.at("#news")).to_contain_text("ada was evicted; the secret is gone from here.")
        expect(self.of_user(visit, "ada")).to_have_count(0)
        expect(visit.at("#users li")).to_have_count(LIMIT)
        expect(visit.at("#count")).to_have_text(f"{LIMIT} of {LIMIT} users")
        self.await_secrets_of([*USERS[1:], NEWCOMER])

        dashboard = self.visit(self.sidecar.ops, "/dashboard", token=TOKEN)
        expect(dashboard.at("#timeline li").first).to_contain_text(f"ada evicted for {NEWCOMER}")

        # The portal is a page of SnapTrade's, which the simulator stands in for.
        visit.tolerate(f"request to {self.simulator.url}/_simulator/portal/")
        visit.button("Connect a brokerage for grace").click()
        expect(visit.at("h1")).to_have_text("Connection Portal")
        expect(visit.at("#user")).to_have_text("grace")
        self.assertEqual(visit.grave_findings(), [])
        visit.page.get_by_role("link", name="Back to the application").click()
        expect(visit.at("#users li")).to_have_count(LIMIT)

    def test_an_eviction_that_somebody_else_caused_shows(self):
        visit = self.visit_page()
        self.click_through(visit, *USERS)
        self.register_past_the_backend(NEWCOMER)
        expect(self.of_user(visit, "ada")).to_have_count(0)
        expect(visit.at("#news li").first).to_contain_text("ada was evicted")

    def test_what_goes_wrong_is_said_in_plain_words(self):
        visit = self.visit_page()
        self.click_through(visit, "ada")
        visit.tolerate("status of 40[49]")
        visit.page.get_by_label("User id").fill("ada")
        visit.button("Register").click()
        expect(visit.page.get_by_role("alert")).to_have_text("ada is registered already.")
        self.simulator.remove_user("ada")
        visit.button("Connect a brokerage for ada").click()
        expect(visit.page.get_by_role("alert")).to_have_text("SnapTrade does not know ada any more. Register again.")
        expect(self.of_user(visit, "ada")).to_have_count(0)

    def test_everybody_can_use_it(self):
        self.register(*USERS)
        papers = set()
        for viewport in (DESKTOP, PHONE):
            for scheme in ("light", "dark"):
                visit = self.visit_page(viewport=viewport, scheme=scheme)
                expect(visit.at("#users li")).to_have_count(LIMIT)
                self.assertEqual(visit.grave_findings(), [], (viewport, scheme))
                self.assertLessEqual(visit.overflow(), 0)
                papers.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        self.assertEqual(len(papers), 2, papers)

    def test_it_works_by_keyboard_alone(self):
        visit = self.visit_page()
        visit.page.get_by_label("User id").focus()
        for user in ("ada", "grace"):
            visit.page.keyboard.type(user)
            visit.page.keyboard.press("Enter")
            expect(self.of_user(visit, user)).to_have_count(1)
            expect(visit.page.get_by_label("User id")).to_be_focused()

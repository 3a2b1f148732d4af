"""What an operator does by the page."""

from case import USERS, DashboardCase
from playwright.sync_api import expect


class Acts(DashboardCase):
    def setUp(self):
        super().setUp()
        self.register(*USERS)

    def test_pause_and_resume(self):
        visit = self.visit_live()
        visit.button("Pause").click()
        expect(visit.at("#mode")).to_contain_text("Paused")
        expect(visit.at("#timeline li").first).to_contain_text("By hand: pause")
        self.assertIs(self.ask("GET", "/api/tenants/default/overview")["paused"], True)
        visit.button("Resume").click()
        expect(visit.at("#mode")).to_contain_text("Enforcing")
        expect(visit.at("#timeline li").first).to_contain_text("By hand: resume")
        self.assertEqual(self.manual_acts(), [("pause", None), ("resume", None)])

    def test_protect_and_unprotect(self):
        visit = self.visit_live()
        visit.row("ada").get_by_role("button", name="Protect").click()
        expect(visit.row("ada")).to_contain_text("protected")
        expect(visit.at("#next .who")).to_have_text("grace")
        expect(visit.at("#timeline li").first).to_contain_text("By hand: protect ada")
        visit.row("ada").get_by_role("button", name="Unprotect").click()
        expect(visit.at("#next .who")).to_have_text("ada")
        expect(visit.at("#timeline li").first).to_contain_text("By hand: unprotect ada")
        self.assertEqual(self.manual_acts(), [("protect", "ada"), ("unprotect", "ada")])

    def test_an_eviction_wants_the_id_typed(self):
        visit = self.visit_live()
        visit.row("edsger").get_by_role("button", name="Evict").click()
        submit, typed = visit.button("Evict", "#evict-dialog"), visit.at("#evict-id")
        expect(visit.at("#evict-who")).to_have_text("edsger")
        for wrong in ("", "edsge", "edsger2", "Edsger", "ada"):
            typed.fill(wrong)
            expect(submit).to_be_disabled()
            typed.press("Enter")
            expect(visit.at("#evict-dialog")).to_be_visible()
        self.assertEqual(self.simulator.state()["deletions"], 0)
        typed.fill("edsger")
        expect(submit).to_be_enabled()
        submit.click()
        expect(visit.at("#evict-dialog")).to_be_hidden()
        expect(visit.at("#said")).to_contain_text("edsger was evicted")
        expect(visit.row("edsger")).to_have_count(0)
        expect(visit.at("#timeline")).to_contain_text("By hand: evict edsger")
        self.assertEqual(self.manual_acts(), [("evict", "edsger")])
        self.assertCountEqual(self.simulator.users(), [user for user in USERS if user != "edsger"])

    def test_a_refused_eviction_says_why(self):
        visit = self.visit_live()
        visit.row("ada").get_by_role("button", name="Evict").click()
        self.act("protect", "ada")
        visit.at("#evict-id").fill("ada")
        visit.button("Evict", "#evict-dialog").click()
        expect(visit.at("#evict-error")).to_contain_text("Nobody was deleted")
        visit.tolerate("status of 409")
        self.assertCountEqual(self.simulator.users(), USERS)

    def test_cancelled_is_not_evicted(self):
        visit = self.visit_live()
        visit.row("ada").get_by_role("button", name="Evict").click()
        visit.at("#evict-id").fill("ada")
        visit.button("Cancel", "#evict-dialog").click()
        expect(visit.at("#evict-dialog")).to_be_hidden()
        visit.row("grace").get_by_role("button", name="Evict").click()
        expect(visit.at("#evict-id")).to_have_value("")
        expect(visit.button("Evict", "#evict-dialog")).to_be_disabled()
        self.assertEqual(self.simulator.state()["deletions"], 0)

"""What every example backend does, asked by HTTP."""

import datetime
import urllib.request

from backends import LIMIT, NOTICE, Fastapi, TypeScript
from processes import CALL_SECONDS_MAX

# One of them not plain in a header, a path or a page.
USERS = ["ada", "grace", "Zoë, <b>王</b> & co", "barbara", "donald"]
NEWCOMER = "frances"


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Cases:
    def test_six_users_on_a_key_of_five_and_the_secret_of_the_evicted_goes(self):
        self.register(*USERS)
        self.await_secrets_of(USERS)
        self.assertEqual(self.register(NEWCOMER), {"user_id": NEWCOMER, "evicted": ["ada"]})
        self.await_secrets_of([*USERS[1:], NEWCOMER])
        self.assertCountEqual(self.simulator.users(), [*USERS[1:], NEWCOMER])
        self.assertEqual(self.simulator.state()["most_live"], LIMIT)
        self.assertEqual(self.ask("GET", "/api/snaptrade/status"), (200, {"users": LIMIT, "limit": LIMIT}))

    def test_a_notice_alone_is_enough(self):
        self.register(*USERS)
        for count, newcomer in enumerate(["x1", "x2", "x3"], start=1):
            self.register_past_the_backend(newcomer)
            self.await_secrets_of(USERS[count:])

    def test_whoever_was_evicted_can_come_back(self):
        self.register(*USERS)
        self.register_past_the_backend(NEWCOMER)
        self.await_secrets_of(USERS[1:])
        self.register("ada")
        self.await_secrets_of([*USERS[2:], "ada"])

    def test_a_notice_that_is_not_genuine_is_refused(self):
        self.register("ada")
        self.assertEqual(self.notice("ada", now(), secret="another secret"), 401)
        self.assertEqual(self.notice("ada", now(), after_signing=b" "), 401)
        self.assertEqual(self.notice("ada", now(), age_seconds=400), 401)
        self.assertEqual(self.notice("ada", now(), age_seconds=-400), 401)
        self.assertEqual(self.ask("POST", NOTICE, {"user_id": "ada", "at": now().isoformat()})[0], 401)
        odd = {"Snaptrade-Sidecar-Timestamp": "soon", "Snaptrade-Sidecar-Signature": "sha256=é"}
        self.assertEqual(self.ask("POST", NOTICE, {}, **odd)[0], 401)
        self.await_secrets_of(["ada"])

    def test_a_notice_that_comes_twice_or_late_does_no_harm(self):
        self.register("ada", "grace")
        late = now() - datetime.timedelta(minutes=1)
        self.assertEqual(self.notice("ada", late), 204)
        self.assertEqual(self.notice("nobody", now()), 204)
        self.await_secrets_of(["ada", "grace"])
        for _ in range(2):
            self.assertEqual(self.notice("ada", now()), 204)
            self.await_secrets_of(["grace"])

    def test_a_link_to_the_connection_portal(self):
        self.register("grace")
        status, answer = self.ask("POST", "/api/snaptrade/login", {"user_id": "grace"})
        self.assertEqual(status, 200, answer)
        with urllib.request.urlopen(answer["redirect_uri"], timeout=CALL_SECONDS_MAX) as reply:
            page = reply.read().decode()
        self.assertIn(">grace<", page)
        self.assertIn(f'href="{self.url}"', page)

    def test_who_is_gone_without_notice_is_forgotten_when_it_shows(self):
        self.register("ada", "grace")
        self.simulator.remove_user("ada")
        status, answer = self.ask("POST", "/api/snaptrade/login", {"user_id": "ada"})
        self.assertEqual(status, 404, answer)
        self.assertIn("Register again", answer["detail"])
        self.await_secrets_of(["grace"])

    def test_what_goes_wrong_is_said(self):
        self.register("ada")
        for call, body, status, words in [
            ("register", {"user_id": "ada"}, 409, "ada is registered already"),
            ("register", {"user_id": ""}, 422, ""),
            ("register", {"user_id": "x" * 101}, 422, ""),
            ("login", {"user_id": "nobody"}, 404, "nobody is not registered"),
        ]:
            got, answer = self.ask("POST", f"/api/snaptrade/{call}", body)
            self.assertEqual(got, status, answer)
            self.assertIn(words, str(answer["detail"]))
        self.simulator.set_options(consumer_key="another key")
        self.assertEqual(self.ask("GET", "/api/snaptrade/status")[0], 502)
        self.await_secrets_of(["ada"])

    def test_only_its_own_frontend_may_read(self):
        request = urllib.request.Request(f"{self.url}/api/users", headers={"Origin": self.url})
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            self.assertEqual(reply.headers["Access-Control-Allow-Origin"], self.url)
        request.add_header("Origin", "http://elsewhere.example")
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            self.assertIn(reply.headers["Access-Control-Allow-Origin"], [None, self.url])


class ByReply:
    """Without notices, which neither sidecar nor backend is set up for: the reply to the registration tells, too."""

    notified = False

    def test_the_reply_alone_is_enough(self):
        self.register(*USERS)
        self.register(NEWCOMER)
        self.await_secrets_of([*USERS[1:], NEWCOMER])
        self.register("x1", "x2")
        self.await_secrets_of([*USERS[3:], NEWCOMER, "x1", "x2"])

    def test_without_a_secret_nobody_can_sign_a_notice(self):
        self.register("ada")
        self.assertEqual(self.notice("ada", now(), secret=""), 401)
        self.await_secrets_of(["ada"])


class FastapiCalls(Cases, Fastapi):
    pass


class TypeScriptCalls(Cases, TypeScript):
    pass


class FastapiByReply(ByReply, Fastapi):
    pass


class TypeScriptByReply(ByReply, TypeScript):
    pass

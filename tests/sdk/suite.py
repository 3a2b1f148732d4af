"""The official SDKs, unchanged, through the sidecar: what an application sees that changes its base URL."""

import argparse
import base64
import json
import pathlib
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from processes import (  # noqa: E402
    CALL_SECONDS_MAX,
    CLIENT_ID,
    CONSUMER_KEY,
    Case,
    Program,
    Sidecar,
    Simulator,
    environment,
    run_tests,
)

LIMIT = 5
PLAIN = "plain-user-1"
NON_ASCII = "Zoë 王小明 😀"
HOSTILE = "a b/c?d&e=f#g%20+é😀"
IDS = [PLAIN, NON_ASCII, HOSTILE]

# No serialiser writes keys, spaces, escapes and numbers like this, and the words are those of a validation
# error that a careless reader takes for a limit.
REFUSAL_DETAIL = "userId length limit is 100 characters – très long"
REFUSAL = (
    '{ "code":"1012",\t"status_code" : 400,'
    '"detail":"userId length limit is 100 characters \\u2013 très long",  "n":1.50 }\r\n'
)

settings = argparse.Namespace()


class Client(Program):
    """An official SDK."""

    def __init__(self, command, base_url, consumer_key=CONSUMER_KEY):
        super().__init__("client", [*command, base_url, CLIENT_ID, consumer_key], environment())

    def call(self, call, **arguments):
        self.send(json.dumps({"call": call, **arguments}))
        answer = self.await_line("stdout", json.loads, CALL_SECONDS_MAX)
        answer["raw"] = base64.b64decode(answer["raw"])
        return answer

    def list(self):
        return self.call("list")

    def register(self, user_id):
        return self.call("register", user_id=user_id)

    def delete(self, user_id):
        return self.call("delete", user_id=user_id)


class Cases:
    """What is asked of every client; each test has a simulator and a sidecar of its own."""

    def setUp(self):
        self.simulator = self.started(Simulator(settings.binary))
        self.sidecar = self.started(Sidecar(settings.binary, self.simulator.url), exit_code=0)
        self.client = self.started(Client(self.command(), self.base_url()))

    def base_url(self):
        return self.sidecar.url

    def assert_users(self, users, deletions):
        state = self.simulator.state()
        self.assertCountEqual(state["users"], users)
        self.assertEqual(state["deletions"], deletions)
        self.assertLessEqual(state["most_live"], LIMIT)

    def assert_registered(self, reply, user_id):
        self.assertEqual((reply["status"], reply["failed"]), (200, False), reply)
        self.assertEqual(reply["body"]["userId"], user_id)
        self.assertTrue(reply["body"]["userSecret"])

    def test_asks_whether_snaptrade_is_online(self):
        reply = self.client.call("status")
        self.assertEqual(reply["status"], 200)
        self.assertIs(reply["body"]["online"], True)

    def test_lists_the_users(self):
        self.simulator.add_users(IDS)
        reply = self.client.list()
        self.assertEqual((reply["status"], list(reply["body"])), (200, IDS))

    def test_registers_with_a_free_slot(self):
        for count, user_id in enumerate(IDS, start=1):
            self.assert_registered(self.client.register(user_id), user_id)
            self.assert_users(IDS[:count], deletions=0)

    def test_registers_at_the_limit_and_the_oldest_goes(self):
        users = [*IDS, "fourth", "fifth"]
        self.simulator.add_users(users)
        for count, newcomer in enumerate([f"new {user_id}" for user_id in IDS], start=1):
            reply = self.client.register(newcomer)
            self.assert_registered(reply, newcomer)
            victim = users.pop(0)
            users.append(newcomer)
            self.assert_users(users, deletions=count)
            told = urllib.parse.unquote(reply["headers"]["snaptrade-sidecar-evicted"])
            self.assertEqual(told, victim)

    def test_deletes_a_user_by_itself(self):
        self.simulator.add_users(IDS)
        for count, user_id in enumerate(IDS, start=1):
            self.assertEqual(self.client.delete(user_id)["status"], 200)
            self.assert_users(IDS[count:], deletions=count)

    def test_an_id_registered_twice_is_refused_and_evicts_nobody(self):
        users = [*IDS, "fourth"]
        self.simulator.add_users(users)
        newcomer = f"twice {HOSTILE}"
        self.assert_registered(self.client.register(newcomer), newcomer)
        for user_id in [newcomer, *IDS]:
            reply = self.client.register(user_id)
            self.assertEqual((reply["status"], reply["failed"]), (400, True), reply)
            self.assertEqual(reply["body"]["code"], "1010")
            self.assert_users([*users, newcomer], deletions=0)

    def test_the_body_of_a_refusal_is_untouched(self):
        self.simulator.add_users(IDS)
        for user_id in ["refused", f"refused {NON_ASCII}", f"refused {HOSTILE}"]:
            self.simulator.refuse_next_registration(400, REFUSAL)
            reply = self.client.register(user_id)
            self.assertEqual((reply["status"], reply["failed"]), (400, True), reply)
            self.assertEqual(reply["raw"], REFUSAL.encode())
            self.assertEqual(reply["body"]["detail"], REFUSAL_DETAIL)
            self.assert_users(IDS, deletions=0)

    def test_a_wrong_key_is_refused_and_evicts_nobody(self):
        users = [*IDS, "fourth", "fifth"]
        self.simulator.add_users(users)
        stranger = Client(self.command(), self.base_url(), consumer_key="another key: 100% clé")
        reply = self.started(stranger).register("newcomer")
        self.assertEqual((reply["status"], reply["body"]["code"]), (401, "1076"))
        self.assert_users(users, deletions=0)


class Python11(Cases, Case):
    def command(self):
        return [settings.python_11, str(HERE / "client.py")]

    def base_url(self):
        # This generation signs `/api/v1` whatever its base URL is, and so has to call it.
        return f"{self.sidecar.url}/api/v1"


class Python13(Cases, Case):
    def command(self):
        return [settings.python_13, str(HERE / "client.py")]


class TypeScript11(Cases, Case):
    def command(self):
        return ["node", str(HERE / "client.cjs")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar")
    arguments.add_argument("--python-11", required=True, help="a Python that has snaptrade-python-sdk 11")
    arguments.add_argument("--python-13", required=True, help="a Python that has snaptrade-python-sdk 13")
    arguments.add_argument("tests", nargs="*", help="only these, such as Python13.test_lists_the_users")
    arguments.parse_args(namespace=settings)
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())

"""What goes wrong around the sidecars: SnapTrade's calls, and, one at a time, everything else that they rest on."""

import random
import signal
import time

from world import RATE_LIMIT, SETTLE_SECONDS

CALLS = {"other": 10, "register": 3, "list": 3, "delete": 3}
# What the reply says where a fault makes one up.
MADE_UP = '{"detail":"made up by the soak","status_code":500,"code":"soak"}'
# Which kinds strike which calls: each with a weight and how its values are chosen.
KINDS = {
    "status": (4, lambda dice: {"status": {"status": dice.choice((500, 502, 503, 520)), "body": MADE_UP}}),
    "status_done": (1, lambda dice: {"status": {"status": 500, "body": MADE_UP, "done": True}}),
    "throttled": (2, lambda dice: {"throttled": dice.choice((1, 2, 7))}),
    "delay_ms": (4, lambda dice: {"delay_ms": dice.choice((50, 300, 1000, 3000, 6000))}),
    "delay_after_ms": (3, lambda dice: {"delay_after_ms": dice.choice((50, 300, 1000, 3000))}),
    "reset_before": (3, lambda _: "reset_before"),
    "reset_after": (2, lambda _: "reset_after"),
    "close_before": (2, lambda _: "close_before"),
    "close_after": (2, lambda _: "close_after"),
    "hang": (1, lambda _: "hang"),
    "hang_after": (1, lambda _: "hang_after"),
    "truncated_body": (2, lambda _: "truncated_body"),
}


def strike(world, pause_seconds):
    """Has SnapTrade's next calls go wrong, one fault after the other."""
    dice = random.Random(f"{world.seed} faults")
    while not world.over.is_set():
        call = dice.choices(list(CALLS), list(CALLS.values()))[0]
        kind = dice.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        fault = {"call": call, "skip": dice.choice((0, 0, 1, 3)), "kind": KINDS[kind][1](dice)}
        try:
            world.simulator.control("POST", "/faults", fault)
        except OSError:
            # Its network is cut, or it stands still.
            pass
        world.over.wait(dice.uniform(0.2, 1.8) * pause_seconds)


class Outside:
    """Deals one trouble after the other, from a deck in which each kind is, so that all have come before one comes
    again."""

    def __init__(self, world, book):
        self._world = world
        self._book = book
        self._over = world.over
        self._dice = random.Random(f"{world.seed} outside")
        # The first is never ended, so that its memory has a long history.
        _, mortal = world.replicas
        self._order = "oldest"
        # Each with the replicas of which it befalls one.
        self._deck = {
            "replica killed": (self._kill, [mortal]),
            "replica restarted": (self._restart, [mortal]),
            "replica without DNS": (self._without_dns, [mortal]),
            "replica stopped": (self._stop, world.replicas),
            "replica stopped past its turn": (self._stop_long, world.replicas),
            "database frozen": (self._freeze_database, []),
            "database restarted": (self._restart_database, []),
            "network cut": (self._cut, []),
            "SnapTrade stopped": (self._stop_simulator, []),
            "throttled": (self._throttle, []),
            "list lags behind": (self._lag, []),
            # These explain nothing: nobody may notice them.
            "SnapTrade changes": (self._change, []),
            "reload": (self._reload, []),
            "faulty reload": (self._faulty_reload, []),
            "crowd": (self._crowd, []),
        }

    def run(self, pause_seconds):
        while not self._over.is_set():
            deck = list(self._deck)
            self._dice.shuffle(deck)
            for kind in deck:
                if self._over.is_set():
                    return
                self._deal(kind)
                self._over.wait(self._dice.uniform(0.5, 1.5) * pause_seconds)

    def _deal(self, kind):
        bring, replicas = self._deck[kind]
        chosen = [self._dice.choice(replicas)] if replicas else []
        try:
            with self._book.trouble(kind, *(replica.name for replica in chosen)):
                bring(*chosen)
        except Exception as error:
            self._book.note(f"{kind}: {type(error).__name__}: {error}")

    def _kill(self, replica):
        replica.program.kill()
        self._over.wait(self._dice.uniform(0, 2))
        replica.start()

    def _end(self, replica):
        code = replica.program.stop()
        if code != 0:
            self._book.note(f"replica {replica.name} ended with {code} after SIGTERM")

    def _restart(self, replica):
        self._end(replica)
        replica.start()

    def _without_dns(self, replica):
        """A restart into a world in which SnapTrade's name has no address, and another out of it."""
        self._end(replica)
        self._world.configure(replica, upstream="http://snaptrade.invalid", order=self._order)
        replica.start()
        self._over.wait(self._dice.uniform(2, 5))
        self._end(replica)
        self._world.configure(replica, order=self._order)
        replica.start()

    def _still(self, program, seconds):
        program.signal(signal.SIGSTOP)
        try:
            self._over.wait(seconds)
        finally:
            program.signal(signal.SIGCONT)

    def _stop(self, replica):
        self._still(replica.program, self._dice.uniform(0.5, 3))

    def _stop_long(self, replica):
        """Past the 4 s after which PostgreSQL gives its turn to others."""
        self._still(replica.program, self._dice.uniform(5, 9))

    def _freeze_database(self):
        self._world.database.freeze(self._over, self._dice.uniform(1, 7))

    def _restart_database(self):
        self._world.database.restart(self._over, self._dice.uniform(0, 5))

    def _cut(self):
        seconds = self._dice.uniform(1, 5)
        self._world.simulator.control("POST", "/cut", {"for_ms": int(seconds * 1000)})
        self._over.wait(seconds + 0.1)
        self._await_simulator()

    def _await_simulator(self):
        until = time.monotonic() + 10
        while True:
            try:
                return self._world.simulator.control("GET", "")
            except OSError:
                if time.monotonic() > until:
                    raise

    def _stop_simulator(self):
        self._still(self._world.simulator, self._dice.uniform(1, 10))

    def _options(self, **options):
        self._world.simulator.control("PATCH", "/options", options)

    def _throttle(self):
        self._options(rate_limit=self._dice.choice((5, 30)))
        self._over.wait(self._dice.uniform(3, 8))
        self._options(rate_limit=RATE_LIMIT)

    def _lag(self):
        """SnapTrade lists new users late: one replica cannot see whom another has just registered."""
        self._options(list_lag_ms=self._dice.choice((100, 500)))
        self._over.wait(self._dice.uniform(3, 8))
        self._options(list_lag_ms=0)

    def _change(self):
        """To another of the ways in which nobody knows what SnapTrade does."""
        dice = self._dice
        self._options(
            delete_lag_ms=dice.choice((0, 200, 1500)),
            settle_time_ms=dice.choice((0, 400, 1500)),
            tombstones_count=dice.random() < 0.3,
            tombstones_reserve_id=dice.random() < 0.5,
            limit_status=dice.choice((400, 403, 409)),
            limit_field=dice.choice(("detail", "default_detail")),
            gzip_errors=dice.random() < 0.5,
            list_order=dice.choice(("oldest-first", "newest-first", "alphabetical", {"shuffled": 7})),
        )

    def _reload(self):
        """With another order and another level."""
        self._order = self._dice.choice(("oldest", "least-recently-active", "never-active", "no-connections"))
        for replica in self._world.replicas:
            self._world.configure(replica, order=self._order, level=self._dice.choice(("info", "debug")))
            replica.program.signal(signal.SIGHUP)

    def _faulty_reload(self):
        for replica in self._world.replicas:
            self._world.configure(replica, order="newest")
            replica.program.signal(signal.SIGHUP)
        self._over.wait(SETTLE_SECONDS)
        for replica in self._world.replicas:
            self._world.configure(replica, order=self._order)
            replica.program.signal(signal.SIGHUP)

    def _crowd(self):
        """Another program registers users with the same key, whatever the limit."""
        for number in range(self._dice.randint(3, 12)):
            user = f"crowd-{time.time_ns()}-{number}"
            self._world.simulator.control("POST", f"/users/{user}")

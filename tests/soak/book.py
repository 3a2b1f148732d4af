"""What every caller saw, and which troubles there were when."""

import contextlib
import itertools
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Call:
    """One call, as its caller sees it. Times are seconds since the Unix epoch."""

    label: str
    shape: str
    replica: str
    tenant: str = ""
    user: str = ""
    began: float = 0.0
    ended: float = 0.0
    status: int = 0
    code: str = ""
    detail: str = ""
    admission: str = ""
    # What tells the secret in a reply to a registration from others.
    secret_sha256: str = ""
    # It gave up by itself, and took no answer.
    left: bool = False
    # Why there was no whole answer.
    failure: str = ""
    # What of a whole answer is not as it should be.
    damage: str = ""
    # Statuses that it asked for.
    expected: tuple = (200,)

    @property
    def is_error(self):
        return not self.left and (bool(self.failure) or self.status not in self.expected)

    @property
    def outcome(self):
        return self.failure or f"{self.status} {self.code}".strip()


@dataclass
class Trouble:
    kind: str
    target: str
    began: float
    ended: float = float("inf")


@dataclass
class Book:
    calls: list = field(default_factory=list)
    troubles: list = field(default_factory=list)
    # Faults of the soak itself, which nothing explains.
    wrong: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def call(self, shape, replica, **more):
        """A call from its begin to its end; what it fails with is noted."""
        with self.lock:
            call = Call(f"call-{next(self.numbers)}", shape, replica.name, **more)
            self.calls.append(call)
        call.began = time.time()
        try:
            yield call
        except OSError as error:
            call.failure = type(error).__name__
        except Exception as error:  # http.client's are of many kinds.
            call.failure = type(error).__name__
        finally:
            call.ended = time.time()

    @contextlib.contextmanager
    def trouble(self, kind, target=""):
        trouble = Trouble(kind, target, time.time())
        with self.lock:
            self.troubles.append(trouble)
        try:
            yield
        finally:
            trouble.ended = time.time()

    def note(self, wrong):
        with self.lock:
            self.wrong.append(wrong)

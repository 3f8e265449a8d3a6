"""What the tests of the htpasswd backend are written with."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.logger import globalLogPublisher as publisher
from twisted.trial.unittest import SynchronousTestCase

from txregistry.access import Attempt, Identity
from txregistry.auth.htpasswd import Htpasswd
from txregistry.auth.password_file import PasswordFile
from txregistry.errors import TooManyRequests, Unauthorized
from txregistry.testing.auth import basic

#: Lines of two users whose passwords are "alice's" and "bob's", at costs 5 and 6.
ALICE = "alice:$2y$05$1BJ05y..qIUcGH5Ht7OexeYin0PfNdaguDNem95w99bwiy/vkQte2"
BOB = "bob:$2b$06$YFjqzznsaEJ830yD819i1.8.1iQhTs5OhTUzPzZ7xmeEW7JmaBbhK"


class Reactor(Clock):
    """A clock, and a thread that is this one."""

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


class Threads:
    """A thread pool whose work is done on this thread: at once, or when the test says so.

    :ivar done: the functions that were called.
    :ivar held: whether work waits to be called by :meth:`release`.
    """

    def __init__(self) -> None:
        self.started = False
        self.held = False
        self.done: list[Callable[..., Any]] = []
        self.waiting: list[Callable[[], None]] = []

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.started = False

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any
    ) -> None:
        def call() -> None:
            self.done.append(work)
            try:
                result = work(*args)
            except Exception as error:
                on_result(False, error)
            else:
                on_result(True, result)

        if self.held:
            self.waiting.append(call)
        else:
            call()

    def release(self) -> None:
        """Do the work that waits, and all that comes of it."""
        while self.waiting:
            self.waiting.pop(0)()

    def count(self, name: str) -> int:
        """Return how often a function of that name was called."""
        return sum(work.__name__ == name for work in self.done)


def write(path: str, *lines: str) -> None:
    """Make *lines* the whole of a file, at once, as an editor does."""
    with open(path + ".new", "w") as file:
        file.writelines(f"{line}\n" for line in lines)
    os.rename(path + ".new", path)


def attempt(user: str | bytes, password: str | bytes, address: str = "192.0.2.1") -> Attempt:
    """Return an attempt to log in."""
    return Attempt(authorization=basic(user, password), address=address)


class BackendCase(SynchronousTestCase):
    """A backend of two users, its clock and its threads."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        write(self.path, ALICE, BOB)
        self.reactor, self.threads = Reactor(), Threads()
        self.backend = Htpasswd("x", PasswordFile(self.path), self.threads, self.reactor, b"k" * 32)  # type: ignore[arg-type]
        self.backend.prepare()
        self.events: list[dict[str, object]] = []
        publisher.addObserver(self.events.append)
        self.addCleanup(publisher.removeObserver, self.events.append)

    def start(
        self, user: str | bytes, password: str | bytes, address: str = "192.0.2.1"
    ) -> Deferred[Identity]:
        return Deferred.fromCoroutine(self.backend.authenticate(attempt(user, password, address)))

    def login(self, user: str | bytes, password: str | bytes, address: str = "192.0.2.1") -> str | None:
        return self.successResultOf(self.start(user, password, address)).name

    def fail_login(
        self, user: str | bytes, password: str | bytes = "wrong", address: str = "192.0.2.1"
    ) -> None:
        self.failureResultOf(self.start(user, password, address), Unauthorized)

    def wait(self, user: str, password: str = "wrong", address: str = "192.0.2.1") -> int:
        """Return the seconds that a client is told to wait."""
        error = self.failureResultOf(self.start(user, password, address), TooManyRequests).value
        assert isinstance(error, TooManyRequests)
        return error.seconds

    @property
    def checks(self) -> int:
        """How often bcrypt was asked."""
        return self.threads.count("check")

    def logged(self, level: object) -> list[str]:
        return [formatEvent(event) for event in self.events if event.get("log_level") is level]

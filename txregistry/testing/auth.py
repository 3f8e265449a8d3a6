"""What every auth backend promises, each promise a test.

A backend's own tests mix it in, before :class:`twisted.trial.unittest.TestCase`::

    class TestMyBackend(AuthBackendContract, TestCase):
        def make_backend(self):
            backend = make({"realm": "example"}, reactor)
            backend.prepare()
            return backend

        def good(self):
            return Attempt(authorization=basic("alice", "correct horse"))

        def bad(self):
            return Attempt(authorization=basic("alice", "battery staple"))

Nothing is needed beyond Twisted.  Backends that answer at once and backends that work on threads pass alike.
"""

from __future__ import annotations

import base64
import re
import threading

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from txregistry.access import ANONYMOUS, CATALOG, Access, Attempt, Identity
from txregistry.errors import TooManyRequests, Unauthorized
from txregistry.interfaces import IAuthBackend
from txregistry.testing.closing import ClosingCase, started

__all__ = ["MALFORMED", "AuthBackendContract", "basic"]


def basic(user: str | bytes, password: str | bytes) -> str:
    """Return the ``Authorization`` header of a user with a password (RFC 7617)."""
    parts = [part.encode() if isinstance(part, str) else part for part in (user, password)]
    return "Basic " + base64.b64encode(b":".join(parts)).decode("ascii")


MALFORMED: tuple[str, ...] = (
    "",
    " ",
    "\t",
    ":",
    ",",
    "=",
    "Basic",
    "Basic ",
    "Basic  ",
    "Basic\t",
    "Basic :",
    "Basic =",
    "Basic ====",
    "Basic !",
    "Basic *&^%$#@",
    "Basic YQ",
    "Basic YQ==",
    "Basic YQ=",
    "Basic Y",
    "Basic YTpi=",
    "Basic YTpi====",
    "Basic YT=pi",
    "Basic YTpi\n",
    "Basic YTpi\r\nX-User: root",
    "Basic YTpi, Basic YTpi",
    "Basic YTpi YTpi",
    "Basic -_-_",
    "Basic YTp\xe9",
    "Basic \u0661\u0662",
    "Basic \ud800",
    "Basic\0YTpi",
    "Basic YTpi\0",
    "BasicYTpi",
    "Basic:YTpi",
    'Basic user="a", password="b"',
    basic(b"", b""),
    basic(b"", b"password"),
    basic(b"nobody-of-that-name", b""),
    basic(b"nobody-of-that-name", b"\0"),
    basic(b"nobody-of-that-name", b"\xff\xfe"),
    basic(b"\xff\xfe", b"password"),
    basic(b"nobody\0", b"password"),
    basic(b"nobody-of-that-name", b"x" * 73),
    basic(b"nobody-of-that-name", b"x" * 10_000),
    "Basic " + "A" * 100_000,
    "Bearer",
    "Bearer ",
    "Bearer .",
    "Bearer ..",
    "Bearer a.b.c",
    "Bearer " + "." * 10_000,
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Bearer \xff",
    'Digest username="a", realm="b", nonce="c", uri="/", response="d"',
    "Negotiate YTpi",
    "AWS4-HMAC-SHA256 Credential=a",
    "nobody:password",
    "\ud800",
    "\0" * 16,
    "{}",
)
"""Values of ``Authorization`` by which no backend knows anyone."""

#: RFC 9110, 11.6.1, without what only a list of challenges in one value would need.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_PARAMETER = rf'{_TOKEN}[ \t]*=[ \t]*(?:{_TOKEN}|"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*")'
_CHALLENGE = re.compile(
    rf"{_TOKEN}(?: +(?:{_PARAMETER}(?:[ \t]*,[ \t]*{_PARAMETER})*|[A-Za-z0-9._~+/-]+=*))?", re.ASCII
)


def _secrets(attempt: Attempt) -> list[str]:
    """Return what must not be read anywhere of an attempt: its credentials, and a password in them."""
    header = attempt.authorization or ""
    scheme, _, credentials = header.partition(" ")
    found = [credentials]
    if scheme.lower() == "basic":
        found.append(base64.b64decode(credentials).decode("latin-1").partition(":")[2])
    return [secret for secret in found if secret]


class AuthBackendContract(ClosingCase):
    """The contract of :class:`txregistry.interfaces.IAuthBackend`."""

    backend: IAuthBackend

    def make_backend(self) -> IAuthBackend:
        """Return a backend that is prepared.  It is closed when the test ends."""
        raise NotImplementedError(f"{type(self).__name__}.make_backend")

    def good(self) -> Attempt:
        """Return an attempt with credentials of someone whom the backend of :meth:`make_backend` knows."""
        raise NotImplementedError(f"{type(self).__name__}.good")

    def bad(self) -> Attempt:
        """Return an attempt with credentials that are well formed and do not hold."""
        raise NotImplementedError(f"{type(self).__name__}.bad")

    def setUp(self) -> None:
        """Make the backend."""
        super().setUp()
        self.backend = self.make_backend()
        self.closing(self.backend)

    def _authenticating(self, attempt: Attempt) -> Deferred[Identity]:
        return started(self.backend.authenticate(attempt))

    async def _refusal(self, attempt: Attempt) -> Unauthorized | TooManyRequests:
        try:
            identity = await self.backend.authenticate(attempt)
        except (Unauthorized, TooManyRequests) as error:
            return error
        except Exception as error:
            raise self.failureException(f"{attempt.authorization!r:.80} raised {error!r}") from error
        raise self.failureException(f"{attempt.authorization!r:.80} is taken for {identity!r}")

    async def test_provides_interface(self) -> None:
        """The backend provides what the interface declares."""
        verifyObject(IAuthBackend, self.backend)

    async def test_anonymous(self) -> None:
        """Whoever does not say who it is, is nobody, and is not refused here."""
        for attempt in (Attempt(), Attempt(address="192.0.2.1", origin="https://hub.example")):
            self.assertEqual(await self.backend.authenticate(attempt), ANONYMOUS)

    async def test_good_credentials(self) -> None:
        """Good credentials give an identity with a name, the same each time."""
        first = await self.backend.authenticate(self.good())
        self.assertIsInstance(first, Identity)
        self.assertFalse(first.is_anonymous)
        self.assertIsInstance(first.name, str)
        self.assertNotEqual(first.name, "")
        self.assertIsInstance(first.groups, frozenset)
        again = await self.backend.authenticate(self.good())
        self.assertEqual((again.name, again.groups), (first.name, first.groups))

    async def test_bad_credentials(self) -> None:
        """Bad credentials are refused, however often they are tried; a client that is to wait is told how long."""
        self.assertIsInstance(await self._refusal(self.bad()), Unauthorized)
        for _ in range(20):
            error = await self._refusal(self.bad())
            if isinstance(error, TooManyRequests):
                self.assertIsInstance(error.seconds, int)
                self.assertGreaterEqual(error.seconds, 1)

    async def test_bad_credentials_harm_no_one_else(self) -> None:
        """Bad credentials from one address change nothing for good ones from another."""
        for _ in range(20):
            await self._refusal(attrs.evolve(self.bad(), address="192.0.2.1"))
        identity = await self.backend.authenticate(attrs.evolve(self.good(), address="198.51.100.1"))
        self.assertFalse(identity.is_anonymous)

    async def test_malformed(self) -> None:
        """Whatever stands in ``Authorization``, it is refused or understood: nothing else is ever raised."""
        self.assertGreaterEqual(len(MALFORMED), 50)
        for number, authorization in enumerate(MALFORMED):
            # An address each, for this is not about how often.
            attempt = Attempt(authorization=authorization, address=f"198.51.100.{number}")
            error = await self._refusal(attempt)
            self.assertIsInstance(error, Unauthorized, repr(authorization)[:80])

    async def test_scheme_in_any_case(self) -> None:
        """The name of a scheme may be written in capitals or not (RFC 9110, 11.1)."""
        scheme, _, rest = (self.good().authorization or "").partition(" ")
        for spelling in (scheme.lower(), scheme.upper(), scheme.title()):
            attempt = attrs.evolve(self.good(), authorization=f"{spelling} {rest}")
            self.assertFalse((await self.backend.authenticate(attempt)).is_anonymous)

    async def test_refusals_do_not_tell(self) -> None:
        """No refusal, nor anything that is logged, holds the credentials."""
        with capturedLogs() as events:
            await self.backend.authenticate(self.good())
            error = await self._refusal(self.bad())
            # A backend may log an event more from its thread; it arrives before the next answer.
            await self._refusal(self.bad())
        told = [f"{formatEvent(event)} {event!r}" for event in events]
        told.append(f"{error} {error!r} {error.message} {error.detail!r}")
        for secret in _secrets(self.good()) + _secrets(self.bad()):
            for text in told:
                self.assertNotIn(secret, text)

    async def test_challenges(self) -> None:
        """There is always something to ask of a client, as HTTP spells it, in printable ASCII."""
        accesses: tuple[list[Access], ...] = (
            [],
            Access.repository("team/app", "pull", "push"),
            [*Access.repository("team/app", "push"), *Access.repository("localhost:5000/base", "pull")],
            [CATALOG],
        )
        attempts = (
            Attempt(origin="https://hub.example"),
            attrs.evolve(self.bad(), origin="http://[2001:db8::1]:5000/prefix"),
        )
        for attempt in attempts:
            for wanted in accesses:
                for error in (None, "invalid_token", "insufficient_scope"):
                    challenges = self.backend.challenges(attempt, wanted, error)
                    self.assertGreaterEqual(len(challenges), 1)
                    for challenge in challenges:
                        self.assertRegex(challenge, r"\A[\x20-\x7e]+\Z")
                        self.assertIsNotNone(_CHALLENGE.fullmatch(challenge), challenge)

    async def test_answers_on_the_callers_thread(self) -> None:
        """Whatever threads do the work, each answer comes back on the thread that asked."""
        here = threading.get_ident()
        await self.backend.authenticate(self.good())
        self.assertEqual(threading.get_ident(), here)
        await self._refusal(self.bad())
        self.assertEqual(threading.get_ident(), here)

    async def test_many_at_once(self) -> None:
        """Fifty requests of one client at once, as when an image is pulled, are all let in."""
        results = await DeferredList(
            [self._authenticating(self.good()) for _ in range(50)], consumeErrors=True
        )
        for success, result in results:
            self.assertTrue(success, result)
            self.assertFalse(result.is_anonymous)

    async def test_cancelled(self) -> None:
        """A client that leaves while it is checked takes no one else with it."""
        leaving = [self._authenticating(self.good()) for _ in range(3)]
        staying = self._authenticating(self.good())
        for each in leaving:
            each.addErrback(lambda failure: failure.trap(CancelledError) and None)
            each.cancel()
        self.assertFalse((await staying).is_anonymous)
        self.assertFalse((await self.backend.authenticate(self.good())).is_anonymous)

    async def test_close_lets_go_of_threads(self) -> None:
        """A closed backend has left no thread of its own behind."""
        await self.backend.authenticate(self.good())
        await self._refusal(self.bad())
        await self.close()
        self.assert_no_threads_left()

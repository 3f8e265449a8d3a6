"""Basic authentication, both ways."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txregistry.auth.basic import Credentials, challenge
from txregistry.errors import Unauthorized
from txregistry.headers import is_printable
from txregistry.testing.auth import basic


class CredentialsTests(SynchronousTestCase):
    """What an ``Authorization`` header says."""

    def test_parsed(self) -> None:
        """The first colon ends the user; all else is the password, whatever its bytes."""
        for user, password in (
            (b"alice", b"secret"),
            (b"alice", b"a:b:"),
            (b"", b""),
            (b"\xff", b"\0\xfe"),
            ("café".encode(), "тайна".encode()),
            (b"alice@example.com", b"x" * 10_000),
        ):
            self.assertEqual(Credentials.parse(basic(user, password)), Credentials(user, password))

    def test_spellings(self) -> None:
        """The scheme may be in any case, and more than one space may follow it."""
        for header in ("basic YTpi", "BASIC YTpi", "Basic   YTpi", "Basic YTpi "):
            self.assertEqual(Credentials.parse(header), Credentials(b"a", b"b"))

    def test_refused(self) -> None:
        """A header of another scheme, or that is not base64 of a user and a password, is refused."""
        for header in ("", "Basic", "Basic YTpi=", "Basic YQ==", "Bearer YTpi", "Basic YTpi\n", "Basıc YTpi"):
            error = self.assertRaises(Unauthorized, Credentials.parse, header)
            self.assertEqual(error.error, "invalid_token")

    def test_not_shown(self) -> None:
        """Neither a user nor a password is in what credentials look like when printed."""
        self.assertEqual(repr(Credentials(b"alice", b"secret")), "Credentials()")


class ChallengeTests(SynchronousTestCase):
    """What asks for a user and a password."""

    def test_realm(self) -> None:
        """The realm is a quoted string, its quotes and backslashes escaped (RFC 9110, 5.6.4)."""
        self.assertEqual(challenge("basic-realm"), 'Basic realm="basic-realm"')
        self.assertEqual(challenge('The "\\" realm'), 'Basic realm="The \\"\\\\\\" realm"')

    def test_realms(self) -> None:
        """A realm that could break a header, or not be sent at all, is none."""
        for realm in ("", "a\nb", "a\r\nX: y", "a\n", "caf\xe9", "\0", 1, None, ["a"]):
            self.assertFalse(is_printable(realm), repr(realm))
        self.assertTrue(is_printable("Registry Realm"))

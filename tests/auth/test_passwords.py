"""Users and hashes: the lines that hold them, and how long it takes to check one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.htpasswd_case import ALICE, BOB
from txregistry.auth.passwords import LineInvalid, Passwords, hash_line

HASH = ALICE.partition(":")[2]


def passwords(*lines: str) -> Passwords:
    return Passwords.parse("\n".join(lines).encode())


class ParseTests(SynchronousTestCase):
    """What a file may say."""

    def refusal(self, content: bytes) -> LineInvalid:
        error = self.assertRaises(LineInvalid, Passwords.parse, content)
        assert isinstance(error, LineInvalid)
        return error

    def test_lines(self) -> None:
        """Each line gives a user a hash, of any of bcrypt's three spellings."""
        found = passwords(ALICE, BOB, "carol:" + HASH.replace("$2y$", "$2a$"))
        self.assertEqual(set(found.hashes), {b"alice", b"bob", b"carol"})
        self.assertEqual(found.hashes[b"alice"], HASH.encode())
        self.assertEqual(found.cost, 6)

    def test_what_means_nothing(self) -> None:
        """Empty lines, comments, space around lines and Windows line ends mean nothing."""
        content = f"# users: all\r\n\r\n  {ALICE}\t\r\n   # bob:x\n\n{BOB}".encode()
        self.assertEqual(Passwords.parse(content), passwords(ALICE, BOB))

    def test_A11_no_one(self) -> None:
        """A file without users is one by which no one may log in."""
        for content in (b"", b"\n\n", b"# nobody\n"):
            found = Passwords.parse(content)
            self.assertEqual(found.hashes, {})
            self.assertFalse(found.check(b"", b""))

    def test_A11_other_hashes(self) -> None:
        """A hash that is not bcrypt is refused by the number of its line, which is all that is said of it."""
        for stored in (
            "$apr1$lyRMbPvO$eiqh3dPn1PAYxHYTH2tDU1",
            "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
            "rqXexS6ZhobKA",
            "$5$lyRMbPvO$eiqh3dPn1PAYxHYTH2tDU1",
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
            "$2x$05$" + HASH[7:],
            "$2$05$" + HASH[7:],
            "hunter2",
            "",
            " " + HASH,
            ":" + HASH,
        ):
            error = self.refusal(f"{BOB}\n\neve:{stored}\n".encode())
            self.assertEqual(error.number, 3)
            self.assertIn("not a bcrypt hash", error.problem)
            self.assertNotIn(stored or "\0", str(error))
            self.assertNotIn("eve", str(error))

    def test_A11_malformed_hashes(self) -> None:
        """A bcrypt hash that no password could have is refused."""
        for stored in (
            HASH[:-1],
            HASH + "x",
            HASH[:-1] + "/",
            HASH[:-1] + "!",
            HASH[:28] + "A" + HASH[29:],
            HASH + ":extra",
            HASH.replace("$05$", "$5$"),
            HASH.replace("$05$", "$-5$"),
            HASH.replace("$05$", "$0x5$"),
        ):
            self.assertEqual(
                self.refusal(f"eve:{stored}".encode()).problem, "a bcrypt hash that is malformed"
            )

    def test_A11_costs(self) -> None:
        """A hash that would take seconds to check, or days, is refused, and so is one of no cost."""
        for cost in ("00", "03", "15", "31", "99"):
            error = self.refusal(f"eve:{HASH.replace('$05$', f'${cost}$')}".encode())
            self.assertIn(f"cost {int(cost)}", error.problem)
        self.assertEqual(passwords("eve:" + HASH.replace("$05$", "$14$")).cost, 14)

    def test_users(self) -> None:
        """A line without a user, or with one that could not be shown, is refused."""
        for content, problem in (
            (f":{HASH}".encode(), "empty"),
            (b"alice", "no colon"),
            (b"\xff:" + HASH.encode(), "UTF-8"),
            (b"a\0b:" + HASH.encode(), "printed"),
            (b"a\x1b[1mb:" + HASH.encode(), "printed"),
            (b"\xef\xbb\xbfalice:" + HASH.encode(), "printed"),
        ):
            error = self.refusal(b"\n" + content)
            self.assertEqual(error.number, 2)
            self.assertIn(problem, error.problem)

    def test_A11_duplicate(self) -> None:
        """A user who is there twice is refused, for no one could say which password holds."""
        error = self.refusal(f"{ALICE}\n{BOB}\nalice:{HASH}".encode())
        self.assertEqual(str(error), "line 3: the same user as on line 1")

    @given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
    def test_H11_anything(self, content: bytes) -> None:
        """Whatever a file says, it is taken or refused by a line of it."""
        try:
            Passwords.parse(content)
        except LineInvalid as error:
            self.assertIn(error.number, range(1, content.count(b"\n") + 2))

    def test_not_shown(self) -> None:
        """No hash is in what passwords look like when printed."""
        self.assertEqual(repr(passwords(ALICE)), "Passwords(cost=5)")


class CheckTests(SynchronousTestCase):
    """Who has given its password."""

    def test_right(self) -> None:
        """A user's password holds, and no one else's."""
        known = passwords(ALICE, BOB)
        self.assertTrue(known.check(b"alice", b"alice's"))
        self.assertTrue(known.check(b"bob", b"bob's"))
        for user, password in ((b"alice", b"bob's"), (b"bob", b"alice's"), (b"carol", b"alice's")):
            self.assertFalse(known.check(user, password))

    def test_A10_impossible(self) -> None:
        """What cannot be a password is no one's, and no exception."""
        known = passwords(ALICE)
        for password in (b"", b"\0", b"alice's\0", b"\xff", b"x" * 73, b"x" * 10_000, b"alice's" + b" " * 66):
            self.assertFalse(known.check(b"alice", password))
        for password in (b"", b"a\0b", b"\xff"):
            stored = bcrypt.hashpw(password, bcrypt.gensalt(4))
            self.assertFalse(Passwords({b"alice": stored}, 4).check(b"alice", password))

    def test_A10_longest(self) -> None:
        """All 72 bytes of a password count, and a longer one is not cut to them."""
        longest = b"x" * 72
        known = passwords(hash_line("eve", longest.decode(), 4))
        self.assertTrue(known.check(b"eve", longest))
        self.assertFalse(known.check(b"eve", longest[:-1] + b"y"))
        self.assertFalse(known.check(b"eve", longest + b"y"))

    def test_A08_equal_times(self) -> None:
        """A wrong password, an unknown user, a cheaper hash and an impossible password take equally long."""
        known = passwords(ALICE.replace("alice", "cheap"), BOB)
        kinds: dict[str, Callable[[], bool]] = {
            "wrong": lambda: known.check(b"bob", b"wrong"),
            "unknown": lambda: known.check(b"nobody", b"wrong"),
            "cheaper": lambda: known.check(b"cheap", b"wrong"),
            "impossible": lambda: known.check(b"bob", b"\0"),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(30):
            for kind, check in kinds.items():
                # What this thread has used of a processor, so that other processes do not count.
                start = time.thread_time()
                self.assertFalse(check())
                times[kind].append(time.thread_time() - start)
        medians = {kind: statistics.median(taken) for kind, taken in times.items()}
        self.assertLess(max(medians.values()) / min(medians.values()), 1.5, medians)


class HashLineTests(SynchronousTestCase):
    """Lines that are made here."""

    def test_line(self) -> None:
        """A line says its user, and a hash of the cost that was asked for, of no one but its password."""
        line = hash_line("alice", "pässword", 5)
        self.assertTrue(line.startswith("alice:$2b$05$"))
        self.assertNotIn("\n", line)
        self.assertTrue(passwords(line).check(b"alice", "pässword".encode()))
        self.assertNotEqual(line, hash_line("alice", "pässword", 5))

    def test_default_cost(self) -> None:
        """A line costs 10 unless another cost is asked for."""
        self.assertIn(":$2b$10$", hash_line("alice", "password"))

    def test_refused(self) -> None:
        """What could not be read back is refused, and the password is not said."""
        for user, password, cost in (
            ("", "hunter2", 5),
            ("a:b", "hunter2", 5),
            ("#a", "hunter2", 5),
            (" a", "hunter2", 5),
            ("a ", "hunter2", 5),
            ("a\nb", "hunter2", 5),
            ("\ud800", "hunter2", 5),
            ("a", "", 5),
            ("a", "hunter2" * 11, 5),
            ("a", "hunter2\0", 5),
            ("a", "hunter2\ud800", 5),
            ("a", "hunter2", 3),
            ("a", "hunter2", 15),
        ):
            error = self.assertRaises(ValueError, hash_line, user, password, cost)
            self.assertNotIn("hunter2", str(error))

    @given(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    )
    def test_all_lines_are_read_back(self, user: str, password: str) -> None:
        """Whatever a line is made for, it is for that user when it is read, or it is not made."""
        self.patch(bcrypt, "hashpw", lambda secret, salt: HASH.encode())
        try:
            line = hash_line(user, password, 4)
        except ValueError:
            return
        self.assertEqual(set(passwords(line).hashes), {user.encode()})

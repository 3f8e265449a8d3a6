"""Users and their bcrypt hashes, and the lines of a file in Apache's htpasswd format that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import bcrypt
from attrs import field, frozen

#: bcrypt looks no further (and bcrypt 5 refuses to).
LONGEST_PASSWORD = 72
#: Each step takes twice as long; 14 is a second, 31 would be days.
HIGHEST_COST = 14
_LOWEST_COST = 4
_DEFAULT_COST = 10

# The last character of the salt and of the hash have bits left over, which are zero.
_HASH = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_BCRYPT = re.compile(rb"\$2[aby]\$")
_SALT = b"." * 22


class LineInvalid(Exception):
    """A line cannot be used.

    :ivar number: of the line, from 1.
    :ivar problem: what is wrong with it; nothing that it says itself.
    """

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(number, problem)
        self.number = number
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


@frozen
class Passwords:
    """Who may log in.

    :param hashes: by user, what its password hashes to.
    :param cost: the highest of the hashes.
    """

    hashes: Mapping[bytes, bytes] = field(repr=False)
    cost: int = _DEFAULT_COST

    @classmethod
    def parse(cls, content: bytes) -> Passwords:
        """Return what an htpasswd file says.

        Space around a line, empty lines and lines that begin with ``#`` mean nothing, as in Distribution.

        :raises LineInvalid: for the first line that is wrong.
        """
        lines: dict[bytes, int] = {}
        hashes: dict[bytes, bytes] = {}
        costs: set[int] = set()
        for number, line in enumerate(content.split(b"\n"), 1):
            entry = line.strip()
            if not entry or entry.startswith(b"#"):
                continue
            user, colon, stored = entry.partition(b":")
            if not colon:
                raise LineInvalid(number, "expected user:hash, found no colon")
            if problem := _wrong_user(user):
                raise LineInvalid(number, problem)
            if user in lines:
                raise LineInvalid(number, f"the same user as on line {lines[user]}")
            if problem := _wrong_hash(stored):
                raise LineInvalid(number, problem)
            lines[user] = number
            hashes[user] = stored
            costs.add(_cost(stored))
        return cls(hashes, max(costs, default=_DEFAULT_COST))

    def check(self, user: bytes, password: bytes) -> bool:
        """Say whether a password is a user's.  Blocks for as long as bcrypt takes.

        Every "no" takes the time of one hash of the highest cost, so that nothing can be told from it: not
        whether there is such a user, nor what its hash costs, nor that the password cannot be anyone's.
        """
        stored = self.hashes.get(user)
        possible = 0 < len(password) <= LONGEST_PASSWORD and b"\0" not in password and _is_text(password)
        if stored is None or not possible:
            _spend(self.cost)
            return False
        if bcrypt.checkpw(password, stored):
            return True
        # 2^c + (2^c + 2^(c+1) + … + 2^(highest-1)) = 2^highest
        for cost in range(_cost(stored), self.cost):
            _spend(cost)
        return False


def hash_line(user: str, password: str, cost: int = _DEFAULT_COST) -> str:
    """Return a line for an htpasswd file, without its end.

    :param cost: from 4 to 14: each step takes twice as long, to check as to guess.
    :raises ValueError: one of them cannot be used, and why, in one line that does not say the password.
    """
    name = user.encode("utf-8", "surrogatepass")
    secret = password.encode("utf-8", "surrogatepass")
    if problem := _wrong_user(name):
        raise ValueError(problem)
    if ":" in user or user != user.strip() or user.startswith("#"):
        raise ValueError("a user can hold no colon, nor begin with # or a space, nor end with a space")
    if not 0 < len(secret) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has 1 to {LONGEST_PASSWORD} bytes")
    if b"\0" in secret or not _is_text(secret):
        raise ValueError("the password is not text in UTF-8")
    if not _LOWEST_COST <= cost <= HIGHEST_COST:
        raise ValueError(f"a cost is a number from {_LOWEST_COST} to {HIGHEST_COST}")
    return f"{user}:{bcrypt.hashpw(secret, bcrypt.gensalt(cost)).decode('ascii')}"


def _wrong_user(user: bytes) -> str | None:
    if not user:
        return "the user is empty"
    if not _is_text(user):
        return "the user is not text in UTF-8"
    if not user.decode().isprintable():
        return "the user holds a character that cannot be printed"
    return None


def _wrong_hash(stored: bytes) -> str | None:
    if _BCRYPT.match(stored) is None:
        return "not a bcrypt hash ($2a$, $2b$ or $2y$), the only kind that is accepted"
    if _HASH.fullmatch(stored) is None:
        return "a bcrypt hash that is malformed"
    if not _LOWEST_COST <= _cost(stored) <= HIGHEST_COST:
        return f"a bcrypt hash of cost {_cost(stored)}; accepted are {_LOWEST_COST} to {HIGHEST_COST}"
    return None


def _cost(stored: bytes) -> int:
    return int(stored[4:6])


def _spend(cost: int) -> None:
    """Take the time that a check of that cost takes."""
    bcrypt.hashpw(b"", b"$2b$%02d$%b" % (cost, _SALT))


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

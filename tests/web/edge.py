"""What the tests of early, slow and real connections share."""

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.web.sockets import (
    PING,
    Answer,
    Wire,
    request,
)
from txregistry.storage.memory import MemoryDriver, MemoryWriter
from txregistry.web.channel import LINGER_SECONDS

CHUNKED = b"Transfer-Encoding: chunked"
EXPECT = b"Expect: 100-continue"
MANIFEST = b'{"schemaVersion":2,"manifests":[]}'
INDEX = b"Content-Type: application/vnd.oci.image.index.v1+json"
IDLE = 60


def digest_of(content: bytes) -> bytes:
    """Spell the digest of some bytes."""
    return b"sha256:" + hashlib.sha256(content).hexdigest().encode()


def push(wire: Wire, content: bytes) -> bytes:
    """Store a blob; return its path."""
    digest = digest_of(content)
    answer = wire.ask(request(b"POST /v2/team/app/blobs/uploads/?digest=" + digest, body=content))
    assert answer.status == 201, answer
    return b"/v2/team/app/blobs/" + digest


def stored_size(status: Answer) -> int:
    """Return how far an upload is, by the ``Range`` of its status; one byte counts as none."""
    last = int((status.header("Range") or "").removeprefix("0-"))
    return last + 1 if last else 0


class EdgeTestCase(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        self.wire = Wire()

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def assert_serves(self) -> None:
        """Check that the connection is at the beginning of a request."""
        self.assertEqual(self.wire.ask(PING).status, 200)

    def assert_ends(self, seconds: float = LINGER_SECONDS) -> None:
        """Check that the connection ends after so many seconds and not before."""
        self.wire.wait(seconds - 1)
        self.assertTrue(self.wire.open)
        self.wire.wait(1)
        self.assertFalse(self.wire.open)


class HeldDriver(MemoryDriver):
    """Keeps content in memory, but not before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Deferred[None] | None = None
        self.opening: Deferred[None] | None = None

    async def open_writer(self, path: str) -> Any:
        """See :class:`MemoryDriver`."""
        if self.opening is not None:
            await self.opening
        await super().open_writer(path)
        return HeldWriter(self, self._file(path))

    def hold(self) -> None:
        """Let no write end."""
        self.gate = Deferred()

    def hold_opening(self) -> None:
        """Let no file be opened."""
        self.opening = Deferred()

    def let_go(self) -> None:
        """Let all go on."""
        gate, self.gate = self.gate, None
        opening, self.opening = self.opening, None
        for held in (gate, opening):
            if held is not None:
                held.callback(None)


class HeldWriter(MemoryWriter):
    """See :class:`HeldDriver`."""

    def __init__(self, driver: HeldDriver, file: Any) -> None:
        super().__init__(file, driver._now)
        self._driver = driver

    async def write(self, chunks: Any) -> None:
        """See :class:`MemoryWriter`."""
        if self._driver.gate is not None:
            await self._driver.gate
        await super().write(chunks)

"""TLS connections that are good at sending much."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error, WantReadError
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from txregistry.web.sending import send

#: Bytes that are encrypted at once: four records.  Twisted takes one record at a time from what it is given
#: to the socket's buffer, which costs more than encrypting it.
_PIECE = 64 * 1024
#: What they become, at most: a record of 16 KiB has at most 256 bytes more (RFC 8446, 5.2, and RFC 5246, 6.2.3
#: with the ciphers of today).
_ENCRYPTED = _PIECE + (_PIECE >> 14) * 256


class RecordsTransport(BufferingTLSTransport):
    """The server's end of a TLS connection, whose context must not have ``SSL_MODE_ENABLE_PARTIAL_WRITE``."""

    def _write(self, bytes: bytes) -> None:
        if self._lostTLSConnection:
            return
        rest = memoryview(bytes)
        while rest:
            try:
                # All of it, or an error after which the same must be given again.
                sent = self._tlsConnection.send(rest[:_PIECE])
            except WantReadError:
                self._bufferedWrite(rest.tobytes())
                return
            except Error:
                self._tlsShutdownFinished(Failure())
                return
            rest = rest[sent:]
            self._flushSendBIO()

    def _flushSendBIO(self) -> None:
        while True:
            try:
                encrypted = self._tlsConnection.bio_read(_ENCRYPTED)
            except WantReadError:
                return
            send(self.transport, encrypted)


class RecordsFactory(TLSMemoryBIOFactory):
    """Makes :class:`RecordsTransport`.

    :param contexts: the certificate and rules.
    :param factory: makes what is above it.
    :param clock: the reactor's, by default.
    """

    protocol = RecordsTransport

    def __init__(self, contexts: Any, factory: Any, clock: Any = None) -> None:
        super().__init__(contexts, False, factory, clock)

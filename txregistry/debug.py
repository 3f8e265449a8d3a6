"""The debug server: what operators ask of a running registry, on an address of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from attrs import field, mutable
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from txregistry.listening import listen_tcp

_log = Logger()

_TIMEOUT = 60


@mutable
class Answer:
    """What a page answers.

    :param content: the body.
    :param media_type: of the body.
    :param status: of the answer.
    """

    content: bytes
    media_type: str = "application/json"
    status: int = 200


#: Answers a request for a page.
Page: TypeAlias = Callable[[Any], Awaitable[Answer]]


class _Pages(Resource):
    isLeaf = True

    def __init__(self, pages: Mapping[str, Page]) -> None:
        super().__init__()
        self._pages = {path.encode("ascii"): page for path, page in pages.items()}

    def render(self, request: Any) -> Any:
        page = self._pages.get(request.path)
        if page is None or request.method not in (b"GET", b"HEAD"):
            status = 404 if page is None else 405
            _send(request, Answer(b"not found\n" if page is None else b"GET it\n", "text/plain", status))
            return NOT_DONE_YET
        answering = Deferred.fromCoroutine(_answer(request, page))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET


async def _answer(request: Any, page: Page) -> None:
    try:
        answer = await page(request)
    except CancelledError:
        return
    except Exception:
        _log.failure("the debug page {path} failed", Failure(), path=request.path)
        answer = Answer(b"failed; the log says why\n", "text/plain", 500)
    _send(request, answer)


def _send(request: Any, answer: Answer) -> None:
    request.setResponseCode(answer.status)
    request.setHeader(b"Content-Type", answer.media_type.encode("ascii"))
    request.setHeader(b"Content-Length", b"%d" % len(answer.content))
    request.setHeader(b"Cache-Control", b"no-store")
    if request.method != b"HEAD":
        request.write(answer.content)
    request.finish()


class _DebugSite(Site):
    noisy = False

    def startFactory(self) -> None:
        """Do nothing: there is no access log."""

    def stopFactory(self) -> None:
        """Do nothing, for the same reason."""

    def log(self, request: Any) -> None:
        """Do nothing, for the same reason."""


@mutable(eq=False, slots=False)
class DebugService(Service):
    """Serves pages on ``http.debug.addr``.

    :param reactor: what it runs on.
    :param addr: where to listen.
    :param pages: by path, what answers there.
    """

    _reactor: Any
    _addr: str
    _pages: Mapping[str, Page]
    _port: IListeningPort | None = field(default=None, init=False)

    def startService(self) -> None:
        """Listen.

        :raises txregistry.errors.ConfigError: that cannot be done.
        """
        site = _DebugSite(_Pages(self._pages), timeout=_TIMEOUT, parsePOSTFormSubmission=False)
        self._port = listen_tcp(self._reactor, self._addr, site, "http.debug.addr")
        super().startService()
        _log.info("the debug server listens on {addr}", addr=self._addr)

    def stopService(self) -> Deferred[None]:
        """Listen no more."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

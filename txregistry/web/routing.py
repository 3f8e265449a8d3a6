"""From a request to what answers it, and the answer on its way.

The routes are Klein's, and Klein finds them.  It is asked once for an address that comes again, and what answers is
begun here rather than by Klein's own resource: that makes a chain of Deferreds for each request, and most
requests have nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextvars import copy_context
from functools import lru_cache
from typing import Any, TypeAlias

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from txregistry.web import failures

_log = Logger()

#: Answers a request; returns the body, or None where all was written.
Respond: TypeAlias = Callable[..., Awaitable[bytes | None]]

#: Addresses whose routes are remembered.
_REMEMBERED = 2048
#: Characters of an address that is worth it.
_LONGEST = 512


class Routing(Resource):
    """Finds routes and lets them answer.

    :param app: knows the routes.
    :param responds: what answers, by the name of Klein's endpoint.
    """

    isLeaf = True

    def __init__(self, app: Klein, responds: Mapping[str, Respond]) -> None:
        super().__init__()
        self.app = app
        self._responds = responds
        # Routes depend on paths alone.
        self._addresses = app.url_map.bind("registry")
        self._find_again = lru_cache(_REMEMBERED)(self._find)

    def render(self, request: Any) -> int:
        """Begin to answer; what has nothing to wait for is answered when this returns."""
        answering = self._answer(request)
        context = copy_context()
        try:
            awaited = context.run(answering.send, None)
        except StopIteration:
            return NOT_DONE_YET
        rest = context.run(Deferred.fromCoroutine, _rest(answering, awaited))
        rest.addErrback(lambda failure: _log.failure("request {id} was not answered", failure, id=request.id))
        request.notifyFinish().addErrback(lambda _: rest.cancel())
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        try:
            path = request.route
            respond, texts = self._find_again(path) if len(path) <= _LONGEST else self._find(path)
            content = await respond(request, **texts)
            if content is not None:
                request.write(content)
        except Exception as error:
            if request.is_over:
                if not isinstance(error, CancelledError):
                    _log.failure("request {id} failed after its client had left", id=request.id)
                return
            request.write(failures.fail(request, error))
        if not request.is_over:
            request.finish()

    def _find(self, path: str) -> tuple[Respond, Mapping[str, str]]:
        """Return what answers at a path, and the parts of it that the route names.

        :raises werkzeug.exceptions.NotFound: nothing does.
        """
        endpoint, texts = self._addresses.match(path, "GET")
        return self._responds[endpoint], texts


def _rest(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Deferred[Any], Any, None]:
    """Go on with a coroutine that waits for *awaited*, as if nobody had begun it by hand."""
    try:
        while True:
            try:
                result = yield awaited
            except GeneratorExit:
                raise
            except BaseException as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(result)
    except StopIteration:
        return
    finally:
        coroutine.close()

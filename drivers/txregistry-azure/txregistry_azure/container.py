"""A container: requests to it, signed and answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from attrs import frozen

from txregistry.objects.keys import Keys
from txregistry.objects.transport import Answer, Prepare, Request, Stream, Transport
from txregistry_azure.answers import refuse
from txregistry_azure.options import Options

#: The version of the protocol that is spoken.
VERSION = "2023-11-03"


@frozen
class Container(Keys):
    """Sends requests to a container.

    :param options: what the configuration says.
    :param transport: what sends.
    :param access: who asks; a :class:`txregistry_azure.access.IAccess`.
    :param agent: what requests say made them.
    """

    options: Options
    transport: Transport
    access: Any
    agent: str

    def url(self, name: str, query: str) -> str:
        """Return the URL of a blob, or of the container if the name is empty."""
        place = f"/{quote(name, safe='/-_.~')}" if name else ""
        return f"{self.options.service}/{self.options.container}{place}{'?' if query else ''}{query}"

    async def ask(
        self,
        path: str,
        method: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (),
        *,
        of_container: bool = False,
        patience: float | None = None,
        once: bool = False,
        wrong: Callable[[Answer], str | None] = lambda answer: None,
    ) -> Answer:
        """Send a request, and return its answer, which is a good one.

        :param path: of the blob.
        :param of_container: whether it is about the container, and the path is there for errors only.
        :param patience: see :meth:`txregistry.objects.transport.Transport.ask`, as for the rest.
        :raises Exception: what :func:`txregistry_azure.answers.refuse` makes of any other answer.
        """
        prepare = self._prepare("" if of_container else self.key(path), method, query, headers, pieces)
        answer = await self.transport.ask(path, prepare, patience, once, wrong=wrong)
        if answer.status >= 300:
            raise refuse(path, answer)
        return answer

    async def open(self, path: str, headers: Mapping[str, str]) -> Stream:
        """Ask for a blob.

        :raises txregistry.objects.transport.Refused: the answer has a status of 400 or more.
        """
        return await self.transport.open(path, self._prepare(self.key(path), "GET", None, headers, ()))

    def request(
        self,
        shown: Any,
        name: str,
        method: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (),
    ) -> Request:
        """Return a request.

        :param shown: the :class:`txregistry_azure.access.Pass` that goes with it.
        """
        parts = [urlencode(query or {}, quote_via=quote, safe="-_.~"), shown.query]
        more = {"x-ms-version": VERSION, "User-Agent": self.agent}
        if shown.bearer:
            more["Authorization"] = f"Bearer {shown.bearer}"
        url = self.url(name, "&".join(filter(None, parts)))
        return Request(method, url, {**(headers or {}), **more}, pieces)

    async def source(self, path: str) -> dict[str, str]:
        """Return the header that names a blob to copy, with leave to read it."""
        name = self.key(path)
        return {"x-ms-copy-source": self.url(name, await self.access.reading(name))}

    def _prepare(
        self,
        name: str,
        method: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        pieces: Sequence[bytes],
    ) -> Prepare:
        async def prepare() -> Request:
            return self.request(await self.access.ask(), name, method, query, headers, pieces)

        return prepare

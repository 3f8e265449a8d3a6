"""A bucket: requests to it, authorized and answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore

from txregistry import errors
from txregistry.objects.keys import Keys
from txregistry.objects.store import Conflict
from txregistry.objects.transport import Answer, Prepare, Request, Stream, Transport
from txregistry_gcs.access import Access
from txregistry_gcs.options import Options

_NO_BUCKET = b"bucket does not exist"


class Refusal(errors.StorageFault):
    """The store will not do it.

    :param status: the answer's.
    """

    def __init__(self, path: str, status: int) -> None:
        super().__init__(path, f"the store answers {status}")
        self.status = status


@frozen
class Bucket(Keys):
    """Sends requests to a bucket, as the JSON API has them.

    :param options: what the configuration says.
    :param transport: what sends.
    :param access: who asks.
    :param endpoint: scheme and host.
    :param agent: what requests say made them.
    :param slots: how many requests are waited for at once.
    """

    options: Options
    transport: Transport
    access: Access
    endpoint: str
    agent: str
    slots: DeferredSemaphore

    def place(self, path: str) -> str:
        """Return where in the API an object is."""
        return f"{self.objects}/{quote(self.key(path), safe='')}"

    @property
    def objects(self) -> str:
        """Where in the API the objects are."""
        return f"/storage/v1/b/{self.options.bucket}/o"

    async def ask(
        self,
        path: str,
        method: str,
        place: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (),
        *,
        patience: float | None = None,
        once: bool = False,
        wrong: Callable[[Answer], str | None] = lambda answer: None,
    ) -> Answer:
        """Send a request, and return its answer, which is a good one.

        :param path: what it is about, for errors.
        :param place: what of the API is asked.
        :param patience: see :meth:`txregistry.objects.transport.Transport.ask`, as for the rest.
        :raises Exception: what :func:`refuse` makes of any other answer.
        """
        prepare = self._prepare(method, place, query, headers, pieces)
        await self.slots.acquire()
        try:
            answer = await self.transport.ask(path, prepare, patience, once, wrong=wrong)
        finally:
            self.slots.release()
        if answer.status >= 300:
            raise refuse(path, answer)
        return answer

    async def open(self, path: str, headers: Mapping[str, str]) -> Stream:
        """Ask for an object.

        :raises txregistry.objects.transport.Refused: the answer has a status of 400 or more.
        """
        prepare = self._prepare("GET", self.place(path), {"alt": "media"}, headers, ())
        return await self.transport.open(path, prepare)

    def request(
        self,
        token: str,
        method: str,
        place: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (),
    ) -> Request:
        """Return a request of whom a token is."""
        text = urlencode(query or {}, quote_via=quote, safe="-_.~")
        more = {"User-Agent": self.agent}
        if token:
            more["Authorization"] = f"Bearer {token}"
        url = f"{self.endpoint}{place}{'?' if text else ''}{text}"
        return Request(method, url, {**(headers or {}), **more}, pieces)

    def _prepare(
        self,
        method: str,
        place: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        pieces: Sequence[bytes],
    ) -> Prepare:
        async def prepare() -> Request:
            return self.request(await self.access.token(), method, place, query, headers, pieces)

        return prepare


def refuse(path: str, answer: Answer) -> Exception:
    """Return what is to be raised for an answer of a status of 300 or more."""
    if answer.status == 404 and _NO_BUCKET not in answer.content:
        return errors.PathUnknown(path)
    if answer.status == 412:
        return Conflict(path)
    if answer.status in (413, 507):
        return errors.StorageFull(path, f"the store answers {answer.status}")
    return Refusal(path, answer.status)

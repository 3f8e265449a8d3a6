"""A bucket: requests to it, signed and answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from txregistry.objects.keys import Keys
from txregistry.objects.transport import Answer, Prepare, Request, Stream, Transport
from txregistry_s3.answers import refuse
from txregistry_s3.credentials import Signers
from txregistry_s3.options import Options
from txregistry_s3.signing import Signing

_MD5 = re.compile(r"[0-9a-f]{32}")


@frozen
class Bucket(Keys):
    """Sends requests to a bucket.

    :param options: what the configuration says.
    :param transport: what sends.
    :param signing: what signs.
    :param signers: who does.
    """

    options: Options
    transport: Transport
    signing: Signing
    signers: Signers

    async def ask(
        self,
        path: str,
        method: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (),
        *,
        of_bucket: bool = False,
        patience: float | None = None,
        once: bool = False,
        wrong: object = None,
    ) -> Answer:
        """Send a request, and return its answer, which is a good one.

        :param path: of the object.
        :param of_bucket: whether it is about the bucket, and the path is there for errors only.
        :param patience: see :meth:`txregistry.objects.transport.Transport.ask`, as for the rest.
        :raises Exception: what :func:`txregistry_s3.answers.refuse` makes of any other answer.
        """
        prepare = self._prepare(
            "" if of_bucket else self.key(path), method, query or {}, headers or {}, pieces
        )
        more = {} if wrong is None else {"wrong": wrong}
        answer = await self.transport.ask(path, prepare, patience, once, **more)  # type: ignore[arg-type]
        if answer.status >= 300:
            raise refuse(path, answer)
        return answer

    async def open(self, path: str, headers: Mapping[str, str]) -> Stream:
        """Ask for an object.

        :raises txregistry.objects.transport.Refused: the answer has a status of 400 or more.
        """
        return await self.transport.open(path, self._prepare(self.key(path), "GET", {}, headers, ()))

    @property
    def making(self) -> dict[str, str]:
        """The headers of every request that makes an object."""
        options = self.options
        headers = {"Content-Type": "application/octet-stream"}
        if options.encrypt:
            headers["x-amz-server-side-encryption"] = "aws:kms" if options.keyid else "AES256"
        if options.keyid:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = options.keyid
        if options.storageclass not in ("NONE", "STANDARD"):
            headers["x-amz-storage-class"] = options.storageclass
        if options.objectacl != "private":
            headers["x-amz-acl"] = options.objectacl
        return headers

    def _prepare(
        self,
        key: str,
        method: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        pieces: Sequence[bytes],
    ) -> Prepare:
        async def prepare() -> Request:
            return self.signing.request(await self.signers.keys(), method, key, query, headers, pieces)

        return prepare


def md5_of(etag: str | None, encryption: str | None) -> str | None:
    """Return the MD5 that an ETag is, if it is one: not of what came in parts, nor under a key of KMS."""
    text = (etag or "").strip('"')
    return text if _MD5.fullmatch(text) and not (encryption or "").startswith("aws:kms") else None

"""Requests to a bucket: where they go, and their signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from attrs import frozen
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from txregistry.errors import ConfigError
from txregistry.objects.transport import Request
from txregistry_s3.options import Options

#: Seconds for which a URL is good, as Distribution's is.
URL_LIFE = 20 * 60


class _Unhashed(S3SigV4Auth):  # type: ignore[misc]
    """Signs all but the body, whose MD5 is among the headers that are signed."""

    def payload(self, request: Any) -> str:
        """See :class:`botocore.auth.SigV4Auth`."""
        return "UNSIGNED-PAYLOAD"


@frozen
class Address:
    """Where a bucket is.

    :param base: scheme and host.
    :param in_path: the bucket, where it stands in the path; empty where it is in the host.
    :param bucket: the bucket.
    :param region: what signatures name.
    """

    base: str
    in_path: str
    bucket: str
    region: str

    @classmethod
    def of(cls, options: Options) -> Address:
        """Return where the options say that it is.

        :raises txregistry.errors.ConfigError: there is no such region.
        """
        bucket = options.bucket
        if options.endpoint is not None:
            scheme, host = options.endpoint
            by_path = options.forcepathstyle
        else:
            scheme, host = ("https" if options.secure else "http"), _host(options)
            # The certificate is good for one more label, not for several.
            by_path = options.forcepathstyle or (scheme == "https" and "." in bucket)
            if options.accelerate:
                by_path = False
        region = options.region or "us-east-1"
        if by_path:
            return cls(f"{scheme}://{host}", f"/{bucket}", bucket, region)
        return cls(f"{scheme}://{bucket}.{host}", "", bucket, region)

    def url(self, key: str, query: Mapping[str, str]) -> str:
        """Return the URL of an object, or of the bucket if the key is empty."""
        text = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        return f"{self.base}{self.in_path}/{quote(key, safe='/-_.~')}{'?' if text else ''}{text}"

    def auth_path(self, key: str) -> str:
        """Return the path that signatures of version 2 have in them."""
        return f"/{self.bucket}/{quote(key, safe='/-_.~')}"


@frozen
class Signing:
    """Signs requests.

    :param address: where they go.
    :param version_4: whether signatures are of version 4, rather than 2.
    :param agent: what they say made them.
    """

    address: Address
    version_4: bool
    agent: str

    def request(
        self,
        keys: Any,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        pieces: Sequence[bytes] = (),
    ) -> Request:
        """Return a request with its signature.

        :param keys: whose signature it is.
        :param key: the object's; empty for the bucket.
        """
        made = AWSRequest(
            method=method,
            url=self.address.url(key, query),
            headers={**headers, "User-Agent": self.agent},
            auth_path=self.address.auth_path(key),
        )
        if self.version_4:
            _Unhashed(keys, "s3", self.address.region).add_auth(made)
        else:
            HmacV1Auth(keys, "s3", self.address.region).add_auth(made)
        return Request(method, made.url, dict(made.headers.items()), pieces)

    def url(self, keys: Any, method: str, key: str) -> str:
        """Return a URL that has its signature in it."""
        made = AWSRequest(method=method, url=self.address.url(key, {}), auth_path=self.address.auth_path(key))
        if self.version_4:
            S3SigV4QueryAuth(keys, "s3", self.address.region, expires=URL_LIFE).add_auth(made)
        else:
            HmacV1QueryAuth(keys, expires=URL_LIFE).add_auth(made)
        url: str = made.url
        return url


def _host(options: Options) -> str:
    session = Session()
    known = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("s3", partition)
    }
    if options.region not in known:
        raise ConfigError("region", f"no region of Amazon's is named {options.region!r}")
    if options.accelerate:
        return f"s3-accelerate{'.dualstack' if options.usedualstack else ''}.amazonaws.com"
    found = session.get_component("endpoint_resolver").construct_endpoint(
        "s3",
        options.region,
        use_dualstack_endpoint=options.usedualstack,
        use_fips_endpoint=options.usefipsendpoint,
    )
    # The oldest region's own name is another than that of all of them.
    host: str = found["hostname"]
    return "s3.us-east-1.amazonaws.com" if host == "s3.amazonaws.com" else host

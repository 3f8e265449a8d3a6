"""The addresses that answers give to clients."""

from __future__ import annotations

import re
from typing import Any

from attrs import field, frozen

from txregistry.digest import Digest
from txregistry.reference import RepositoryName
from txregistry.web.proxies import Proxies

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PAIR = re.compile(r"(?i:(proto|host))=(?:\"([^\"]*)\"|([^;,\s\"]*))")


@frozen
class Locations:
    """Makes URLs that a client can follow.

    :param host: ``http.host``: what all of them begin with; empty to take it from the request.
    :param prefix: ``http.prefix``: the path below which the registry is, with a slash at both ends.
    :param relative: ``http.relativeurls``: leave scheme and host away.
    :param proxies: whose word counts for what a client asked for.
    """

    host: str = ""
    prefix: str = "/"
    relative: bool = False
    proxies: Proxies = field(factory=Proxies)

    def blob(self, request: Any, name: RepositoryName, digest: Digest) -> str:
        """Return where a blob is."""
        return self._at(request, f"v2/{name}/blobs/{digest}")

    def manifest(self, request: Any, name: RepositoryName, digest: Digest) -> str:
        """Return where a manifest is."""
        return self._at(request, f"v2/{name}/manifests/{digest}")

    def upload(self, request: Any, name: RepositoryName, upload_id: str, state: str) -> str:
        """Return where an upload goes on."""
        return self._at(request, f"v2/{name}/blobs/uploads/{upload_id}?_state={state}")

    def origin(self, request: Any) -> str:
        """Return what the registry is reached by, without a slash at its end."""
        if self.host:
            return self.host.rstrip("/") + self.prefix.rstrip("/")
        scheme, authority = self._origin(request)
        return f"{scheme}://{authority}{self.prefix}".rstrip("/")

    def path(self, below: str) -> str:
        """Return a path of this registry, without scheme and host."""
        return self.prefix + below

    def _at(self, request: Any, below: str) -> str:
        if self.host:
            return self.host.rstrip("/") + self.path(below)
        if self.relative:
            return self.path(below)
        scheme, authority = self._origin(request)
        return f"{scheme}://{authority}{self.path(below)}" if authority else self.path(below)

    def _origin(self, request: Any) -> tuple[str, str]:
        """Return the scheme and the host that the client used, as proxies tell of them.

        ``Forwarded`` (RFC 7239) wins over ``X-Forwarded-*``; of several proxies the first counts.  What is not a
        host or a scheme is passed over.
        """
        scheme = "https" if request.isSecure() else "http"
        authority = request.text_header("Host") or ""
        if not self.proxies.speaks(request):
            return scheme, authority
        told = {
            "proto": request.text_header("X-Forwarded-Proto"),
            "host": request.text_header("X-Forwarded-Host"),
        }
        forwarded = (request.text_header("Forwarded") or "").partition(",")[0]
        for name, quoted, plain in _PAIR.findall(forwarded):
            told[name.lower()] = quoted or plain
        proto = (told["proto"] or "").partition(",")[0].strip(" \t").lower()
        host = (told["host"] or "").partition(",")[0].strip(" \t")
        if proto in ("http", "https"):
            scheme = proto
        if _AUTHORITY.fullmatch(host):
            authority = host
        return scheme, authority

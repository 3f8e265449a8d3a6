"""``/v2/_oci/ext/discover`` (distribution-spec, "_oci Extension Endpoints")."""

from __future__ import annotations

from typing import Any

from txregistry.web.answers import answer_json

_SPEC = "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md"


async def discover(request: Any) -> bytes:
    """List the extensions of the API that this registry has."""
    extensions = [
        {
            "name": "_oci",
            "url": _SPEC,
            "description": "the extensions of this registry",
            "endpoints": ["_oci/ext/discover"],
        }
    ]
    return answer_json(request, {"extensions": extensions})

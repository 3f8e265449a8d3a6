"""``http.limits``: what clients may have at once."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LimitKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``http.limits``.  (Not a key of Distribution's.)"""

    connections: Annotated[
        int,
        Meta(
            ge=0,
            description="Connections in all, 0 for no bound; never more than a third of the files that the "
            "process may open.",
        ),
    ] = 10000
    connectionsperclient: Annotated[
        int,
        Meta(
            ge=0,
            description="Connections of one address, or one IPv6 /64, that is no proxy of trustedproxies; 0 "
            "for no bound.",
        ),
    ] = 4000
    uploadsperclient: Annotated[
        int,
        Meta(
            ge=0,
            description="Uploads that one user, or one address without a user, begins within an hour and "
            "does not end; 0 for no bound.",
        ),
    ] = 500

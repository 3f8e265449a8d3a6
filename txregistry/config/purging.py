"""``storage.maintenance.uploadpurging``: the end of uploads that nobody goes on with."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from txregistry.config.kinds import Duration, Interval


class UploadPurging(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.maintenance.uploadpurging``."""

    enabled: Annotated[bool, Meta(description="Purge uploads that nobody goes on with.")] = True
    age: Annotated[
        Duration,
        Meta(
            description="How long nothing must have been written to an upload.  (For Distribution: how long "
            "ago it must have begun.)"
        ),
    ] = 168 * 3600.0
    interval: Annotated[Interval, Meta(description="How often to look for them.")] = 24 * 3600.0
    dryrun: Annotated[bool, Meta(description="Tell in the log what would be purged, and purge nothing.")] = (
        False
    )

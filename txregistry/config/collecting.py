"""``storage.maintenance.garbagecollection``: the end of what no manifest needs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from txregistry.config.kinds import Duration, Interval


class GarbageCollection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.maintenance.garbagecollection``.  (Not a key of Distribution's.)"""

    enabled: Annotated[bool, Meta(description="Collect garbage while the registry runs.")] = False
    interval: Annotated[Interval, Meta(description="How often.")] = 24 * 3600.0
    age: Annotated[
        Duration,
        Meta(
            description="How long ago something must have been pushed, mounted or asked for to be collected; "
            "also for garbage-collect on the command line."
        ),
    ] = 24 * 3600.0
    deleteuntagged: Annotated[bool, Meta(description="Collect manifests, too, that no tag leads to.")] = False
    rate: Annotated[
        int, Meta(ge=0, description="Manifests read and files removed a second at most; 0 for no bound.")
    ] = 1000

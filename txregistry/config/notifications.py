"""The section ``notifications``: who is told of what happens, and where that is kept until then."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from txregistry.config.kinds import Duration, OptionalPath


class Events(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``notifications.events``."""

    includereferences: Annotated[
        bool, Meta(description="Say in events of manifests what these name, with all that they say of it.")
    ] = False


class Ignore(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``ignore`` of an endpoint: an event is ignored for its media type or for its action."""

    mediatypes: Annotated[list[str], Meta(description="Media types of what it is not told of.")] = field(
        default_factory=list
    )
    actions: Annotated[
        list[Literal["pull", "push", "mount", "delete"]], Meta(description="Actions that it is not told of.")
    ] = field(default_factory=list)


class EndpointKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``notifications.endpoints``.  In the file the notifier's own keys stand beside these."""

    name: Annotated[str, Meta(description="What it is called; each has a name of its own.")]
    type: Annotated[
        str, Meta(description="The notifier that delivers to it.  (Not a key of Distribution's.)")
    ] = "webhook"
    disabled: Annotated[bool, Meta(description="Do not tell it of anything.")] = False
    timeout: Annotated[Duration, Meta(description="How long a delivery may take; 1s when 0.")] = 1.0
    threshold: Annotated[
        int, Meta(description="Failures in a row after which it is given time; 10 when 0 or less.")
    ] = 10
    backoff: Annotated[
        Duration,
        Meta(
            description="How long it is given at first, twice as long each time, up to 5 minutes; 1s when 0. "
            "(Distribution always waits as long as this.)"
        ),
    ] = 1.0
    ignoredmediatypes: Annotated[
        list[str], Meta(description="Media types of what it is not told of, as ignore.mediatypes.")
    ] = field(default_factory=list)
    ignore: Annotated[Ignore, Meta(description="What it is not told of.")] = field(default_factory=Ignore)
    options: Annotated[
        dict[str, Any], Meta(description="The notifier's own keys, as YAML read them.", extra={"rest": True})
    ] = field(default_factory=dict)


class OutboxKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``notifications.outbox``: where events are kept until they are delivered."""

    path: Annotated[
        OptionalPath,
        Meta(
            description="Absolute path of its file, on a disk of this machine; when empty, "
            "_txregistry/outbox.sqlite below the root of a filesystem storage."
        ),
    ] = ""
    maxbytes: Annotated[
        int,
        Meta(
            description="Bytes that are kept for each endpoint; where there are more, the oldest events go."
        ),
    ] = 64 * 1024 * 1024
    maxtries: Annotated[int, Meta(description="Tries after which an event that is refused is set aside.")] = (
        10
    )


class NotificationKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``notifications``."""

    events: Annotated[Events, Meta(description="What events say.", extra={"variable": "EVENTCONFIG"})] = (
        field(default_factory=Events)
    )
    endpoints: Annotated[list[EndpointKeys], Meta(description="Who is told.")] = field(default_factory=list)
    outbox: Annotated[
        OutboxKeys,
        Meta(description="Where events are kept until they are delivered.  (Not a key of Distribution's.)"),
    ] = field(default_factory=OutboxKeys)

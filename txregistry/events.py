"""What happens in the registry that others are told of, and the forms in which they are.

The first form is CNCF Distribution's envelope, byte for byte what Go writes: keys in this order, three spaces
for each step inwards, and ``&``, ``<`` and ``>`` as escapes.  The second is CloudEvents 1.0 in structured mode.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

#: Of Distribution's envelope.
ENVELOPE_TYPE = "application/vnd.docker.distribution.events.v2+json"
#: Of an event in CloudEvents' structured mode (JSON format, 3).
CLOUD_EVENT_TYPE = "application/cloudevents+json; charset=utf-8"

PULL = "pull"
PUSH = "push"
MOUNT = "mount"
DELETE = "delete"
#: What can happen.
ACTIONS = (PULL, PUSH, MOUNT, DELETE)

# Go's encoder writes these as escapes wherever they are; in JSON they are nowhere but in strings.
_ESCAPES = (
    (b"&", rb"\u0026"),
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


class _Value(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Keys that have their default are left away."""


class Platform(
    _Value, frozen=True, kw_only=True, rename={"os_version": "os.version", "os_features": "os.features"}
):
    """What a manifest in an index is for."""

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    os_features: list[str] = field(default_factory=list)
    variant: str = ""


class Reference(_Value, frozen=True, kw_only=True):
    """What a manifest says of one of those that it names."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    urls: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str = ""


class Target(_Value, frozen=True, kw_only=True):
    """What it happened to.

    :param media_type: its type; empty where something was deleted.
    :param digest: its digest; empty where a tag was deleted.
    :param size: bytes.
    :param length: the same once more.
    :param from_repository: where a blob was mounted from.
    :param url: where it is.
    :param tag: the tag that the client named.
    :param references: what a manifest names, where the operator wants that told.
    """

    media_type: str
    digest: str
    size: int
    length: int = 0
    repository: str
    from_repository: str = ""
    url: str = ""
    tag: str = ""
    references: list[Reference] = field(default_factory=list)


class Request(_Value, frozen=True, kw_only=True):
    """The request that made it happen.

    :param id: what the log calls the request.
    :param addr: the client's address and port.
    :param useragent: what the client says that it is.
    """

    id: str
    addr: str = ""
    host: str = ""
    method: str
    useragent: str


class Actor(_Value, frozen=True, kw_only=True):
    """Who made the request; nothing where no one was asked."""

    name: str = ""


class Source(_Value, frozen=True, kw_only=True, rename={"instance_id": "instanceID"}):
    """The registry that it happened in.

    :param addr: its host and port.
    :param instance_id: another one for each start of a server.
    """

    addr: str = ""
    instance_id: str = ""


class Event(_Value, frozen=True, kw_only=True):
    """Something that happened.

    :param id: no other event has it.
    :param timestamp: RFC 3339.
    :param action: one of :data:`ACTIONS`.
    """

    id: str
    timestamp: str
    action: str
    target: Target
    request: Request
    actor: Actor
    source: Source

    @property
    def repository(self) -> str:
        """Where it happened."""
        return self.target.repository


class _Named(Struct, frozen=True):
    config: Reference | None = None
    layers: list[Reference] = field(default_factory=list)
    manifests: list[Reference] = field(default_factory=list)


def references_of(content: bytes) -> list[Reference]:
    """Return what a manifest names, its config first; nothing of what cannot be read."""
    try:
        named = msgspec.json.decode(content, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    first = [] if named.config is None else [named.config]
    return [*first, *named.layers, *named.manifests]


def encode(event: Event) -> bytes:
    """Return what :func:`decode` makes the same event of."""
    return msgspec.json.encode(event)


def decode(content: bytes) -> Event:
    """Return the event that was encoded.

    :raises ValueError: it is none.
    """
    return msgspec.json.decode(content, type=Event)


def envelope(event: Event) -> bytes:
    """Return an event as Distribution sends it: of type :data:`ENVELOPE_TYPE`, one event in each."""
    return _as_go(msgspec.json.format(msgspec.json.encode({"events": [event]}), indent=3))


def cloud_event(event: Event) -> bytes:
    """Return an event as CloudEvents 1.0 has it in structured mode, of type :data:`CLOUD_EVENT_TYPE`.

    Its data is the event as it stands in Distribution's envelope.
    """
    target = event.target
    subject = f"{target.repository}:{target.tag}" if target.tag else f"{target.repository}@{target.digest}"
    whole: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"//{event.source.addr}",
        "type": f"txregistry.{event.action}",
        "subject": subject,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "data": event,
    }
    return msgspec.json.encode(whole)


def _as_go(content: bytes) -> bytes:
    for character, escape in _ESCAPES:
        content = content.replace(character, escape)
    return content

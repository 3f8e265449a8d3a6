"""Everything that reads what others wrote: what it takes, what it may raise, and what must hold of what it accepts.

Hypothesis and Atheris feed these; see ``tests/test_parsers.py`` and ``tests/soak/test_fuzz.py``.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from tests.auth.forging import EC, NOW, jwk, jwks, token
from tests.web.sockets import PING, Wire, at_once, make_site, next_answer, request
from txregistry import errors
from txregistry.access import Attempt, parse_scope
from txregistry.auth.basic import Credentials
from txregistry.auth.keys import TrustedKeys
from txregistry.auth.passwords import LineInvalid, Passwords
from txregistry.auth.token import TokenBackend
from txregistry.config.durations import parse_duration
from txregistry.config.load import load
from txregistry.content.uploads import Upload
from txregistry.digest import Digest
from txregistry.globs import matches
from txregistry.manifest import children_of, media_type_of, named_by, parse, referrer_of, stored
from txregistry.ranges import parse_chunk_range, parse_range
from txregistry.reference import RepositoryName, Tag, parse_reference
from txregistry.storage.memory import MemoryDriver
from txregistry.web.heads import REQUEST_LINE, Unacceptable, check, field, target
from txregistry.web.proxies import Proxies
from txregistry.web.states import UploadStates
from txregistry.web.uploads import parse_upload_id

#: The grammars, as the specifications spell them.
NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}", re.ASCII)
UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)

Feed = Callable[[bytes], None]


@frozen
class Parser:
    """One of them.

    :param feed: gives it some bytes, and checks what comes of them.
    :param refusals: what it may raise.
    :param seeds: what it accepts, or nearly.
    """

    feed: Feed
    refusals: tuple[type[BaseException], ...]
    seeds: tuple[bytes, ...]

    def try_(self, data: bytes) -> bool:
        """Feed it; return whether it accepted that."""
        try:
            self.feed(data)
        except self.refusals:
            return False
        return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _name(data: bytes) -> None:
    name = RepositoryName.parse(_text(data))
    assert NAME.fullmatch(name) and len(name) <= 255, name


def _tag(data: bytes) -> None:
    assert TAG.fullmatch(Tag.parse(_text(data)))


def _digest(data: bytes) -> None:
    assert DIGEST.fullmatch(str(Digest.parse(_text(data))))


def _reference(data: bytes) -> None:
    found = str(parse_reference(_text(data)))
    assert TAG.fullmatch(found) or DIGEST.fullmatch(found), found


def _upload_id(data: bytes) -> None:
    assert UUID.fullmatch(parse_upload_id(_text(data)))


def _range(data: bytes) -> None:
    found = parse_range(_text(data), 1000)
    assert found is None or 0 <= found.start < found.stop <= 1000, found


def _chunk_range(data: bytes) -> None:
    found = parse_chunk_range(_text(data))
    assert 0 <= found.start < found.stop, found


def _manifest(data: bytes) -> None:
    media_type_of(data)
    for read in (stored, children_of, named_by):
        read(data)  # type: ignore[operator]
    referrer_of(data, Digest.of(data))
    found = parse(data, "application/vnd.oci.image.manifest.v1+json")
    assert isinstance(found.media_type, str)


def _scope(data: bytes) -> None:
    for access in parse_scope(_text(data)):
        assert access.kind and access.action, access


def _credentials(data: bytes) -> None:
    assert b":" not in Credentials.parse(_text(data)).user


def _pair(data: bytes) -> None:
    user, colon, password = data.partition(b":")
    found = Credentials.parse("Basic " + base64.b64encode(data).decode())
    assert colon and (found.user, found.password) == (user, password)


@functools.cache
def _backend() -> TokenBackend:
    backend = TokenBackend(
        realm="https://auth.example/token",
        redirect=None,
        service="registry",
        issuer="issuer",
        algorithms=("ES256",),
        load=lambda: TrustedKeys.from_jwks(jwks(jwk(EC, kid="one"))),
        now=lambda: NOW,
    )
    backend.prepare()
    return backend


def _token(data: bytes) -> None:
    attempt = Attempt("Bearer " + _text(data), "192.0.2.1", "https://registry.example", None)
    outcome: list[Any] = []
    Deferred.fromCoroutine(_backend().authenticate(attempt)).addBoth(outcome.append)
    failure = getattr(outcome[0], "value", None)
    if failure is not None:
        raise failure
    assert outcome[0].name == "alice", outcome


def _jwks(data: bytes) -> None:
    TrustedKeys.from_jwks(data)


def _htpasswd(data: bytes) -> None:
    for user in Passwords.parse(data).hashes:
        assert user and b":" not in user


_UPLOAD = Upload(RepositoryName.parse("a"), "6ba7b810-9dad-11d1-80b4-00c04fd430c8", 5, "2026-01-01T00:00:00Z")
_STATES = UploadStates(b"secret")
_STATE = _STATES.sign(_UPLOAD, "alice")


def _state(data: bytes) -> None:
    read = _STATES.read(_text(data), _UPLOAD.repository, _UPLOAD.id, "alice")
    # Base64 has several spellings of one text; nothing that was not signed is taken.
    assert (read.offset, read.user) == (5, "alice")


def _duration(data: bytes) -> None:
    assert parse_duration(_text(data)) >= 0


def _glob(data: bytes) -> None:
    pattern, _, name = _text(data).partition("\n")
    matches(pattern, name)


def _config(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(data)
    try:
        load(file.name, {})
    finally:
        os.unlink(file.name)


def _variables(data: bytes) -> None:
    names: Mapping[str, str] = {}
    for line in data.replace(b"\0", b"").decode("utf-8", "replace").split("\n"):
        name, equals, value = line.partition("=")
        if equals and name.isprintable():
            names = {**names, f"REGISTRY_{name}": value}
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write("version: 0.1\nstorage: inmemory\n")
    try:
        load(file.name, names)
    finally:
        os.unlink(file.name)


def _head(data: bytes) -> None:
    first, *lines = data.split(b"\r\n")
    match = REQUEST_LINE.fullmatch(first)
    if match is None:
        raise Unacceptable(400, "")
    headers = Headers()
    for line in lines:
        name, value = field(line)
        assert b"\n" not in name + value and b"\r" not in name + value
        headers.addRawHeader(name, value)
    check(headers, match[3], 0)
    path = target(match[1], match[2], headers)
    assert path == b"*" or path.startswith(b"/"), path


class _Peer:
    host = "10.0.0.1"


class _Forwarded:
    def __init__(self, data: bytes) -> None:
        self.requestHeaders = Headers({b"X-Forwarded-For": data.split(b"\n")})

    def getClientAddress(self) -> Any:
        return _Peer


def _forwarded(data: bytes) -> None:
    address = Proxies.named(["10.0.0.0/8"]).client(_Forwarded(data.replace(b"\r", b"").replace(b"\0", b"")))
    assert re.fullmatch(r"[0-9a-f.:]+", address), address


def _edge(data: bytes) -> None:
    wire = Wire(make_site(MemoryDriver(), Clock(), at_once))
    wire.send(data, 1 << 16)
    rest = wire.transport.value()
    methods = [method for method, _, _ in wire.site.seen]
    answers = 0
    while rest:
        head = answers < len(methods) and methods[answers] == b"HEAD"
        found = next_answer(rest, head) or next_answer(rest, head=True)
        assert found is not None, rest
        answer, rest = found
        assert answer.status != 500, answer
        answers += answer.status != 100
    assert answers - len(methods) in (0, 1), (answers, methods)
    wire.hang_up()
    assert wire.clock.getDelayedCalls() == []


_CLAIMS = {
    "iss": "issuer",
    "aud": "registry",
    "sub": "alice",
    "exp": NOW + 60,
    "access": [{"type": "repository", "name": "a", "actions": ["pull"]}],
}
_HEX = b"0" * 64
_IMAGE = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    b'"application/vnd.oci.image.config.v1+json","digest":"sha256:' + _HEX + b'","size":2},"layers":[],'
    b'"subject":{"mediaType":"a/b","digest":"sha256:' + _HEX + b'","size":1},"annotations":{"a":"b"}}'
)
_REGISTRY = (errors.RegistryError,)

PARSERS: dict[str, Parser] = {
    "name": Parser(_name, _REGISTRY, (b"team/app", b"a__b/c-d.e", b"a" * 255)),
    "tag": Parser(_tag, _REGISTRY, (b"latest", b"_1.0-x")),
    "digest": Parser(_digest, _REGISTRY, (b"sha256:" + _HEX, b"sha512:" + _HEX * 2)),
    "reference": Parser(_reference, _REGISTRY, (b"latest", b"sha256:" + _HEX)),
    "upload_id": Parser(_upload_id, _REGISTRY, (_UPLOAD.id.encode(),)),
    "range": Parser(_range, _REGISTRY, (b"bytes=0-9", b"bytes=-5", b"bytes=5-", b"bytes=0-1,5-6")),
    "chunk_range": Parser(_chunk_range, _REGISTRY, (b"0-9", b"bytes 0-9/10")),
    "manifest": Parser(_manifest, _REGISTRY, (_IMAGE, b'{"schemaVersion":2,"manifests":[]}')),
    "scope": Parser(_scope, (), (b"repository:a/b:pull,push", b"registry:catalog:*")),
    "credentials": Parser(_credentials, _REGISTRY, (b"Basic YWxpY2U6eA==",)),
    "pair": Parser(_pair, _REGISTRY, (b"alice:x", b"alice:")),
    "token": Parser(_token, _REGISTRY, (token(EC, {"alg": "ES256", "kid": "one"}, _CLAIMS).encode(),)),
    "jwks": Parser(_jwks, (errors.ConfigError, ValueError), (jwks(jwk(EC, kid="one")),)),
    "htpasswd": Parser(
        _htpasswd, (LineInvalid,), (b"alice:$2y$05$" + b"." * 21 + b"u" + b"." * 31 + b"\n#\n",)
    ),
    "state": Parser(_state, _REGISTRY, (_STATE.encode(),)),
    "duration": Parser(_duration, (ValueError,), (b"1h30m", b"500ms", b"1.5s")),
    "glob": Parser(_glob, (), (b"team/*/x**\nteam/a/xyz",)),
    "config": Parser(
        _config,
        (errors.ConfigError,),
        (
            b"version: 0.1\nstorage: {filesystem: {rootdirectory: /x}, delete: {enabled: true}}\n"
            b"http: {addr: ':5000', headers: {A: [b]}, limits: {connections: 5}}\naccess:\n- who: anonymous\n"
            b"  repositories: '**'\n  actions: [pull]\n",
        ),
    ),
    "variables": Parser(
        _variables, (errors.ConfigError,), (b"HTTP_ADDR=:5001\nSTORAGE_DELETE_ENABLED=true\nLOG_LEVEL=warn",)
    ),
    "head": Parser(
        _head,
        (Unacceptable,),
        (b"GET /v2/ HTTP/1.1\r\nHost: r:80\r\nX: y", b"GET http://r/ HTTP/1.1\r\nHost: r"),
    ),
    "forwarded": Parser(_forwarded, (), (b"192.0.2.1, 10.0.0.1", b"[2001:db8::1]", b"unknown")),
    "edge": Parser(
        _edge,
        (),
        (
            PING * 2,
            request(b"POST /v2/a/blobs/uploads/", body=b"x" * 10),
            request(b"PUT /v2/a/manifests/x", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
            request(b"GET /v2/_catalog?n=1&last=a", b"Range: bytes=0-1", b"If-None-Match: *"),
        ),
    ),
}

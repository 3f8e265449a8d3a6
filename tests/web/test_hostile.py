"""Whatever bytes a client sends, it gets a clean refusal, and nothing but what it sent happens."""

import hashlib

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.web.edge import stored_size
from tests.web.sockets import PING, SMUGGLED, Served, Wire, chunked, request, settled, stored, until
from txregistry.storage.memory import MemoryDriver

DIGEST = b"sha256:" + hashlib.sha256(b"").hexdigest().encode()


@frozen
class Case:
    """What a client sends, and what becomes of it.

    :param sent: the bytes; ``{upload}`` is the location of an upload that was begun.
    :param statuses: those of the answers, in order.
    :param closed: whether the connection ends.
    :param dispatched: how many requests the registry saw.
    """

    sent: bytes
    statuses: tuple[int, ...]
    closed: bool
    dispatched: int


def refused(sent: bytes, status: int = 400) -> Case:
    """Not even a request: one answer, and the end."""
    return Case(sent, (status,), True, 0)


def answered(sent: bytes, *statuses: int, closed: bool = False) -> Case:
    """As many requests as answers."""
    return Case(sent, statuses, closed, len(statuses))


def get(*headers: bytes) -> bytes:
    """A request whose headers are in question, and one that must not be answered after a refusal."""
    return request(b"GET /v2/", *headers) + SMUGGLED


def patch(*headers: bytes, body: bytes = b"") -> bytes:
    """A request whose body is in question."""
    return request(b"PATCH {upload}", *headers) + body + SMUGGLED


def path(target: bytes) -> bytes:
    """A request whose address is in question."""
    return request(b"GET " + target)


def manifest(reference: bytes) -> bytes:
    """A request for a manifest whose name is in question."""
    return path(b"/v2/team/app/manifests/" + reference)


CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 5"

CASES = {
    # Two programs could see different lengths.
    "two lengths": refused(patch(LENGTH, b"Content-Length: 6", body=b"hello")),
    "two equal lengths": refused(patch(LENGTH, LENGTH, body=b"hello")),
    "list of lengths": refused(patch(b"Content-Length: 5, 5", body=b"hello")),
    "length and coding": refused(patch(LENGTH, CHUNKED, body=b"0\r\n\r\n")),
    "coding and length": refused(patch(CHUNKED, LENGTH, body=b"0\r\n\r\n")),
    "length 0 and coding": refused(patch(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n")),
    "length +5": refused(patch(b"Content-Length: +5", body=b"hello")),
    "length -1": refused(patch(b"Content-Length: -1", body=b"hello")),
    "length 0_5": refused(patch(b"Content-Length: 0_5", body=b"hello")),
    "length 0x5": refused(patch(b"Content-Length: 0x5", body=b"hello")),
    "length 5.0": refused(patch(b"Content-Length: 5.0", body=b"hello")),
    "length of another script": refused(patch("Content-Length: ٥".encode(), body=b"hello")),
    "empty length": refused(patch(b"Content-Length: ", body=b"hello")),
    "length of 20 digits": refused(patch(b"Content-Length: " + b"1" * 20)),
    "length of 400 digits": refused(patch(b"Content-Length: " + b"1" * 400)),
    "length of 5000 digits": refused(patch(b"Content-Length: " + b"1" * 5000)),
    "space before the colon": refused(patch(b"Content-Length : 5", body=b"hello")),
    "space before a coding's colon": refused(patch(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    "coding identity": refused(patch(b"Transfer-Encoding: identity")),
    "coding identity, with a length": refused(patch(LENGTH, b"Transfer-Encoding: identity", body=b"hello")),
    "coding gzip": refused(patch(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n")),
    "coding gzip, chunked": refused(patch(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    "coding chunked, identity": refused(patch(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n")),
    "coding xchunked": refused(patch(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    "coding twice": refused(patch(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    "coding with a vertical tab": refused(patch(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    "empty coding": refused(patch(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    "coding on HTTP/1.0": refused(
        b"PATCH {upload} HTTP/1.0\r\nHost: r\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
    ),
    "coding identity on HTTP/1.0": refused(
        b"GET /v2/ HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n" + SMUGGLED
    ),
    # Chunks that two programs could cut differently.
    "chunk 0x3": answered(patch(CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk +3": answered(patch(CHUNKED, body=b"+3\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk -3": answered(patch(CHUNKED, body=b"-3\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk 0_3": answered(patch(CHUNKED, body=b"0_3\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk size with a space": answered(patch(CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "empty chunk size": answered(patch(CHUNKED, body=b"\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk ended by LF": answered(patch(CHUNKED, body=b"3\nabc\n0\n\n"), 400, closed=True),
    "LF in a chunk extension": answered(patch(CHUNKED, body=b"3;a\nb\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    "chunk longer than said": answered(patch(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"), 400, closed=True),
    "chunk extension of 2000 bytes": answered(
        patch(CHUNKED, body=b"3;" + b"a" * 2000 + b"\r\nabc\r\n0\r\n\r\n"), 400, closed=True
    ),
    "chunk size of 1000 digits": answered(patch(CHUNKED, body=b"1" * 1000 + b"\r\nabc"), 400, closed=True),
    "chunk size of 17 digits": answered(patch(CHUNKED, body=b"1" * 17 + b"\r\nabc"), 400, closed=True),
    "trailers of 70000 bytes": answered(
        patch(CHUNKED, body=b"0\r\n" + b"A: b\r\n" * 12000 + b"\r\n"), 400, closed=True
    ),
    "broken chunk to an unknown address": answered(
        request(b"PUT /nothing", CHUNKED) + b"zz\r\n" + SMUGGLED, 404, closed=True
    ),
    "broken chunk to a reading": answered(
        request(b"GET /v2/", CHUNKED) + b"zz\r\n" + SMUGGLED, 200, closed=True
    ),
    # Heads that two programs could read differently.
    "no Host": refused(b"GET /v2/ HTTP/1.1\r\n\r\n" + SMUGGLED),
    "two Hosts": refused(get(b"Host: other")),
    "two equal Hosts": refused(get(b"Host: r")),
    "Host with a path": refused(b"GET /v2/ HTTP/1.1\r\nHost: r/x\r\n\r\n" + SMUGGLED),
    "Host with a user": refused(b"GET /v2/ HTTP/1.1\r\nHost: u@r\r\n\r\n" + SMUGGLED),
    "Host with a space": refused(b"GET /v2/ HTTP/1.1\r\nHost: r r\r\n\r\n" + SMUGGLED),
    "Host that is HTML": refused(b"GET /v2/ HTTP/1.1\r\nHost: <b>\r\n\r\n" + SMUGGLED),
    "Host with a word for a port": refused(b"GET /v2/ HTTP/1.1\r\nHost: r:http\r\n\r\n" + SMUGGLED),
    "empty Host": refused(b"GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n" + SMUGGLED),
    "folded header": refused(get(b"X-A: b", b" c")),
    "folded by a tab": refused(get(b"X-A: b", b"\tc")),
    "folded length": refused(patch(b"Content-Length:", b" 5", body=b"hello")),
    "first header begins with a space": refused(b"GET /v2/ HTTP/1.1\r\n Host: r\r\n\r\n" + SMUGGLED),
    "value with 0x80": refused(get(b"X-A: \x80")),
    "value with 0xff": refused(get(b"X-A: \xff")),
    "value with UTF-8": refused(get("X-A: é".encode())),
    "value with a vertical tab": refused(get(b"X-A: a\x0bb")),
    "value with a form feed": refused(get(b"X-A: a\x0cb")),
    "value with 0x1c": refused(get(b"X-A: a\x1cb")),
    "value with 0x85": refused(get(b"X-A: a\x85b")),
    "value with DEL": refused(get(b"X-A: a\x7fb")),
    "value with NUL": refused(get(b"X-A: a\x00b")),
    "value with a bare LF": refused(get(b"X-A: a\nContent-Length: 5")),
    "value with a bare CR": refused(get(b"X-A: a\rContent-Length: 5")),
    "empty header name": refused(get(b": x")),
    "header name with a space": refused(get(b"X A: x")),
    "header name with a bracket": refused(get(b"X(A): x")),
    "header without a colon": refused(get(b"Content-Length")),
    "lines ended by LF": refused(b"GET /v2/ HTTP/1.1\nHost: r\n\n\r\n" + SMUGGLED),
    "HTTP/0.9": refused(b"GET /v2/\r\n\r\n" + SMUGGLED),
    "HTTP/9.9": refused(b"GET /v2/ HTTP/9.9\r\nHost: r\r\n\r\n" + SMUGGLED),
    "HTTP/2 preface": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED),
    "lower case http": refused(b"GET /v2/ http/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "two spaces": refused(b"GET  /v2/ HTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "space at the end": refused(b"GET /v2/ HTTP/1.1 \r\nHost: r\r\n\r\n" + SMUGGLED),
    "space at the beginning": refused(b" GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "tabs for spaces": refused(b"GET\t/v2/\tHTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "control byte in the address": refused(b"GET /v2/\x01 HTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "8-bit byte in the address": refused(b"GET /v2/\xe9 HTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "method that is no token": refused(b"G@T /v2/ HTTP/1.1\r\nHost: r\r\n\r\n" + SMUGGLED),
    "TLS to a plain port": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n" + SMUGGLED),
    # Too much.
    "address of 17000 bytes": refused(path(b"/" + b"a" * 17000) + SMUGGLED, 414),
    "address without an end": refused(b"GET /" + b"a" * 40000, 414),
    "header of 17000 bytes": refused(get(b"X-A: " + b"a" * 17000), 431),
    "header without an end": refused(b"GET /v2/ HTTP/1.1\r\nX-A: " + b"a" * 40000, 431),
    "501 headers": refused(get(*[b"X-A: b"] * 500), 431),
    "headers of 70000 bytes": refused(get(*[b"X-A: " + b"a" * 1000] * 70), 431),
    # Wishes that are not met.
    "Expect nonsense": refused(patch(LENGTH, b"Expect: nonsense", body=b"hello"), 417),
    "Expect twice": refused(
        patch(LENGTH, b"Expect: 100-continue", b"Expect: 100-continue", body=b"hello"), 417
    ),
    "Expect nonsense without a body": refused(get(b"Expect: 200-ok"), 417),
    "compressed PATCH": refused(patch(LENGTH, b"Content-Encoding: gzip", body=b"hello"), 415),
    "compressed PUT": refused(
        request(b"PUT /v2/team/app/manifests/x", b"Content-Encoding: gzip", body=b"{}") + SMUGGLED, 415
    ),
    "compressed POST": refused(
        request(b"POST /v2/team/app/blobs/uploads/", b"Content-Encoding: zstd", CHUNKED) + b"0\r\n\r\n", 415
    ),
    "lower case method": answered(request(b"get /v2/") + PING, 405, 200),
    "unknown method": answered(request(b"BREW /v2/") + PING, 405, 200),
    "method of 3000 characters": answered(request(b"A" * 3000 + b" /v2/") + PING, 405, 200),
    "TRACE": answered(request(b"TRACE /v2/", b"Cookie: secret") + PING, 405, 200),
    "OPTIONS": answered(request(b"OPTIONS /v2/") + PING, 405, 200),
    # Addresses that are not paths.
    "OPTIONS *": answered(request(b"OPTIONS *") + PING, 200, 200),
    "GET *": refused(path(b"*") + SMUGGLED),
    "CONNECT": refused(b"CONNECT r:443 HTTP/1.1\r\nHost: r:443\r\n\r\n" + SMUGGLED),
    "CONNECT to a path": answered(request(b"CONNECT /v2/") + PING, 405, 200),
    "no slash": refused(path(b"v2/") + SMUGGLED),
    "absolute": answered(path(b"http://r/v2/") + PING, 200, 200),
    "absolute without a path": answered(path(b"http://r") + PING, 200, 200),
    "absolute of another host": refused(path(b"http://other/v2/") + SMUGGLED),
    "absolute of another port": refused(path(b"http://r:81/v2/") + SMUGGLED),
    "absolute with a user": refused(path(b"http://u:p@r/v2/") + SMUGGLED),
    "absolute of another scheme": refused(path(b"ftp://r/v2/") + SMUGGLED),
    "absolute with brackets": refused(path(b"http://[::1/v2/") + SMUGGLED),
    "absolute without Host": refused(b"GET http://r/v2/ HTTP/1.1\r\n\r\n" + SMUGGLED),
    # Addresses that mean to be others.
    "..": answered(path(b"/v2/../../etc/passwd"), 404),
    ".. in a name": answered(path(b"/v2/a/../b/tags/list"), 400),
    ". in a name": answered(path(b"/v2/a/./b/tags/list"), 400),
    "nothing in a name": answered(path(b"/v2/a//b/tags/list"), 400),
    "two slashes first": answered(path(b"//v2/"), 404),
    "two slashes within": answered(path(b"/v2//_catalog"), 404),
    "host in the path": answered(path(b"//r/v2/"), 404),
    "%2f": answered(path(b"/v2/a%2fb/tags/list"), 404),
    "..%2f": answered(path(b"/v2/..%2f..%2fetc%2fpasswd/tags/list"), 404),
    "%2e%2e": answered(path(b"/v2/%2e%2e/%2e%2e/tags/list"), 400),
    "%252e": answered(path(b"/v2/%252e%252e/tags/list"), 400),
    "%252f": answered(path(b"/v2/a%252fb/tags/list"), 400),
    "%5c": answered(path(b"/v2/a%5cb/tags/list"), 404),
    "backslash": answered(path(b"/v2/a\\b/tags/list"), 400),
    "%00": answered(path(b"/v2/a%00/tags/list"), 404),
    "%00 first": answered(path(b"/%00/..%2f"), 404),
    "%0a after an address": answered(path(b"/v2/_catalog%0a"), 404),
    "%0a after a name": answered(path(b"/v2/a%0a/tags/list"), 404),
    "%0a after a tag": answered(manifest(b"latest%0a"), 404),
    "%0a after a digest": answered(manifest(DIGEST + b"%0a"), 400),
    "%0a after a blob's digest": answered(path(b"/v2/a/blobs/" + DIGEST + b"%0a"), 400),
    "%0a after an upload": answered(
        path(b"/v2/a/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8%0a"), 404
    ),
    "%0d%0a in a name": answered(path(b"/v2/a%0d%0aX-A:%20b/tags/list"), 404),
    "overlong UTF-8": answered(path(b"/v2/%c0%ae%c0%ae/tags/list"), 404),
    "UTF-8 in a name": answered(path(b"/v2/%c3%a9/tags/list"), 404),
    "a lone percent sign": answered(path(b"/v2/a%/tags/list"), 400),
    "a part of 300 characters": answered(path(b"/v2/" + b"a" * 300 + b"/tags/list"), 400),
    "200 parts": answered(path(b"/v2/" + b"a/" * 200 + b"tags/list"), 400),
    "upper case": answered(path(b"/v2/Team/tags/list"), 400),
    "HTML in a name": answered(path(b"/v2/<script>/tags/list"), 400),
    "tag of 129 characters": answered(manifest(b"a" * 129), 404),
    "tag that begins with a dot": answered(manifest(b".a"), 404),
    "short digest": answered(manifest(b"sha256:abc"), 400),
    "upper case digest": answered(manifest(DIGEST.upper()), 400),
    "digest of an unknown algorithm": answered(manifest(b"md5:d41d8cd98f00b204e9800998ecf8427e"), 400),
    "digest with ..": answered(path(b"/v2/a/blobs/sha256:../../x"), 404),
    "id that is none": answered(path(b"/v2/a/blobs/uploads/x"), 404),
    # Questions that mean to be others.
    "n=1_0": answered(path(b"/v2/_catalog?n=1_0"), 400),
    "n=+1": answered(path(b"/v2/_catalog?n=%2b1"), 400),
    "n=-1": answered(path(b"/v2/_catalog?n=-1"), 400),
    "n=": answered(path(b"/v2/_catalog?n="), 400),
    "n with a line feed": answered(path(b"/v2/_catalog?n=1%0a"), 400),
    "n of another script": answered(path(b"/v2/_catalog?n=%d9%a1%d9%a2"), 400),
    "n of 400 digits": answered(path(b"/v2/_catalog?n=" + b"1" * 400), 400),
    "two n": answered(path(b"/v2/_catalog?n=1&n=2"), 400),
    "two digests": answered(request(b"PUT {upload}&digest=" + DIGEST + b"&digest=" + DIGEST, body=b""), 400),
    "digest that is none": answered(request(b"PUT {upload}&digest=x", body=b""), 400),
    "no digest": answered(request(b"PUT {upload}", body=b""), 400),
    "state of another upload": answered(
        request(
            b"PATCH /v2/team/app/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8?_state=AAAA", body=b"x"
        ),
        404,
    ),
    "state that is 8-bit": answered(request(b"PATCH {upload}%ff", body=b"x"), 400),
    "Content-Range 1_0": answered(request(b"PATCH {upload}", b"Content-Range: 0-1_0", body=b"x" * 11), 400),
    "Content-Range +0": answered(request(b"PATCH {upload}", b"Content-Range: +0-4", body=b"hello"), 400),
    "Content-Range of 30 digits": answered(
        request(b"PATCH {upload}", b"Content-Range: 0-" + b"9" * 30, body=b"hello"), 400
    ),
    "Content-Range backwards": answered(
        request(b"PATCH {upload}", b"Content-Range: 4-0", body=b"hello"), 400
    ),
    "Content-Range that is shorter": answered(
        request(b"PATCH {upload}", b"Content-Range: 0-3", body=b"hello"), 400
    ),
    "Content-Range that begins later": answered(
        request(b"PATCH {upload}", b"Content-Range: 9-13", body=b"hello"), 416
    ),
    "PUT of a manifest that is none": answered(
        request(b"PUT /v2/team/app/manifests/x", b"Content-Type: application/json", body=b"\xff\xfe"), 400
    ),
    # Bodies of another length than was said.
    "body longer than said": Case(
        request(b"PATCH {upload}", b"Content-Length: 5") + b"hello and more\r\n\r\n" + SMUGGLED,
        (202, 400),
        True,
        1,
    ),
    "body without a length": answered(request(b"PATCH {upload}") + b"hello" + SMUGGLED, 202, 405),
    "chunks after the last": Case(
        request(b"PATCH {upload}", CHUNKED) + chunked(b"hello") + b"5\r\nworld\r\n" + SMUGGLED,
        (202, 400),
        True,
        1,
    ),
    # What looks odd and is right.
    "HTTP/1.0": answered(b"GET /v2/ HTTP/1.0\r\n\r\n" + SMUGGLED, 200, closed=True),
    "Connection: close": answered(get(b"Connection: close"), 200, closed=True),
    "blank line first": answered(b"\r\n" + PING, 200),
    "space round a length": answered(
        request(b"PATCH {upload}", b"Content-Length: \t5 \t") + b"hello" + PING, 202, 200
    ),
    "IPv6 Host": answered(b"GET /v2/ HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n" + PING, 200, 200),
    "chunk extension and trailer": answered(
        request(b"PATCH {upload}", b"Transfer-Encoding: Chunked")
        + b'5;a="b"\r\nhello\r\n0\r\nX: y\r\n\r\n'
        + PING,
        202,
        200,
    ),
    "500 headers": answered(request(b"GET /v2/", *[b"X-A: b"] * 499) + PING, 200, 200),
    "address of 16000 bytes": answered(path(b"/" + b"a" * 16000) + PING, 404, 200),
    "%76": answered(path(b"/%762/") + PING, 200, 200),
}


class HostileTests(SynchronousTestCase):
    """Every payload of the table, in memory, in one piece and in many."""

    def play(self, case: Case, piece: int) -> None:
        wire = Wire()
        location = wire.begin()
        before = list(stored(wire.site.driver))
        wire.site.seen.clear()
        wire.send(case.sent.replace(b"{upload}", location), piece)
        answers = wire.answers()
        self.assertEqual(tuple(answer.status for answer in answers), case.statuses)
        for answer in answers:
            self.assertEqual(answer.header("Docker-Distribution-Api-Version"), "registry/2.0")
            self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
            if answer.status >= 400:
                answer.code()
        wire.wait(8)
        self.assertEqual(not wire.open, case.closed)
        self.assertEqual(answers[-1].closes, case.closed)
        if case.closed:
            wire.send(SMUGGLED)
        else:
            wire.hang_up()
        self.assertEqual(wire.answers(), [])
        self.assertEqual(len(wire.site.seen), case.dispatched, wire.site.seen)
        self.check_after(wire, before)

    def test_H01_refused_head(self) -> None:
        """A refusal of HEAD has no body."""
        wire = Wire()
        wire.send(request(b"HEAD /v2/", b"Host: other"))
        self.assertEqual((wire.head().status, wire.open), (400, True))

    def check_after(self, wire: Wire, before: list[str]) -> None:
        after = {path for path in stored(wire.site.driver) if "_uploads" not in path}
        self.assertEqual(after - set(before), set())
        self.assertEqual(wire.again().ask(PING).status, 200)
        self.assertEqual(self.flushLoggedErrors(), [])


#: Which item of the acceptance list a payload is of, and those after it.
ITEMS = {
    "two lengths": "H01",
    "length of 20 digits": "H07",
    "space before the colon": "H01",
    "chunk size of 1000 digits": "H07",
    "trailers of 70000 bytes": "H01",
    "address of 17000 bytes": "H07",
    "Expect nonsense": "H01",
    "..": "H10",
    "n=1_0": "A12",
    "two digests": "H01",
    "500 headers": "H07",
    "%76": "H10",
}


def _add_tests() -> None:
    item = ""
    for number, (name, case) in enumerate(CASES.items()):
        item = ITEMS.get(name, item)

        def test(self: HostileTests, case: Case = case) -> None:
            for piece in (1 << 20, 97, 1):
                if len(case.sent) < 20000 or piece > 1:
                    self.play(case, piece)

        test.__doc__ = f"Nothing but the right thing happens to this: {name}."
        setattr(HostileTests, f"test_{item}_{number:03}", test)


_add_tests()


class HostileSocketTests(TestCase):
    """The same, over a real socket."""

    async def play(self, served: Served, name: str, case: Case) -> None:
        first = await served.connect()
        location = (await first.ask(request(b"POST /v2/team/app/blobs/uploads/"))).location
        client = await served.connect()
        client.send(case.sent.replace(b"{upload}", location))
        statuses = [(await client.answer()).status for _ in case.statuses]
        self.assertEqual(tuple(statuses), case.statuses, name)
        if case.closed:
            await client.ended
        self.assertEqual(client.received, b"", name)

    async def test_H01_table(self) -> None:
        """Every payload of the table is answered the same over a socket, and refusals end the connection."""
        served = Served(MemoryDriver())
        try:
            plays = [self.play(served, name, case) for name, case in CASES.items()]
            await gatherResults([Deferred.fromCoroutine(play) for play in plays], consumeErrors=True)
            self.assertEqual((await (await served.connect()).ask(PING)).status, 200)
        finally:
            await served.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    test_H01_table.timeout = 60  # type: ignore[attr-defined]

    async def test_H01_short_body(self) -> None:
        """A body that ends before its length is no blob and no manifest, and an upload can go on."""
        served = Served(MemoryDriver())
        try:
            client = await served.connect()
            location = (await client.ask(request(b"POST /v2/team/app/blobs/uploads/"))).location
            digest = b"sha256:" + hashlib.sha256(b"hello").hexdigest().encode()
            for line in (
                b"PUT " + location + b"&digest=" + digest,
                b"PUT /v2/team/app/manifests/latest",
                b"POST /v2/team/app/blobs/uploads/?digest=" + digest,
            ):
                cut = await served.connect()
                cut.send(request(line, b"Content-Type: application/json", b"Content-Length: 6") + b"hello")
                await until(lambda: [one.body.received for one in served.requests] == [5])
                cut.hang_up()
                await cut.ended
                await until(lambda: len(served.site.channels) == 1)
            location = (await settled(client, location)).location
            self.assertEqual([path for path in stored(served.driver) if "_uploads" not in path], [])
            answer = await client.ask(request(b"GET " + location), head=True)
            self.assertEqual(answer.status, 204)
            rest = b"hello"[stored_size(answer) :]
            done = await client.ask(request(b"PUT " + answer.location + b"&digest=" + digest, body=rest))
            self.assertEqual(done.status, 201)
        finally:
            await served.close()
        self.assertEqual(self.flushLoggedErrors(), [])

"""The battery of raw requests behind nginx and HAProxy: what they count as one request, the registry does too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.processes import end_process, find_program, free_port
from tests.web.sockets import PING, SMUGGLED, Client, Served, chunked, reactor, request
from tests.web.test_hostile import CASES
from txregistry.storage.memory import MemoryDriver
from txregistry.web.site import TrackedChannel

#: Registries, each with a port of the front end's own, among which the battery is divided.
LANES = 6
#: Seconds without a byte after which a front end is taken to wait for more.
QUIET = 0.25
#: Characters of a method and an address that are compared: logs have shorter lines than requests.
LONGEST = 100

NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1; user root;
events {{ worker_connections 512; }}
http {{
  log_format one escape=none 'sent to $upstream_addr, $request_method $request_uri';
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_max_body_size 0; large_client_header_buffers 8 64k; underscores_in_headers on;
  ignore_invalid_headers off; merge_slashes off;
  {servers}
}}
"""
NGINX_LANE = """
  upstream lane{number} {{ server 127.0.0.1:{behind}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{before}; access_log {directory}/lane{number}.log one;
    location / {{
      proxy_pass http://lane{number}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off;
      proxy_next_upstream off;
    }}
  }}
"""
HAPROXY = """
global
  tune.bufsize 81920
  tune.http.maxhdr 1000
  log stdout format raw local0
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  http-reuse always
  retries 0
  log-format "%ft %s %HM %HU"
"""
HAPROXY_LANE = """
frontend lane{number}
  bind 127.0.0.1:{before}
  default_backend behind{number}
backend behind{number}
  server registry 127.0.0.1:{behind}
"""

#: Payloads whose methods and addresses front ends write down in another way.
WRITTEN_OTHERWISE = {"absolute", "absolute without a path", "method of 3000 characters"}


class CountingChannel(TrackedChannel):
    """A connection that counts the requests which it does not even dispatch."""

    def refuse(self, status: int, why: str, error: Any = None) -> None:
        """See :class:`~txregistry.web.channel.Channel`."""
        if not self._refused:
            self.site.refusals.append(why)
        super().refuse(status, why, error)


@define(eq=False)
class Lane:
    """One registry behind one port of a front end.

    :param number: which.
    :param served: the registry.
    :ivar port: the front end's.
    """

    number: int
    served: Served
    port: int = field(factory=free_port)

    @property
    def behind(self) -> int:
        """How many requests the registry has seen, whatever became of them."""
        site: Any = self.served.site
        return len(site.seen) + len(site.refusals)


class FrontCase:
    """What both front ends have in common."""

    lanes: list[Lane]
    directory: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start the front end."""
        raise NotImplementedError

    def before(self, lane: Lane) -> list[str]:
        """Return what the front end has sent on, in order: methods and addresses."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start everything."""
        test: Any = self
        self.directory = tempfile.mkdtemp(prefix="txregistry-peers-")
        test.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.lanes = []
        for number in range(LANES):
            lane = Lane(number, Served(MemoryDriver()))
            site: Any = lane.served.site
            site.refusals = []
            site.protocol = CountingChannel
            self.lanes.append(lane)
            test.addCleanup(lambda served=lane.served: Deferred.fromCoroutine(served.close()))
        test.addCleanup(end_process, self.start())

    async def connect(self, lane: Lane) -> Client:
        """Connect to the front end, once it listens."""
        for _ in range(200):
            try:
                endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", lane.port)
                client: Client = await connectProtocol(endpoint, Client())
            except Exception:
                await deferLater(reactor, 0.05)
            else:
                return client
        raise AssertionError("the front end does not listen")

    async def play(self, lane: Lane, name: str, sent: bytes) -> None:
        """Send one payload, and compare what was counted before and behind."""
        test: Any = self
        client = await self.connect(lane)
        begun = await client.ask(request(b"POST /v2/team/app/blobs/uploads/", body=b""))
        test.assertEqual(begun.status, 202, name)
        client.hang_up()
        await client.ended
        client = await self.connect(lane)
        client.send(sent.replace(b"{upload}", begun.location))
        total = -1
        while total != client.total and not client._over:
            total = client.total
            await deferLater(reactor, QUIET)
        if not client._over:
            client.hang_up()
            await client.ended
        for _ in range(100):
            if len(self.before(lane)) == lane.behind:
                break
            await deferLater(reactor, 0.03)
        before = self.before(lane)
        site: Any = lane.served.site
        behind = [f"{str(method, 'ascii')} {str(uri, 'latin-1')}"[:LONGEST] for method, uri, _ in site.seen]
        compared = not site.refusals and name not in WRITTEN_OTHERWISE
        if len(before) != lane.behind or (compared and before != behind):
            self.differing.append((name, before, behind, list(site.refusals)))
        site.seen.clear()
        site.refusals.clear()
        self.forget(lane)

    def forget(self, lane: Lane) -> None:
        """Count from here."""
        raise NotImplementedError

    async def battery(self) -> None:
        """Play every payload."""
        self.differing: list[Any] = []
        cases = [*((name, case.sent) for name, case in CASES.items()), *MORE.items()]

        async def drive(lane: Lane) -> None:
            while cases:
                name, sent = cases.pop()
                await self.play(lane, name, sent)

        await gatherResults([Deferred.fromCoroutine(drive(lane)) for lane in self.lanes], consumeErrors=True)
        test: Any = self
        test.assertEqual(self.differing, [], "\n".join(map(str, self.differing)))


#: What is odd only where two programs stand one behind the other.
MORE = {
    "three in a row": PING * 3,
    "a body that is a request": request(b"PATCH {upload}", body=SMUGGLED) + PING,
    "a chunked body that is a request": request(b"PATCH {upload}", b"Transfer-Encoding: chunked")
    + chunked(SMUGGLED)
    + PING,
    "a refused body that is a request": request(b"PUT /nothing", body=SMUGGLED * 20) + PING,
    "a refused chunked body that is a request": request(b"PUT /nothing", b"Transfer-Encoding: chunked")
    + chunked(SMUGGLED * 20)
    + PING,
    "a GET with a body": request(b"GET /v2/", body=SMUGGLED) + PING,
    "a HEAD with a body": request(b"HEAD /v2/", body=SMUGGLED),
    "a DELETE with a body": request(b"DELETE {upload}", body=SMUGGLED) + PING,
    "Connection that names a length": request(
        b"PATCH {upload}", b"Connection: Content-Length", body=SMUGGLED
    ),
    "Connection that names the coding": request(
        b"PATCH {upload}", b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked"
    )
    + chunked(SMUGGLED),
    "Upgrade to h2c": request(
        b"GET /v2/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"
    )
    + SMUGGLED,
    "Upgrade to websocket": request(
        b"GET /v2/", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777"
    )
    + SMUGGLED,
    "Expect and a refusal": request(b"PUT /nothing", b"Expect: 100-continue", body=SMUGGLED) + PING,
    "Expect and a large refusal": request(b"PUT /nothing", b"Expect: 100-continue", body=SMUGGLED * 3000)
    + PING,
    "a large refused body": request(b"PUT /nothing", body=SMUGGLED * 3000) + PING,
    "underscored length": request(b"PATCH {upload}", b"Content_Length: 100", body=b"hello") + PING,
    "method override": request(b"GET /v2/", b"X-HTTP-Method-Override: DELETE") + PING,
}


class NginxTests(FrontCase, TestCase):
    """Behind nginx."""

    timeout = 120

    def start(self) -> subprocess.Popen[bytes]:
        """See :class:`FrontCase`."""
        self.read = dict.fromkeys(range(LANES), 0)
        servers = "".join(
            NGINX_LANE.format(
                number=lane.number, before=lane.port, behind=lane.served.number, directory=self.directory
            )
            for lane in self.lanes
        )
        path = os.path.join(self.directory, "nginx.conf")
        with open(path, "w") as file:
            file.write(NGINX.format(directory=self.directory, servers=servers))
        return subprocess.Popen([find_program("nginx"), "-c", path], stderr=subprocess.DEVNULL)

    def _lines(self, lane: Lane) -> list[str]:
        with open(os.path.join(self.directory, f"lane{lane.number}.log"), encoding="latin-1") as file:
            return file.read().splitlines()

    def before(self, lane: Lane) -> list[str]:
        """See :class:`FrontCase`."""
        lines = self._lines(lane)[self.read[lane.number] :]
        return [line.partition(", ")[2][:LONGEST] for line in lines if not line.startswith("sent to ,")]

    def forget(self, lane: Lane) -> None:
        """See :class:`FrontCase`."""
        self.read[lane.number] = len(self._lines(lane))

    async def test_H01_nginx(self) -> None:
        """Whatever it is sent, nginx sends on as many requests as the registry sees."""
        await self.battery()


class HaproxyTests(FrontCase, TestCase):
    """Behind HAProxy."""

    timeout = 120

    def start(self) -> subprocess.Popen[bytes]:
        """See :class:`FrontCase`."""
        self.read = dict.fromkeys(range(LANES), 0)
        path = os.path.join(self.directory, "haproxy.cfg")
        lanes = "".join(
            HAPROXY_LANE.format(number=lane.number, before=lane.port, behind=lane.served.number)
            for lane in self.lanes
        )
        with open(path, "w") as file:
            file.write(HAPROXY + lanes)
        with open(os.path.join(self.directory, "log"), "wb") as log:
            return subprocess.Popen(
                [find_program("haproxy"), "-db", "-f", path], stdout=log, stderr=subprocess.DEVNULL
            )

    def _lines(self, lane: Lane) -> list[str]:
        with open(os.path.join(self.directory, "log"), encoding="latin-1") as file:
            return re.findall(rf"^lane{lane.number} (.*)$", file.read(), re.MULTILINE)

    def before(self, lane: Lane) -> list[str]:
        """See :class:`FrontCase`."""
        lines = self._lines(lane)[self.read[lane.number] :]
        return [line.partition(" ")[2][:LONGEST] for line in lines if line.startswith("registry ")]

    def forget(self, lane: Lane) -> None:
        """See :class:`FrontCase`."""
        self.read[lane.number] = len(self._lines(lane))

    async def test_H01_haproxy(self) -> None:
        """Whatever it is sent, HAProxy sends on as many requests as the registry sees."""
        await self.battery()

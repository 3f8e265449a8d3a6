"""The chaos proxy does what it says, or the tests that stand on it show nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.proxy import BLACKHOLE, ChaosProxy, Reply, Rule, ThreadedProxy, Trouble
from tests.processes import free_port

BODY = bytes(range(256)) * 1000


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(BODY)

    def do_PUT(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the tests break connections."""


class ProxyTests(SynchronousTestCase):
    """A server of HTTP behind it."""

    def proxy(self, http: bool = False) -> ChaosProxy:
        """Start a server, and a proxy before it."""
        server = _Server(("127.0.0.1", 0), _Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return self.started(ThreadedProxy(server.server_port, http))

    def started(self, threaded: ThreadedProxy) -> ChaosProxy:
        """Run a proxy until the test ends."""
        self.threaded = threaded
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return stack.enter_context(threaded.running())

    def connect(self, proxy: ChaosProxy, timeout: float = 30) -> http.client.HTTPConnection:
        """Return a connection through the proxy."""
        connection = http.client.HTTPConnection(proxy.host, timeout=timeout)
        self.addCleanup(connection.close)
        return connection

    def get(self, connection: http.client.HTTPConnection) -> bytes:
        """Return the body of a GET."""
        connection.request("GET", "/")
        return connection.getresponse().read()

    def raw(self, proxy: ChaosProxy) -> bytes:
        """Return all bytes of the answer to a GET, up to the end of the connection or a reset."""
        found = b""
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while data := client.recv(1 << 16):
                found += data
        return found

    def test_nothing(self) -> None:
        """Without trouble, requests and answers pass as they are, on one connection."""
        proxy = self.proxy(http=True)
        connection = self.connect(proxy)
        for _ in range(3):
            self.assertEqual(self.get(connection), BODY)
            connection.request("PUT", "/x", BODY)
            self.assertEqual(connection.getresponse().read(), BODY)
        self.assertEqual(proxy.connections, 1)
        self.assertEqual([head.method for head in proxy.seen], ["GET", "PUT"] * 3)
        self.assertEqual(proxy.seen[1].length, len(BODY))

    def test_cut(self) -> None:
        """The connection ends after so many bytes."""
        proxy = self.proxy()
        whole = self.raw(proxy)
        proxy.down = Trouble(cut=1000)
        self.assertEqual(len(self.raw(proxy)), 1000)
        proxy.down = Trouble(cut=len(whole) - 1)
        self.assertEqual(self.raw(proxy)[-100:], whole[-101:-1])

    def test_reset(self) -> None:
        """The connection is reset after so many bytes, which arrive."""
        proxy = self.proxy()
        proxy.down = Trouble(reset=1000)
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            found = b""
            while len(found) < 1000:
                found += client.recv(1000 - len(found))
            self.assertRaises(ConnectionResetError, client.recv, 1)

    def test_corrupt(self) -> None:
        """One byte differs, in one bit."""
        proxy = self.proxy(http=True)
        connection = self.connect(proxy)
        connection.request("GET", "/")
        plain = connection.getresponse()
        offset = len(plain.headers.as_bytes())
        plain.read()
        proxy.down = Trouble(corrupt=70_000)
        found = self.get(connection)
        different = [place for place in range(len(BODY)) if found[place] != BODY[place]]
        self.assertEqual(len(different), 1, offset)
        self.assertEqual(found[different[0]] ^ BODY[different[0]], 1)

    def test_blackhole(self) -> None:
        """Nothing comes, and no end."""
        proxy = self.proxy()
        proxy.down = BLACKHOLE
        connection = self.connect(proxy, timeout=0.3)
        self.assertRaises(TimeoutError, self.get, connection)

    def test_delay_and_rate(self) -> None:
        """What is slowed down takes its time, and arrives."""
        proxy = self.proxy()
        proxy.down = Trouble(delay=0.2)
        started = time.monotonic()
        self.connect(proxy).connect()
        self.raw(proxy)
        self.assertGreaterEqual(time.monotonic() - started, 0.2)
        proxy.down = Trouble(rate=512_000)
        started = time.monotonic()
        self.assertIn(BODY, self.raw(proxy))
        self.assertGreaterEqual(time.monotonic() - started, 0.4)

    def test_open_connections(self) -> None:
        """Trouble that is given later begins in the connections that are open; a reset ends them."""
        proxy = self.proxy()
        connection = self.connect(proxy)
        self.assertEqual(self.get(connection), BODY)
        proxy.down = Trouble(cut=10)
        self.assertRaises(http.client.HTTPException, self.get, connection)
        proxy.down = Trouble()
        connection = self.connect(proxy)
        self.assertEqual(self.get(connection), BODY)
        self.threaded.call(proxy.reset)
        self.assertRaises((OSError, http.client.HTTPException), self.get, connection)

    def test_rules(self) -> None:
        """A rule answers in the server's stead, or troubles the answer, so often and no more."""
        proxy = self.proxy(http=True)
        proxy.rules = [
            Rule(lambda head: head.method == "PUT", Reply(503, {"Retry-After": "1"}, b"later"), times=2),
            Rule(lambda head: head.target == "/cut", down=Trouble(cut=1000), times=1),
        ]
        for _ in range(2):
            connection = self.connect(proxy)
            connection.request("PUT", "/", BODY)
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "1"))
            self.assertEqual(answer.read(), b"later")
        connection = self.connect(proxy)
        connection.request("PUT", "/", BODY)
        self.assertEqual(connection.getresponse().read(), BODY)
        self.assertEqual(self.get(connection), BODY)
        connection.request("GET", "/cut")
        self.assertRaises(http.client.IncompleteRead, connection.getresponse().read)
        self.assertEqual(len(proxy.seen), 5)

    def test_refused(self) -> None:
        """Connections are refused for a while, then taken at the same port; a server that is down means a reset."""
        proxy = self.proxy()
        self.threaded.call(proxy.refuse)
        self.assertRaises(ConnectionRefusedError, self.raw, proxy)
        self.threaded.call(proxy.listen)
        self.assertIn(BODY, self.raw(proxy))
        other: Any = self.started(ThreadedProxy(free_port()))
        self.assertRaises(ConnectionResetError, self.raw, other)

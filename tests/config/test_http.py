from tests.config.loading import LoadingCase


class HttpTests(LoadingCase):
    def text(self, http: str) -> str:
        return f"version: 0.1\nstorage: inmemory\nhttp: {{{http}}}\n"

    def test_addresses(self) -> None:
        """Addresses are accepted as Go writes them."""
        for addr in (
            ":5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "localhost:5000",
            "my-host.example:0",
            "[::]:80",
        ):
            self.assertEqual(self.config(self.text(f"addr: '{addr}'")).http.addr, addr)

    def test_tls_on_a_socket(self) -> None:
        """TLS on a Unix socket is refused when the file is read."""
        line = self.complaint(
            self.text(f"net: unix, addr: /run/s, tls: {{certificate: {__file__}, key: {__file__}}}")
        )
        self.assertEqual(
            line, "http.tls: TLS on a Unix socket is not offered; remove http.tls or use tcp (line 3)"
        )

    def test_bad_addresses(self) -> None:
        """What is no address is refused with examples of some."""
        for addr in (
            "5000",
            "host",
            ":",
            ":x",
            ":65536",
            "::1:5000",
            "[::1]",
            "[1.2.3.4]:5",
            "1.2.3.999:80",
            "a b:80",
            "http://a:80",
            "-a:80",
            "a..b:80",
            ":-1",
            "[::g]:80",
        ):
            line = self.complaint(self.text(f"addr: '{addr}'"))
            self.assertEqual(
                line,
                f"http.addr: found '{addr}', expected an address such as :5000, 127.0.0.1:5000, [::1]:5000 "
                "or localhost:5000 (line 3)",
            )

    def test_unix_socket(self) -> None:
        """With net unix the address is a path."""
        config = self.config(self.text("net: unix, addr: /run/registry.sock"))
        self.assertEqual((config.http.net, config.http.addr), ("unix", "/run/registry.sock"))
        self.assertEqual(self.config(self.text("net: unix, addr: a.sock")).http.addr, "a.sock")

    def test_bad_unix_socket(self) -> None:
        """With net unix an address of TCP, or a path that no socket can have, is refused."""
        self.assertEqual(
            self.complaint(self.text("net: unix")),
            "http.addr: found ':5000', expected the path of a socket such as /run/txregistry.sock, since "
            "http.net is unix",
        )
        self.assertIn("expected the path", self.complaint(self.text("net: unix, addr: /run/")))
        self.assertIn("at most 107 bytes", self.complaint(self.text(f"net: unix, addr: /{'a' * 107}")))
        self.config(self.text(f"net: unix, addr: /{'a' * 106}"))

    def test_prefixes(self) -> None:
        """A prefix begins and ends with a slash."""
        for prefix in ("/", "/a/", "/a.b/c_d/~e-f/"):
            self.assertEqual(self.config(self.text(f"prefix: {prefix}")).http.prefix, prefix)
        for prefix in ("a", "/a", "a/", "//", "/a//b/", "/../", "/./", "/a b/", "/a?/", "/%41/"):
            self.assertEqual(
                self.complaint(self.text(f"prefix: '{prefix}'")),
                f"http.prefix: found the string '{prefix}', expected a path that begins and ends with a slash"
                ", such as / or /registry/ (line 3)",
            )

    def test_figures(self) -> None:
        """The figures are at a path of the debug server, at Distribution's if none is given, and off by default."""
        for text, path in (
            ("enabled: true", "/metrics"),
            ("path: ''", "/metrics"),
            ("path: /a/b.txt", "/a/b.txt"),
        ):
            section = self.config(self.text(f"debug: {{prometheus: {{{text}}}}}")).http.debug.prometheus
            self.assertEqual((section.enabled, section.path), (text == "enabled: true", path))
        for path in ("metrics", "/a b", "/a?b", "/..", "//a", "/\xe4"):
            self.assertIn(
                "http.debug.prometheus.path",
                self.complaint(self.text(f"debug: {{prometheus: {{path: '{path}'}}}}")),
            )

    def test_hosts(self) -> None:
        """A host is an absolute URL."""
        for host in ("https://registry.example.com", "http://localhost:5000/", "https://[::1]:1/a/"):
            self.assertEqual(self.config(self.text(f"host: '{host}'")).http.host, host)
        for host in (
            "registry.example.com",
            "registry:5000",
            "ftp://a",
            "https://",
            "https://a:x",
            "//a",
            "https://a b",
            "https://[::1",
            "https://a/b?c",
            "https://a/#f",
            "https://u:p@a",
            "https://a/b",
            "https://é",
        ):
            self.assertIn(
                "expected an absolute URL such as https://registry.example.com",
                self.complaint(self.text(f"host: '{host}'")),
            )

    def test_headers(self) -> None:
        """A header has a list of values, or one."""
        headers = self.config(self.text("headers: {X-A: [one, 2], X-B: three, X-C: []}")).http.headers
        self.assertEqual(headers, {"X-A": ["one", "2"], "X-B": ["three"], "X-C": []})

    def test_bad_headers(self) -> None:
        """A name or value that would break an answer is refused."""
        self.assertEqual(
            self.complaint(self.text("headers: {X A: [one]}")),
            "http.headers.X A: expected the name of a header: letters, digits and hyphens (line 3)",
        )
        self.assertEqual(
            self.complaint(self.text("headers: {Content-Length: [3]}")),
            "http.headers.Content-Length: expected another header: the server alone sets this one (line 3)",
        )
        for value in (r'"a\r\nSet-Cookie: b"', '"é"', r'"\0"', r'"\t"'):
            self.assertIn(
                "expected printable ASCII characters on one line",
                self.complaint(self.text(f"headers: {{X-A: [{value}]}}")),
            )
        self.assertEqual(
            self.complaint(self.text("headers: {X-A: [{a: b}]}")),
            "http.headers.X-A.0: found a mapping, expected a string (line 3)",
        )
        self.assertEqual(
            self.complaint(self.text("headers: {X-A: [null]}")),
            "http.headers.X-A.0: found nothing, expected a string (line 3)",
        )

    def test_header_twice(self) -> None:
        """Two headers that differ only in case are one header twice."""
        self.assertEqual(
            self.complaint(self.text("headers: {X-A: [one], x-a: [two]}")),
            "http.headers.x-a: the same header as X-A; expected each once (line 3)",
        )


class TlsTests(LoadingCase):
    def text(self, tls: str) -> str:
        return f"version: 0.1\nstorage: inmemory\nhttp: {{tls: {{{tls}}}}}\n"

    def test_tls(self) -> None:
        """Certificate and key make a server that speaks TLS 1.2 and later."""
        path = self.file("pem")
        tls = self.config(self.text(f"certificate: {path}, key: {path}")).http.tls
        assert tls is not None
        self.assertEqual((tls.certificate, tls.key, tls.clientcas), (path, path, []))
        self.assertEqual(tls.minimumtls, "tls1.2")

    def test_every_key(self) -> None:
        """Authorities and the oldest version are the file's."""
        path = self.file("pem")
        text = self.text(f"certificate: {path}, key: {path}, clientcas: [{path}], minimumtls: tls1.3")
        tls = self.config(text).http.tls
        assert tls is not None
        self.assertEqual((tls.clientcas, tls.minimumtls), ([path], "tls1.3"))

    def test_empty(self) -> None:
        """A section that says nothing is plain HTTP."""
        for tls in ("", "certificate: , key: ", "certificate: '', key: '', clientcas: [], minimumtls: ''"):
            self.assertIsNone(self.config(self.text(tls)).http.tls)

    def test_half(self) -> None:
        """Half a pair, or client authorities without one, is refused."""
        path = self.file("pem")
        self.assertEqual(
            self.complaint(self.text(f"certificate: {path}")),
            "http.tls.key: missing; http.tls.certificate needs it (line 3)",
        )
        self.assertEqual(
            self.complaint(self.text(f"key: {path}, certificate: ''")),
            "http.tls.certificate: missing; http.tls.key needs it (line 3)",
        )
        self.assertEqual(
            self.complaint(self.text(f"clientcas: [{path}]")),
            "http.tls.certificate: missing; http.tls.clientcas needs it (line 3)",
        )

    def test_unreadable(self) -> None:
        """A file that cannot be read is refused with the system's reason."""
        path = self.file("pem")
        self.assertEqual(
            self.complaint(self.text(f"certificate: {path}, key: no-such.pem")),
            "http.tls.key: found the string 'no-such.pem', expected a readable file: "
            "No such file or directory (line 3)",
        )
        self.assertEqual(
            self.complaint(self.text(f"certificate: {path}, key: {path}, clientcas: [/]")),
            "http.tls.clientcas.0: found the string '/', expected a readable file: Is a directory (line 3)",
        )
        self.assertIn(
            "expected a readable file", self.complaint(self.text(rf'certificate: "a\0b", key: {path}'))
        )

    def test_versions(self) -> None:
        """Versions of TLS that are no longer safe are refused."""
        path = self.file("pem")
        self.assertEqual(
            self.complaint(self.text(f"certificate: {path}, key: {path}, minimumtls: tls1.0")),
            "http.tls.minimumtls: found the string 'tls1.0', expected one of tls1.2, tls1.3 (line 3)",
        )

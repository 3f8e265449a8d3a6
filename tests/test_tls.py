"""TLS files that change while the server runs, and what is asked of clients."""

from __future__ import annotations

import os
import shutil

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.test_service import make_certificate
from tests.web.client import at_once
from txregistry.config.schema import Tls
from txregistry.errors import ConfigError
from txregistry.tls import ServerCertificates, make_context


class TlsCase(SynchronousTestCase):
    """Certificates in a directory of the test's own."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.old = make_certificate(self.directory, "old")
        self.new = make_certificate(self.directory, "new")
        self.certificate = os.path.join(self.directory, "certificate.pem")
        self.key = os.path.join(self.directory, "key.pem")
        shutil.copy(self.old[0], self.certificate)
        shutil.copy(self.old[1], self.key)

    def tls(self, **more: object) -> Tls:
        return Tls(certificate=self.certificate, key=self.key, **more)  # type: ignore[arg-type]


class RefreshTests(TlsCase):
    """Certificates that are renewed."""

    def setUp(self) -> None:
        super().setUp()
        self.certificates = ServerCertificates(self.tls())

    def replace(self, source: str, target: str) -> None:
        shutil.copy(source, target + ".new")
        os.rename(target + ".new", target)

    def refresh(self) -> bool:
        """Look for new files; say whether new connections get another context."""
        before = self.certificates.getContext()
        self.successResultOf(Deferred.fromCoroutine(self.certificates.refresh(at_once)))
        return self.certificates.getContext() is not before

    def subject(self) -> str:
        """Return whom new connections are shown."""
        connection = SSL.Connection(self.certificates.getContext(), None)
        certificate = connection.get_certificate()
        assert certificate is not None
        return str(certificate.get_subject().CN)

    def test_unchanged(self) -> None:
        """Files that did not change are not read again."""
        self.assertFalse(self.refresh())

    def test_L09_renewed(self) -> None:
        """A new certificate and its key are used for new connections."""
        self.replace(self.new[0], self.certificate)
        self.replace(self.new[1], self.key)
        self.assertTrue(self.refresh())
        self.assertEqual(self.subject(), "new")

    def test_L09_one_after_the_other(self) -> None:
        """A pair that does not fit yet is not used, and is once it fits, in either order."""
        for first, second in ((0, 1), (1, 0)):
            targets = (self.certificate, self.key)
            pair = self.new if self.subject() == "old" else self.old
            before = self.subject()
            self.replace(pair[first], targets[first])
            self.assertFalse(self.refresh())
            self.assertEqual(self.subject(), before)
            self.replace(pair[second], targets[second])
            self.assertTrue(self.refresh())
            self.assertNotEqual(self.subject(), before)

    def test_L09_nonsense(self) -> None:
        """A file that is gone, or holds something else, leaves the old one in force."""
        os.unlink(self.certificate)
        self.assertFalse(self.refresh())
        with open(self.certificate, "w") as file:
            file.write("nonsense")
        self.assertFalse(self.refresh())
        self.assertEqual(self.subject(), "old")


class ContextTests(TlsCase):
    """What a configuration makes of a connection."""

    def test_H16_cipher_suites(self) -> None:
        """Only the cipher suites that are named are offered, beside those of TLS 1.3."""
        context = make_context(self.tls(ciphersuites=["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]))
        offered = [name for name in SSL.Connection(context, None).get_cipher_list() if "TLS_" not in name]
        self.assertEqual(offered, ["ECDHE-ECDSA-AES256-GCM-SHA384"])

    def test_H16_modern(self) -> None:
        """Without a list, only suites with forward secrecy and authenticated encryption are offered."""
        for name in SSL.Connection(make_context(self.tls()), None).get_cipher_list():
            self.assertTrue(name.startswith(("ECDHE-", "TLS_")), name)
            self.assertTrue("GCM" in name or "CHACHA20" in name, name)

    def test_H16_client_certificates(self) -> None:
        """What is asked of clients is what ``clientauth`` says, where there are authorities."""
        both = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        for clientauth, mode in (
            ("request-client-cert", SSL.VERIFY_PEER),
            ("require-any-client-cert", both),
            ("verify-client-cert-if-given", SSL.VERIFY_PEER),
            ("require-and-verify-client-cert", both),
        ):
            context = make_context(self.tls(clientcas=[self.old[0]], clientauth=clientauth))
            self.assertEqual(context.get_verify_mode(), mode, clientauth)
        self.assertEqual(make_context(self.tls()).get_verify_mode(), SSL.VERIFY_NONE)

    def test_L11_foreign_key(self) -> None:
        """A key of another certificate is refused by its key in the configuration."""
        shutil.copy(self.new[1], self.key)
        error = self.assertRaises(ConfigError, make_context, self.tls())
        self.assertEqual(error.where, "http.tls.key")

"""Trusted keys: which are taken, what they are called, and what they are good for."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.forging import EC, NOW, OTHER, RSA, SECRET, certificate, jwk, jwks, pem, x5c
from txregistry.auth.keys import ALGORITHMS, ASYMMETRIC, TrustedKeys, fingerprint, thumbprint

#: RFC 7638, 3.1.
EXAMPLE = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZC"
    "iFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
    "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF"
    "44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
}
#: A key of docker's own, with what libtrust calls it (distribution, "docs/spec/manifest-v2-1.md").
LIBTRUST = {
    "kty": "EC",
    "crv": "P-256",
    "x": "3gAwX48IQ5oaYQAYSxor6rYYc_6yjuLCjtQ9LUakg4A",
    "y": "t72ge6kIA1XOjqjVoEOiPPAURltJFBMGDSQvEGVB010",
}
LIBTRUST_KID = "OD6I:6DRK:JXEJ:KBM4:255X:NSAA:MUSF:E4VM:ZI6W:CUN2:L4Z6:LSF4"


class NamesTests(SynchronousTestCase):
    """What keys are called."""

    def only_key(self, members: dict[str, Any], algorithm: str) -> Any:
        keys = TrustedKeys.from_jwks(jwks({**members, "kid": "k"}))
        return keys.find("k", algorithm)

    def test_thumbprint(self) -> None:
        """A key's thumbprint is the one that RFC 7638 works out for its example."""
        key = self.only_key(EXAMPLE, "RS256")
        self.assertEqual(thumbprint(key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")

    def test_fingerprint(self) -> None:
        """A key's fingerprint is the one that docker's libtrust gave it."""
        self.assertEqual(fingerprint(self.only_key(LIBTRUST, "ES256")), LIBTRUST_KID)

    def test_certificate(self) -> None:
        """A certificate's key is found under the name that Distribution 3 has for it, and that of 2."""
        keys = TrustedKeys.from_certificates(pem(certificate("a", EC), certificate("b", RSA)))
        for key, algorithm in ((EC, "ES256"), (RSA, "RS256"), (RSA, "PS512")):
            for name in (thumbprint(key.public_key()), fingerprint(key.public_key())):
                self.assertEqual(keys.find(name, algorithm), key.public_key())

    def test_expired_root(self) -> None:
        """The key of a root certificate counts whatever the certificate's dates, as in Distribution."""
        root = certificate("a", EC, begins=timedelta(days=-9), ends=timedelta(days=-8))
        keys = TrustedKeys.from_certificates(pem(root))
        self.assertIsNotNone(keys.find(thumbprint(EC.public_key()), "ES256"))

    def test_jwks(self) -> None:
        """A key of a JWK set is found under its own name and no other."""
        keys = TrustedKeys.from_jwks(jwks(jwk(EC, kid="mine")))
        self.assertEqual(keys.find("mine", "ES256"), EC.public_key())
        for name in (thumbprint(EC.public_key()), "", "MINE", "mine "):
            self.assertIsNone(keys.find(name, "ES256"))

    def test_jwks_without_name(self) -> None:
        """A key of a JWK set that has no name is found under its thumbprint."""
        keys = TrustedKeys.from_jwks(jwks(jwk(EC)))
        self.assertEqual(keys.find(thumbprint(EC.public_key()), "ES256"), EC.public_key())

    def test_one_name_for_two(self) -> None:
        """Two keys of different types may have one name (RFC 7517, 4.5)."""
        keys = TrustedKeys.from_jwks(jwks(jwk(EC, kid="k"), jwk(RSA, kid="k")))
        self.assertEqual(keys.find("k", "ES256"), EC.public_key())
        self.assertEqual(keys.find("k", "RS256"), RSA.public_key())


class AlgorithmsTests(SynchronousTestCase):
    """What keys are good for."""

    def suited(self, members: dict[str, Any]) -> set[str]:
        keys = TrustedKeys.from_jwks(jwks({"kid": "k", **members}, jwk(OTHER, kid="other")))
        return {name for name in ALGORITHMS if keys.find("k", name) is not None}

    def test_by_type(self) -> None:
        """A key is given out for the algorithms of its type alone, an elliptic curve for its own."""
        rsa_only = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
        self.assertEqual(self.suited(jwk(RSA)), rsa_only)
        for curve, name in ((ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")):
            self.assertEqual(self.suited(jwk(ec.generate_private_key(curve))), {name})
        for key in (ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()):
            self.assertEqual(self.suited(jwk(key)), {"EdDSA"})

    def test_secrets(self) -> None:
        """A secret is given out for HMACs that it is long enough for, and for nothing else (RFC 7518, 3.2)."""
        self.assertEqual(self.suited(jwk(SECRET)), {"HS256", "HS384", "HS512"})
        self.assertEqual(self.suited(jwk(SECRET[:32])), {"HS256"})
        self.assertEqual(self.suited(jwk(SECRET[:31])), set())
        self.assertEqual(self.suited({"kty": "oct", "k": ""}), set())

    def test_own_algorithm(self) -> None:
        """A key that names its algorithm is given out for no other."""
        self.assertEqual(self.suited(jwk(RSA, alg="PS256")), {"PS256"})
        for wrong in ("ES256", "HS256", "none", None, 5, ["RS256"]):
            self.assertEqual(self.suited(jwk(RSA, alg=wrong)), set())

    def test_own_use(self) -> None:
        """A key that is not for signatures is not taken."""
        members: dict[str, Any]
        for members in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify"}, {"key_ops": []}):
            self.assertEqual(self.suited(jwk(EC, **members)), set(), members)
        self.assertEqual(self.suited(jwk(EC, use="sig", key_ops=["verify"])), {"ES256"})

    def test_private(self) -> None:
        """Of a private key in a JWK set, the public part is taken."""
        members = ECAlgorithm.to_jwk(EC, as_dict=True)
        self.assertIn("d", members)
        keys = TrustedKeys.from_jwks(jwks({**members, "kid": "k"}))
        self.assertEqual(keys.find("k", "ES256"), EC.public_key())

    def test_weak(self) -> None:
        """An RSA key that is too short to be trusted is not taken."""
        self.assertEqual(self.suited(jwk(rsa.generate_private_key(65537, 1024))), set())

    def test_unusable(self) -> None:
        """Keys that are not understood are passed over; those beside them count (RFC 7517, 5)."""
        off_curve = {**jwk(EC), "x": jwk(EC)["y"], "y": jwk(EC)["x"]}
        for members in (
            {},
            {"kty": "new"},
            {"kty": ["EC"]},
            {"kty": "EC"},
            {"kty": "EC", "crv": "P-256", "x": 5, "y": None},
            {"kty": "RSA", "n": "!!", "e": "AQAB"},
            {"kty": "RSA", "n": "", "e": ""},
            {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
            {"kty": "oct", "k": 5},
            {**jwk(EC), "crv": "secp256k1"},
            off_curve,
        ):
            self.assertEqual(self.suited(members), set(), members)

    def test_no_names_for_all(self) -> None:
        """Algorithms whose keys are public are never those of shared secrets, and none is not one at all."""
        self.assertTrue(all(not name.startswith("HS") for name in ASYMMETRIC))
        self.assertNotIn("none", {name.lower() for name in ALGORITHMS})


class ComplaintsTests(SynchronousTestCase):
    """What is not taken at all."""

    def test_certificates(self) -> None:
        """A bundle without certificates, or with one whose key cannot be used, is refused in one line."""
        weak = certificate("weak", rsa.generate_private_key(65537, 1024))
        curve = certificate("curve", ec.generate_private_key(ec.SECP256K1()))
        key = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for content in (b"", b"\xff", key, pem(certificate("good", EC), weak), pem(curve), b"-----BEGIN"):
            error = self.assertRaises(ValueError, TrustedKeys.from_certificates, content)
            self.assertNotIn("\n", str(error))
        error = self.assertRaises(ValueError, TrustedKeys.from_certificates, pem(certificate("a", EC), weak))
        self.assertIn("certificate 2", str(error))

    def test_jwks(self) -> None:
        """What is not a JWK set, or is one without a usable key or of too many, is refused in one line."""
        many = jwks(*[jwk(EC, kid=str(number)) for number in range(300)])
        for content in (
            b"",
            b"[]",
            b"{}",
            b'{"keys": {}}',
            b'{"keys": []}',
            b'{"keys": [5]}',
            b'{"keys": [{}]}',
            b"[" * 100_000,
            b"\xff",
            json.dumps(jwk(EC)).encode(),
            many,
        ):
            error = self.assertRaises(ValueError, TrustedKeys.from_jwks, content)
            self.assertNotIn("\n", str(error))

    def test_secret_in_repr(self) -> None:
        """Keys do not show when they are printed."""
        self.assertNotIn("ssss", repr(TrustedKeys.from_jwks(jwks(jwk(SECRET, kid="k")))))


class ChainsTests(SynchronousTestCase):
    """Certificates that others vouch for."""

    def setUp(self) -> None:
        self.root = certificate("root", RSA, authority=True)
        self.keys = TrustedKeys.from_certificates(pem(self.root))

    def assertTrusted(self, chain: list[str], keys: TrustedKeys | None = None) -> None:
        self.assertEqual((keys or self.keys).certified(chain, "ES256", NOW), EC.public_key())

    def assertRefused(self, chain: list[str], keys: TrustedKeys | None = None) -> None:
        self.assertIsNone((keys or self.keys).certified(chain, "ES256", NOW))

    def trusting(self, root: x509.Certificate) -> TrustedKeys:
        return TrustedKeys.from_certificates(pem(root))

    def test_leaf(self) -> None:
        """A certificate that a root signed is vouched for, with the root in the chain or without."""
        for authority in (None, False):
            leaf = certificate("leaf", EC, (self.root, RSA), authority=authority)
            self.assertTrusted(x5c(leaf))
            self.assertTrusted(x5c(leaf, self.root))

    def test_intermediate(self) -> None:
        """A certificate is vouched for by way of others, which must be authorities themselves."""
        for authority, usage in ((True, None), (True, True)):
            middle = certificate("middle", OTHER, (self.root, RSA), authority, usage=usage)
            self.assertTrusted(x5c(certificate("leaf", EC, (middle, OTHER)), middle))
        for wrong, use in ((False, None), (None, None), (True, False)):
            middle = certificate("middle", OTHER, (self.root, RSA), wrong, usage=use)
            self.assertRefused(x5c(certificate("leaf", EC, (middle, OTHER)), middle))

    def test_missing_intermediate(self) -> None:
        """A chain with a gap is not one."""
        middle = certificate("middle", OTHER, (self.root, RSA), authority=True)
        self.assertRefused(x5c(certificate("leaf", EC, (middle, OTHER))))

    def test_root_itself(self) -> None:
        """A certificate that the operator trusts is vouched for, although it is no authority."""
        own = certificate("own", EC)
        self.assertTrusted(x5c(own), self.trusting(own))

    def test_dates(self) -> None:
        """A certificate counts from when it begins until it ends, and so does every one above it."""
        day = timedelta(days=1)
        for begins, ends in ((-2 * day, -day), (day, 2 * day)):
            leaf = certificate("leaf", EC, (self.root, RSA), begins=begins, ends=ends)
            self.assertRefused(x5c(leaf))
            old = certificate("root", RSA, authority=True, begins=begins, ends=ends)
            self.assertRefused(x5c(certificate("leaf", EC, (old, RSA))), self.trusting(old))
            own = certificate("own", EC, begins=begins, ends=ends)
            self.assertRefused(x5c(own), self.trusting(own))

    def test_self_signed(self) -> None:
        """A certificate that vouches for itself is not trusted, not even under the name of a root."""
        for authority in (None, True):
            self.assertRefused(x5c(certificate("stranger", EC, authority=authority)))
            self.assertRefused(x5c(certificate("root", EC, authority=authority)))

    def test_foreign_root(self) -> None:
        """A chain to a root of one's own is not trusted, not even with a trusted root beside it."""
        own = certificate("root", OTHER, authority=True)
        leaf = certificate("leaf", EC, (own, OTHER))
        self.assertRefused(x5c(leaf, own))
        self.assertRefused(x5c(leaf, own, self.root))
        self.assertRefused(x5c(leaf, self.root))

    def test_root_no_authority(self) -> None:
        """A trusted certificate that is no authority vouches for itself alone."""
        root = certificate("root", RSA, authority=False)
        self.assertRefused(x5c(certificate("leaf", EC, (root, RSA))), self.trusting(root))

    def test_algorithm(self) -> None:
        """A key that a chain vouches for is given out for its own algorithm alone."""
        chain = x5c(certificate("leaf", EC, (self.root, RSA)))
        for algorithm in ALGORITHMS - {"ES256"}:
            self.assertIsNone(self.keys.certified(chain, algorithm, NOW))

    def test_useless_key(self) -> None:
        """A certificate of a key that signs no tokens is not trusted, whoever signed it."""
        for key in (
            rsa.generate_private_key(65537, 1024),
            ec.generate_private_key(ec.SECP256K1()),
            dsa.generate_private_key(1024),
            x25519.X25519PrivateKey.generate(),
        ):
            chain = x5c(certificate("leaf", key, (self.root, RSA)))
            for algorithm in ALGORITHMS:
                self.assertIsNone(self.keys.certified(chain, algorithm, NOW))

    def test_hostile(self) -> None:
        """What is not a chain is refused, and so is one longer than anyone needs."""
        leaf = x5c(certificate("leaf", EC, (self.root, RSA)))
        for chain in ([], [""], ["!"], ["AAAA"], ["é"], [leaf[0] + "\n"], [leaf[0][:-8]], [*leaf, "AAAA"]):
            self.assertRefused(chain)
        others = [certificate(f"other {number}", OTHER, authority=True) for number in range(5)]
        self.assertTrusted(leaf + x5c(*others[:4]))
        self.assertRefused(leaf + x5c(*others))

    def test_many_ways(self) -> None:
        """A chain in which one could look for many ways is not looked into."""
        twins = [certificate("root", OTHER, authority=True) for _ in range(2)]
        leaf = certificate("leaf", EC, (self.root, RSA))
        self.assertTrusted(x5c(leaf, twins[0], self.root)[:2])
        self.assertRefused(x5c(leaf, *twins))

    def test_no_roots(self) -> None:
        """Without root certificates no chain is trusted."""
        keys = TrustedKeys.from_jwks(jwks(jwk(RSA, kid="k")))
        self.assertRefused(x5c(certificate("leaf", EC, (self.root, RSA))), keys)

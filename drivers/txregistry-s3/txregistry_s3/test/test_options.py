"""What the section of the configuration may say, and what becomes of it."""

from __future__ import annotations

import hashlib
import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.credentials import Credentials
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriverMaker
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.store import Piece
from txregistry.plugins import find
from txregistry_s3.assembling import MOST_PARTS, etag_of, parts_of
from txregistry_s3.bucket import md5_of
from txregistry_s3.credentials import Signers
from txregistry_s3.driver import make
from txregistry_s3.options import MIB, Options
from txregistry_s3.signing import Address, Signing

KEYS = Credentials("AKIDTEST", "secret")


def options(**given: Any) -> Options:
    """Return options of a bucket in a region, and more."""
    return Options.of({"bucket": "registry", "region": "eu-central-1", **given})


class TestOptions(SynchronousTestCase):
    """``storage.s3``."""

    def test_defaults(self) -> None:
        """What is not given is what Distribution takes."""
        found = options()
        self.assertEqual(
            (found.chunksize, found.multipartcopychunksize, found.multipartcopythresholdsize),
            (10 * MIB, 32 * MIB, 32 * MIB),
        )
        self.assertEqual((found.multipartcopymaxconcurrency, found.storageclass), (100, "STANDARD"))
        self.assertEqual((found.secure, found.v4auth, found.forcepathstyle), (True, True, False))

    def test_refused(self) -> None:
        """What is unknown, missing or wrong is refused by its name, and no key is shown."""
        for given, where in (
            ({"buckett": "x"}, "buckett"),
            ({"bucket": ""}, "bucket"),
            ({"bucket": "a/b"}, "bucket"),
            ({"region": ""}, "region"),
            ({"region": "mars-north-1"}, "region"),
            ({"regionendpoint": "http://a.example/path"}, "regionendpoint"),
            ({"regionendpoint": "ftp://a.example"}, "regionendpoint"),
            ({"accesskey": "AK"}, "secretkey"),
            ({"secretkey": "SK"}, "accesskey"),
            ({"v4auth": False}, "v4auth"),
            ({"keyid": "x"}, "keyid"),
            ({"secure": "maybe"}, "secure"),
            ({"chunksize": 5 * MIB - 1}, "chunksize"),
            ({"chunksize": "many"}, "chunksize"),
            ({"multipartcopychunksize": 6 * 1024 * MIB}, "multipartcopychunksize"),
            ({"multipartcopymaxconcurrency": 0}, "multipartcopymaxconcurrency"),
            ({"rootdirectory": "../up"}, "rootdirectory"),
            ({"storageclass": "GLACIER"}, "storageclass"),
            ({"objectacl": "everybody"}, "objectacl"),
            ({"loglevel": "loud"}, "loglevel"),
            ({"regionendpoint": "a.example", "accelerate": True}, "accelerate"),
            ({"useragent": "a\nb"}, "useragent"),
        ):
            all_given = {"bucket": "registry", "region": "eu-central-1", **given}
            error = self.assertRaises(ConfigError, make, all_given, reactor)
            self.assertEqual(error.where, where)
            self.assertNotIn("\n", str(error))

    def test_texts(self) -> None:
        """Numbers and flags may be texts, as variables of the environment are."""
        found = options(chunksize="6291456", secure="false", v4auth="TRUE", storageclass="standard_ia")
        self.assertEqual((found.chunksize, found.secure, found.v4auth), (6 * MIB, False, True))
        self.assertEqual(found.storageclass, "STANDARD_IA")

    def test_announced(self) -> None:
        """Both of Distribution's names lead to the driver."""
        for name in ("s3", "s3aws"):
            maker = find(IStorageDriverMaker, name, "storage driver", "storage")
            self.assertIsInstance(
                maker.make({"bucket": "registry", "region": "us-east-1"}, reactor), ObjectDriver
            )


class TestAddresses(SynchronousTestCase):
    """Where requests go."""

    def test_urls(self) -> None:
        """Each way of naming a store leads to the URL that Distribution asks."""
        for given, url in (
            ({}, "https://registry.s3.eu-central-1.amazonaws.com/k"),
            ({"region": "us-east-1", "secure": False}, "http://registry.s3.us-east-1.amazonaws.com/k"),
            ({"region": "cn-north-1"}, "https://registry.s3.cn-north-1.amazonaws.com.cn/k"),
            ({"bucket": "a.b"}, "https://s3.eu-central-1.amazonaws.com/a.b/k"),
            ({"usedualstack": True}, "https://registry.s3.dualstack.eu-central-1.amazonaws.com/k"),
            ({"accelerate": True}, "https://registry.s3-accelerate.amazonaws.com/k"),
            ({"regionendpoint": "store:9000", "forcepathstyle": True}, "https://store:9000/registry/k"),
            ({"regionendpoint": "http://store:9000"}, "http://registry.store:9000/k"),
        ):
            self.assertEqual(Address.of(options(**given)).url("k", {}), url)

    def test_signed_url(self) -> None:
        """A URL that is given away is good for twenty minutes, in either version of signatures."""
        for version_4, name, value in (
            (True, "X-Amz-Expires", "1200"),
            (False, "AWSAccessKeyId", "AKIDTEST"),
        ):
            given = {"regionendpoint": "http://store:9000", "v4auth": version_4}
            signing = Signing(Address.of(options(**given)), version_4, "tests")
            url = urlsplit(signing.url(KEYS, "GET", "blobs/data"))
            self.assertEqual((url.netloc, url.path), ("registry.store:9000", "/blobs/data"))
            self.assertEqual(parse_qs(url.query)[name], [value])

    def test_what_is_signed(self) -> None:
        """A signature covers the MD5 of the body, and all that says how it is stored."""
        signing = Signing(Address.of(options()), True, "tests")
        headers = {"Content-MD5": "x", "x-amz-storage-class": "STANDARD_IA", "If-None-Match": "*"}
        made = signing.request(KEYS, "PUT", "k", {}, headers, [b"body"])
        self.assertIn("SignedHeaders=content-md5;host;if-none-match;", made.headers["Authorization"])
        self.assertIn("x-amz-storage-class", made.headers["Authorization"])
        self.assertEqual(made.headers["X-Amz-Content-SHA256"], "UNSIGNED-PAYLOAD")


class TestParts(SynchronousTestCase):
    """What an object is put together of."""

    def test_parts(self) -> None:
        """Parts cover every byte once, in order; none but the last is too small, and they are not too many."""
        for sizes in (
            [70 * MIB + 5],
            [10 * MIB] * 12 + [5],
            [10 * MIB] * 9_999 + [1],
            [400_000 * MIB],
            [1],
            [32 * MIB],
        ):
            pieces = [Piece(f"/{number}", size) for number, size in enumerate(sizes)]
            parts = parts_of(pieces, 32 * MIB)
            self.assertLessEqual(len(parts), MOST_PARTS)
            covered: dict[str, int] = {}
            for part in parts:
                self.assertEqual(part.start, covered.get(part.path, 0))
                covered[part.path] = part.start + part.size
            self.assertEqual(list(covered.values()), sizes)
            self.assertTrue(all(part.size >= 5 * MIB for part in parts[:-1]))

    def test_etags(self) -> None:
        """An ETag is compared where it is an MD5, and not where it is something else."""
        md5 = "9e107d9d372bb6826bd81d3542a419d6"
        self.assertEqual(md5_of(f'"{md5}"', None), md5)
        self.assertEqual(md5_of(f'"{md5}"', "AES256"), md5)
        for etag, encryption in (
            (f'"{md5}-3"', None),
            (f'"{md5}"', "aws:kms"),
            (None, None),
            ('"abc"', None),
        ):
            self.assertIsNone(md5_of(etag, encryption))
        expected = hashlib.md5(bytes.fromhex(md5) * 2, usedforsecurity=False).hexdigest()
        self.assertEqual(etag_of([f'"{md5}"', md5]), f"{expected}-2")
        self.assertEqual(etag_of(["no md5"]), "")


class TestSigners(SynchronousTestCase):
    """Who signs."""

    def setUp(self) -> None:
        """Begin without any keys."""
        self.now = 0.0
        self.threads = 0
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            self.patch_environ(name, None)
        self.patch_environ("AWS_EC2_METADATA_DISABLED", "true")
        self.patch_environ("AWS_SHARED_CREDENTIALS_FILE", "/nothing")
        self.patch_environ("AWS_CONFIG_FILE", "/nothing")
        self.patch_environ("AWS_ACCESS_KEY_ID", None)
        self.patch_environ("AWS_SECRET_ACCESS_KEY", None)

    def patch_environ(self, name: str, value: str | None) -> None:
        """Set a variable until the test ends."""
        before = os.environ.get(name)

        def put(text: str | None) -> None:
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text

        put(value)
        self.addCleanup(put, before)

    def signers(self, fixed: Credentials | None = None) -> Signers:
        """Return signers, made ready."""

        async def run(work: Any) -> Any:
            self.threads += 1
            return work()

        signers = Signers(fixed, run, lambda: self.now)
        signers.prepare()
        return signers

    def test_none(self) -> None:
        """Where the whole chain has no keys that is said before the server starts."""
        error = self.assertRaises(ConfigError, self.signers)
        self.assertEqual(error.where, "accesskey")

    def test_chain(self) -> None:
        """Keys of the environment are found, and looked at again after a while, in a thread."""
        self.patch_environ("AWS_ACCESS_KEY_ID", "AKIDENV")
        self.patch_environ("AWS_SECRET_ACCESS_KEY", "secret")
        signers = self.signers()
        self.assertEqual(self.keys(signers), "AKIDENV")
        self.assertEqual(self.threads, 0)
        self.now = 61.0
        self.assertEqual(self.keys(signers), "AKIDENV")
        self.assertEqual(self.threads, 1)

    def test_fixed(self) -> None:
        """Keys of the configuration are never looked for again."""
        signers = self.signers(KEYS)
        self.now = 10_000.0
        self.assertEqual(self.keys(signers), "AKIDTEST")
        self.assertEqual(self.threads, 0)

    def keys(self, signers: Signers) -> str:
        """Return the access key."""
        found: str = self.successResultOf(Deferred.fromCoroutine(signers.keys())).access_key
        return found

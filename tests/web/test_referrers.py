"""Referrers over HTTP (distribution-spec, "Listing Referrers")."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import OCI_MANIFEST, Answer, Server, descriptor, image
from txregistry.digest import Digest
from txregistry.web.app import Permissions
from txregistry.web.locations import Locations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
SUBJECT = Digest.of(b"not pushed yet")
MANIFEST_LIMIT = 4 * 1024 * 1024


class ReferrersCase(SynchronousTestCase):
    """A repository with a config for images that refer to others."""

    def setUp(self) -> None:
        self.server = Server()
        self.config = self.server.push_blob("a", b"{}")

    def image(self, subject: Digest = SUBJECT, **more: Any) -> bytes:
        """Return an image that refers to another manifest."""
        return image(self.config, subject=descriptor(subject, OCI_MANIFEST), **more)

    def index(self, *children: Digest, subject: Digest = SUBJECT, **more: Any) -> bytes:
        """Return an index that refers to another manifest."""
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [descriptor(child, OCI_MANIFEST) for child in children],
                "subject": descriptor(subject, OCI_MANIFEST),
                **more,
            }
        ).encode()

    def put(self, content: bytes, reference: object = None, name: str = "a") -> Answer:
        """Push a manifest, by its digest if nothing else is said."""
        kind = json.loads(content)["mediaType"]
        answer = self.server.put_manifest(name, str(reference or Digest.of(content)), content, kind)
        self.assertEqual(answer.status, 201, answer)
        return answer

    def ask(self, subject: object = SUBJECT, query: str = "", name: str = "a") -> Answer:
        """Return a list of referrers as it was answered."""
        answer = self.server.request("GET", f"/v2/{name}/referrers/{subject}{query}")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, OCI_INDEX))
        self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body))
        self.assertLess(len(answer.body), MANIFEST_LIMIT)
        document = answer.json()
        self.assertEqual({**document, "manifests": []}, EMPTY)
        return answer

    def listed(self, subject: object = SUBJECT, query: str = "", name: str = "a") -> list[dict[str, Any]]:
        """Return the descriptors of a list that is one page."""
        answer = self.ask(subject, query, name)
        self.assertIsNone(answer.headers["Link"])
        return list(answer.json()["manifests"])

    def digests(self, subject: object = SUBJECT, query: str = "", name: str = "a") -> set[str]:
        """Return the digests of a list that is one page."""
        found = [each["digest"] for each in self.listed(subject, query, name)]
        self.assertEqual(len(found), len(set(found)))
        return set(found)

    def pages(self, query: str) -> list[list[str]]:
        """Follow the links from a page to the last; return the digests on each."""
        found = []
        path = f"/v2/a/referrers/{SUBJECT}"
        while True:
            answer = self.ask(query=query)
            found.append([each["digest"] for each in answer.json()["manifests"]])
            link = answer.headers["Link"]
            if link is None:
                return found
            match = re.fullmatch(r'<([^>]*)>; rel="next"', link)
            assert match is not None, link
            parts = urlsplit(match[1])
            self.assertEqual(parts.path, path)
            query = f"?{parts.query}"


class AnswerTests(ReferrersCase):
    """What is answered."""

    def test_empty(self) -> None:
        """An unknown subject, and an unknown repository, have an empty list; it is never 404."""
        for name in ("a", "no/such/repository"):
            for subject in (SUBJECT, Digest.of(b"", "sha512")):
                self.assertEqual(self.ask(subject, name=name).json(), EMPTY)
                self.assertEqual(self.ask(subject, "?artifactType=a/b", name).json(), EMPTY)

    def test_head(self) -> None:
        """HEAD is answered as GET is, without the body."""
        self.put(self.image())
        whole = self.ask()
        answer = self.server.request("HEAD", f"/v2/a/referrers/{SUBJECT}")
        self.assertEqual((answer.status, answer.body), (200, b""))
        for name in ("Content-Type", "Content-Length"):
            self.assertEqual(answer.headers[name], whole.headers[name])

    def test_invalid_digest(self) -> None:
        """What is not a digest, or of an algorithm that is not known, is 400 DIGEST_INVALID."""
        for text in (
            "latest",
            "sha256:",
            "sha256:" + "0" * 63,
            "sha256:" + "A" * 64,
            "md5:" + "0" * 32,
            "x:y",
        ):
            for query in ("", "?artifactType=a/b", "?n=x"):
                answer = self.server.request("GET", f"/v2/a/referrers/{text}{query}")
                self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]), text)

    def test_invalid_name(self) -> None:
        """What is not a repository's name is 400 NAME_INVALID."""
        answer = self.server.request("GET", f"/v2/A/referrers/{SUBJECT}")
        self.assertEqual((answer.status, answer.codes), (400, ["NAME_INVALID"]))

    def test_other_methods(self) -> None:
        """Lists are read; nothing else is done with them."""
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            answer = self.server.request(method, f"/v2/a/referrers/{SUBJECT}")
            self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD"))

    def test_read_only(self) -> None:
        """A registry that takes nothing lists what it has."""
        self.put(self.image())
        self.server = Server(driver=self.server.driver, permissions=Permissions(write=False))
        self.assertEqual(len(self.listed()), 1)

    def test_image(self) -> None:
        """A descriptor has the type, digest, size, artifact type and annotations of its image."""
        content = self.image(artifactType="a/b", annotations={"org.example": "caf\xe9", "": ""})
        answer = self.put(content)
        self.assertEqual(answer.headers["OCI-Subject"], str(SUBJECT))
        self.assertEqual(
            self.listed(),
            [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": str(Digest.of(content)),
                    "size": len(content),
                    "artifactType": "a/b",
                    "annotations": {"org.example": "caf\xe9", "": ""},
                }
            ],
        )

    def test_artifact_type_of_an_image(self) -> None:
        """An image that names no artifact type has that of its config."""
        for more in ({}, {"artifactType": ""}):
            content = self.image(**more)
            self.put(content)
            (found,) = self.listed()
            self.assertEqual(found["artifactType"], CONFIG)
            self.server.request("DELETE", f"/v2/a/manifests/{Digest.of(content)}")

    def test_index(self) -> None:
        """An index is a referrer; if it names no artifact type its descriptor has none."""
        content = self.index(annotations={"a": "1"})
        answer = self.put(content)
        self.assertEqual(answer.headers["OCI-Subject"], str(SUBJECT))
        expected = {
            "mediaType": OCI_INDEX,
            "digest": str(Digest.of(content)),
            "size": len(content),
            "annotations": {"a": "1"},
        }
        self.assertEqual(self.listed(), [expected])
        self.server.request("DELETE", f"/v2/a/manifests/{Digest.of(content)}")
        typed = self.index(artifactType="a/b")
        self.put(typed)
        self.assertEqual([each["artifactType"] for each in self.listed()], ["a/b"])

    def test_no_subject(self) -> None:
        """A manifest without a subject is answered without OCI-Subject."""
        answer = self.put(image(self.config))
        self.assertIsNone(answer.headers["OCI-Subject"])

    def test_pushed_by_tag(self) -> None:
        """A referrer that is pushed by a tag is one too, and stays one when the tag is deleted."""
        content = self.image()
        answer = self.put(content, "signature")
        self.assertEqual(answer.headers["OCI-Subject"], str(SUBJECT))
        self.server.request("DELETE", "/v2/a/manifests/signature")
        self.assertEqual(self.digests(), {str(Digest.of(content))})

    def test_subject_there_or_not(self) -> None:
        """A referrer is listed before its subject is pushed, and after, and when that was deleted."""
        subject = image(self.config)
        digest = Digest.of(subject)
        referrer = self.image(digest)
        self.assertEqual(self.put(referrer).headers["OCI-Subject"], str(digest))
        expected = {str(Digest.of(referrer))}
        self.assertEqual(self.digests(digest), expected)
        self.put(subject, "1")
        self.assertEqual(self.digests(digest), expected)
        self.assertEqual(self.server.request("DELETE", f"/v2/a/manifests/{digest}").status, 202)
        self.assertEqual(self.digests(digest), expected)
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{Digest.of(referrer)}").status, 200)

    def test_deleted(self) -> None:
        """A referrer that was deleted is not listed, and the others are."""
        contents = [self.image(note=1), self.image(note=2), self.index()]
        for content in contents:
            self.put(content)
        digests = [str(Digest.of(content)) for content in contents]
        self.assertEqual(self.digests(), set(digests))
        for number, digest in enumerate(digests, 1):
            self.assertEqual(self.server.request("DELETE", f"/v2/a/manifests/{digest}").status, 202)
            self.assertEqual(self.digests(), set(digests[number:]))
        self.put(contents[0])
        self.assertEqual(self.digests(), {digests[0]})

    def test_sha512(self) -> None:
        """Subjects and referrers may be sha512."""
        subject = Digest.of(b"wide", "sha512")
        content = self.image(subject)
        digests = [Digest.of(content), Digest.of(content, "sha512")]
        for digest in digests:
            answer = self.put(content, digest)
            self.assertEqual(answer.headers["OCI-Subject"], str(subject))
            self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        self.assertEqual(self.digests(subject), {str(digest) for digest in digests})
        self.assertEqual(self.listed(Digest.of(b"wide")), [])

    def test_invalid_subject(self) -> None:
        """A manifest whose subject is none is refused, and is no referrer."""
        for subject, code in (
            ({**descriptor(SUBJECT), "digest": "sha256:x"}, "DIGEST_INVALID"),
            ({"mediaType": OCI_MANIFEST}, "MANIFEST_INVALID"),
            ("x", "MANIFEST_INVALID"),
        ):
            content = image(self.config, subject=subject)
            answer = self.server.put_manifest("a", "1", content)
            self.assertEqual((answer.status, answer.codes), (400, [code]))
            self.assertIsNone(answer.headers["OCI-Subject"])
        self.assertEqual(self.listed(), [])

    def test_other_repository(self) -> None:
        """A repository lists its own referrers alone."""
        self.put(self.image())
        self.server.push_blob("b", b"{}")
        self.assertEqual(self.listed(name="b"), [])
        self.put(self.image(note=1), name="b")
        self.assertEqual(len(self.listed()), 1)
        self.assertEqual(len(self.listed(name="b")), 1)


class FilterTests(ReferrersCase):
    """``?artifactType=``."""

    def setUp(self) -> None:
        super().setUp()
        self.signature = self.image(artifactType="application/vnd.example.signature+json")
        self.sbom = self.index(artifactType="application/vnd.example.sbom")
        self.plain = self.image()
        self.untyped = self.index()
        for content in (self.signature, self.sbom, self.plain, self.untyped):
            self.put(content)

    def test_filtered(self) -> None:
        """A filter lets through what is of its type, and the answer says that it was applied."""
        for kind, content in (
            ("application/vnd.example.signature+json", self.signature),
            ("application/vnd.example.sbom", self.sbom),
            (CONFIG, self.plain),
        ):
            answer = self.ask(query=f"?artifactType={quote(kind, safe='')}")
            self.assertEqual(
                [each["digest"] for each in answer.json()["manifests"]], [str(Digest.of(content))]
            )
            self.assertEqual(answer.headers["OCI-Filters-Applied"], "artifactType")

    def test_plus(self) -> None:
        """A plus sign that a client did not encode is a plus sign: no media type has a blank."""
        answer = self.ask(query="?artifactType=application/vnd.example.signature+json")
        self.assertEqual(len(answer.json()["manifests"]), 1)

    def test_nothing_matches(self) -> None:
        """A filter that nothing matches gives an empty list, and says that it was applied."""
        for kind in ("application/vnd.example", OCI_MANIFEST, "x", "%00"):
            answer = self.ask(query=f"?artifactType={kind}")
            self.assertEqual(answer.json(), EMPTY)
            self.assertEqual(answer.headers["OCI-Filters-Applied"], "artifactType")

    def test_no_filter(self) -> None:
        """Without a filter, or with an empty one, all are listed and none is said to be applied."""
        for query in ("", "?artifactType=", "?other=1"):
            answer = self.ask(query=query)
            self.assertEqual(len(answer.json()["manifests"]), 4)
            self.assertIsNone(answer.headers["OCI-Filters-Applied"])

    def test_malformed(self) -> None:
        """A filter that is given twice, or is no text, is 400."""
        for query in ("?artifactType=a&artifactType=b", "?artifactType=%FF"):
            answer = self.server.request("GET", f"/v2/a/referrers/{SUBJECT}{query}")
            self.assertEqual(answer.status, 400)


class PageTests(ReferrersCase):
    """Lists that are longer than one answer."""

    def fill(self, count: int) -> list[str]:
        """Push referrers of two types; return their digests."""
        contents = [
            self.index(note=number, artifactType="a/b+c" if number % 3 == 0 else "a/d")
            for number in range(count)
        ]
        for content in contents:
            self.put(content)
        return [str(Digest.of(content)) for content in contents]

    def test_each_once(self) -> None:
        """Following the links gives every referrer exactly once, and no empty page at the end."""
        digests = self.fill(25)
        for n in (1, 4, 5, 24, 25, 26):
            pages = self.pages(f"?n={n}")
            self.assertEqual(sorted(sum(pages, [])), sorted(digests))
            self.assertEqual(len(pages), -(-25 // n))
        self.assertEqual(len(self.pages("")), 1)

    def test_filter_is_kept(self) -> None:
        """A link keeps the filter and the length of pages, and every page says that it was applied."""
        digests = self.fill(25)
        pages = self.pages("?artifactType=a%2Fb%2Bc&n=2")
        self.assertEqual(sorted(sum(pages, [])), sorted(digests[::3]))
        self.assertEqual([len(page) for page in pages], [2, 2, 2, 2, 1])
        link = self.ask(query="?n=2&artifactType=a%2Fb%2Bc").headers["Link"]
        query = parse_qs(urlsplit(link.partition(">")[0][1:]).query)
        self.assertEqual((query["artifactType"], query["n"], len(query)), (["a/b+c"], ["2"], 3))
        answer = self.ask(query=f"?{urlsplit(link.partition('>')[0]).query}")
        self.assertEqual(answer.headers["OCI-Filters-Applied"], "artifactType")

    def test_many(self) -> None:
        """A list of more than a thousand comes in pages though the client did not ask for them."""
        digests = self.fill(1001)
        for query in ("", "?n=1000000"):
            pages = self.pages(query)
            self.assertEqual([len(page) for page in pages], [1000, 1])
            self.assertEqual(sorted(sum(pages, [])), sorted(digests))

    def test_nothing_wanted(self) -> None:
        """Asked for no referrers, the registry lists none, and no link."""
        self.fill(2)
        self.assertEqual(self.listed(query="?n=0"), [])

    def test_bad_numbers(self) -> None:
        """What is not a number is 400."""
        for n in ("-1", "x", "1_0", "", "1&n=2", "1" + "0" * 30):
            answer = self.server.request("GET", f"/v2/a/referrers/{SUBJECT}?n={n}")
            self.assertEqual((answer.status, answer.codes), (400, ["UNSUPPORTED"]), n)

    def test_prefix(self) -> None:
        """A link leads to where the registry is."""
        self.server = Server(locations=Locations(prefix="/below/"))
        for number in range(2):
            content = self.index(note=number)
            answer = self.server.request(
                "PUT", f"/below/v2/a/manifests/{Digest.of(content)}", content, {"Content-Type": OCI_INDEX}
            )
            self.assertEqual(answer.status, 201)
        answer = self.server.request("GET", f"/below/v2/a/referrers/{SUBJECT}?n=1")
        self.assertTrue(answer.headers["Link"].startswith(f"</below/v2/a/referrers/{SUBJECT}?"))

    def test_huge_annotations(self) -> None:
        """No page is larger than a manifest may be, however large annotations are."""
        digests = []
        for number in range(6):
            content = self.index(
                note=number, annotations={"a": "x" * (1_500_000 + number), "b": "\xe9\x01" * 99}
            )
            self.put(content)
            digests.append(str(Digest.of(content)))
        pages = self.pages("")
        self.assertEqual(sorted(sum(pages, [])), sorted(digests))
        self.assertEqual([len(page) for page in pages], [2, 2, 2])

    def test_too_large_to_list(self) -> None:
        """A manifest that no page could list is 413, and the list is as it was."""
        self.fill(1)
        content = self.index(
            annotations={"a": "x" * (MANIFEST_LIMIT - len(self.index(annotations={"a": ""})))}
        )
        self.assertEqual(len(content), MANIFEST_LIMIT)
        for algorithm in ("sha256", "sha512"):
            digest = Digest.of(content, algorithm)
            answer = self.server.put_manifest("a", str(digest), content, OCI_INDEX)
            self.assertEqual((answer.status, answer.codes), (413, ["SIZE_INVALID"]))
        self.assertEqual(len(self.listed()), 1)


class FallbackTests(ReferrersCase):
    """What clients keep under the referrers tag (distribution-spec, "Enabling the Referrers API")."""

    def setUp(self) -> None:
        super().setUp()
        self.tag = f"sha256-{SUBJECT.hex}"

    def push_list(self, *listed: Digest, tag: str | None = None) -> None:
        """Push an index under the referrers tag, as a client of another registry does."""
        document = json.loads(self.index(*listed))
        del document["subject"]
        self.put(json.dumps(document).encode(), tag or self.tag)

    def test_merged(self) -> None:
        """A list that a client pushes under the tag is merged; nothing is listed twice."""
        first, second = self.image(), self.image(note=1)
        plain = image(self.config)
        for content in (first, second, plain):
            self.put(content)
        self.push_list(Digest.of(first), Digest.of(plain))
        self.assertEqual(self.digests(), {str(Digest.of(content)) for content in (first, second)})

    def test_client_without_the_api(self) -> None:
        """The tag itself is served and moved as any other: clients that know only it go on."""
        content = self.image()
        self.put(content)
        self.push_list(Digest.of(content))
        answer = self.server.request("GET", f"/v2/a/manifests/{self.tag}")
        self.assertEqual([each["digest"] for each in answer.json()["manifests"]], [str(Digest.of(content))])
        self.push_list()
        self.assertEqual(self.digests(), {str(Digest.of(content))})

    def test_no_index(self) -> None:
        """An image under the tag, as cosign keeps signatures, lists nothing."""
        referrer = self.image()
        self.put(referrer)
        self.put(image(self.config, Digest.of(b"{}")), self.tag)
        self.put(self.image(note="signature"), f"{self.tag}.sig")
        self.assertEqual(len(self.digests()), 2)

"""Tags and the catalog over HTTP."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import Server
from txregistry.digest import Digest
from txregistry.web.locations import Locations


class TagsTests(SynchronousTestCase):
    """``/v2/<name>/tags/list``."""

    TAGS = ("A", "a", "a-b", "a.b", "latest", "v1", "v10", "v2")

    def setUp(self) -> None:
        self.server = Server()
        for tag in self.TAGS:
            self.server.push_image("team/app", tag)

    def pages(self, path: str, key: str) -> list[list[str]]:
        """Follow the links from a page to the last."""
        found = []
        while path:
            answer = self.server.request("GET", path)
            self.assertEqual(answer.status, 200)
            found.append(answer.json()[key])
            link = answer.headers["Link"]
            match = link and re.fullmatch(r'<(/[^>]*)>; rel="next"', link)
            path = match[1] if match else ""
        return found

    def test_all(self) -> None:
        """Without a number all tags are listed, in byte order."""
        answer = self.server.request("GET", "/v2/team/app/tags/list")
        self.assertEqual(answer.json(), {"name": "team/app", "tags": list(self.TAGS)})
        self.assertNotIn("Link", answer.headers)

    def test_pages(self) -> None:
        """Following the links gives every tag once, and no empty page at the end."""
        for n in range(1, 10):
            pages = self.pages(f"/v2/team/app/tags/list?n={n}", "tags")
            self.assertEqual(sum(pages, []), list(self.TAGS))
            self.assertEqual(len(pages), -(-len(self.TAGS) // n))

    def test_last(self) -> None:
        """The list begins after the tag that is named, whether that exists or not."""
        for last, first in (("a", "a-b"), ("a-a", "a-b"), ("v10", "v2"), ("", "A")):
            answer = self.server.request("GET", f"/v2/team/app/tags/list?last={last}")
            self.assertEqual(answer.json()["tags"][0], first)
        answer = self.server.request("GET", "/v2/team/app/tags/list?last=v2&n=3")
        self.assertEqual(answer.json()["tags"], [])

    def test_none(self) -> None:
        """Asked for no tags, the registry lists none, and no link."""
        answer = self.server.request("GET", "/v2/team/app/tags/list?n=0")
        self.assertEqual((answer.status, answer.json()["tags"]), (200, []))
        self.assertNotIn("Link", answer.headers)

    def test_A12_bad_numbers(self) -> None:
        """What is not a number is 400."""
        for n in ("-1", "x", "1_0", "%D9%A1", "+1", "1.0", "1" + "0" * 30, "", "1&n=2"):
            for path in ("/v2/team/app/tags/list", "/v2/_catalog"):
                answer = self.server.request("GET", f"{path}?n={n}")
                self.assertEqual((answer.status, answer.codes), (400, ["UNSUPPORTED"]), n)

    def test_A12_large_number(self) -> None:
        """A number beyond what there is gives what there is."""
        answer = self.server.request("GET", "/v2/team/app/tags/list?n=1000000000")
        self.assertEqual(answer.json()["tags"], list(self.TAGS))

    def test_A12_longest_page(self) -> None:
        """A page holds a thousand tags at most, whatever is asked for, and then leads to the rest."""
        content = self.server.push_image("many", "last")
        names = [f"{number:04}" for number in range(1000)]
        for start in range(0, 1000, 100):
            tags = "&".join(f"tag={name}" for name in names[start : start + 100])
            answer = self.server.put_manifest("many", f"{Digest.of(content)}?{tags}", content)
            self.assertEqual(answer.status, 201)
        self.assertEqual(self.pages("/v2/many/tags/list?n=5000", "tags"), [names, ["last"]])

    def test_unknown_repository(self) -> None:
        """A repository that is not there is 404 NAME_UNKNOWN."""
        answer = self.server.request("GET", "/v2/team/other/tags/list")
        self.assertEqual((answer.status, answer.codes), (404, ["NAME_UNKNOWN"]))

    def test_untagged_repository(self) -> None:
        """A repository whose tags are all gone lists none."""
        for tag in self.TAGS:
            self.server.request("DELETE", f"/v2/team/app/manifests/{tag}")
        answer = self.server.request("GET", "/v2/team/app/tags/list")
        self.assertEqual((answer.status, answer.json()["tags"]), (200, []))

    def test_catalog(self) -> None:
        """The catalog lists repositories in byte order, page by page."""
        names = ["a", "a-b", "a.b/c", "a/b", "a/b/c", "a0", "team/app", "z/z/z"]
        for name in set(names) - {"team/app"}:
            self.server.push_image(name, "1")
        self.server.push_blob("only/blobs", b"x")
        self.assertEqual(self.pages("/v2/_catalog", "repositories"), [names])
        for n in range(1, 10):
            pages = self.pages(f"/v2/_catalog?n={n}", "repositories")
            self.assertEqual(sum(pages, []), names)
            self.assertEqual(len(pages), -(-len(names) // n))
        self.assertEqual(self.server.request("GET", "/v2/_catalog?n=0").json(), {"repositories": []})

    def test_prefix_in_links(self) -> None:
        """Below a prefix, links lead there too."""
        server = Server(driver=self.server.driver, locations=Locations(prefix="/hub/"))
        answer = server.request("GET", "/hub/v2/team/app/tags/list?n=1")
        self.assertEqual(answer.headers["Link"], '</hub/v2/team/app/tags/list?last=A&n=1>; rel="next"')
        answer = server.request("GET", "/v2/team/app/tags/list?n=1")
        self.assertEqual((answer.status, answer.codes), (404, ["NAME_UNKNOWN"]))

    def test_empty_catalog(self) -> None:
        """A registry that holds nothing has an empty catalog."""
        self.assertEqual(Server().request("GET", "/v2/_catalog").json(), {"repositories": []})

"""Who may do what under an operator's rules: a matrix, the catalog, mounts, uploads and tokens."""

from __future__ import annotations

import re

from tests.auth.basic import BasicBackend
from tests.web.client import Answer, Server, image, with_digest
from tests.web.guarded import EVERY, USERS, GuardedCase, limited
from txregistry.auth.rules import Authenticated, make
from txregistry.digest import Digest

REPOSITORIES = ("public/app", "home/alice/app", "home/bob/app", "team/app", "ci/app", "ci/a/app", "other")
LAYER = Digest.of(b"layer")

#: By user, what it may do in each of REPOSITORIES: pull, push (w), delete.
RIGHTS: dict[str | None, tuple[str, ...]] = {
    None: ("p", "", "", "", "", "", ""),
    "alice": ("p", "pwd", "", "", "", "", ""),
    "bob": ("pw", "", "pwd", "pw", "", "", ""),
    "carol": ("p", "", "", "pd", "", "", ""),
    "main": ("p", "", "", "", "pw", "", ""),
    "tag": ("p", "", "", "", "", "", ""),
    "admin": ("pwd", "pwd", "pwd", "pwd", "pwd", "pwd", "pwd"),
    "../x": ("p", "", "", "", "", "", ""),
    "public/x": ("p", "", "", "", "", "", ""),
    "**": ("p", "", "", "", "", "", ""),
}


class MatrixTests(GuardedCase):
    """Identity, action, repository; and the status."""

    def setUp(self) -> None:
        super().setUp()
        self.manifest = self.fill(*REPOSITORIES)
        self.digest = Digest.of(self.manifest)

    def cells(self) -> list[tuple[str | None, str, str]]:
        """Return each user, each repository, and what the one may do in the other."""
        return [
            (user, name, rights[number])
            for user, rights in RIGHTS.items()
            for number, name in enumerate(REPOSITORIES)
        ]

    def expect(
        self, may: bool, expected: int, user: str | None, method: str, path: str, body: bytes = b""
    ) -> Answer:
        """Send a request that is allowed or refused."""
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        answer = self.ask(user, method, path, body, kind)
        if may:
            self.assertEqual(answer.status, expected, (user, method, path, answer))
        else:
            self.assert_refused(answer, user, head=method == "HEAD")
        return answer

    def test_pull(self) -> None:
        """Reading needs ``pull``."""
        for user, name, rights in self.cells():
            for path in (
                "manifests/latest",
                f"manifests/{self.digest}",
                f"blobs/{LAYER}",
                "tags/list",
                f"referrers/{self.digest}",
            ):
                self.expect("p" in rights, 200, user, "GET", f"/v2/{name}/{path}")
            for path in ("manifests/latest", f"blobs/{LAYER}"):
                self.expect("p" in rights, 200, user, "HEAD", f"/v2/{name}/{path}")

    def test_push(self) -> None:
        """Writing needs ``push``, and ``pull`` with it."""
        digest = Digest.of(b"more")
        for user, name, rights in self.cells():
            may = "pw" in rights
            self.expect(may, 202, user, "POST", f"/v2/{name}/blobs/uploads/")
            self.expect(may, 201, user, "POST", with_digest(f"/v2/{name}/blobs/uploads/", digest), b"more")
            self.expect(may, 201, user, "PUT", f"/v2/{name}/manifests/new", self.manifest)
            self.expect(may, 201, user, "PUT", f"/v2/{name}/manifests/{self.digest}?tag=x", self.manifest)

    def test_refused_push(self) -> None:
        """What is refused is not stored."""
        name = "team/app"
        self.expect(False, 0, "carol", "PUT", f"/v2/{name}/manifests/new", self.manifest)
        self.expect(
            False, 0, None, "POST", with_digest(f"/v2/{name}/blobs/uploads/", Digest.of(b"more")), b"more"
        )
        self.assertEqual(self.ask("admin", "GET", f"/v2/{name}/tags/list").json()["tags"], ["latest"])
        self.assertEqual(self.ask("admin", "GET", f"/v2/{name}/blobs/{Digest.of(b'more')}").status, 404)

    def test_delete(self) -> None:
        """Removing needs ``delete``; ``push`` is not enough."""
        for user, name, rights in self.cells():
            may = "d" in rights
            self.fill(name)
            self.expect(may, 202, user, "DELETE", f"/v2/{name}/manifests/latest")
            self.expect(may, 202, user, "DELETE", f"/v2/{name}/manifests/{self.digest}")
            self.expect(may, 202, user, "DELETE", f"/v2/{name}/blobs/{LAYER}")
            status = self.ask("admin", "GET", f"/v2/{name}/blobs/{LAYER}").status
            self.assertEqual(status, 404 if may else 200)

    def test_mount(self) -> None:
        """Mounting needs ``push`` at the target and ``pull`` at the source; without the latter it is an upload."""
        for user, rights in RIGHTS.items():
            for number, target in enumerate(REPOSITORIES):
                for other, source in enumerate(REPOSITORIES):
                    status = 201 if "p" in rights[other] else 202
                    path = f"/v2/{target}/blobs/uploads/?mount={LAYER}&from={source}"
                    self.expect("pw" in rights[number], status, user, "POST", path)

    def test_A13_catalog(self) -> None:
        """The catalog is for those who are logged in, and lists what they may pull."""
        for user, rights in RIGHTS.items():
            answer = self.expect(user is not None, 200, user, "GET", "/v2/_catalog")
            if user is not None:
                visible = sorted(name for name, may in zip(REPOSITORIES, rights, strict=True) if "p" in may)
                self.assertEqual(answer.json(), {"repositories": visible})

    def test_no_rules(self) -> None:
        """Under an empty list of rules nobody may do anything, and the catalog lists nothing."""
        self.server = self.make_server(make([], {}))
        for user in RIGHTS:
            for method, path in (
                ("GET", "tags/list"),
                ("PUT", "manifests/1"),
                ("DELETE", "manifests/latest"),
            ):
                for name in REPOSITORIES:
                    self.assert_refused(self.ask(user, method, f"/v2/{name}/{path}"), user)
        self.assertEqual(self.ask("admin", "GET", "/v2/_catalog").json(), {"repositories": []})

    def test_auth_without_rules(self) -> None:
        """Without rules, whoever is logged in may do everything, and nobody else anything."""
        self.server = self.make_server(Authenticated())
        for user in ("alice", "../x"):
            self.assertEqual(
                self.ask(user, "GET", "/v2/_catalog").json(), {"repositories": sorted(REPOSITORIES)}
            )
            self.assertEqual(self.ask(user, "PUT", "/v2/other/manifests/x", self.manifest).status, 400)
        for method, path in (("GET", "/v2/_catalog"), ("GET", "/v2/public/app/tags/list")):
            self.assert_refused(self.ask(None, method, path), None)


class CatalogTests(GuardedCase):
    """Pages of a catalog of which most is hidden."""

    HIDDEN = 60

    def setUp(self) -> None:
        super().setUp()
        visible = ["home/alice/a", "home/alice/z", "public/0", "public/m", "public/zz"]
        hidden = [
            f"{top}/{number:02}"
            for top in ("a", "home/alicf", "public0", "z")
            for number in range(self.HIDDEN // 4)
        ]
        self.fill(*visible, *hidden)
        self.visible = sorted(visible)

    def pages(self, user: str, path: str) -> list[list[str]]:
        """Follow the links from a page to the last."""
        found = []
        while path:
            answer = self.ask(user, "GET", path)
            self.assertEqual(answer.status, 200)
            found.append(answer.json()["repositories"])
            match = re.fullmatch(r'<(/[^>]*)>; rel="next"', answer.headers["Link"] or "")
            path = match[1] if match else ""
        return found

    def test_A13_all(self) -> None:
        """What may be pulled is listed, in byte order, and nothing else is told."""
        answer = self.ask("alice", "GET", "/v2/_catalog")
        self.assertEqual(answer.json(), {"repositories": self.visible})
        self.assertNotIn("Link", answer.headers)

    def test_pages(self) -> None:
        """Pages of any size are full but for the last, of which there is no empty one."""
        for n in range(1, 8):
            pages = self.pages("alice", f"/v2/_catalog?n={n}")
            self.assertEqual(sum(pages, []), self.visible)
            self.assertEqual(len(pages), -(-len(self.visible) // n))

    def test_A13_links(self) -> None:
        """A link names no repository that whoever follows it may not see."""
        for n in range(1, 5):
            link = self.ask("alice", "GET", f"/v2/_catalog?n={n}").headers["Link"]
            self.assertIn(f"last={self.visible[n - 1].replace('/', '%2F')}", link)

    def test_last(self) -> None:
        """A list begins after the name that is given, whether that is hidden, or none at all."""
        for last in (
            "",
            "a/01",
            "a/99",
            "home/alice/a",
            "home/alicf/03",
            "public",
            "public/m",
            "public0/14",
            "z/14",
            "zzz",
        ):
            found = self.ask("alice", "GET", f"/v2/_catalog?last={last}").json()["repositories"]
            self.assertEqual(found, [name for name in self.visible if name > last], last)

    def test_A13_hidden_or_absent(self) -> None:
        """A hidden name and one that does not exist give the same list."""
        answers = [self.ask("alice", "GET", f"/v2/_catalog?last={last}&n=2") for last in ("a/01", "a/xx")]
        self.assertEqual(answers[0].body, answers[1].body)
        self.assertEqual(answers[0].headers["Link"], answers[1].headers["Link"])

    def test_none(self) -> None:
        """Whoever may pull nothing has an empty list, and asked for no names the registry gives none."""
        self.server = self.make_server(make([], {}))
        answer = self.ask("alice", "GET", "/v2/_catalog?n=2")
        self.assertEqual((answer.json(), answer.headers["Link"]), ({"repositories": []}, None))
        self.assertEqual(self.ask("admin", "GET", "/v2/_catalog?n=0").json(), {"repositories": []})

    def test_bad_number(self) -> None:
        """Whoever may not ask for the catalog is refused whatever else is wrong."""
        self.assert_refused(self.ask(None, "GET", "/v2/_catalog?n=x"), None)
        self.assertEqual(self.ask("alice", "GET", "/v2/_catalog?n=x").status, 400)

    def test_work(self) -> None:
        """A short page after many hidden repositories takes not much more work than the whole list."""
        self.fill(*(f"b{number:03}" for number in range(200)))
        calls = []
        for query in ("", "?n=1"):
            self.driver.calls.clear()
            self.ask("alice", "GET", f"/v2/_catalog{query}")
            calls.append(len(self.driver.calls))
        self.assertLess(calls[1], calls[0] * 5 // 4)

    def test_token(self) -> None:
        """A token for the catalog lists what its bearer may pull, though it lets pull nothing."""
        every = self.ask("admin", "GET", "/v2/_catalog").json()
        self.assertEqual(self.ask("admin-lists", "GET", "/v2/_catalog").json(), every)
        answer = self.ask("admin-lists", "GET", "/v2/public/0/tags/list")
        self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]))
        self.assertEqual(self.ask("admin-reads-team", "GET", "/v2/_catalog").status, 401)

    def test_token_without_rules(self) -> None:
        """Where a foreign token server decides alone, its token for the catalog lists all."""
        every = self.ask("admin", "GET", "/v2/_catalog").json()
        self.server = self.make_server(Authenticated())
        self.assertEqual(self.ask("admin-lists", "GET", "/v2/_catalog").json(), every)


class MountTests(GuardedCase):
    """Blobs of other repositories."""

    def mount(self, user: str | None, query: str, target: str = "home/alice/app") -> Answer:
        """Try to mount."""
        return self.ask(user, "POST", f"/v2/{target}/blobs/uploads/?{query}")

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app", "public/app")
        server = Server(driver=self.driver)
        self.secret = server.push_blob("team/app", b"secret")
        self.known = server.push_blob("public/app", b"known")

    def assert_upload(self, answer: Answer, digest: Digest, target: str = "home/alice/app") -> None:
        """Check that an answer is an ordinary upload, and that the target has no such blob."""
        self.assertEqual(answer.status, 202)
        self.assertNotIn("Docker-Content-Digest", answer.headers)
        self.assertEqual(self.ask("admin", "GET", f"/v2/{target}/blobs/{digest}").status, 404)
        self.assertEqual(self.ask("admin", "HEAD", f"/v2/{target}/blobs/{digest}").status, 404)

    def test_readable(self) -> None:
        """A blob that may be pulled is mounted."""
        self.assertEqual(self.mount("alice", f"mount={self.known}&from=public/app").status, 201)
        self.assertEqual(self.ask("alice", "GET", f"/v2/home/alice/app/blobs/{self.known}").body, b"known")

    def test_unreadable(self) -> None:
        """A blob that may not be pulled is, in every respect, one that is not there."""
        absent = Digest.of(b"absent")
        answers = []
        calls = []
        for digest, source in (
            (self.secret, "team/app"),
            (absent, "team/app"),
            (self.secret, "team/xyz"),
            (self.secret, "home/bob/a"),
        ):
            self.driver.calls.clear()
            answer = self.mount("alice", f"mount={digest}&from={source}")
            calls.append(self.driver.calls[:])
            self.assert_upload(answer, digest)
            answers.append({name: value for name, value in answer.headers.items() if name != "Date"})
        self.assertEqual({len(each) for each in answers}, {len(answers[0])})
        self.assertEqual([each.keys() for each in answers], [answers[0].keys()] * 4)
        self.assertEqual(calls, [calls[0]] * 4)

    def test_goes_on(self) -> None:
        """The upload that comes in its place takes the blob from who has it."""
        path = self.server.path(self.mount("alice", f"mount={self.secret}&from=team/app"))
        self.assertEqual(self.ask("alice", "PUT", with_digest(path, self.secret), b"wrong").status, 400)
        path = self.server.path(self.mount("alice", f"mount={self.secret}&from=team/app"))
        self.assertEqual(self.ask("alice", "PUT", with_digest(path, self.secret), b"secret").status, 201)

    def test_by_manifest(self) -> None:
        """A manifest that names a blob which was not mounted is refused, so that it does not come in by that way."""
        config = image(self.secret, self.secret)
        headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        answer = self.ask("alice", "PUT", "/v2/home/alice/app/manifests/1", config, headers)
        self.assertEqual((answer.status, set(answer.codes)), (400, {"MANIFEST_BLOB_UNKNOWN"}))

    def test_odd_sources(self) -> None:
        """A source that is not the plain name of a repository that may be read is none."""
        for source in (
            *(
                "public/../team/app",
                "public/app/../../team/app",
                "Team/app",
                "team/app/",
                "/team/app",
                "team//app",
                "",
            ),
            *(
                "**",
                "team/*",
                "public/app%00team/app",
                "team%2fapp",
                "public/app%2f..%2f..%2fteam%2fapp",
                "team/app%20",
            ),
        ):
            self.assert_upload(self.mount("alice", f"mount={self.secret}&from={source}"), self.secret)
        for query in (
            f"mount={self.secret}&from=public/app&from=team/app",
            f"mount={self.secret}&mount={self.known}",
        ):
            self.assertEqual(self.mount("alice", query).status, 400)

    def test_without_source(self) -> None:
        """A blob is mounted from anywhere only in a registry without rules; no right is enough elsewhere."""
        self.assert_upload(self.mount("alice", f"mount={self.secret}"), self.secret)
        self.assert_upload(self.mount("admin", f"mount={self.secret}"), self.secret)
        everything = make([{"who": "anonymous", "repositories": "**", "actions": EVERY}], {})
        self.server = self.make_server(everything)
        self.assert_upload(self.mount(None, f"mount={self.secret}"), self.secret)
        self.server = self.make_server(Authenticated())
        self.assert_upload(self.mount("alice", f"mount={self.secret}"), self.secret)
        self.server = Server(driver=self.driver)
        self.assertEqual(self.mount(None, f"mount={self.secret}").status, 201)

    def test_token(self) -> None:
        """A token that does not reach the source mounts nothing from it, whatever its bearer may do."""
        users = {
            "narrow": limited("admin", "repository:home/alice/app:pull,push"),
            "wide": limited("admin", "repository:home/alice/app:pull,push", "repository:team/app:pull"),
        }
        self.server = self.make_server(self.server.policy, backend=BasicBackend({**USERS, **users}))
        self.assert_upload(self.mount("narrow", f"mount={self.secret}&from=team/app"), self.secret)
        self.assertEqual(self.mount("wide", f"mount={self.secret}&from=team/app").status, 201)

    def test_target(self) -> None:
        """A source that may be read does not let a blob into a target that may not be pushed to."""
        for user in (None, "alice"):
            for target in ("public/app", "team/app", "home/bob/app"):
                self.assert_refused(self.mount(user, f"mount={self.known}&from=public/app", target), user)

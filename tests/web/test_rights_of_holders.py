"""What is the holder's alone: uploads that someone began, and tokens that reach less far than the rules."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from tests.auth.basic import BasicBackend, ScopedBackend, authorization
from tests.web.client import Answer, with_digest
from tests.web.guarded import USERS, GuardedCase, lines
from txregistry.access import Identity
from txregistry.auth.rules import make
from txregistry.digest import Digest

LAYER = Digest.of(b"layer")


class UploadTests(GuardedCase):
    """Whose an upload is.  In ``public``, bob and admin may push; so each could go on with the other's."""

    NAME = "public/app"

    def begin(self, user: str, name: str = NAME) -> str:
        """Begin an upload as a user and return its path."""
        answer = self.ask(user, "POST", f"/v2/{name}/blobs/uploads/")
        self.assertEqual(answer.status, 202)
        return self.server.path(answer)

    def assert_goes_on(self, user: str, path: str) -> None:
        """Check that an upload is as its user left it, with one byte, and can be ended."""
        answer = self.ask(user, "PUT", with_digest(path, Digest.of(b"ab")), b"b", {"Content-Range": "1-1"})
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(self.ask(user, "GET", self.server.path(answer)).body, b"ab")

    def assert_invalid(self, answer: Answer) -> None:
        """Check that an upload's address is not one for whoever asked."""
        self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UPLOAD_INVALID"]))
        self.assertNotIn("Location", answer.headers)
        self.assertNotIn("Range", answer.headers)

    METHODS = (("PATCH", b"x"), ("PUT", b"x"), ("DELETE", b""), ("GET", b""))

    def begun(self) -> str:
        """Return the path of an upload of bob's, of which a byte is stored."""
        return self.server.path(self.ask("bob", "PATCH", self.begin("bob"), b"a"))

    def test_A15_location_of_another_user(self) -> None:
        """The location of one user's upload is none for another, who may push there too; and the upload goes on."""
        for method, body in self.METHODS:
            path = self.begun()
            self.assert_invalid(self.ask("admin", method, with_digest(path, Digest.of(b"ax")), body))
            self.assert_goes_on("bob", path)

    def test_A15_id_of_another_user(self) -> None:
        """Nor is its id, without a state, with the other's own, or with one that is made up."""
        for method, body in self.METHODS:
            path = self.begun()
            own = self.begin("admin").partition("?")[2]
            for query in ("?", f"?{own}", "?_state=", "?_state=AAAA", "?_state=!"):
                forged = path.partition("?")[0] + query
                self.assert_invalid(self.ask("admin", method, with_digest(forged, Digest.of(b"ax")), body))
            self.assert_goes_on("bob", path)

    def test_A15_location_of_another_repository(self) -> None:
        """The location of an upload is none in another repository, for the same user; and the upload goes on."""
        for method, body in self.METHODS:
            path = self.begun()
            moved = with_digest(path.replace(self.NAME, "public/other"), Digest.of(b"ax"))
            answer = self.ask("bob", method, moved, body)
            self.assertEqual(answer.status, 404)
            self.assertIn(answer.codes[0], ("BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"))
            self.assert_goes_on("bob", path)

    def test_A15_tampered(self) -> None:
        """A state of which any byte is another is none."""
        path = self.begun()
        place, _, state = path.partition("?_state=")
        signed = urlsafe_b64decode(state)
        for at in (0, 31, 32, 40, len(signed) - 2):
            forged = urlsafe_b64encode(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]).decode()
            for method, body in self.METHODS:
                tampered = with_digest(f"{place}?_state={forged}", Digest.of(b"ax"))
                self.assert_invalid(self.ask("bob", method, tampered, body))
        self.assertIn(b'"User":"bob"', signed)
        forged = urlsafe_b64encode(signed.replace(b'"User":"bob"', b'"User":"eve"')).decode()
        self.assert_invalid(self.ask("bob", "PATCH", f"{place}?_state={forged}", b"x"))
        self.assert_goes_on("bob", path)

    def test_A16_rights_taken_away(self) -> None:
        """A location does not outlive its user's right to push."""
        path = self.begun()
        server = self.make_server(make([{"who": "anonymous", "repositories": "**", "actions": "pull"}], {}))
        for method, body in self.METHODS:
            self.assert_refused(self.ask("bob", method, path, body, server=server), "bob")
            self.assert_refused(self.ask(None, method, path, body, server=server), None)
        self.assert_goes_on("bob", path)

    def test_cancel(self) -> None:
        """Whoever may push may end an upload of its own; that is no right to delete."""
        path = self.begin("bob")
        self.assertEqual(self.ask("bob", "DELETE", path).status, 204)
        self.assertEqual(self.ask("bob", "GET", path).status, 404)
        self.fill(self.NAME)
        self.assert_refused(self.ask("bob", "DELETE", f"/v2/{self.NAME}/blobs/{LAYER}"), "bob")

    def test_own(self) -> None:
        """A user asks how far its own upload is and goes on from where it is told."""
        path = self.begun()
        answer = self.ask("bob", "GET", path)
        self.assertEqual((answer.status, answer.headers["Range"]), (204, "0-0"))
        self.assert_goes_on("bob", self.server.path(answer))


class TokenTests(GuardedCase):
    """Credentials that reach less far than the rules."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app", "team/other", "public/app")
        self.server = self.make_server(self.server.policy, backend=ScopedBackend(USERS))

    def assert_insufficient(self, answer: Answer, scope: str) -> None:
        """Check that a client is told to come back with another token, and with which."""
        self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]))
        (bearer, _) = answer.headers.get_all("WWW-Authenticate") or []
        self.assertTrue(bearer.endswith(f',scope="{scope}",error="insufficient_scope"'), bearer)

    def test_A07_narrow(self) -> None:
        """A token for one action on one repository is good for that, and for nothing else that its bearer may do."""
        user = "admin-reads-team"
        self.assertEqual(self.ask(user, "GET", "/v2/team/app/manifests/latest").status, 200)
        for method, path, scope in (
            ("GET", "/v2/team/other/manifests/latest", "repository:team/other:pull"),
            ("GET", "/v2/public/app/manifests/latest", "repository:public/app:pull"),
            ("PUT", "/v2/team/app/manifests/latest", "repository:team/app:pull,push"),
            ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
            ("DELETE", "/v2/team/app/manifests/latest", "repository:team/app:delete"),
            ("GET", "/v2/_catalog", "registry:catalog:*"),
        ):
            self.assert_insufficient(self.ask(user, method, path), scope)

    def test_A07_wide(self) -> None:
        """A token that grants more than the rules is good for no more than they allow."""
        for method, path in (
            ("GET", "/v2/team/app/manifests/latest"),
            ("DELETE", "/v2/team/app/manifests/latest"),
        ):
            answer = self.ask("alice-wants-team", method, path)
            self.assertIn(answer.status, (401, 403))
            self.assertNotIn("Docker-Content-Digest", answer.headers)
        self.assertEqual(self.ask("bob", "GET", "/v2/team/app/manifests/latest").status, 200)

    def test_without_a_name(self) -> None:
        """A token of nobody in particular pulls what anyone may, and asks for login where that is not enough."""
        user = "nobody-reads-public"
        self.assertEqual(self.ask(user, "GET", "/v2/public/app/manifests/latest").status, 200)
        self.assert_insufficient(
            self.ask(user, "GET", "/v2/team/app/manifests/latest"), "repository:team/app:pull"
        )
        self.assert_insufficient(self.ask(user, "GET", "/v2/_catalog"), "registry:catalog:*")

    def test_invalid(self) -> None:
        """Credentials that do not hold are told so, with what the request needs."""
        header = {"Authorization": authorization("alice", "wrong")}
        answer = self.server.request("GET", "/v2/team/app/tags/list", headers=header)
        (bearer, _) = answer.headers.get_all("WWW-Authenticate") or []
        self.assertTrue(bearer.endswith('scope="repository:team/app:pull",error="invalid_token"'), bearer)

    def test_reason(self) -> None:
        """The operator reads that it was the token, not a rule."""
        events = self.events()
        self.ask("admin-reads-team", "GET", "/v2/team/other/manifests/latest")
        (line,) = lines(events)
        self.assertTrue(
            line.endswith("admin may not have repository:team/other:pull: the token does not grant it"), line
        )

    def test_A16_groups_are_not_kept(self) -> None:
        """Taking someone from a group works at the next request."""
        rule = {"who": "group:dev", "repositories": "**", "actions": "pull"}
        for members, status in ((["bob"], 200), ([], 403)):
            server = self.make_server(make([rule], {"dev": members}))
            self.assertEqual(self.ask("bob", "GET", "/v2/team/app/tags/list", server=server).status, status)
        for groups, status in ((frozenset({"dev"}), 200), (frozenset[str](), 403)):
            backend = BasicBackend.of(Identity("erin", groups=groups))
            server = self.make_server(make([rule], {}), backend=backend)
            self.assertEqual(self.ask("erin", "GET", "/v2/team/app/tags/list", server=server).status, status)

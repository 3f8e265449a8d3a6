"""A token server that is no part of the registry, as docker's documents describe one, in a process of its own.

It shares no code with the registry.  Tokens are signed by PyJWT; the key is named as libtrust names it, which is
what the token servers written in Go do.  It is run with the path of a JSON file::

    {"certificate": "…", "key": "…", "signing_certificate": "…", "signing_key": "…",
     "issuer": "…", "service": "…", "users": {"alice": "password"},
     "allowed": {"": {"public/*": ["pull"]}, "alice": {"team/*": ["pull", "push"]}}}

What is allowed to the user without a name is allowed to everyone; the catalog is for those who log in.
"""

import base64
import fnmatch
import hashlib
import http.server
import json
import ssl
import sys
import time
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LIFETIME = 120


def libtrust_id(key: Any) -> str:
    """Return libtrust's name of a key: 240 bits of the digest of its DER, in base 32, four to a group."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


class TokenServer(http.server.BaseHTTPRequestHandler):
    """Answers ``GET /token``."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    config: dict[str, Any]
    signing_key: Any

    def do_GET(self) -> None:
        """Answer who logs in, or nobody in particular."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        user = self._user()
        if parts.path != "/token" or query.get("service", []) != [self.config["service"]]:
            self._answer(404, {})
        elif user is None:
            self._answer(401, {"details": "incorrect username or password"})
        else:
            scopes = [scope for value in query.get("scope", []) for scope in value.split(" ")]
            granted = [entry for scope in scopes if (entry := self._granted(user, scope))]
            token = self._token(user, granted)
            self._answer(200, {"token": token, "access_token": token, "expires_in": LIFETIME})

    def _user(self) -> str | None:
        """Return who asks; an empty name for who did not say, None for who said what is not true."""
        header = self.headers.get("Authorization")
        if header is None:
            return ""
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return user if self.config["users"].get(user) == password else None

    def _granted(self, user: str, scope: str) -> dict[str, Any] | None:
        kind, name, actions = scope.split(":")
        if kind == "registry":
            may = {"*"} if user else set()
        else:
            may = {
                action
                for who in {"", user}
                for pattern, these in self.config["allowed"].get(who, {}).items()
                if fnmatch.fnmatchcase(name, pattern)
                for action in these
            }
        found = [action for action in actions.split(",") if action in may]
        return {"type": kind, "name": name, "actions": found} if found else None

    def _token(self, user: str, granted: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.config["issuer"],
            "sub": user,
            "aud": self.config["service"],
            "exp": now + LIFETIME,
            "nbf": now - 5,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": granted,
        }
        return jwt.encode(claims, self.signing_key, "ES256", {"kid": libtrust_id(self.signing_key)})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main(path: str) -> None:
    """Serve until the process is ended; the port is written to standard output."""
    with open(path) as file:
        TokenServer.config = config = json.load(file)
    with open(config["signing_key"], "rb") as file:
        TokenServer.signing_key = load_pem_private_key(file.read(), None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenServer)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

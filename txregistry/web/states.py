"""What an upload's ``Location`` carries so that any instance can go on with it.

The format is Distribution's: the HMAC-SHA256 of a JSON object under ``http.secret``, then the object, in
URL-safe base64.  An instance of Distribution with the same secret accepts it, and the reverse.
"""

from __future__ import annotations

import base64
import binascii
import hmac

import msgspec
from attrs import field, frozen

from txregistry import errors
from txregistry.content.uploads import Upload
from txregistry.digest import CANONICAL
from txregistry.reference import RepositoryName

_MAC_SIZE = 32


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an upload was when this registry last told a client of it.

    :param name: the repository.
    :param upload_id: the session.
    :param offset: bytes that were stored.
    :param started: when it began, RFC 3339.
    :param algorithm: the digest algorithm that it was begun for.
    :param user: who may go on with it; empty where no one logs in.
    """

    name: str = msgspec.field(name="Name")
    upload_id: str = msgspec.field(name="UUID")
    offset: int = msgspec.field(name="Offset")
    started: str = msgspec.field(name="StartedAt")
    # Distribution passes over what it does not know, and its own states do not have this.
    algorithm: str = msgspec.field(name="Algorithm", default=CANONICAL)
    user: str = msgspec.field(name="User", default="")


@frozen
class UploadStates:
    """Signs and reads upload states.

    :param secret: ``http.secret``, the same on all instances.
    """

    secret: bytes = field(repr=False)
    _keyed: hmac.HMAC = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_keyed", hmac.new(self.secret, digestmod="sha256"))

    def sign(self, upload: Upload, user: str) -> str:
        """Return the state of an upload, to be put into its ``Location``.

        :param user: who is told of it.
        """
        state = State(str(upload.repository), upload.id, upload.size, upload.started, upload.algorithm, user)
        content = msgspec.json.encode(state)
        return base64.urlsafe_b64encode(self._mac(content) + content).decode("ascii")

    def read(self, state: str | None, name: RepositoryName, upload_id: str, user: str) -> State:
        """Return what this registry signed.

        :raises txregistry.errors.BlobUploadInvalid: it did not sign that for this upload of this repository
            and this user.
        """
        try:
            signed = base64.b64decode(state or "", altchars=b"-_", validate=True)
            mac, content = signed[:_MAC_SIZE], signed[_MAC_SIZE:]
            if not hmac.compare_digest(mac, self._mac(content)):
                raise errors.BlobUploadInvalid
            known = msgspec.json.decode(content, type=State)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            raise errors.BlobUploadInvalid from None
        if (known.name, known.upload_id, known.user) != (name, upload_id, user):
            raise errors.BlobUploadInvalid
        return known

    def _mac(self, content: bytes) -> bytes:
        # hmac.digest would let another thread run, and the reactor wait for it, however short the content.
        mac = self._keyed.copy()
        mac.update(content)
        return mac.digest()

"""A file of passwords that its owner edits while it is in use.  Everything here blocks."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat

from twisted.logger import Logger

from txregistry.auth import files
from txregistry.auth.passwords import LineInvalid, Passwords, hash_line
from txregistry.errors import ConfigError

_log = Logger()

#: Bytes; some 200 000 users.
_LARGEST = 16 * 1024 * 1024
_OPTION = "path"


class PasswordFile:
    """An htpasswd file.

    :param path: an absolute path of this machine.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: files.State | None = None

    def load(self) -> Passwords:
        """Return what the file says, after making one if there is none.

        :raises txregistry.errors.ConfigError: it cannot be used, and why; a line is named by its number only.
        """
        try:
            if not os.path.lexists(self.path):
                self._create()
            self._seen = files.state(self.path)
        except OSError as error:
            raise self._unusable(error) from None
        return self._read()

    def changed(self) -> Passwords | None:
        """Return what the file says if it has changed since the last look; otherwise None.

        :raises txregistry.errors.ConfigError: it has changed to what cannot be used.  That is said once.
        """
        try:
            state = files.state(self.path)
        except OSError as error:
            if self._seen is None:
                return None
            self._seen = None
            raise self._unusable(error) from None
        if state == self._seen:
            return None
        # The file may change again before it is read: it is then read again at the next look.
        self._seen = state
        return self._read()

    def _read(self) -> Passwords:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigError(_OPTION, f"{self.path} is not a file")
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise self._unusable(error) from None
        if len(content) > _LARGEST:
            raise ConfigError(_OPTION, f"{self.path} is larger than {_LARGEST} bytes")
        try:
            return Passwords.parse(content)
        except LineInvalid as error:
            raise ConfigError(_OPTION, f"{self.path}, {error}") from None

    def _create(self) -> None:
        """Make a file with one user, as Distribution does."""
        _make_directory(os.path.dirname(self.path))
        password = secrets.token_urlsafe(32)
        if files.create(self.path, f"{hash_line('docker', password)}\n".encode("ascii")):
            _log.warn(
                "{path} was missing and has been made; user: docker, password: {password}",
                path=self.path,
                password=password,
            )

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(_OPTION, f"cannot use {self.path}: {error.strerror}")


def _make_directory(directory: str) -> None:
    """Make a directory and its parents, for their owner alone; ``os.makedirs`` leaves the parents open."""
    if os.path.isdir(directory):
        return
    _make_directory(os.path.dirname(directory))
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)

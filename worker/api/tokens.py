"""The bearer tokens of the HTTP endpoint: a file with one token on each line, which is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from worker.errors import BadSettings, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The interval between two looks at the file.
_LOOK_INTERVAL_S = 1.0
_SCHEME = "bearer "


class TokenFile:
    """Compares the tokens of requests with those of a file, in a time that does not depend on the tokens."""

    def __init__(self, file: Path, warn: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises `BadSettings` if it is not readable or has no token. `warn` gets the reason if it fails later."""
        self._file = file
        self._warn = warn
        self._clock = clock
        self._looked_s = clock()
        self._version = self._find_version()
        self._digests = self._read()
        if not self._digests:
            raise BadSettings(f"GIST_API_TOKENS_FILE: {file} has no token")

    def accepts(self, authorization: str) -> bool:
        """Return whether the header `Authorization` has one of the tokens."""
        self._look()
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return False
        digest = _compute_digest(authorization[len(_SCHEME) :].strip().encode(errors="surrogateescape"))
        # Every token is compared, so that the time does not depend on the place of the token.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _look(self) -> None:
        """Read the file again if it has changed. An unreadable file changes nothing; an empty file leaves no token."""
        if self._clock() - self._looked_s < _LOOK_INTERVAL_S:
            return
        self._looked_s = self._clock()
        version = self._version
        try:
            self._version = self._find_version()
            if self._version != version:
                self._digests = self._read()
        except BadSettings as error:
            # A missing file is reported once.
            if version is not None:
                self._warn(f"{error}; the previous tokens stay valid")
            self._version = None

    def _find_version(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError as error:
            raise BadSettings(f"GIST_API_TOKENS_FILE: {self._file}: {error.strerror or describe_error(error)}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> list[bytes]:
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError as error:
            raise BadSettings(f"GIST_API_TOKENS_FILE: {self._file}: {error.strerror or describe_error(error)}") from error
        tokens = [line.strip() for line in lines]
        return [_compute_digest(token) for token in tokens if token and not token.startswith(b"#")]


def _compute_digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()

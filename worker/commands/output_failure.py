"""Output that cannot be written: a full disk is one line and exit code 1, and so, in silence, is a reader that has gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

# No space, no quota, a file as large as the limit.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def describe_output_failures() -> Iterator[None]:
    """End the process with exit code 1 where output fails in the block, or when the block ends."""
    _replace_closed()
    try:
        try:
            yield
        finally:
            # Python flushes after everything else, and could only print a traceback then.
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in {*_FULL, errno.EPIPE}:
            raise
        _discard(sys.stdout)
        if error.errno in _FULL:
            name = error.filename or "standard output, or a file of this command,"
            write_error(f"{name} cannot be written: {error.strerror}: make room, or write elsewhere")
        sys.exit(1)


def write_error(line: str) -> None:
    """Write a line to standard error, if that takes one: the exit code says the rest."""
    try:
        sys.stderr.write(f"gist-stream: {line}\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Let a stream that failed take everything: Python writes what its buffer holds once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _replace_closed() -> None:
    """Let a stream that is closed from the start take everything: Python has None in its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  open as long as the process

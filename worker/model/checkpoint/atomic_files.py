"""Files that are there whole or not at all, and one line where they cannot be written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# All users may read the file.
_MODE = 0o644


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; at the end the file is flushed and renamed to `path`.

    Nothing is left where writing fails. Raises `BadSettings` where the disk is full, say.
    """
    unfinished = path.with_name(f".{path.name}.part")
    with translate_write_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield unfinished
            # Some libraries write for the owner alone; a model is served by another user than the one that trained it.
            unfinished.chmod(_MODE)
            _flush(unfinished)
            unfinished.replace(path)
            _flush(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Translate the errors of writing `path` into `BadSettings` with one line."""
    try:
        yield
    except OSError as error:
        raise BadSettings(f"{path}: cannot be written: {error.strerror or error}") from error
    except SafetensorError as error:
        # The library wraps the system's reason in its own words.
        raise BadSettings(f"{path}: cannot be written: {error}") from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

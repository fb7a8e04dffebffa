"""Find the addresses that a Python process and its children look up or connect to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from worker.model.backends.native.build import cache_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).parent / "watched"


def watched_environment(folder: Path) -> Mapping[str, str]:
    """Return the environment of a process that notes its addresses in `folder`, a home directory without an opt-out."""
    return {
        "PYTHONPATH": str(_FOLDER),
        "WATCHED_ADDRESSES": str(folder / "addresses.txt"),
        "HOME": str(folder),
        # Kernels are not compiled anew in each home.
        "GIST_CACHE_DIR": str(cache_directory()),
        # Some libraries are silent in a CI job, which proves nothing.
        "CI": "",
    }


def addresses(folder: Path) -> set[tuple[str, str]]:
    """Return host and port of each address; sockets in the file system are left out."""
    notes = folder / "addresses.txt"
    found = {tuple(line.split(" ")[1:3]) for line in notes.read_text().splitlines()} if notes.exists() else set()
    return {(host, port) for host, port in found if not host.startswith("/")}


def whole_environment(folder: Path) -> dict[str, str]:
    """Return the environment of this process, with the notes switched on."""
    return {**os.environ, **watched_environment(folder)}

"""The files of the page, in memory, with the headers that keep the page closed to everything else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Scripts, styles and data come from the console alone; nothing is inline, and no other page may contain or submit to this one.
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    content: bytes
    content_type: str
    #: Changes with the content, so that a browser asks for a file only once.
    etag: str


def read_assets() -> dict[str, Asset]:
    """Return the files of the page by name."""
    assets = {}
    for file in resources.files("worker.console").joinpath("static").iterdir():
        if (kind := _TYPES.get(file.name.rpartition(".")[2])) is not None:
            content = file.read_bytes()
            assets[file.name] = Asset(content, kind, hashlib.sha256(content).hexdigest()[:16])
    return assets

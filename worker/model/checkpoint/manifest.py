"""The manifest of a checkpoint: the file against which everything else is verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from worker.errors import BadModel
from worker.model.checkpoint.atomic_files import atomic_write
from worker.model.checkpoint.publication import WEIGHTS
from worker.model.checkpoint.references import compute_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = 1
MANIFEST = "manifest.json"
# The kinds of the values that a manifest must have.
_KINDS = {"name": str, "heads": list, "heads_sha256": str, "training": dict}


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a checkpoint; raises `BadSettings` where the disk is full."""
    with atomic_write(directory / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=2) + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; raises `BadModel` for another format, and for a value that is missing or of another kind."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            raise BadModel(f"{path}: format {manifest['format']} is not known; this version reads format {FORMAT}")
        encoder = manifest["encoder"]
        values = {
            **{name: manifest[name] for name in _KINDS},
            "reference": encoder["reference"],
            WEIGHTS: encoder["files"][WEIGHTS],
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadModel(f"{path}: not a manifest: {error}") from error
    except KeyError as error:
        raise BadModel(f"{path}: not a manifest: {error} is missing") from error
    for name, value in values.items():
        if not isinstance(value, kind := _KINDS.get(name, str)):
            raise BadModel(f"{path}: not a manifest: {name} is {value!r}, and no {kind.__name__}")
    return manifest


def verify_files(directory: Path, files: Mapping[str, str]) -> None:
    """Raise `BadModel` for a file whose SHA-256 is not that of the manifest."""
    for file, expected in files.items():
        found = compute_sha256(directory / file)
        if found != expected:
            raise BadModel(
                f"{directory / file}: its sha256 is {found[:12]}…, and the manifest says {expected[:12]}…: "
                "it was changed or damaged, or is another model's; fetch it again"
            )

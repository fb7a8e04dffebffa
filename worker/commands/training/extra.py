"""The packages that training and evaluation need in addition to those of the worker."""

from __future__ import annotations

from importlib.util import find_spec

from worker.errors import BadSettings


def require_packages() -> None:
    """Raise `BadSettings` if a package of the extra `train` is missing."""
    if missing := [name for name in ("scipy", "sklearn") if not find_spec(name)]:
        raise BadSettings(f"{missing[0]} is not installed; training and evaluation need it: pip install 'gist-stream[train]'")

"""What a model can do, read from its manifest alone: neither torch nor the weights are loaded, and nothing is fetched."""

from __future__ import annotations

import json

from worker.errors import BadModel
from worker.model.checkpoint.references import find_local
from worker.records import Task

_MANIFEST = "manifest.json"


def read_tasks(reference: str) -> frozenset[Task] | None:
    """Return the tasks that the model at a reference serves; None where the model is not on this machine, or cannot be read."""
    try:
        directory = find_local(reference)
        if directory is None:
            return None
        heads = json.loads((directory / _MANIFEST).read_bytes())["heads"] if (directory / _MANIFEST).exists() else []
        return frozenset({Task.EMBED, *(Task(head["task"]) for head in heads)})
    except (BadModel, OSError, ValueError, TypeError, KeyError):
        return None

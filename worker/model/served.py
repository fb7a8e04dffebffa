"""What a model can do, read from its manifest or its `config.json` alone: no torch, no weights, and nothing is fetched."""

from __future__ import annotations

import json

from worker.errors import BadModel
from worker.model.checkpoint.references import find_local
from worker.model.pooling.pooling import MODULES
from worker.model.published_heads.forms import find_form
from worker.records import Task

_MANIFEST = "manifest.json"


def read_tasks(reference: str) -> frozenset[Task] | None:
    """Return the tasks that the model at a reference serves; None where the model is not on this machine, or cannot be read."""
    try:
        directory = find_local(reference)
        if directory is None:
            return None
        if (directory / _MANIFEST).exists():
            manifest = json.loads((directory / _MANIFEST).read_bytes())
            tasks, is_embedder = {Task(head["task"]) for head in manifest["heads"]}, manifest.get("embeds", True)
        else:
            form = find_form(json.loads((directory / "config.json").read_bytes()))
            tasks, is_embedder = {Task(form.task)} if form else set(), form is None or (directory / MODULES).exists()
        return frozenset(tasks | {Task.EMBED} if is_embedder else tasks)
    except (BadModel, OSError, ValueError, TypeError, KeyError):
        return None

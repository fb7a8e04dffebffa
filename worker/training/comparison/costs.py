"""What serving costs: one model with both heads, against two models with one each, measured with the engine that serves."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.heads import Head
from worker.records import Item, Partition, Record, Task, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.training.learning.tasks import TrainingTask

_NUM_ROUNDS = 5
_BATCH = 64
_TASKS = {"classify": Task.CLASSIFY, "ner": Task.NER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Milliseconds for a thousand texts, tokenizing included; the smallest of some rounds."""

    one_model: float
    two_models: float
    runs_on: str


def measure_costs(encoder: str, tasks: Sequence[TrainingTask], texts: Sequence[str]) -> Costs:
    """Serve the same texts in both ways, in turns; the weights of the heads do not matter, their shapes do."""
    with tempfile.TemporaryDirectory() as directory:
        both = _engine(Path(directory) / "both", encoder, tasks)
        each = [(_engine(Path(directory) / it.head.name, encoder, [it]), _TASKS[it.head.task]) for it in tasks]
        wanted = frozenset(task for _, task in each)
        one, two = [], []
        for _ in range(_NUM_ROUNDS):
            one.append(_seconds(both, texts, wanted))
            two.append(sum(_seconds(engine, texts, frozenset({task})) for engine, task in each))
    return Costs(
        one_model=round(min(one) * 1e6 / len(texts), 1),
        two_models=round(min(two) * 1e6 / len(texts), 1),
        runs_on=both.description,
    )


def _engine(directory: Path, encoder: str, tasks: Sequence[TrainingTask]) -> Engine:
    width = checkpoint.load(encoder).encoder.config.hidden_size
    heads = [Head(it.head, width) for it in tasks]
    checkpoint.save(directory, name=directory.name, encoder_reference=encoder, heads=heads, training={}, card="")
    return Engine.load(str(directory), device="cpu")


def _seconds(engine: Engine, texts: Sequence[str], tasks: frozenset[Task]) -> float:
    nowhere = Record(Partition("comparison", 0), 0, None, b"")
    began = time.perf_counter()
    for first in range(0, len(texts), _BATCH):
        chunk = texts[first : first + _BATCH]
        items = [Item(nowhere, "", text, tasks) for text in chunk]
        engine.infer([TokenizedItem(*pair) for pair in zip(items, engine.tokenize(chunk), strict=True)])
    return time.perf_counter() - began

"""How good a trained model is on the texts that were held out, as it is served."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.records import Task
from worker.training.data.examples import TaggedText
from worker.training.evaluation.evaluate import accuracy, entity_scores, predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.model.engine import Engine
    from worker.training.learning.tasks import TrainingTask

_DIGITS = 4


def compute_scores(engine: Engine, tasks: Sequence[TrainingTask]) -> dict[str, Any]:
    """Return for each head and each held-out file, or section, its figures."""
    return {
        it.head.name: {
            title: _entities(engine, it, texts) if it.head.task == "ner" else _labels(engine, it, texts)
            for title, texts in it.held_out.items()
        }
        for it in tasks
    }


def _labels(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    if task.head.is_multi_label:
        return _several_labels(engine, task, texts)
    true = np.rint(task.told(texts)).astype(int).tolist()
    names = [task.head.labels[it] for it in true]
    found = accuracy(engine, task.head.name, [task.examples[it].text for it in texts.tolist()], names)
    most = max(names.count(it) for it in task.head.labels)
    return {"accuracy": round(found, _DIGITS), "majority": round(most / len(names), _DIGITS), "texts": len(names)}


def _several_labels(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    """Return F1 over all labels of all texts."""
    said = predictions(engine, [task.examples[it].text for it in texts.tolist()], Task.CLASSIFY)
    found = [set((it.labels or {})[task.head.name].labels or ()) for it in said]
    gold = [set(task.examples[it].labels) for it in texts.tolist()]
    num_right = sum(len(own & true) for own, true in zip(found, gold, strict=True))
    return {"f1": round(2 * num_right / max(1, sum(map(len, found + gold))), _DIGITS), "texts": len(gold)}


def _entities(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    tagged = [it for number in texts.tolist() if isinstance(it := task.examples[number], TaggedText)]
    by_kind = entity_scores(engine, tagged, head=task.head.name)
    return {kind: {name: round(value, _DIGITS) for name, value in asdict(it).items()} for kind, it in by_kind.items()}

"""Scores of a trained model on its held-out texts, with the serving engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.records import Task
from worker.training.data.examples import TaggedText
from worker.training.evaluation.evaluate import measure_accuracy, predictions, score_entities
from worker.training.evaluation.spans import compute_f1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.model.engine import Engine
    from worker.training.learning.tasks import TrainingTask

_DIGITS = 4


def compute_scores(engine: Engine, tasks: Sequence[TrainingTask]) -> dict[str, Any]:
    """Return the figures of each head for each held-out file or section."""
    return {
        task.head.name: {
            title: _score_entities(engine, task, texts) if task.head.task == "ner" else _score_labels(engine, task, texts)
            for title, texts in task.held_out.items()
        }
        for task in tasks
    }


def _score_labels(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    if task.head.is_multi_label:
        return _score_multi_label(engine, task, texts)
    indices = np.rint(task.get_targets(texts)).astype(int).tolist()
    names = [task.head.labels[index] for index in indices]
    accuracy = measure_accuracy(engine, task.head.name, [task.examples[text].text for text in texts.tolist()], names)
    majority = max(names.count(label) for label in task.head.labels) / len(names)
    return {"accuracy": round(accuracy, _DIGITS), "majority": round(majority, _DIGITS), "texts": len(names)}


def _score_multi_label(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    """Return F1 over all labels of all texts."""
    every = predictions(engine, [task.examples[text].text for text in texts.tolist()], Task.CLASSIFY)
    found = [set((prediction.labels or {})[task.head.name].labels or ()) for prediction in every]
    gold = [set(task.examples[text].labels) for text in texts.tolist()]
    num_right = sum(len(own & true) for own, true in zip(found, gold, strict=True))
    f1 = compute_f1(num_right, sum(map(len, found)), sum(map(len, gold)))
    return {"f1": round(f1, _DIGITS), "texts": len(gold)}


def _score_entities(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    tagged = [example for text in texts.tolist() if isinstance(example := task.examples[text], TaggedText)]
    scores = score_entities(engine, tagged, head=task.head.name)
    return {group: {name: round(value, _DIGITS) for name, value in asdict(score).items()} for group, score in scores.items()}

"""Compare an imported model with transformers on the same texts: outputs, and the speed of both."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from worker.errors import BadSettings
from worker.model.engine import Engine
from worker.model.outputs.text_words import is_apart
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.model.published_heads.head import PublishedHead
    from worker.records import Prediction
    from worker.training.import_model import ImportedModel

# The texts of a batch of transformers, and the runs of which the fastest counts.
_BATCH, _ROUNDS = 32, 2
# The marks of a space in tokens.
_SPACES = "\u2581\u0120"


def compare_with_transformers(model: ImportedModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the shares of equal labels or entities, the largest difference of scores in fp32, and the texts per second of both.

    Raises `BadSettings` where transformers is not installed, or for a model without a head.
    """
    if model.head is None:
        raise BadSettings("only a head is compared with transformers")
    try:
        from transformers import pipeline  # noqa: PLC0415  heavy, and not installed on every machine
    except ModuleNotFoundError as error:
        raise BadSettings(f"{error.name} is not installed: the model cannot be compared with transformers") from error
    exact = Engine.from_checkpoint(model.loaded, device="cpu", dtype="float32")
    served = Engine.from_checkpoint(model.loaded, device="cpu")
    task = Task(model.head.config.task)
    compare = _compare_entities if task is Task.NER else _compare_labels
    kind = "token-classification" if task is Task.NER else "text-classification"
    theirs = pipeline(kind, model=str(model.directory), device=-1, batch_size=_BATCH, **_choose_options(model.head))
    if task is Task.NER:
        _follow_words(theirs)
    found = list(predictions(exact, texts, task))
    figures = compare(found, theirs(list(texts)), texts)
    ours_s = min(_measure(lambda: list(predictions(served, texts, task))) for _ in range(_ROUNDS))
    theirs_s = min(_measure(lambda: theirs(list(texts))) for _ in range(_ROUNDS))
    rates = {"texts_per_s": round(len(texts) / ours_s, 1), "transformers_texts_per_s": round(len(texts) / theirs_s, 1)}
    return {"texts": len(texts), **figures, **rates}


def _choose_options(head: PublishedHead) -> dict[str, Any]:
    if Task(head.config.task) is Task.NER:
        return {"aggregation_strategy": "first"}
    return {"top_k": None, "truncation": True, **({"function_to_apply": "none"} if head.config.is_regression else {})}


def _follow_words(pipeline: Any) -> None:
    """Let the library aggregate the tokens of the words of the text, instead of those between spaces."""
    gather = pipeline.gather_pre_entities
    warnings.filterwarnings("ignore", "Tokenizer does not support real words")

    def gather_words(sentence: str, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        found = [token for token in gather(sentence, *arguments, **options) if token["word"].strip(_SPACES)]
        for token in found:
            shown = sentence[token["start"] : token["end"]]
            token["start"] += len(shown) - len(shown.lstrip())
            edge = sentence[max(0, token["start"] - 1) : token["start"] + 1]
            token["is_subword"] = len(edge) > 1 and not any(map(is_apart, edge))
        return found

    pipeline.gather_pre_entities = gather_words


def _compare_labels(found: Sequence[Prediction], expected: Sequence[Any], _texts: Sequence[str]) -> dict[str, Any]:
    num_equal, largest = 0, 0.0
    for prediction, rows in zip(found, expected, strict=True):
        theirs = {row["label"]: row["score"] for row in rows}
        label = next(iter((prediction.labels or {}).values()), None)
        ours = label.scores if label else next(iter((prediction.values or {}).values()))
        num_equal += max(ours, key=lambda name: ours[name]) == max(theirs, key=lambda name: theirs[name])
        largest = max(largest, *(abs(ours[name] - score) for name, score in theirs.items()))
    return {"equal_labels": num_equal / len(found), "largest_difference": round(largest, 7)}


def _compare_entities(found: Sequence[Prediction], expected: Sequence[Any], texts: Sequence[str]) -> dict[str, Any]:
    num_equal, largest = 0, 0.0
    for prediction, rows, text in zip(found, expected, texts, strict=True):
        ours = [(entity.type, entity.text) for entity in prediction.entities or ()]
        theirs = [(row["entity_group"], text[row["start"] : row["end"]]) for row in rows]
        if ours == theirs:
            num_equal += 1
            pairs = zip(prediction.entities or (), rows, strict=True)
            largest = max([largest, *(abs(entity.score - float(row["score"])) for entity, row in pairs)])
    return {"equal_entities": num_equal / len(found), "largest_difference": round(largest, 7)}


def _measure(run: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began

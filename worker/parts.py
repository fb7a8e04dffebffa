"""The parts of a record whose outputs come from several encoders.

Each encoder has its own tokens of the text, its own batches and its own forward pass. The parts of a record are split before the
batches and joined after the passes, which may end in any order. Pure. One thread adds the predictions; another may join those of
a complete record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from worker.records import Item, Prediction, Task, TokenizedItem, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.records import Failure

Value = TypeVar("Value")
# The order of entities in a text.
_TEXT_ORDER = attrgetter("start", "end")


@dataclass(frozen=True, slots=True)
class EncoderTokens:
    """The tokens of a text for one encoder."""

    #: The place of the encoder among those of the model.
    encoder: int
    #: The tasks of the record that the encoder serves.
    tasks: frozenset[Task]
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class JointTokens(Tokens):
    """The tokens of a text for several encoders. The ids are those of the first one; `model` names all of them, with commas."""

    parts: tuple[EncoderTokens, ...] = ()

    @property
    def weight(self) -> int:
        """The tokens of all forward passes."""
        return sum(part.tokens.weight for part in self.parts)


@dataclass(frozen=True, slots=True)
class JointPrediction(Prediction):
    """The outputs of all encoders for one record."""

    #: The tokens of each encoder.
    parts: tuple[EncoderTokens, ...] = ()


@dataclass(frozen=True, slots=True)
class Part(TokenizedItem):
    """An item with the tokens and the tasks of one encoder."""

    encoder: int
    #: The place among the parts of the record.
    number: int
    gathering: Gathering


class Gathering:
    """The predictions of a record so far. Parts whose session has ended remain incomplete and are dropped."""

    def __init__(self, whole: TokenizedItem, parts: tuple[EncoderTokens, ...]) -> None:
        """Expect a prediction for each of the `parts` of `whole`."""
        self.whole = whole
        self._parts = parts
        self._predictions: list[Prediction | None] = [None] * len(parts)

    def add(self, number: int, prediction: Prediction) -> bool:
        """Add the prediction of a part; return whether this was the last one that was missing."""
        is_new = self._predictions[number] is None
        self._predictions[number] = prediction
        return is_new and None not in self._predictions

    def join(self) -> JointPrediction:
        """Return the prediction of the record, whose parts are all there."""
        return join_predictions(self._parts, [prediction for prediction in self._predictions if prediction is not None])


def join_tokens(parts: Sequence[EncoderTokens]) -> JointTokens:
    """Return the tokens of a record with at least one part."""
    first = parts[0].tokens
    return JointTokens(
        first.ids,
        first.spans,
        first.words,
        truncated=any(part.tokens.truncated for part in parts),
        windows=first.windows,
        num_prompt=first.num_prompt,
        model=",".join(part.tokens.model for part in parts),
        prompt=first.prompt,
        parts=tuple(parts),
    )


def select_tokens(tokens: Tokens, task: Task) -> Tokens:
    """Return the tokens of the first encoder that serves a task of a record, or the tokens themselves without such an encoder."""
    parts = tokens.parts if isinstance(tokens, JointTokens) else ()
    return next((part.tokens for part in parts if task in part.tasks), tokens)


def split_item(tokenized: TokenizedItem) -> list[TokenizedItem]:
    """Return an item for each encoder of a record; the item itself if the record has one encoder."""
    tokens = tokenized.tokens
    if not isinstance(tokens, JointTokens):
        return [tokenized]
    item, gathering = tokenized.item, Gathering(tokenized, tokens.parts)
    return [
        Part(Item(item.record, item.id, item.text, part.tasks), part.tokens, part.encoder, number, gathering)
        for number, part in enumerate(tokens.parts)
    ]


def join_items(
    items: Sequence[TokenizedItem], predictions: Sequence[Prediction]
) -> tuple[list[TokenizedItem], Iterator[Prediction]]:
    """Return the records that are complete with these predictions of parts, and their predictions.

    The iterator joins the predictions of a record when it is read. Another thread may read it.
    """
    complete: list[TokenizedItem] = []
    found: list[Prediction | Gathering] = []
    for item, prediction in zip(items, predictions, strict=True):
        if not isinstance(item, Part):
            complete.append(item)
            found.append(prediction)
        elif item.gathering.add(item.number, prediction):
            complete.append(item.gathering.whole)
            found.append(item.gathering)
    return complete, (own.join() if isinstance(own, Gathering) else own for own in found)


def join_predictions(parts: tuple[EncoderTokens, ...], predictions: Sequence[Prediction]) -> JointPrediction:
    """Return the outputs of all parts of a record.

    A task that failed in one encoder has no output, and one failure. A part that failed as a whole fails its tasks only; if all
    parts failed as a whole, the record failed.
    """
    failures: dict[Task, Failure] = {}
    if any(prediction.failures for prediction in predictions):
        if all(map(_has_failed, predictions)):
            return JointPrediction(failures=predictions[0].failures[:1], parts=parts)
        for part, prediction in zip(parts, predictions, strict=True):
            for task, failure in _list_failures(part, prediction):
                failures.setdefault(task, failure)
    vectors = next((found for found in predictions if found.embedding is not None and Task.EMBED not in failures), None)
    has_labels = Task.CLASSIFY not in failures
    entities = [found.entities for found in predictions if found.entities is not None and Task.NER not in failures]
    return JointPrediction(
        embedding=vectors.embedding if vectors else None,
        labels=_merge([found.labels for found in predictions if found.labels is not None and has_labels]),
        entities=tuple(sorted(chain.from_iterable(entities), key=_TEXT_ORDER)) if entities else None,
        failures=tuple(failures[task] for task in Task if task in failures),
        values=_merge([found.values for found in predictions if found.values is not None and has_labels]),
        window_vectors=vectors.window_vectors if vectors else None,
        parts=parts,
    )


def _merge(found: Sequence[Mapping[str, Value]]) -> Mapping[str, Value] | None:
    """Return the values of all encoders by head; None if no encoder has one."""
    if not found[1:]:
        return found[0] if found else None
    return dict(chain.from_iterable(own.items() for own in found))


def keep_tasks(prediction: Prediction, tasks: frozenset[Task]) -> Prediction:
    """Return the outputs and the failures of some tasks."""
    has_vectors, has_labels = Task.EMBED in tasks, Task.CLASSIFY in tasks
    return Prediction(
        embedding=prediction.embedding if has_vectors else None,
        labels=prediction.labels if has_labels else None,
        entities=prediction.entities if Task.NER in tasks else None,
        failures=prediction.failures and tuple(failure for failure in prediction.failures if failure.task in tasks),
        values=prediction.values if has_labels else None,
        window_vectors=prediction.window_vectors if has_vectors else None,
    )


def group_by_encoders(parts: Sequence[EncoderTokens]) -> list[tuple[Tokens, frozenset[Task]]]:
    """Return the tasks that the same encoders serve, with the tokens of these encoders, in the order of tasks."""
    groups = _group_tasks(tuple([part.tasks for part in parts]))
    return [
        (parts[numbers[0]].tokens if len(numbers) == 1 else join_tokens([parts[number] for number in numbers]), tasks)
        for numbers, tasks in groups
    ]


@lru_cache
def _group_tasks(tasks: tuple[frozenset[Task], ...]) -> list[tuple[tuple[int, ...], frozenset[Task]]]:
    """Return the tasks with equal numbers of parts, after these numbers. Few records differ in the tasks of their parts."""
    groups: dict[tuple[int, ...], set[Task]] = {}
    for task in Task:
        if numbers := tuple(number for number, own in enumerate(tasks) if task in own):
            groups.setdefault(numbers, set()).add(task)
    return [(numbers, frozenset(own)) for numbers, own in groups.items()]


def _has_failed(prediction: Prediction) -> bool:
    return any(failure.task is None for failure in prediction.failures)


def _list_failures(part: EncoderTokens, prediction: Prediction) -> Iterator[tuple[Task, Failure]]:
    """Yield each failed task of a part: all of them if the part failed as a whole."""
    for failure in prediction.failures:
        for task in [failure.task] if failure.task else sorted(part.tasks):
            yield task, replace(failure, task=task)

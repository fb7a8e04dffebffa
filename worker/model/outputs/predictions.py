"""Numbers → plain values: the predictions of a whole batch.

A batch is decoded at once. If that fails, each text is decoded alone, so that only the task that failed is lost, and only for its
text. All numbers in a prediction are finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from worker.model.outputs.labels_and_entities import classifications, entities, regressions
from worker.model.outputs.tagged_words import tagged_entities
from worker.model.outputs.token_logits import weigh_tokens
from worker.records import Failure, Prediction, Stage, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.heads.head_config import HeadConfig
    from worker.records import Classification, PredictedEntity, TokenizedItem

Answer = TypeVar("Answer")
# The order of entities in a text.
_TEXT_ORDER = attrgetter("start", "end")


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """The outputs of one pass for `n` texts of `T` tokens, end to end."""

    #: Sentence vectors, shape `[n, H]`; None where no text asked for a vector.
    vectors: NDArray[np.float32] | None
    #: Logits of the requested heads, by name: `[n, num_logits]`, `[T, num_logits]` of heads that read tokens.
    logits: Mapping[str, NDArray[np.float32]]
    #: Where each text's tokens start, and the end of the last, int64, shape `[n + 1]`.
    starts: NDArray[np.int64]

    def select_texts(self, values: NDArray[np.float32], chosen: Sequence[int]) -> NDArray[np.float32]:
        """Select the rows of some texts from `[n, width]`; raises `FloatingPointError` where one is not finite."""
        return _finite(values if len(chosen) == len(self.starts) - 1 else values[chosen])

    def select_tokens(self, values: NDArray[np.float32], chosen: Sequence[int]) -> NDArray[np.float32]:
        """Select the rows of some texts' tokens from `[T, width]`; raises `FloatingPointError` where one is not finite."""
        if len(chosen) == len(self.starts) - 1:
            return _finite(values)
        return _finite(np.concatenate([values[self.starts[number] : self.starts[number + 1]] for number in chosen]))


def predictions(
    texts: Sequence[TokenizedItem],
    numbers: RawOutputs,
    heads: Mapping[Task, Sequence[HeadConfig]],
    transitions: Mapping[str, NDArray[np.float64]] | None = None,
) -> list[Prediction]:
    """Return the plain values of each text, for its requested tasks; a task that fails on a text does not affect others.

    `transitions` are those of the heads with a CRF, by name.
    """
    failures: dict[int, list[Failure]] = {}
    labels = _answers(Task.CLASSIFY, texts, partial(_labels, numbers, heads[Task.CLASSIFY]), failures)
    embeddings = _answers(Task.EMBED, texts, partial(_embeddings, numbers), failures)
    found = _answers(Task.NER, texts, partial(_found, numbers, heads[Task.NER], transitions or {}, texts), failures)
    none = (None, None)
    return [
        Prediction(embeddings.get(n), labels.get(n, none)[0], found.get(n), tuple(failures.get(n, ())), labels.get(n, none)[1])
        for n in range(len(texts))
    ]


def _answers(
    task: Task,
    texts: Sequence[TokenizedItem],
    read: Callable[[Sequence[int]], Sequence[Answer]],
    failures: dict[int, list[Failure]],
) -> dict[int, Answer]:
    """Return the answers of `read` for the texts that request the task, by number; add errors to `failures`."""
    asked = [number for number, text in enumerate(texts) if task in text.item.tasks]
    try:
        return dict(zip(asked, read(asked), strict=True)) if asked else {}
    except Exception:  # noqa: BLE001  the text that fails is found below, and its error is recorded
        answers = {}
    for number in asked:
        try:
            (answers[number],) = read([number])
        except Exception as error:  # noqa: BLE001  what one head does wrong on one text costs that task of that text alone
            failures.setdefault(number, []).append(Failure(Stage.INFER, type(error).__name__, str(error), task))
    return answers


def _embeddings(numbers: RawOutputs, chosen: Sequence[int]) -> list[NDArray[np.float32]]:
    return [] if numbers.vectors is None else list(numbers.select_texts(numbers.vectors, chosen))


def _labels(
    numbers: RawOutputs, heads: Sequence[HeadConfig], chosen: Sequence[int]
) -> list[tuple[dict[str, Classification], dict[str, dict[str, float]] | None]]:
    """Return the labels of some texts, by head, and the numbers of the heads for regression, if there are any."""
    by_head = {head.name: classifications(head, _read_texts(numbers, head, chosen)) for head in heads if not head.is_regression}
    values = {head.name: regressions(head, _read_texts(numbers, head, chosen)) for head in heads if head.is_regression}
    return [
        (
            {name: column[place] for name, column in by_head.items()},
            {name: column[place] for name, column in values.items()} or None,
        )
        for place in range(len(chosen))
    ]


def _read_texts(numbers: RawOutputs, head: HeadConfig, chosen: Sequence[int]) -> NDArray[np.float32]:
    """Return a head's logits of some texts, one row for each; raises `FloatingPointError` where a number is not finite."""
    logits = numbers.logits[head.name]
    if not head.has_attention:
        return numbers.select_texts(logits, chosen)
    starts = np.concatenate([[0], np.cumsum(np.diff(numbers.starts)[chosen])])
    return weigh_tokens(numbers.select_tokens(logits, chosen), starts)


def _found(
    numbers: RawOutputs,
    heads: Sequence[HeadConfig],
    transitions: Mapping[str, NDArray[np.float64]],
    texts: Sequence[TokenizedItem],
    chosen: Sequence[int],
) -> list[tuple[PredictedEntity, ...]]:
    """Return the entities of all heads for some texts, in text order."""
    own = [texts[number] for number in chosen]
    by_head = []
    for head in heads:
        logits = numbers.select_tokens(numbers.logits[head.name], chosen)
        if head.is_published:
            by_head.append(tagged_entities(head, logits, own))
        else:
            by_head.append(entities(head, logits, own, transitions.get(head.name)))
    places = range(len(chosen))
    return [tuple(sorted(chain.from_iterable(column[place] for column in by_head), key=_TEXT_ORDER)) for place in places]


def _finite(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(numbers).all():
        raise FloatingPointError("the model gives numbers that are not finite (NaN or infinity) for this text")
    return numbers

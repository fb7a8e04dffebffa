"""Keeps the results of recent texts, so that a repeated text needs no forward pass. Pure, in memory only.

The key is the model, the prompt of a query, the text and the tasks. A batch computes each of its texts once, even without an
earlier result.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.records import Prediction, Task, TokenizedItem

    _Key: TypeAlias = tuple[str, str | None, str, frozenset[Task]]

# An estimate of the Python objects of an entry, of a label and of an entity, in bytes.
_ENTRY_BYTES, _LABEL_BYTES, _ENTITY_BYTES = 600, 150, 400


class ResultCache:
    """The results of the most recently used texts, up to a number of bytes. Belongs to one thread."""

    def __init__(self, max_bytes: int, note: Callable[[str, int], None]) -> None:
        """Keep at most `max_bytes`. `note` gets the number of texts of a batch by origin: `hit`, `duplicate` or `miss`."""
        self._max_bytes = max_bytes
        self._note = note
        # The least recently used entry is first.
        self._entries: OrderedDict[_Key, tuple[Prediction, int]] = OrderedDict()
        self.num_bytes = 0

    def find(self, items: Sequence[TokenizedItem]) -> Plan:
        """Return the known results of a batch, and the items to compute."""
        plan = Plan(items)
        for item in items:
            key = _build_key(item)
            entry = self._entries.get(key)
            if key in plan.results or key in plan.missing:
                continue
            if entry is None:
                plan.missing[key] = item
            else:
                self._entries.move_to_end(key)
                plan.results[key] = entry[0]
        num_missing, num_hits = len(plan.missing), sum(_build_key(item) in plan.results for item in items)
        self._note("hit", num_hits)
        self._note("duplicate", len(items) - num_hits - num_missing)
        self._note("miss", num_missing)
        return plan

    def complete(self, plan: Plan, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Keep the results of the missing items, and return a result for each item of the batch. Failures are not kept."""
        for key, prediction in zip(plan.missing, predictions, strict=True):
            plan.results[key] = prediction
            if not prediction.failures:
                self._add(key, prediction)
        return [plan.results[_build_key(item)] for item in plan.items]

    def _add(self, key: _Key, prediction: Prediction) -> None:
        num_bytes = sys.getsizeof(key[1]) + _estimate_bytes(key[2], prediction)
        if num_bytes > self._max_bytes:
            return
        if prediction.embedding is not None and prediction.embedding.base is not None:
            # A row of the batch would keep the vectors of the whole batch in memory.
            prediction = replace(prediction, embedding=prediction.embedding.copy())
        if key in self._entries:
            self.num_bytes -= self._entries.pop(key)[1]
        self._entries[key] = prediction, num_bytes
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_bytes:
            self.num_bytes -= self._entries.popitem(last=False)[1][1]


class Plan:
    """What a batch has, and what it needs."""

    def __init__(self, items: Sequence[TokenizedItem]) -> None:
        self.items = items
        self.results: dict[_Key, Prediction] = {}
        #: The first item of each text to compute, in order.
        self.missing: dict[_Key, TokenizedItem] = {}


def _build_key(item: TokenizedItem) -> _Key:
    return item.tokens.model, item.tokens.prompt, item.item.text, item.item.tasks


def _estimate_bytes(text: str, prediction: Prediction) -> int:
    vectors = (prediction.embedding, prediction.window_vectors)
    vector_bytes = sum(vector.nbytes for vector in vectors if vector is not None)
    num_labels = sum(len(label.scores) for label in (prediction.labels or {}).values())
    num_entities = len(prediction.entities or ())
    return _ENTRY_BYTES + sys.getsizeof(text) + vector_bytes + _LABEL_BYTES * num_labels + _ENTITY_BYTES * num_entities

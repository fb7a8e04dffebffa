"""Measures the cost of the heads: the same batches with and without heads, in turn."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.model.packing import pack
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.model.engine import Engine
    from worker.model.multitask import MultiTaskHeads
    from worker.records import TokenizedItem

_NUM_ROUNDS = 4


def measure(engine: Engine, heads: MultiTaskHeads, batches: Sequence[Sequence[TokenizedItem]]) -> dict[str, float]:
    """Return shares of the time of `infer` with all tasks; `heads` are those of `engine`.

    `heads_share`             tensors of the heads: a forward pass with heads minus one for vectors alone
    `plain_values_share`      decoding tensors into labels and entities
    `heads_and_values_share`  `infer` with all tasks minus `infer` for vectors alone
    """
    names = tuple(heads.heads)
    variants: dict[str, Callable[[Sequence[TokenizedItem]], object]] = {
        "vectors": lambda items: _run(engine, heads, (), items),
        "tensors": lambda items: _run(engine, heads, names, items),
        "embed": lambda items: engine.infer(
            [replace(item, item=replace(item.item, tasks=frozenset({Task.EMBED}))) for item in items]
        ),
        "all": engine.infer,
    }
    # The minimum over the rounds: a disturbance only ever adds time.
    least_s = {(name, number): float("inf") for name in variants for number in range(len(batches))}
    for _ in range(_NUM_ROUNDS):
        for number, items in enumerate(batches):
            for name, run in variants.items():
                started_s = time.perf_counter()
                run(items)
                least_s[name, number] = min(least_s[name, number], time.perf_counter() - started_s)
    seconds = {name: sum(least_s[name, number] for number in range(len(batches))) for name in variants}
    return {
        "heads_share": (seconds["tensors"] - seconds["vectors"]) / seconds["all"],
        "plain_values_share": (seconds["all"] - seconds["tensors"]) / seconds["all"],
        "heads_and_values_share": (seconds["all"] - seconds["embed"]) / seconds["all"],
    }


def _run(engine: Engine, heads: MultiTaskHeads, names: Sequence[str], items: Sequence[TokenizedItem]) -> None:
    packed = pack([item.tokens.ids for item in items])
    results = engine.backend.begin(packed, heads.readings(is_embedding=True, heads=names))
    heads.collect(results.wait(), is_embedding=True, heads=names)

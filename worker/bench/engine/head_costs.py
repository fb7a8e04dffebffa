"""What the heads cost beside the encoder: the same batches with and without them, in turn."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from worker.model.packing import pack
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.model.engine import Engine
    from worker.model.multitask import MultiTaskHeads
    from worker.records import TokenizedItem

_NUM_ROUNDS = 4


def measure(engine: Engine, heads: MultiTaskHeads, batches: Sequence[Sequence[TokenizedItem]]) -> dict[str, float]:
    """Return shares of the time of a whole `infer` with all tasks; `heads` are those of `engine`.

    `heads_share`: the tensors of the heads (what a pass takes more than one for the vectors alone). `plain_values_share`: turning
    tensors into labels and entities. `heads_and_values_share`: what `infer` takes more than `infer` for the vectors alone.
    """
    names = tuple(heads.heads)
    ways: list[tuple[str, Callable[[Sequence[TokenizedItem]], object]]] = [
        ("vectors", lambda items: _tensors(engine, heads, (), items)),
        ("tensors", lambda items: _tensors(engine, heads, names, items)),
        ("embed", lambda items: engine.infer([replace(it, item=replace(it.item, tasks=frozenset({Task.EMBED}))) for it in items])),
        ("all", engine.infer),
    ]
    # The least of the rounds: what disturbs a pass only ever makes it longer.
    least = {(name, number): float("inf") for name, _ in ways for number in range(len(batches))}
    for _ in range(_NUM_ROUNDS):
        for number, items in enumerate(batches):
            for name, run in ways:
                started = time.perf_counter()
                run(items)
                least[name, number] = min(least[name, number], time.perf_counter() - started)
    seconds = {name: sum(least[name, number] for number in range(len(batches))) for name, _ in ways}
    return {
        "heads_share": (seconds["tensors"] - seconds["vectors"]) / seconds["all"],
        "plain_values_share": (seconds["all"] - seconds["tensors"]) / seconds["all"],
        "heads_and_values_share": (seconds["all"] - seconds["embed"]) / seconds["all"],
    }


@torch.inference_mode()
def _tensors(engine: Engine, heads: MultiTaskHeads, names: Sequence[str], items: Sequence[TokenizedItem]) -> None:
    packed = pack([it.tokens.ids for it in items])
    read = engine.backend.read(packed, heads.readings(is_embedding=True, heads=names))
    heads(read, is_embedding=True, heads=names).to_host().wait()

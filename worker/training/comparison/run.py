"""Run a comparison: cell after cell, from where it was cut off, to a table, JSON and a picture."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import torch

from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.atomic_files import atomic_write
from worker.model.checkpoint.references import compute_sha256
from worker.training.comparison.cells import build_result, build_tasks
from worker.training.comparison.costs import measure_costs
from worker.training.comparison.journal import Journal
from worker.training.comparison.plot import draw
from worker.training.comparison.summary import as_json, build_rows, table
from worker.training.data.splits import Side
from worker.training.learning.state_cache import StateCache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from worker.training.comparison.plan import ComparisonPlan
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

_CELLS, _TABLE, _JSON, _PLOT = "cells.jsonl", "comparison.md", "comparison.json", "comparison.png"
_CACHE_GIGABYTES = 8.0
_MAX_TIMED_TEXTS = 1000


def compare(plan: ComparisonPlan, output: Path, reporter: Reporter, *, threads: int = 0) -> str:
    """Do what is left of a plan, write its results into a directory, and return the table.

    Raises `BadSettings` where results of another plan are there, or the disk is full.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    tasks = build_tasks(plan)
    described = _described(plan, tasks)
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    journal = Journal(output / _CELLS, digest)
    done = {it.key: it for it in journal.read()}
    for number, cell in enumerate(plan.cells, start=1):
        if cell.key in done:
            continue
        reporter.say(
            f"{number} of {len(plan.cells)}: {cell.contender.name}, {cell.share:.0%} of {count_texts(tasks)}, seed {cell.seed}"
        )
        # One for each cell: what the cells before it have read may make room.
        store = StateCache(plan.cache / "states", max_gigabytes=_CACHE_GIGABYTES)
        done[cell.key] = build_result(cell, plan, tasks, store=store, reporter=reporter)
        journal.append(done[cell.key])
    results = [done[cell.key] for cell in plan.cells]
    rows = build_rows(results)
    texts = [it.examples[number].text for it in tasks.values() for number in it.sides[Side.TEST].tolist()]
    costs = measure_costs(plan.encoder, list(tasks.values()), texts[:_MAX_TIMED_TEXTS])
    shown = table(rows, costs, _about(plan, tasks))
    for name, content in ((_TABLE, shown), (_JSON, as_json(rows, costs, described))):
        with atomic_write(output / name) as part:
            part.write_text(content)
    try:
        with atomic_write(output / _PLOT) as part:
            draw(rows, part)
    except ModuleNotFoundError as error:
        reporter.say(f"no picture: {error.name} is not installed: pip install 'gist-stream[bench]'")
    return shown


def count_texts(tasks: Mapping[str, TrainingTask]) -> str:
    """Return how many texts the scarce task has, for people."""
    *_, scarce = tasks.values()
    return f"{len(scarce.sides[Side.TRAIN]):,} texts"


def _described(plan: ComparisonPlan, tasks: Mapping[str, TrainingTask]) -> dict[str, Any]:
    """Return all that results depend on, but for which cells there are: more seeds or shares may be added."""
    sizes = "steps", "batch_texts", "max_dev_texts", "max_test_texts"
    learning = "upper_layers", "layers", "hidden_size", "head_rate", "encoder_rate"
    encoder = checkpoint.build_encoder(plan.encoder)
    return {
        "encoder": compute_sha256(encoder.directory / "model.safetensors"),
        "data": {title: digest for it in tasks.values() for title, digest in it.sources.items()},
    } | {name: getattr(plan, name) for name in (*sizes, *learning)}


def _about(plan: ComparisonPlan, tasks: Mapping[str, TrainingTask]) -> str:
    sizes = [{side: f"{len(texts):,}" for side, texts in it.sides.items()} for it in tasks.values()]
    if any(not len(it.sides[Side.TEST]) for it in tasks.values()):
        raise BadSettings("a comparison is judged on texts that are held out: give both tasks some (test, or test_share)")
    (rich, scarce), (a, b) = tasks.values(), sizes
    learning = f"Where the encoder learns, its upper {plan.upper_layers} layers do. " if plan.upper_layers else ""
    return (
        f"A, the rich task: {rich.head.name}, all of {a[Side.TRAIN]} texts, accuracy on {a[Side.TEST]} held-out ones. B, the "
        f"scarce task: {scarce.head.name}, of {b[Side.TRAIN]} texts so many as said, F1 of entities on {b[Side.TEST]} held-out "
        f"ones. {learning}Each strategy makes {plan.steps} steps of {plan.batch_texts} texts, over {len(plan.seeds)} seeds; ± is "
        f"half of a 95 % interval; seconds are those of training, of which computing kept states is no part."
    )

"""Run a comparison: train the missing cells, and write a table and JSON."""

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
from worker.training.comparison.cells import build_tasks, train_cell
from worker.training.comparison.journal import Journal
from worker.training.comparison.plan import LARGE, SMALL
from worker.training.comparison.summary import build_rows, format_json, format_table
from worker.training.data.splits import Side
from worker.training.learning.state_cache import StateCache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from worker.training.comparison.plan import ComparisonPlan
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

_CELLS, _TABLE, _JSON = "cells.jsonl", "comparison.md", "comparison.json"
_CACHE_GIGABYTES = 8.0


def compare(plan: ComparisonPlan, output: Path, reporter: Reporter, *, threads: int = 0) -> str:
    """Train the cells that have no result yet, write all results to a directory, and return the table.

    Raises `BadSettings` if the directory has results of another plan, and if the disk is full.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    tasks = build_tasks(plan)
    if any(not len(task.sides[Side.TEST]) for task in tasks.values()):
        raise BadSettings("a comparison needs held-out texts: give both tasks `test` or `test_share`")
    description = _describe_plan(plan, tasks)
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
    journal = Journal(output / _CELLS, digest)
    results = {result.key: result for result in journal.read()}
    for number, cell in enumerate(plan.cells, start=1):
        if cell.key in results:
            continue
        reporter.say(f"{number} of {len(plan.cells)}: {cell.contender.name}, {cell.share:.0%} of {SMALL}, seed {cell.seed}")
        # A new cache object for each cell: it may evict the states that earlier cells read.
        store = StateCache(plan.cache / "states", max_gigabytes=_CACHE_GIGABYTES)
        results[cell.key] = train_cell(cell, plan, tasks, store=store, reporter=reporter)
        journal.append(results[cell.key])
    rows = build_rows([results[cell.key] for cell in plan.cells])
    table = format_table(rows, _introduce(plan, tasks))
    for name, content in ((_TABLE, table), (_JSON, format_json(rows, description))):
        with atomic_write(output / name) as part:
            part.write_text(content)
    return table


def _describe_plan(plan: ComparisonPlan, tasks: Mapping[str, TrainingTask]) -> dict[str, Any]:
    """Return everything that determines a result, except the list of cells: seeds and shares may be added later."""
    names = "steps", "batch_texts", "max_dev_texts", "max_test_texts", "upper_layers", "head_rate", "encoder_rate"
    return {
        "encoder": compute_sha256(checkpoint.build_encoder(plan.encoder).directory / "model.safetensors"),
        "data": {title: digest for task in tasks.values() for title, digest in task.sources.items()},
    } | {name: getattr(plan, name) for name in names}


def _introduce(plan: ComparisonPlan, tasks: Mapping[str, TrainingTask]) -> str:
    """Return the sentences above the table."""
    (train, test), (small_train, small_test) = (
        [f"{len(tasks[name].sides[side]):,}" for side in (Side.TRAIN, Side.TEST)] for name in (LARGE, SMALL)
    )
    layers = f"If the encoder learns, its upper {plan.upper_layers} layers learn. " if plan.upper_layers else ""
    return (
        f"Task A is {LARGE}: {train} texts, accuracy on {test} held-out texts. "
        f"Task B is {SMALL}: a share of {small_train} texts, F1 of entities on {small_test} held-out texts. {layers}"
        f"Each strategy makes {plan.steps} steps of {plan.batch_texts} texts with {len(plan.seeds)} seeds. "
        "± is half of a 95 % interval. Seconds exclude the computation of cached states."
    )

"""Run a comparison: train the missing cells, and write a table and JSON.

The results of finished cells are one JSON object per line: an interrupted comparison continues after the last line.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.atomic_files import atomic_write, translate_write_errors
from worker.model.checkpoint.references import compute_sha256
from worker.training.comparison.plan import LARGE, SMALL
from worker.training.comparison.summary import CellResult, build_rows, format_json, format_table
from worker.training.data.examples import TaggedText
from worker.training.data.splits import Side
from worker.training.learning.objectives import run_head, score
from worker.training.learning.phases import learn
from worker.training.learning.state_cache import StateCache
from worker.training.learning.tasks import add_texts, build_task, split_share
from worker.training.train import single_task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from worker.training.comparison.plan import Cell, ComparisonPlan
    from worker.training.config import TrainingRun
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
    results = {result.key: result for result in read_results(output / _CELLS, digest)}
    for number, cell in enumerate(plan.cells, start=1):
        if cell.key in results:
            continue
        reporter.say(f"{number} of {len(plan.cells)}: {cell.contender.name}, {cell.share:.0%} of {SMALL}, seed {cell.seed}")
        # A new cache object for each cell: it may evict the states that earlier cells read.
        store = StateCache(plan.cache / "states", max_gigabytes=_CACHE_GIGABYTES)
        results[cell.key] = train_cell(cell, plan, tasks, store=store, reporter=reporter)
        append_result(output / _CELLS, digest, results[cell.key])
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


def read_results(path: Path, digest: str) -> list[CellResult]:
    """Return the complete results; raises `BadSettings` for a damaged file, and for results of another plan."""
    if not path.exists():
        return []
    results = []
    for number, line in enumerate(path.read_text().rpartition("\n")[0].splitlines(), start=1):
        try:
            values = json.loads(line)
            if values.pop("plan") != digest:
                raise BadSettings(f"{path}:{number}: a comparison with other settings or data; choose another directory")
            results.append(CellResult(**values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadSettings(f"{path}:{number}: not a result: {error}") from error
    return results


def append_result(path: Path, digest: str, result: CellResult) -> None:
    """Write a result to the disk, over an incomplete last line; raises `BadSettings` if the disk is full."""
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps({"plan": digest} | asdict(result)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def build_tasks(plan: ComparisonPlan) -> dict[str, TrainingTask]:
    """Return both tasks by name, with all training texts and at most the plan's number of dev and test texts."""
    run = plan.build_run(plan.contenders[0], plan.seeds[0])
    loaded = checkpoint.load(run.encoder)
    limits = {Side.DEV: plan.max_dev_texts, Side.TEST: plan.max_test_texts}
    tasks = {}
    for options in run.heads:
        task = build_task(options, loaded, directory=plan.data_directory, cache=plan.cache, seed=0)
        sides = dict(task.sides)
        for side, limit in limits.items():
            sides[side] = sides[side][split_share(len(sides[side]), min(1, limit / max(1, len(sides[side]))), 0)]
        tasks[options.name] = replace(task, sides=sides)
    return tasks


def train_cell(
    cell: Cell, plan: ComparisonPlan, tasks: Mapping[str, TrainingTask], *, store: StateCache, reporter: Reporter
) -> CellResult:
    """Train and score a cell."""
    run = plan.build_run(cell.contender, cell.seed)
    is_separate = run.training.strategy == "separate"
    runs = [single_task(run, number) for number in range(len(run.heads))] if is_separate else [run]
    scores: dict[str, float] = {}
    seconds, steps = 0.0, 0
    for part in runs:
        loaded = checkpoint.load(part.encoder)
        own = [_build_cell_task(cell, plan, tasks[options.name], run) for options in part.heads]
        began = time.perf_counter()
        learned = learn(part, loaded, own, store=store, reporter=reporter)
        reporter.say(f"trained in {time.perf_counter() - began:.1f} s")
        for task in own:
            head = learned.learner.head(task.head.name)
            scores[task.head.name] = score(head, run_head(head, learned.states, task, task.sides[Side.TEST]))
        seconds, steps = seconds + learned.position.seconds, steps + learned.position.total_steps
    return CellResult(
        contender=cell.contender.name,
        share=cell.share,
        seed=cell.seed,
        large=scores[LARGE],
        small=scores[SMALL],
        seconds=round(seconds, 2),
        steps=steps,
    )


def _build_cell_task(cell: Cell, plan: ComparisonPlan, task: TrainingTask, run: TrainingRun) -> TrainingTask:
    """Return a task with the options of the cell's run, and the small task with the cell's share of its texts."""
    options = next(options for options in run.heads if options.name == task.head.name)
    task = replace(task, options=options, head=replace(task.head, dropout=options.dropout))
    if task.head.name != SMALL:
        return task
    texts = task.sides[Side.TRAIN]
    chosen = texts[split_share(len(texts), cell.share, cell.seed)]
    task = replace(task, sides={**task.sides, Side.TRAIN: chosen})
    if cell.contender.augment is None:
        return task
    tagged = [text for number in chosen.tolist() if isinstance(text := task.examples[number], TaggedText)]
    held_out = [task.examples[number].text for side in (Side.DEV, Side.TEST) for number in task.sides[side].tolist()]
    return add_texts(task, checkpoint.load(plan.encoder), cell.contender.augment(tagged, held_out, cell.seed))

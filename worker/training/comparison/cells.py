"""One cell of a comparison: train both heads, and score them on held-out texts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.model.checkpoint import checkpoint
from worker.training.comparison.journal import CellResult
from worker.training.comparison.plan import LARGE, SMALL
from worker.training.data.examples import TaggedText
from worker.training.data.splits import Side
from worker.training.learning.objectives import run_head, score
from worker.training.learning.phases import learn
from worker.training.learning.tasks import add_texts, build_task, split_share
from worker.training.train import single_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.training.comparison.plan import Cell, ComparisonPlan
    from worker.training.config import TrainingRun
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter


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

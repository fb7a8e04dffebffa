"""One cell: train a contender on some of the scarce task's texts, and score both heads on texts that were held out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.model.checkpoint import checkpoint
from worker.training.comparison.journal import ComparisonResult
from worker.training.comparison.plan import RICH, SCARCE
from worker.training.data.examples import TaggedText
from worker.training.data.splits import Side
from worker.training.learning.objectives import run_head, score
from worker.training.learning.phases import learn
from worker.training.learning.tasks import build_task, extended, split_share
from worker.training.train import alone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.training.comparison.plan import Cell, ComparisonPlan
    from worker.training.config import TrainingRun
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter


def build_tasks(plan: ComparisonPlan) -> dict[str, TrainingTask]:
    """Return both tasks whole, with no more texts of dev and test than the plan wants."""
    run = plan.run(plan.contenders[0], plan.seeds[0])
    loaded = checkpoint.load(run.encoder)
    tasks = [build_task(it, loaded, directory=plan.data_directory, cache=plan.cache, seed=0) for it in run.heads]
    most = {Side.DEV: plan.max_dev_texts, Side.TEST: plan.max_test_texts}
    return {
        it.head.name: replace(
            it,
            sides={
                side: texts[split_share(len(texts), min(1, most[side] / max(1, len(texts))), 0)] if side in most else texts
                for side, texts in it.sides.items()
            },
        )
        for it in tasks
    }


def build_result(
    cell: Cell, plan: ComparisonPlan, tasks: Mapping[str, TrainingTask], *, store: StateCache, reporter: Reporter
) -> ComparisonResult:
    """Train and score a cell."""
    run = plan.run(cell.contender, cell.seed)
    own = [_of_cell(cell, plan, tasks[it.name], run, number) for number, it in enumerate(run.heads)]
    runs = [alone(run, number) for number in range(len(own))] if run.training.strategy == "separate" else [run]
    scores: dict[str, float] = {}
    seconds, steps = 0.0, 0
    for it in runs:
        names = {head.name for head in it.heads}
        part = _scored(it, [task for task in own if task.head.name in names], store=store, reporter=reporter)
        scores |= part[0]
        seconds, steps = seconds + part[1], steps + part[2]
    return ComparisonResult(
        contender=cell.contender.name,
        share=cell.share,
        seed=cell.seed,
        rich=scores[RICH],
        scarce=scores[SCARCE],
        seconds=round(seconds, 2),
        steps=steps,
    )


def _of_cell(cell: Cell, plan: ComparisonPlan, task: TrainingTask, run: TrainingRun, number: int) -> TrainingTask:
    """Return a task as a cell has it: its head's options, and of the scarce task's texts so many."""
    options = run.heads[number]
    task = replace(task, options=options, head=replace(task.head, dropout=options.dropout))
    if task.head.name != SCARCE:
        return task
    texts = task.sides[Side.TRAIN]
    chosen = texts[split_share(len(texts), cell.share, cell.seed)]
    task = replace(task, sides={**task.sides, Side.TRAIN: chosen})
    if cell.contender.more is None:
        return task
    tagged = [it for place in chosen.tolist() if isinstance(it := task.examples[place], TaggedText)]
    held_out = [task.examples[it].text for side in (Side.DEV, Side.TEST) for it in task.sides[side].tolist()]
    return extended(task, checkpoint.load(plan.encoder), cell.contender.more(tagged, held_out, cell.seed))


def _scored(
    run: TrainingRun, tasks: Sequence[TrainingTask], *, store: StateCache, reporter: Reporter
) -> tuple[dict[str, float], float, int]:
    """Return the scores of some heads, the seconds of training, and the steps."""
    began = time.perf_counter()
    learned = learn(run, checkpoint.load(run.encoder), tasks, store=store, reporter=reporter)
    reporter.say(f"trained in {time.perf_counter() - began:.1f} s")
    scores = {}
    for it in tasks:
        head = learned.learner.head(it.head.name)
        scores[it.head.name] = score(head, run_head(head, learned.states, it, it.sides[Side.TEST]))
    return scores, learned.position.seconds, learned.position.total_steps

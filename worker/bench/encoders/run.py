"""Measures one worker with several models, in turn with a worker for each model, on the same backlogs and the same cores."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.frame.machine import describe_machine
from worker.bench.frame.runs import Runs
from worker.bench.stream import phases
from worker.bench.stream.modes import watch_work
from worker.bench.stream.workers import count_threads, run_workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

#: The rows.
TOGETHER, APART = "one worker", "a worker for each model"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodersPlan:
    """The models, and the amount of work."""

    #: The settings of the worker with all models, and those of each worker with one model.
    together: Mapping[str, object]
    apart: Sequence[Mapping[str, object]]
    num_partitions: int
    num_backlog: int
    num_rounds: int


@dataclass(slots=True)
class EncodersResults:
    """All results of one run; the rows are `TOGETHER` and `APART`."""

    machine: dict[str, Any]
    runs: Runs = field(default_factory=Runs)
    notes: list[str] = field(default_factory=list)


async def run(plan: EncodersPlan, context: BenchContext) -> EncodersResults:
    """Measure both ways in turn; however this ends, no process remains."""
    results = EncodersResults(describe_machine() | {"corpus_texts": len(context.texts)})
    run_id = f"bench-encoders-{int(time.time())}"
    for number in range(plan.num_rounds):
        for name, workers in ((TOGETHER, [plan.together]), (APART, plan.apart)):
            topic = phases.Topics(context.connection, f"{run_id}-{number}-{len(workers)}", num_partitions=plan.num_partitions)
            figures = await _measure(plan, context, topic, workers)
            results.runs.add(name, **figures)
            context.say(f"{name:24} {figures['seconds']:.1f} s, peak {figures['peak_mib']:.0f} MiB")
    amount = f"{plan.num_backlog:,} records per backlog; broker and workers share the cores"
    results.notes.append(f"models {plan.together['model']}; {amount}")
    return results


async def _measure(
    plan: EncodersPlan, context: BenchContext, topic: Topics, workers: Sequence[Mapping[str, object]]
) -> dict[str, float]:
    """Return the seconds until all outputs of a backlog are published, and what the workers needed."""
    await topic.create()
    values, start_s = phases.build_requests(context, plan.num_backlog), 0.0
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values):
            started: list[WorkerProcess] = []
            for number, settings in enumerate(workers):
                own = {"group_id": f"{topic.input}-{number}", "threads": count_threads(len(workers)), **settings}
                running, own_start_s = await stack.enter_async_context(
                    run_workers(context, topic, own, num_workers=1, first=number)
                )
                started += running
                start_s += own_start_s
        visible_ms = time.time() * 1000
        async with watch_work(context, started) as work:
            await phases.wait_until_published(topic, started)
        answers = await topic.read_all()
    seconds = (max((answer.done_ms for answer in answers), default=visible_ms) - visible_ms) / 1000
    return {"seconds": seconds, "start_s": start_s, **work, "lost": topic.tally.audit.num_missing}

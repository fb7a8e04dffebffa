"""Builds the engine from settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.host import ThreadPlan, count_cores
from worker.records import Task

if TYPE_CHECKING:
    from worker.model.engine import Engine
    from worker.settings import Settings


def load_engine(settings: Settings) -> Engine:
    """Load the model and check its tasks and lengths. Raises `BadModel` or `BadSettings`."""
    plan = build_thread_plan(settings)
    plan.prepare()
    if settings.cache_dir:
        # The compiler of the kernels reads the environment, because commands without settings compile kernels, too.
        os.environ["GIST_CACHE_DIR"] = settings.cache_dir
    # The import is slow, and the libraries read the thread plan when they are loaded.
    from worker.model.engine import Engine  # noqa: PLC0415
    from worker.model.text.windows import Chunking, Windowing  # noqa: PLC0415

    windowing: Windowing | Chunking | None = None
    if settings.long_text == "window":
        windowing = Windowing(overlap_tokens=settings.window_overlap_tokens, max_windows=settings.max_windows)
    elif settings.long_text == "chunks":
        windowing = Chunking(max_windows=settings.max_windows)
    engine = Engine.load(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        backend=settings.backend,
        threads=plan.matmul,
        passes=settings.max_concurrent_batches,
        max_tokens=settings.max_seq_length or None,
        prompt=settings.prompt,
        dimensions=settings.embedding_dimensions,
        windowing=windowing,
    )
    if missing := settings.tasks - engine.tasks:
        raise BadSettings(f"GIST_TASKS: the model {engine.name} has no head for {', '.join(sorted(missing))}")
    if 0 < settings.max_batch_tokens < engine.max_tokens:
        raise BadSettings(f"GIST_MAX_BATCH_TOKENS is below the longest text of the model {engine.name}: {engine.max_tokens} tokens")
    return engine


def build_thread_plan(settings: Settings) -> ThreadPlan:
    """Return the number of threads of each library."""
    return ThreadPlan.build(count_cores(), matmul=settings.threads, tokenizer=settings.tokenizer_threads)


def select_tasks(settings: Settings, engine: Engine) -> frozenset[Task]:
    """Return the tasks to serve: `GIST_TASKS`, or all tasks of the model."""
    return frozenset(Task(name) for name in settings.tasks) or engine.tasks

"""Builds the engine from settings, or the engines of a model with several encoders."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from worker.composition.encoders import EncoderReference, check_encoders, parse_model
from worker.composition.tracing import trace_model
from worker.errors import BadSettings
from worker.host import ThreadPlan, count_cores
from worker.records import Task
from worker.rollout.joint_model import JointModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.engine import Engine
    from worker.observability.tracing import Tracing
    from worker.ports import ServedModel
    from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The model that `GIST_MODEL` names, and the engines of its encoders."""

    model: ServedModel
    engines: Sequence[Engine]

    @property
    def description(self) -> str:
        """The devices, the number formats, the backends and the threads, for people."""
        return ", ".join(dict.fromkeys(engine.description for engine in self.engines))

    @property
    def abilities(self) -> str:
        """A line about each encoder, for people."""
        return "\n".join(f"{engine.name} on {engine.description}; {engine.abilities}" for engine in self.engines)


class ModelLoader:
    """Loads models. Two models with the same encoder share its engine, as during a rollout."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        """Load with these settings, of which `GIST_MODEL` is replaced."""
        self._settings = settings
        self._tracing = tracing
        # The engines that are in use.
        self._engines: WeakValueDictionary[EncoderReference, Engine] = WeakValueDictionary()
        # The model that `begin` loads, until `finish` returns it.
        self._loading: Future[LoadedModel] | None = None

    def begin(self, reference: str) -> None:
        """Begin to load a model in a thread, which does not outlive the process. `finish` returns the model."""
        self._loading = loading = Future[LoadedModel]()
        # A caller that is cancelled does not cancel the thread, which sets the result.
        loading.set_running_or_notify_cancel()

        def load() -> None:
            try:
                loading.set_result(self.load(reference))
            except BaseException as error:  # noqa: BLE001  `finish` raises it
                loading.set_exception(error)

        threading.Thread(target=load, name="model", daemon=True).start()

    async def finish(self) -> LoadedModel:
        """Return the model that `begin` loads, and keep no reference to it. Raises what `load` raises."""
        if self._loading is None:
            raise RuntimeError("no model is being loaded")
        loading, self._loading = self._loading, None
        return await asyncio.wrap_future(loading)

    def load(self, reference: str) -> LoadedModel:
        """Load the model that a value of `GIST_MODEL` names. Raises `BadModel` or `BadSettings`."""
        encoders = parse_model(reference)
        if len(encoders) == 1:
            engine = load_engine(self._settings.model_copy(update={"model": reference}))
            return LoadedModel(trace_model(engine, self._tracing), [engine])
        engines = [self._load_encoder(encoder) for encoder in encoders]
        tasks = check_encoders(self._settings, encoders, engines)
        can_share = all(engine.share_threads(engines[0]) for engine in engines[1:])
        traced = [(trace_model(engine, self._tracing), own) for engine, own in zip(engines, tasks, strict=True)]
        # Backends that do not share threads would use more threads than there are cores.
        max_passes = engines[0].max_passes if can_share else 1
        return LoadedModel(JointModel(traced, max_passes=max_passes, tokenizers=find_equal_tokenizers(engines)), engines)

    def _load_encoder(self, encoder: EncoderReference) -> Engine:
        engine = self._engines.get(encoder)
        if engine is None:
            engine = self._engines[encoder] = load_engine(encoder.adapt(self._settings))
        return engine


def find_equal_tokenizers(engines: Sequence[Engine]) -> list[int]:
    """Return for each engine the place of the first engine with an equal tokenizer."""
    return [next(place for place, first in enumerate(engines) if engine.has_tokenizer_of(first)) for engine in engines]


def load_engine(settings: Settings) -> Engine:
    """Load a model with one encoder and check its tasks and lengths. Raises `BadModel` or `BadSettings`."""
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


def select_tasks(settings: Settings, model: ServedModel) -> frozenset[Task]:
    """Return the tasks to serve: `GIST_TASKS`, or all tasks of the model."""
    return frozenset(Task(name) for name in settings.tasks) or model.tasks

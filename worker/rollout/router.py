"""Selects the model of each record: one model, or several while a new one is rolled out.

A model is loaded in the background and serves records from the offset or timestamp of its step. A record waits until
its model is loaded. If the model cannot be loaded, the previous model continues and `gist_rollout_failures_total` is
incremented. Models that no assigned partition needs are unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from worker.batches import LIVE_PASS, PassContext
from worker.errors import BadSettings
from worker.host import trim_malloc
from worker.rollout.joint_model import JointModel, list_encoders, tokenize_items

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from worker.observability.metrics import WorkerTelemetry
    from worker.ports import ServedModel
    from worker.records import Item, Partition, Prediction, Record, TokenizedItem, Tokens, UnreadableRange
    from worker.rollout.plan import RolloutPlan

# Interval between two reads of the file.
_READ_INTERVAL_S = 2.0
# Time before an unused model is unloaded: long enough for all records in flight to have reached the model.
_UNLOAD_AFTER_S = 60.0


class SingleModel:
    """Implements `worker.ports.ModelRouter` with one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self.max_passes = model.max_passes
        self.num_encoders = len(model.encoders) if isinstance(model, JointModel) else 0

    async def wait_until_loaded(self, _items: Sequence[Item]) -> None:
        """Return at once."""

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize the texts of items."""
        return tokenize_items(self._model, items)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass."""
        return self._model.infer(items, context)

    def list_loaded(self) -> list[ServedModel]:
        """Return the model."""
        return [self._model]

    def name_for(self, _source: Record | UnreadableRange) -> str:
        """Return the name of the model."""
        return self._model.name


class RolloutRouter:
    """Implements `worker.ports.ModelRouter` with the models of a plan in a file, which may change at any time.

    `tokenize` and `infer` run in threads. They read `_models` and `_references`, which the event loop replaces and never changes.
    """

    def __init__(
        self,
        file: Path,
        plan: RolloutPlan,
        model: ServedModel,
        *,
        load: Callable[[str], ServedModel],
        telemetry: WorkerTelemetry,
        read_interval_s: float = _READ_INTERVAL_S,
        unload_after_s: float = _UNLOAD_AFTER_S,
    ) -> None:
        """Start with `model`, the first model of `plan`; `file` contains the steps of the plan.

        `load` blocks and may raise any exception. `start` reads the file.
        """
        self._file = file
        self._load = load
        self._telemetry = telemetry
        self._read_interval_s = read_interval_s
        self._unload_after_s = unload_after_s
        # The content of the file when it was last read; None if there was no file.
        self._text: str | None = None
        self._plan = plan
        # The loaded models by reference. The mapping is replaced and never changed.
        self._models: Mapping[str, ServedModel] = {plan.first: model}
        # A reference with each encoder that was loaded, by the name of the encoder. The mapping is replaced and never changed.
        self._references: Mapping[str, str] = {encoder.name: plan.first for encoder in list_encoders(model)}
        # The tasks that load a model, by reference; also those that have failed.
        self._loading: dict[str, asyncio.Task[None]] = {}
        # The offset of the last tokenized record of each partition.
        self._offsets: dict[Partition, int] = {}
        # The name of the model of the last tokenized record.
        self._newest = model.name
        # Since when each loaded model has been unused, in seconds of `time.monotonic`.
        self._idle_since_s: dict[str, float] = {}
        self.max_passes, self.num_encoders = model.max_passes, len(list_encoders(model))
        # The device runs live passes and one backfill pass, or the warm-up of a model alone.
        self._num_slots = self.max_passes + 1
        self._device = threading.BoundedSemaphore(self._num_slots)
        self._warming_up = threading.Lock()

    async def start(self) -> None:
        """Read the file and load the models of the plan. Raises `BadSettings` if the file is not readable."""
        self._read()
        self._telemetry.models(self._references)
        await asyncio.gather(*(self._wait_until_loaded(reference) for reference in self._plan.models))

    async def watch(self, partitions: Callable[[], Collection[Partition]]) -> None:
        """Read the file at intervals, load new models, and unload models that none of the assigned `partitions` needs."""
        while True:
            await asyncio.sleep(self._read_interval_s)
            try:
                self._read()
            except BadSettings as error:
                self._telemetry.rollout_failed(str(self._file), error)
            needed = self._find_needed(partitions())
            for reference in needed:
                self._begin_to_load(reference)
            self._unload_unused(needed, time.monotonic())

    async def wait_until_loaded(self, items: Sequence[Item]) -> None:
        """Return when the models of these items are loaded, or failed to load."""
        if self._plan.steps or self._plan.first not in self._models:
            for candidates in {tuple(self._plan.candidates(item.record)) for item in items}:
                for reference in candidates:
                    await self._wait_until_loaded(reference)
                    if reference in self._models:
                        break

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize each text with the tokenizer of its model."""
        tokens: list[Any] = [None] * len(items)
        models = [self._select(item.record) for item in items]
        for model, indexes in _group_by_model(models):
            for index, result in zip(indexes, tokenize_items(model, [items[index] for index in indexes]), strict=True):
                tokens[index] = result
        for item in items:
            self._offsets[item.record.partition] = item.record.offset
        self._newest = models[-1].name if models else self._newest
        return tokens

    def list_loaded(self) -> list[ServedModel]:
        """Return the loaded models; the first is the model of the newest records."""
        return sorted(self._models.values(), key=lambda model: model.name != self._newest)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run a forward pass of each model of these items, one after the other."""
        predictions: list[Any] = [None] * len(items)
        names = [tokenized.tokens.model for tokenized in items]
        # A late record may load its model again. The load is in this thread, and once for all items of the model.
        models = {name: self._find_by_name(name) for name in set(names)}
        for model, indexes in _group_by_model([models[name] for name in names]):
            with self._device:
                results = model.infer([items[index] for index in indexes], context)
            for index, prediction in zip(indexes, results, strict=True):
                predictions[index] = prediction
        return predictions

    def name_for(self, source: Record | UnreadableRange) -> str:
        """Return the name of the model of a record."""
        return self._select(source).name

    def _select(self, source: Record | UnreadableRange) -> ServedModel:
        models = self._models
        loaded = [models[reference] for reference in self._plan.candidates(source) if reference in models]
        # If no candidate could be loaded, the record goes to any loaded model.
        return loaded[0] if loaded else next(iter(models.values()))

    def _find_by_name(self, name: str) -> ServedModel:
        """Return a model with the encoder that tokenized an item; load the model again if it has been unloaded since."""
        models = self._models
        if (model := models.get(self._references[name])) is not None:
            return model
        # Another model may have the same encoder.
        having = (model for model in models.values() if any(encoder.name == name for encoder in list_encoders(model)))
        return next(having, None) or self._load(self._references[name])

    def _read(self) -> None:
        """Read the file and take over its steps if it has changed. A missing file has no steps. Raises `BadSettings`."""
        try:
            text: str | None = self._file.read_text()
        except FileNotFoundError:
            text = None
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{self._file}: the file is not readable: {error}") from error
        if text == self._text:
            return
        # An error in the file is reported once, not at each read.
        self._text = text
        try:
            self._plan = self._plan.with_steps(text or "")
        except BadSettings as error:
            raise BadSettings(f"{self._file}: {error}") from error
        # Models that failed to load are tried again.
        self._loading = {reference: task for reference, task in self._loading.items() if not task.done()}
        self._telemetry.info("rollout_planned", file=str(self._file), steps=[step.model for step in self._plan.steps])

    def _begin_to_load(self, reference: str) -> None:
        if reference not in self._models and reference not in self._loading:
            self._loading[reference] = asyncio.create_task(self._load_in_background(reference))

    async def _wait_until_loaded(self, reference: str) -> None:
        """Return when a model is loaded, or failed to load."""
        self._begin_to_load(reference)
        if reference not in self._models:
            await asyncio.shield(self._loading[reference])

    async def _load_in_background(self, reference: str) -> None:
        began_s = time.monotonic()
        try:
            model = await asyncio.to_thread(self._load_now, reference)
        except Exception as error:  # noqa: BLE001  any failure of a new model leaves the loaded models in service
            self._telemetry.rollout_failed(reference, error)
            return
        self._references = {**self._references, **{encoder.name: reference for encoder in list_encoders(model)}}
        self._models = {**self._models, reference: model}
        self._loading.pop(reference, None)
        self._report_models()
        self._telemetry.info("model_loaded", model=model.name, reference=reference, seconds=round(time.monotonic() - began_s, 3))

    def _report_models(self) -> None:
        self._telemetry.models({encoder.name for model in self._models.values() for encoder in list_encoders(model)})

    def _load_now(self, reference: str) -> ServedModel:
        model = self._load(reference)
        trim_malloc()
        with self._warming_up, contextlib.ExitStack() as alone:
            for _ in range(self._num_slots):
                alone.enter_context(self._device)
            model.warm_up()
        return model

    def _find_needed(self, partitions: Collection[Partition]) -> set[str]:
        """Return the models that later records of the partitions may need; all models for a partition without a record so far."""
        needed: set[str] = set() if partitions else self._plan.models
        for partition in partitions:
            offset = self._offsets.get(partition)
            needed |= self._plan.models if offset is None else self._plan.models_from(partition, offset + 1)
        return needed

    def _unload_unused(self, needed: set[str], now_s: float) -> None:
        """Unload models that have been unused for `unload_after_s`, but never the last model."""
        unused = self._models.keys() - needed
        self._idle_since_s = {reference: self._idle_since_s.get(reference, now_s) for reference in unused}
        for reference, since_s in self._idle_since_s.items():
            if now_s - since_s >= self._unload_after_s and len(self._models) > 1:
                name = self._models[reference].name
                self._models = {other: model for other, model in self._models.items() if other != reference}
                trim_malloc()
                self._report_models()
                self._telemetry.info("model_unloaded", model=name, reference=reference)


def _group_by_model(models: Sequence[ServedModel]) -> list[tuple[ServedModel, list[int]]]:
    """Return each distinct model with the indexes at which it occurs."""
    groups: dict[int, tuple[ServedModel, list[int]]] = {}
    for index, model in enumerate(models):
        groups.setdefault(id(model), (model, []))[1].append(index)
    return list(groups.values())

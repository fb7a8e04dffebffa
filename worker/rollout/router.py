"""The models of a worker: one for good, or several while one is rolled out, each record with its own.

A model is loaded beside those that run, and takes over where the plan says. A record waits for the model that it goes to; if that
cannot be loaded, the one before it goes on, and somebody is told. What no partition of ours needs any more is let go.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from worker.observability.metrics import Telemetry
    from worker.ports import ServedModel
    from worker.records import Item, Partition, Prediction, Record, TokenizedItem, Tokens, UnreadableRange
    from worker.rollout.plan import RolloutPlan

# Between two looks at the file, in seconds.
_LOOK_INTERVAL_S = 2.0
# A model that nobody needs is kept for so long: what is on its way to it has long been there by then.
_KEPT_S = 60.0


class SingleModel:
    """Satisfies `worker.ports.ModelRouter`: every record goes to the same one."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self.max_passes = model.max_passes

    async def wait_until_loaded(self, _items: Sequence[Item]) -> None:
        """Return at once."""

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize the texts."""
        return self._model.tokenize([it.text for it in items])

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass."""
        return self._model.infer(items, context)

    def name_for(self, _source: Record | UnreadableRange) -> str:
        """Return its name."""
        return self._model.name


class RolloutRouter:
    """Satisfies `worker.ports.ModelRouter`: where a record goes is what the plan in a file says, which may change at any time."""

    def __init__(
        self,
        file: Path,
        plan: RolloutPlan,
        model: ServedModel,
        *,
        load: Callable[[str], ServedModel],
        telemetry: Telemetry,
        look_interval_s: float = _LOOK_INTERVAL_S,
        kept_s: float = _KEPT_S,
    ) -> None:
        """Have `model`, the first of the `plan`, already; the file gives the plan its steps.

        `load` blocks, and raises what it likes. Nothing is read before `start`.
        """
        self._file = file
        self._load = load
        self._telemetry = telemetry
        self._look_interval_s = look_interval_s
        self._kept_s = kept_s
        # The file as it was last read; None for one that is not there.
        self._text: str | None = None
        self._plan = plan
        # Models that are loaded, by how the plan calls them.
        self._models: dict[str, ServedModel] = {plan.first: model}
        # How the plan calls each model that ever was loaded, by its own name.
        self._references: dict[str, str] = {model.name: plan.first}
        # Models that are being loaded, or that could not be.
        self._loading: dict[str, asyncio.Task[None]] = {}
        # Where each partition stands: the last record that went to a model.
        self._offsets: dict[Partition, int] = {}
        # Since when each loaded model has been needed by nobody, in seconds of a monotonic clock.
        self._idle_since_s: dict[str, float] = {}
        self.max_passes = model.max_passes
        # On the device: passes, and one that gives way to them; or the first passes of another model, which are alone.
        self._num_places = self.max_passes + 1
        self._device = threading.BoundedSemaphore(self._num_places)
        self._warming_up = threading.Lock()

    async def start(self) -> None:
        """Read the file and load what it names; raises `BadSettings` where it cannot be read."""
        self._read()
        self._telemetry.models(self._references)
        await asyncio.gather(*(self._loaded(it) for it in self._plan.models))

    async def watch(self, partitions: Callable[[], Collection[Partition]]) -> None:
        """Follow the file for ever: load what it comes to name, and let go what none of the `partitions`, those of ours, needs."""
        while True:
            await asyncio.sleep(self._look_interval_s)
            try:
                self._read()
            except BadSettings as error:
                self._telemetry.rollout_failed(str(self._file), error)
            needed = self._needed(partitions())
            for it in needed:
                self._begin_to_load(it)
            self._let_go(needed, time.monotonic())

    async def wait_until_loaded(self, items: Sequence[Item]) -> None:
        """Return once every model that one of these goes to is loaded, or could not be."""
        if self._plan.steps or self._plan.first not in self._models:
            for candidates in {tuple(self._plan.candidates(it.record)) for it in items}:
                for reference in candidates:
                    await self._loaded(reference)
                    if reference in self._models:
                        break

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize each text with the vocabulary of the model that it goes to."""
        parts = _parts([self._model_for(it.record) for it in items])
        tokens: list[Any] = [None] * len(items)
        for model, places in parts:
            for place, found in zip(places, model.tokenize([items[it].text for it in places]), strict=True):
                tokens[place] = found
        for it in items:
            self._offsets[it.record.partition] = it.record.offset
        return tokens

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run a forward pass of each model that has tokenized some of these."""
        parts = _parts([self._model_named(it.tokens.model) for it in items])
        predictions: list[Any] = [None] * len(items)
        for model, places in parts:
            with self._device:
                found = model.infer([items[it] for it in places], context)
            for place, prediction in zip(places, found, strict=True):
                predictions[place] = prediction
        return predictions

    def name_for(self, source: Record | UnreadableRange) -> str:
        """Return the name of the model that a record goes to, or would go to."""
        return self._model_for(source).name

    def _model_for(self, source: Record | UnreadableRange) -> ServedModel:
        loaded = (self._models.get(it) for it in self._plan.candidates(source))
        # Where none of them can be loaded, any is better than to stop.
        return next((it for it in loaded if it is not None), next(iter(self._models.values())))

    def _model_named(self, name: str) -> ServedModel:
        """Return the model that has tokenized something; once it is let go, it is loaded for what comes late."""
        return self._models.get(self._references[name]) or self._load(self._references[name])

    def _read(self) -> None:
        """Read the file, where it has changed; a file that is not there is an empty plan. Raises `BadSettings`."""
        try:
            text: str | None = self._file.read_text()
        except FileNotFoundError:
            text = None
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{self._file}: it cannot be read: {error}") from error
        if text == self._text:
            return
        # Said once, whatever is in it.
        self._text = text
        try:
            self._plan = self._plan.with_steps(text or "")
        except BadSettings as error:
            raise BadSettings(f"{self._file}: {error}") from error
        # What could not be loaded is tried anew.
        self._loading = {it: task for it, task in self._loading.items() if not task.done()}
        self._telemetry.info("rollout_planned", file=str(self._file), steps=[it.model for it in self._plan.steps])

    def _begin_to_load(self, reference: str) -> None:
        if reference not in self._models and reference not in self._loading:
            self._loading[reference] = asyncio.create_task(self._load_beside(reference))

    async def _loaded(self, reference: str) -> None:
        """Return once a model is loaded, or could not be."""
        self._begin_to_load(reference)
        if reference not in self._models:
            await asyncio.shield(self._loading[reference])

    async def _load_beside(self, reference: str) -> None:
        began_s = time.monotonic()
        try:
            model = await asyncio.to_thread(self._load_now, reference)
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, those that are loaded go on
            self._telemetry.rollout_failed(reference, error)
            return
        self._models[reference] = model
        self._references[model.name] = reference
        self._loading.pop(reference, None)
        self._telemetry.models([it.name for it in self._models.values()])
        self._telemetry.info("model_loaded", model=model.name, reference=reference, seconds=round(time.monotonic() - began_s, 3))

    def _load_now(self, reference: str) -> ServedModel:
        model = self._load(reference)
        trim_malloc()
        with self._warming_up, contextlib.ExitStack() as alone:
            for _ in range(self._num_places):
                alone.enter_context(self._device)
            model.warm_up()
        return model

    def _needed(self, partitions: Collection[Partition]) -> set[str]:
        """Return the models that some record of our partitions may still go to: all, of one of which nothing has come yet."""
        needed: set[str] = set() if partitions else self._plan.models
        for it in partitions:
            needed |= self._plan.models_from(it, self._offsets[it] + 1) if it in self._offsets else self._plan.models
        return needed

    def _let_go(self, needed: set[str], now_s: float) -> None:
        """Let go what nobody has needed for long, but never the last one."""
        idle = self._models.keys() - needed
        self._idle_since_s = {it: self._idle_since_s.get(it, now_s) for it in idle}
        for it, since_s in self._idle_since_s.items():
            if now_s - since_s >= self._kept_s and len(self._models) > 1:
                name = self._models.pop(it).name
                trim_malloc()
                self._telemetry.models([it.name for it in self._models.values()])
                self._telemetry.info("model_unloaded", model=name, reference=it)


def _parts(models: Sequence[ServedModel]) -> list[tuple[ServedModel, list[int]]]:
    """Return each of the models once, with the places at which it stands."""
    places: dict[int, tuple[ServedModel, list[int]]] = {}
    for place, model in enumerate(models):
        places.setdefault(id(model), (model, []))[1].append(place)
    return list(places.values())

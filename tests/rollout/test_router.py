"""The model router: each record has its own model, also within a batch, and a model that fails to load changes nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.fakes import FakeModel
from worker.errors import BadModel, BadSettings
from worker.observability.metrics import WorkerTelemetry
from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.rollout.plan import RolloutPlan
from worker.rollout.router import RolloutRouter, SingleModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOME = Partition("texts", 0)


def named(name: str) -> FakeModel:
    """Return a model with a name and two concurrent passes."""
    model = FakeModel(max_passes=2)
    model.name = f"{name}@1"
    return model


def items(*offsets: int) -> list[Item]:
    """Return decoded records at these offsets."""
    return [Item(Record(HOME, offset, None, b""), f"id-{offset}", "a b", frozenset(Task)) for offset in offsets]


class Shelf:
    """A router whose models load from memory, wait or fail."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.loaded: list[str] = []
        self.models: dict[str, FakeModel] = {}
        self.may_load = threading.Event()
        self.may_load.set()
        self.telemetry = WorkerTelemetry()
        self.first = named("a")
        self.rollout = RolloutRouter(
            file,
            RolloutPlan("a", "texts"),
            self.first,
            load=self.load,
            telemetry=self.telemetry,
            read_interval_s=0.001,
            unload_after_s=0.0,
        )

    def load(self, reference: str) -> FakeModel:
        """Load a model. A model whose name starts with `bad` does not load."""
        self.may_load.wait()
        self.loaded.append(reference)
        if reference.startswith("bad"):
            raise BadModel(f"{reference}: no")
        return self.models.setdefault(reference, named(reference))

    def plan(self, *steps: tuple[str, int]) -> None:
        """Write the steps to the file."""
        self.file.write_text("".join(f'[[step]]\nmodel = "{model}"\nfrom = {{ 0 = {offset} }}\n' for model, offset in steps))

    async def names(self, *offsets: int) -> list[str]:
        """Return the model of each record."""
        wanted = items(*offsets)
        await self.rollout.wait_until_loaded(wanted)
        return [tokens.model for tokens in self.rollout.tokenize(wanted)]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return a router whose file does not exist yet."""
    return Shelf(tmp_path / "rollout.toml")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110  the condition depends on a thread or on a file
        await asyncio.sleep(0.001)


async def test_a_single_model_serves_every_record() -> None:
    model = named("a")
    models = SingleModel(model)
    await models.wait_until_loaded(items(0))
    (tokens,) = models.tokenize(items(0))
    assert len(models.infer([TokenizedItem(items(0)[0], tokens)])) == 1
    assert models.name_for(items(0)[0].record) == "a@1"


async def test_the_model_that_tokenized_a_record_predicts_it(shelf: Shelf) -> None:
    """A batch costs one pass for each model, and the predictions have the order of the items."""
    shelf.plan(("b", 10))
    await shelf.rollout.start()
    wanted = items(8, 10, 9, 11, 12)
    tokens = shelf.rollout.tokenize(wanted)
    assert [result.model for result in tokens] == ["a@1", "b@1", "a@1", "b@1", "b@1"]
    shelf.models["b"].on_infer = lambda batch: seen.extend(tokenized.item.id for tokenized in batch)
    seen: list[str] = []
    predictions = shelf.rollout.infer(list(map(TokenizedItem, wanted, tokens)))
    assert (shelf.first.passes, shelf.models["b"].passes, seen) == ([2], [3], ["id-10", "id-11", "id-12"])
    assert all(prediction.embedding is not None for prediction in predictions)
    assert [shelf.rollout.name_for(item.record) for item in items(9, 10)] == ["a@1", "b@1"]


async def test_the_warm_up_of_a_model_has_the_device_alone(shelf: Shelf) -> None:
    """The warm-up waits for running passes, and later passes wait for the warm-up."""
    shelf.plan(("b", 10))
    shelf.models["b"] = named("b")
    seen: list[str] = []
    running, may_end = threading.Event(), threading.Event()

    def on_infer(_items: object) -> None:
        running.set()
        may_end.wait(20)
        seen.append("pass")

    shelf.first.on_infer = on_infer
    shelf.models["b"].warm_up = lambda: seen.append("warm-up")  # type: ignore[method-assign]
    wanted = list(map(TokenizedItem, items(8), shelf.rollout.tokenize(items(8))))
    passing = asyncio.create_task(asyncio.to_thread(shelf.rollout.infer, wanted))
    await asyncio.to_thread(running.wait, 20)
    loading = asyncio.create_task(shelf.rollout.start())
    # The pass holds one slot. The warm-up holds the others and waits for that one.
    await until(lambda: shelf.rollout._device._value == 0)
    assert not seen
    may_end.set()
    await asyncio.gather(passing, loading)
    assert seen == ["pass", "warm-up"]


async def test_a_record_waits_for_its_model(shelf: Shelf) -> None:
    """Records below the offset of the step do not wait."""
    await shelf.rollout.start()
    shelf.may_load.clear()
    shelf.plan(("b", 10))
    shelf.rollout._read()
    assert await shelf.names(9) == ["a@1"]
    waiting = asyncio.create_task(shelf.names(10))
    await until(lambda: bool(shelf.rollout._loading))
    assert not waiting.done()
    shelf.may_load.set()
    assert await waiting == ["b@1"]


async def test_the_previous_model_continues_if_a_model_does_not_load(shelf: Shelf) -> None:
    """The failure is reported once. The model is loaded again when the file changes."""
    shelf.plan(("b", 10), ("bad", 20))
    await shelf.rollout.start()
    assert await shelf.names(9, 15, 25) == ["a@1", "b@1", "b@1"]
    assert await shelf.names(26) == ["b@1"]
    assert shelf.loaded.count("bad") == 1
    assert shelf.value("gist_rollout_failures_total") == 1
    shelf.plan(("b", 10), ("bad", 20), ("c", 30))
    shelf.rollout._read()
    assert await shelf.names(27, 30) == ["b@1", "c@1"]
    assert shelf.loaded.count("bad") == 2


async def test_an_unused_model_is_unloaded_and_loaded_again_when_needed(shelf: Shelf) -> None:
    """A partition that is below the step may be assigned later. A record that was tokenized before is still predicted."""
    shelf.plan(("b", 10))
    await shelf.rollout.start()
    tokens = shelf.rollout.tokenize(items(9, 10))
    watching = asyncio.create_task(shelf.rollout.watch(lambda: [HOME]))
    await until(lambda: shelf.value("gist_model_info", model="a@1") is None)
    watching.cancel()
    assert shelf.value("gist_model_info", model="b@1") == 1
    assert len(shelf.rollout.infer([TokenizedItem(items(9)[0], tokens[0])])) == 1
    assert await shelf.names(9, 10) == ["a@1", "b@1"]


async def test_changes_of_the_file_are_applied(shelf: Shelf) -> None:
    """A new model is loaded before its first record. A file with an error changes nothing."""
    await shelf.rollout.start()
    watching = asyncio.create_task(shelf.rollout.watch(lambda: [HOME]))
    shelf.plan(("b", 10))
    await until(lambda: "b" in shelf.loaded)
    assert await shelf.names(9, 10) == ["a@1", "b@1"]
    shelf.file.write_text("[[step")
    await until(lambda: shelf.value("gist_rollout_failures_total") == 1)
    assert await shelf.names(11) == ["b@1"]
    shelf.plan(("b", 10), ("a", 13))
    await until(lambda: len(shelf.rollout._plan.steps) == 2)
    assert await shelf.names(12, 13) == ["b@1", "a@1"]
    watching.cancel()


async def test_a_file_with_an_error_ends_the_start(shelf: Shelf) -> None:
    """The error names the file."""
    shelf.file.write_text("[[step")
    with pytest.raises(BadSettings, match=r"rollout\.toml: the file is not TOML"):
        await shelf.rollout.start()


async def test_threads_read_mappings_that_do_not_change(shelf: Shelf) -> None:
    """A load or unload replaces the mapping of models, so that a thread never iterates over a mapping that changes."""
    shelf.plan(("b", 10))
    before = shelf.rollout._models
    await shelf.rollout.start()
    assert (list(before), list(shelf.rollout._models)) == (["a"], ["a", "b"])

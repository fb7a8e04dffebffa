"""Models side by side: each record has its own, whatever batch it is in, and one that is broken changes nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.fakes import FakeModel
from worker.errors import BadModel, BadSettings
from worker.observability.metrics import Telemetry
from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.rollout.plan import RolloutPlan
from worker.rollout.router import RolloutRouter, SingleModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOME = Partition("texts", 0)


def named(name: str) -> FakeModel:
    """Return a model with a name, which takes two passes at a time."""
    model = FakeModel(max_passes=2)
    model.name = f"{name}@1"
    return model


def items(*offsets: int) -> list[Item]:
    """Return decoded records at these offsets."""
    return [Item(Record(HOME, it, None, b""), f"id-{it}", "a b", frozenset(Task)) for it in offsets]


class Shelf:
    """Loads models, notes which, and may be told to wait or fail."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.loaded: list[str] = []
        self.models: dict[str, FakeModel] = {}
        self.may_load = threading.Event()
        self.may_load.set()
        self.telemetry = Telemetry()
        self.first = named("a")
        self.rollout = RolloutRouter(
            file, RolloutPlan("a", "texts"), self.first, load=self.load, telemetry=self.telemetry, look_interval_s=0.001, kept_s=0.0
        )

    def load(self, reference: str) -> FakeModel:
        """Load a model; one whose name begins with `bad` does not load."""
        self.may_load.wait()
        self.loaded.append(reference)
        if reference.startswith("bad"):
            raise BadModel(f"{reference}: no")
        return self.models.setdefault(reference, named(reference))

    def plan(self, *steps: tuple[str, int]) -> None:
        """Write the file."""
        self.file.write_text("".join(f'[[step]]\nmodel = "{model}"\nfrom = {{ 0 = {offset} }}\n' for model, offset in steps))

    async def names(self, *offsets: int) -> list[str]:
        """Return the model of each record."""
        wanted = items(*offsets)
        await self.rollout.wait_until_loaded(wanted)
        return [it.model for it in self.rollout.tokenize(wanted)]

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric."""
        return self.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Give a roll-out whose file is not there yet."""
    return Shelf(tmp_path / "rollout.toml")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110  what is awaited is a thread, or a look at a file
        await asyncio.sleep(0.001)


async def test_one_model_is_for_every_record() -> None:
    """Without further ado."""
    model = named("a")
    models = SingleModel(model)
    await models.wait_until_loaded(items(0))
    (tokens,) = models.tokenize(items(0))
    assert len(models.infer([TokenizedItem(items(0)[0], tokens)])) == 1
    assert models.name_for(items(0)[0].record) == "a@1"


async def test_each_record_of_a_batch_goes_through_the_model_that_tokenized_it(shelf: Shelf) -> None:
    """One pass for each model; every answer comes back in its place, though the plan may have changed meanwhile."""
    shelf.plan(("b", 10))
    await shelf.rollout.start()
    wanted = items(8, 10, 9, 11, 12)
    tokens = shelf.rollout.tokenize(wanted)
    assert [it.model for it in tokens] == ["a@1", "b@1", "a@1", "b@1", "b@1"]
    shelf.models["b"].on_infer = lambda its: seen.extend(it.item.id for it in its)
    seen: list[str] = []
    predictions = shelf.rollout.infer([TokenizedItem(item, it) for item, it in zip(wanted, tokens, strict=True)])
    assert (shelf.first.passes, shelf.models["b"].passes, seen) == ([2], [3], ["id-10", "id-11", "id-12"])
    assert all(it.embedding is not None for it in predictions)
    assert [shelf.rollout.name_for(it.record) for it in items(9, 10)] == ["a@1", "b@1"]


async def test_the_first_passes_of_a_model_are_alone_on_the_device(shelf: Shelf) -> None:
    """They wait for every pass that runs, and one that comes waits for them."""
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
    wanted = [TokenizedItem(it, tokens) for it, tokens in zip(items(8), shelf.rollout.tokenize(items(8)), strict=True)]
    passing = asyncio.create_task(asyncio.to_thread(shelf.rollout.infer, wanted))
    await asyncio.to_thread(running.wait, 20)
    loading = asyncio.create_task(shelf.rollout.start())
    # One place is the pass's, the others are taken for the warm-up, which waits for the first.
    await until(lambda: shelf.rollout._device._value == 0)
    assert not seen
    may_end.set()
    await asyncio.gather(passing, loading)
    assert seen == ["pass", "warm-up"]


async def test_a_record_waits_for_its_model(shelf: Shelf) -> None:
    """Those below the place do not; readiness and everything else go on."""
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


async def test_a_model_that_does_not_load_leaves_the_last_one_running(shelf: Shelf) -> None:
    """It is said once, and tried again when the file changes."""
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


async def test_what_is_needed_no_more_is_let_go_and_comes_back_when_it_is(shelf: Shelf) -> None:
    """As when a partition comes to us that stands before the place; and what comes late for it is still answered."""
    shelf.plan(("b", 10))
    await shelf.rollout.start()
    tokens = shelf.rollout.tokenize(items(9, 10))
    watching = asyncio.create_task(shelf.rollout.watch(lambda: [HOME]))
    await until(lambda: shelf.value("gist_model_info", model="a@1") is None)
    watching.cancel()
    assert shelf.value("gist_model_info", model="b@1") == 1
    assert len(shelf.rollout.infer([TokenizedItem(items(9)[0], tokens[0])])) == 1
    assert await shelf.names(9, 10) == ["a@1", "b@1"]


async def test_the_file_is_followed_there_and_back(shelf: Shelf) -> None:
    """A model is loaded when it comes to be named, before its first record; a file that is broken changes nothing."""
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


async def test_a_file_that_is_broken_at_the_start_stops_it(shelf: Shelf) -> None:
    """In one line that names it."""
    shelf.file.write_text("[[step")
    with pytest.raises(BadSettings, match=r"rollout\.toml: it is not TOML"):
        await shelf.rollout.start()

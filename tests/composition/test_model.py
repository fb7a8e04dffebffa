"""The loader of models: a model that loads in a thread while other modules are imported."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from tests.fakes import FakeModel
from worker.composition import model as engines
from worker.composition.model import ModelLoader
from worker.errors import BadModel
from worker.settings import read


async def test_a_model_that_was_begun_is_returned_once_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout unloads the first model, so the loader has no reference to it."""
    monkeypatch.setattr(engines, "load_engine", lambda _settings: FakeModel())
    loader = ModelLoader(read({}))
    loader.begin("a")
    loaded = await loader.finish()
    model: Any = weakref.ref(loaded.model)
    del loaded
    for thread in threading.enumerate():
        if thread.name == "model":
            thread.join()
    # The event loop drops the callback of the thread in its next round.
    await asyncio.sleep(0)
    gc.collect()
    assert model() is None


async def test_a_caller_that_is_cancelled_leaves_the_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends without an error of its own, which Python would print."""
    gate, failures = threading.Event(), list[object]()

    def load(_settings: object) -> FakeModel:
        gate.wait()
        return FakeModel()

    monkeypatch.setattr(engines, "load_engine", load)
    monkeypatch.setattr(threading, "excepthook", failures.append)
    loader = ModelLoader(read({}))
    loader.begin("a")
    finishing = asyncio.create_task(loader.finish())
    await asyncio.sleep(0)
    finishing.cancel()
    await asyncio.wait([finishing])
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "model":
            thread.join()
    assert failures == []


async def test_a_failure_in_the_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets the failure of the model itself."""

    def fail(_settings: object) -> None:
        raise BadModel("nowhere: no such directory")

    monkeypatch.setattr(engines, "load_engine", fail)
    loader = ModelLoader(read({}))
    loader.begin("nowhere")
    with pytest.raises(BadModel, match="no such directory"):
        await loader.finish()

"""Inference: off the event loop, in order, and the guilty record found at the price of a few passes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeModel
from tests.makers import record
from worker.errors import TooManyFailures
from worker.flow.model_executor import ModelExecutor
from worker.records import Batch, Failure, Item, Stage, Task, TokenizedItem
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.records import Prediction, Tokens


@contextlib.contextmanager
def inference(model: FakeModel, *, max_consecutive_failures: int = 1_000) -> Iterator[ModelExecutor]:
    """Give an inference whose threads end with the block."""
    it = ModelExecutor(SingleModel(model), max_consecutive_failures=max_consecutive_failures)
    try:
        yield it
    finally:
        it.stop()


def items(texts: Sequence[str]) -> list[Item]:
    """Return an item for each text."""
    return [Item(record(n), f"id-{n}", text, frozenset(Task)) for n, text in enumerate(texts)]


def batch(model: FakeModel, texts: Sequence[str]) -> Batch:
    """Return a batch of texts."""
    tokens = [model._tokens(text) for text in texts]
    return Batch(tuple(TokenizedItem(*pair) for pair in zip(items(texts), tokens, strict=True)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["fine", "good text", "poison"]), min_size=1, max_size=32))
def test_exactly_the_guilty_fail(texts: list[str]) -> None:
    """Every good text has its prediction, every guilty one its failure, in order, in at most 2 log n passes for each culprit."""
    model = FakeModel()

    async def run() -> list[Prediction]:
        with inference(model) as it:
            return await it.predict(batch(model, texts))

    predictions = asyncio.run(run())
    for text, prediction in zip(texts, predictions, strict=True):
        assert [failure.error for failure in prediction.failures] == (["RuntimeError"] if text == "poison" else [])
        assert (prediction.embedding is None) == (text == "poison")
    num_guilty = texts.count("poison")
    assert len(model.passes) <= 1 + 2 * num_guilty * max(1, (len(texts) - 1).bit_length())


async def test_texts_that_cannot_be_tokenized_fail_alone() -> None:
    """The others get their tokens."""
    model = FakeModel()

    def on_tokenize(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise ValueError("no")

    model.on_tokenize = on_tokenize
    with inference(model) as it:
        answers: list[Tokens | Failure] = await it.tokenize(items(["a", "bad", "b c"]))
        assert await it.tokenize([]) == []
    assert isinstance(answers[1], Failure)
    assert (answers[1].stage, answers[1].error) == (Stage.TOKENIZE, "ValueError")
    assert [len(answer) for answer in answers if not isinstance(answer, Failure)] == [1, 2]


async def test_little_text_is_tokenized_where_it_is_and_much_in_a_thread() -> None:
    """A sentence takes less time than its way to a thread and back; more would hold up the event loop."""
    model = FakeModel()
    threads: list[threading.Thread] = []
    model.on_tokenize = lambda _texts: threads.append(threading.current_thread())
    with inference(model) as it:
        await it.tokenize(items(["a sentence", "or two"]))
        await it.tokenize(items(["a sentence " * 100]))
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


async def test_failures_in_a_row_stop_the_worker_and_a_success_starts_the_count_anew() -> None:
    """It is the run that counts, not the sum."""
    model = FakeModel()
    with inference(model, max_consecutive_failures=3) as it:
        for _ in range(5):
            await it.predict(batch(model, ["poison"]))
            await it.predict(batch(model, ["poison"]))
            await it.predict(batch(model, ["fine"]))
        with pytest.raises(TooManyFailures, match="3 records failed in a row"):
            await it.predict(batch(model, ["poison"] * 8))


async def test_a_head_that_always_fails_stops_the_worker_too() -> None:
    """A record with a failed task is no success."""
    model = FakeModel()
    with inference(model, max_consecutive_failures=4) as it, pytest.raises(TooManyFailures, match="HeadError"):
        await it.predict(batch(model, ["headless"] * 4))


async def test_a_model_with_too_few_answers_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could say which answer belongs to which text."""
    model = FakeModel()
    monkeypatch.setattr(model, "infer", lambda _items, **_: [])
    with inference(model) as it:
        prediction = (await it.predict(batch(model, ["a"])))[0]
    assert prediction.failures[0].message == "the model gave 0 answers to 1 items"


async def test_the_event_loop_turns_while_the_model_works() -> None:
    """Heartbeats leave: the pass waits for something that only the loop can do."""
    model = FakeModel()
    turned = threading.Event()
    model.on_infer = lambda _items: _require(turned.wait(20))
    with inference(model) as it:
        running = asyncio.create_task(it.predict(batch(model, ["a"])))
        await asyncio.sleep(0)
        turned.set()
        assert (await running)[0].failures == ()


async def test_as_many_passes_run_at_a_time_as_the_model_takes() -> None:
    """Two wait for each other, which a third could not join."""
    model = FakeModel(max_passes=2)
    together = threading.Barrier(2, timeout=20)
    model.on_infer = lambda _items: _require(together.wait() in {0, 1})
    with inference(model) as it:
        answers = await asyncio.gather(*(it.predict(batch(model, ["a"])) for _ in range(4)))
    assert [prediction.failures for (prediction,) in answers] == [()] * 4


async def test_a_pass_that_gives_way_runs_beside_those_that_do_not() -> None:
    """It waits in a thread of its own for as long as it is told, and so do the smaller ones that it becomes where it fails."""
    model = FakeModel()
    live_is_done, waited = threading.Event(), []
    with inference(model) as it:
        background = asyncio.create_task(
            it.predict(batch(model, ["a", "poison"]), give_way=lambda: waited.append(live_is_done.wait(20)))
        )
        await it.predict(batch(model, ["b"]))
        live_is_done.set()
        good, bad = await background
    assert (good.failures, [failure.error for failure in bad.failures]) == ((), ["RuntimeError"])
    # Before each pass, and in the one step that it has.
    assert waited == [True] * 6


def _require(is_so: Any) -> None:
    if not is_so:
        raise TimeoutError

"""The model executor: threads, order, and bisection of failing batches."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeModel
from tests.makers import record
from worker.batches import QUERIES, Batch, Priority
from worker.errors import InvariantBroken, TooManyFailures
from worker.flow.model_executor import ModelExecutor
from worker.records import Failure, Item, Outcome, Stage, Task, TokenizedItem
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from worker.records import Prediction, Tokens


@contextlib.contextmanager
def executor_for(
    model: FakeModel,
    *,
    yield_to_live: Callable[[], None] = lambda: None,
    note_pass: Callable[[Batch, float], None] = lambda _batch, _seconds: None,
    max_consecutive_failures: int = 1_000,
) -> Iterator[ModelExecutor]:
    """Yield an executor whose threads end with the block."""
    executor = ModelExecutor(
        SingleModel(model),
        yield_to_live=yield_to_live,
        note_pass=note_pass,
        max_failures=max_consecutive_failures,
    )
    try:
        yield executor
    finally:
        executor.stop()


def items(texts: Sequence[str]) -> list[Item]:
    """Return an item for each text."""
    return [Item(record(n), f"id-{n}", text, frozenset(Task)) for n, text in enumerate(texts)]


def batch(model: FakeModel, texts: Sequence[str], priority: Priority = Priority.LIVE) -> Batch:
    """Return a batch of texts."""
    tokens = [model._tokens(text) for text in texts]
    return Batch(tuple(TokenizedItem(*pair) for pair in zip(items(texts), tokens, strict=True)), priority=priority)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["fine", "good text", "poison"]), min_size=1, max_size=32))
def test_only_failing_records_fail(texts: list[str]) -> None:
    """The other records of the batch have predictions, in order. Each failing record costs at most 2 log n passes."""
    model = FakeModel()

    async def run() -> list[Prediction]:
        with executor_for(model) as executor:
            return await executor.run_batch(batch(model, texts))

    predictions = asyncio.run(run())
    for text, prediction in zip(texts, predictions, strict=True):
        assert [failure.error for failure in prediction.failures] == (["RuntimeError"] if text == "poison" else [])
        assert (prediction.embedding is None) == (text == "poison")
    num_failing = texts.count("poison")
    assert len(model.passes) <= 1 + 2 * num_failing * max(1, (len(texts) - 1).bit_length())


async def test_a_text_that_cannot_be_tokenized_fails_alone() -> None:
    """The other texts of the call have tokens."""
    model = FakeModel()

    def on_tokenize(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise ValueError("no")

    model.on_tokenize = on_tokenize
    with executor_for(model) as executor:
        results: list[Tokens | Failure] = await executor.tokenize(items(["a", "bad", "b c"]))
        assert await executor.tokenize([]) == []
    assert isinstance(results[1], Failure)
    assert (results[1].stage, results[1].error) == (Stage.TOKENIZE, "ValueError")
    assert [len(result) for result in results if not isinstance(result, Failure)] == [1, 2]


async def test_short_texts_are_tokenized_in_the_event_loop_and_long_ones_in_a_thread() -> None:
    """A sentence takes less time than a switch of threads; a long text would block the event loop."""
    model = FakeModel()
    threads: list[threading.Thread] = []
    model.on_tokenize = lambda _texts: threads.append(threading.current_thread())
    with executor_for(model) as executor:
        await executor.tokenize(items(["a sentence", "or two"]))
        await executor.tokenize(items(["a sentence " * 100]))
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


async def test_consecutive_failures_stop_the_worker() -> None:
    """A success resets the count."""
    model = FakeModel()
    with executor_for(model, max_consecutive_failures=3) as executor:
        for _ in range(5):
            await executor.run_batch(batch(model, ["poison"]))
            await executor.run_batch(batch(model, ["poison"]))
            await executor.run_batch(batch(model, ["fine"]))
        with pytest.raises(TooManyFailures, match="3 records failed in a row"):
            await executor.run_batch(batch(model, ["poison"] * 8))


async def test_texts_of_clients_do_not_hide_a_model_that_fails_for_all_records() -> None:
    """A client that asks for a vector each second says nothing about the heads that the records need."""
    model = FakeModel()
    with executor_for(model, max_consecutive_failures=3) as executor:
        (own,) = batch(model, ["fine"]).items
        query = replace(own, item=replace(own.item, record=replace(own.item.record, partition=QUERIES)))
        await executor.run_batch(batch(model, ["headless", "headless"]))
        await executor.run_batch(Batch((query,)))
        with pytest.raises(TooManyFailures, match="HeadError"):
            await executor.run_batch(batch(model, ["headless"]))


async def test_a_head_that_always_fails_stops_the_worker() -> None:
    """A record with a failed task counts as a failure."""
    model = FakeModel()
    with executor_for(model, max_consecutive_failures=4) as executor, pytest.raises(TooManyFailures, match="HeadError"):
        await executor.run_batch(batch(model, ["headless"] * 4))


async def test_a_pass_with_too_few_predictions_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictions cannot be matched to the texts."""
    model = FakeModel()
    monkeypatch.setattr(model, "infer", lambda _items, _context: [])
    with executor_for(model) as executor:
        prediction = (await executor.run_batch(batch(model, ["a"])))[0]
    assert prediction.failures[0].message == "the model returned 0 results for 1 items"


async def test_the_event_loop_runs_during_a_pass() -> None:
    """The pass waits for an event that only the event loop sets."""
    model = FakeModel()
    turned = threading.Event()
    model.on_infer = lambda _items: _require(turned.wait(20))
    with executor_for(model) as executor:
        running = asyncio.create_task(executor.run_batch(batch(model, ["a"])))
        await asyncio.sleep(0)
        turned.set()
        assert (await running)[0].failures == ()


async def test_max_passes_run_at_the_same_time() -> None:
    """Two passes meet at a barrier of two, two times."""
    model = FakeModel(max_passes=2)
    together = threading.Barrier(2, timeout=20)
    model.on_infer = lambda _items: _require(together.wait() in {0, 1})
    with executor_for(model) as executor:
        results = await asyncio.gather(*(executor.run_batch(batch(model, ["a"])) for _ in range(4)))
    assert [prediction.failures for (prediction,) in results] == [()] * 4


async def test_a_paused_backfill_pass_blocks_no_live_pass() -> None:
    """The backfill pass pauses in a thread of its own, and so do its halves after a failure."""
    model = FakeModel()
    live_is_done, waited = threading.Event(), []
    with executor_for(model, yield_to_live=lambda: waited.append(live_is_done.wait(20))) as executor:
        background = asyncio.create_task(executor.run_batch(batch(model, ["a", "poison"], Priority.BACKFILL)))
        await executor.run_batch(batch(model, ["b"]))
        live_is_done.set()
        good, bad = await background
    assert (good.failures, [failure.error for failure in bad.failures]) == ((), ["RuntimeError"])
    # Each of three passes pauses before it starts and before its only step.
    assert waited == [True] * 6


def _require(is_so: Any) -> None:
    if not is_so:
        raise TimeoutError


async def test_the_duration_of_each_pass_that_succeeds_is_reported() -> None:
    """The passes of a bisection are reported apart; a pass that fails is not."""
    noted: list[tuple[int, bool]] = []
    model = FakeModel()
    with executor_for(model, note_pass=lambda own, seconds: noted.append((len(own.items), seconds >= 0))) as executor:
        await executor.run_batch(batch(model, ["fine", "fine", "fine", "poison"]))
    assert noted == [(2, True), (1, True)]


@pytest.mark.parametrize("num_items", [1, 2, 9])
async def test_outputs_are_encoded_in_order(num_items: int) -> None:
    """Each item has the result of the given function; several items are encoded outside the event loop."""
    model, threads = FakeModel(), set[int]()

    def build(tokenized: TokenizedItem, prediction: Prediction) -> Outcome:
        threads.add(threading.get_ident())
        assert prediction.embedding is not None
        return Outcome(tokenized.item.record)

    with executor_for(model) as executor:
        own = batch(model, ["fine"] * num_items)
        outcomes = await executor.encode(own, await executor.run_batch(own), build)
    assert [outcome.source for outcome in outcomes] == [tokenized.item.record for tokenized in own.items]
    assert (threading.get_ident() in threads) is (num_items <= 2)


async def test_an_exception_of_the_encoder_is_raised() -> None:
    """The encoder has no failures of single records: those are dead letters already."""
    model = FakeModel()

    def build(tokenized: TokenizedItem, _prediction: Prediction) -> Outcome:
        raise InvariantBroken(tokenized.item.id)

    with executor_for(model) as executor:
        own = batch(model, ["fine"] * 5)
        predictions = await executor.run_batch(own)
        with pytest.raises(InvariantBroken, match="id-0"):
            await executor.encode(own, predictions, build)

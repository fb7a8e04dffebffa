"""The pipeline over a topic whose records have the wrong shape, all of them or the first."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.fakes import fail_times
from tests.test_pipeline import World
from worker.errors import OffsetOutOfRange, RecordRefused, TooManyDeadLetters
from worker.records import Output, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.records import Outcome, Partition, TokenizedItem

# Longer than any test: what is held stays held.
FOR_EVER_S = 600.0
WRONG = b'{"id": "7", "body": "hello"}'


def produce_wrong(world: World, count: int, *, partition: int = 0, value: bytes = WRONG) -> None:
    """Append records of the wrong shape to a partition."""
    for _ in range(count):
        world.kafka.produce(value, partition=partition)


async def until_stopped(world: World) -> str:
    """Run a world until its trust ends it, and return the line that says why."""
    with pytest.raises(ExceptionGroup) as caught:
        async with world.running():
            await asyncio.Event().wait()
    (stop,) = caught.value.exceptions
    assert isinstance(stop, TooManyDeadLetters)
    return str(stop)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition on the world; the time limit of the world bounds it."""
    while not condition():  # noqa: ASYNC110  the fakes tell nobody
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("num_partitions", [1, 3])
async def test_a_topic_of_the_wrong_shape_stops_the_worker_with_nothing_published_or_committed(num_partitions: int) -> None:
    """The error names the reason and the fields, for any spread of the records over partitions."""
    world = World(num_partitions=num_partitions, max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)
    for partition in range(num_partitions):
        produce_wrong(world, 60 // num_partitions, partition=partition)
    said = await until_stopped(world)
    assert "there is no `text`" in said
    assert said.count("fields seen: id, body") == 1
    assert (world.kafka.published, world.kafka.committed) == ([], {})


@pytest.mark.parametrize("stage", ["tokenize", "infer"])
async def test_failures_of_every_stage_count(stage: str) -> None:
    """Decoding failures and model failures together reach the limit that neither reaches alone."""
    world = World(max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)

    def on_tokenize(texts: Sequence[str]) -> None:
        if stage == "tokenize" and any("poison" in text for text in texts):
            raise ValueError("no")

    world.model.on_tokenize = on_tokenize
    produce_wrong(world, 12)
    world.produce(*(f"poison {n}" for n in range(12)))
    assert f"failed to {stage}" in await until_stopped(world)
    assert (world.kafka.published, world.kafka.committed) == ([], {})


async def test_bad_records_before_the_first_result_are_published_in_order_once_it_is_there() -> None:
    """The dead letters of all partitions are held until the first result; then every offset is committed."""
    world = World(num_partitions=2, max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)
    produce_wrong(world, 3)
    world.kafka.produce(None)
    async with world.running():
        await until(lambda: world.pipeline.is_ready and sum(world.source.positions.values()) == 4)
        assert world.kafka.published == []
        world.produce("hello", partition=1)
        await world.committed(0)
        await world.committed(1)
    assert world.kafka.offsets(Output.DEAD_LETTERS) == [0, 1, 2]
    assert world.kafka.offsets(Output.EMBEDDINGS) == [3]
    assert world.kafka.offsets(Output.EMBEDDINGS, partition=1) == [0]


async def test_a_trusted_topic_may_have_any_number_of_bad_records() -> None:
    """After the first result each bad record becomes a dead letter, whether read with the result or later."""
    world = World(max_consecutive_failures=5, dead_letter_hold_s=FOR_EVER_S)
    world.produce("hello")
    produce_wrong(world, 30)
    async with world.running():
        await world.committed()
        produce_wrong(world, 30)
        await world.committed()
    assert world.kafka.offsets(Output.DEAD_LETTERS) == list(range(1, 61))


async def test_a_topic_with_only_a_few_bad_records_gets_them_as_dead_letters() -> None:
    """Dead letters are held for a bounded time; a failed publication repeats them, and each counts once."""
    world = World(max_consecutive_failures=5, dead_letter_hold_s=0.01)
    world.delivery.on_publish = fail_times(3)
    produce_wrong(world, 4)
    async with world.running():
        await world.committed()
    assert world.kafka.offsets(Output.DEAD_LETTERS) == [0, 1, 2, 3]


async def test_a_slow_topic_of_the_wrong_shape_stops_the_worker_too() -> None:
    """Dead letters that were published after the hold time still count towards the limit."""
    world = World(max_consecutive_failures=5, dead_letter_hold_s=0.001)

    async def run() -> None:
        async with world.running():
            for _ in range(5):
                produce_wrong(world, 1)
                await world.committed()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(TooManyDeadLetters, match="5 records failed")
    assert world.kafka.committed == {world.kafka.partitions[0]: 4}


async def test_a_worker_that_is_told_to_stop_leaves_what_it_holds_to_the_next() -> None:
    """The drain ends without a result, and the held records are neither published nor committed."""
    world = World(max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)
    produce_wrong(world, 3)
    async with world.running():
        await until(lambda: sum(world.source.positions.values()) == 3)
    assert (world.kafka.published, world.kafka.committed) == ([], {})


async def test_a_drain_waits_for_the_record_that_may_be_the_first_result() -> None:
    """A result in one partition releases the dead letters of another partition, also during a drain."""
    world = World(num_partitions=2, max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)
    may_infer = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_infer(_items: Sequence[TokenizedItem]) -> None:
        asyncio.run_coroutine_threadsafe(may_infer.wait(), loop).result()

    world.model.on_infer = on_infer
    produce_wrong(world, 3)
    world.produce("hello", partition=1)
    async with world.running():
        await until(lambda: bool(world.model.passes))
        world.pipeline.drain()
        await until(lambda: not world.pipeline.is_ready)
        may_infer.set()
    assert world.kafka.offsets(Output.DEAD_LETTERS) == [0, 1, 2]
    assert world.kafka.committed == dict(zip(world.kafka.partitions, [3, 1], strict=True))


async def test_a_held_dead_letter_is_published_if_the_log_no_longer_has_its_record() -> None:
    """After a lost position the held records could not be read again."""
    world = World(max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S)
    produce_wrong(world, 3)
    async with world.running():
        await until(lambda: sum(world.source.positions.values()) == 3)
        world.source.poll_error = OffsetOutOfRange("planted")
        await until(lambda: world.source.num_starts == 2)
        await world.committed()
    assert world.kafka.offsets(Output.DEAD_LETTERS) == [0, 1, 2]


async def test_large_records_that_are_held_do_not_stop_the_reading() -> None:
    """Held records have no weight, so large records reach the limit, too."""
    world = World(max_consecutive_failures=20, dead_letter_hold_s=FOR_EVER_S, max_poll_records=1)
    produce_wrong(world, 20, value=json.dumps({"body": "x" * 20_000}).encode())
    assert "fields seen: body" in await until_stopped(world)


async def test_a_run_of_dead_letters_stops_a_trusted_worker_that_has_a_limit_for_it() -> None:
    """The dead letter that would complete the run is neither published nor committed."""
    world = World(max_consecutive_failures=5, max_consecutive_dead_letters=10)
    world.produce("hello")
    produce_wrong(world, 9)
    world.produce("hello")
    produce_wrong(world, 10)
    assert "GIST_MAX_CONSECUTIVE_DEAD_LETTERS" in await until_stopped(world)
    assert 20 not in world.kafka.offsets(Output.DEAD_LETTERS)
    assert world.kafka.committed.get(world.kafka.partitions[0], 0) <= 20


async def test_a_topic_of_which_the_brokers_refuse_every_result_stops_the_worker() -> None:
    """A refused result counts as a failure."""
    world = World(max_consecutive_failures=5, dead_letter_hold_s=FOR_EVER_S, tasks=frozenset({Task.EMBED}))

    def on_publish(partition: Partition, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            for message in outcome.messages:
                if message.output is Output.EMBEDDINGS:
                    raise RecordRefused(partition, outcome.offset, Output.EMBEDDINGS, "planted")

    world.delivery.on_publish = on_publish
    world.produce(*(f"text {n}" for n in range(20)))
    assert "refused by the brokers" in await until_stopped(world)
    assert len(world.kafka.published) < 5

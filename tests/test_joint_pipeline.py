"""The pipeline with several encoders: the outputs of a record are published together and in order."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import FakeModel, fail_times
from tests.test_pipeline import RESULTS, World
from worker.errors import TooManyFailures
from worker.records import Output, Task
from worker.rollout.joint_model import JointModel
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    from worker.records import Outcome, Partition


class JointWorld(World):
    """A pipeline with two encoders: one embeds, the other has heads."""

    def __init__(self, **options: Any) -> None:
        self.embedder, self.heads = FakeModel(max_tokens=4), FakeModel()
        self.embedder.name, self.heads.name = "embedder@1", "heads@1"
        tasks = [(self.embedder, frozenset({Task.EMBED})), (self.heads, frozenset({Task.CLASSIFY, Task.NER}))]
        super().__init__(models=SingleModel(JointModel(tasks, max_passes=2)), **options)


@pytest.mark.parametrize("options", [{}, {"result_cache_bytes": 10_000}, {"backfill_topic": "texts"}])
async def test_the_outputs_of_all_encoders_are_published_once_and_in_order(options: dict[str, Any]) -> None:
    """Each output has each record once, in order, and names the model that made the output."""
    world = JointWorld(num_partitions=2, **options)
    for partition in range(2):
        world.produce(*(f"{'word ' * (n % 7)}text {n}" for n in range(60)), partition=partition)
    async with world.running():
        for partition in range(2):
            await world.committed(partition)
    for partition in range(2):
        for output in RESULTS:
            assert world.kafka.offsets(output, partition) == list(range(60))
    models = {(message.output, dict(message.headers)["gist-model"]) for _, _, message in world.kafka.published}
    assert models == {(Output.EMBEDDINGS, b"embedder@1"), (Output.LABELS, b"heads@1"), (Output.ENTITIES, b"heads@1")}


async def test_a_record_waits_for_its_slowest_encoder() -> None:
    """The messages of a record are published by one call, which is one transaction with exactly once."""
    world, may_end, published = JointWorld(), threading.Event(), list[tuple[int, int]]()
    seen, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_infer_slowly(_items: object) -> None:
        may_end.wait(20)

    def on_infer(_items: object) -> None:
        loop.call_soon_threadsafe(seen.set)

    world.embedder.on_infer, world.heads.on_infer = on_infer_slowly, on_infer

    def on_publish(_partition: Partition, outcomes: list[Outcome]) -> None:
        published.extend((outcome.offset, len(outcome.messages)) for outcome in outcomes)

    world.delivery.on_publish = on_publish  # type: ignore[assignment]
    world.produce("one", "two", "three")
    async with world.running():
        await seen.wait()
        assert not published
        may_end.set()
        await world.committed()
    assert published == [(0, 3), (1, 3), (2, 3)]


async def test_a_record_is_not_computed_by_an_encoder_that_it_does_not_need() -> None:
    world = JointWorld()
    world.kafka.produce(b'{"text": "only a vector", "tasks": ["embed"]}')
    async with world.running():
        await world.committed()
    assert (world.embedder.passes, world.heads.passes) == ([1], [])
    assert [message.output for _, _, message in world.kafka.published] == [Output.EMBEDDINGS]


async def test_each_encoder_truncates_a_text_at_its_own_length() -> None:
    world = JointWorld()
    world.produce("a text of six words here")
    async with world.running():
        await world.committed()
    truncated = {message.output: dict(message.headers)["gist-truncated"] for _, _, message in world.kafka.published}
    assert truncated == {Output.EMBEDDINGS: b"true", Output.LABELS: b"false", Output.ENTITIES: b"false"}


async def test_an_encoder_that_fails_on_a_record_costs_its_outputs_only() -> None:
    """The record has the outputs of the other encoder, and a dead letter for each task of the failed one."""
    world = JointWorld()

    def on_infer(items: Any) -> None:
        if any("bad" in item.item.text for item in items):
            raise ValueError("no")

    world.embedder.on_infer = on_infer
    world.produce("good", "bad", "good")
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(1, "infer", "ValueError")]
    assert (world.kafka.offsets(Output.EMBEDDINGS), world.kafka.offsets(Output.LABELS)) == ([0, 2], [0, 1, 2])


async def test_an_encoder_that_always_fails_stops_the_worker() -> None:
    """The successes of the other encoder do not hide its failures."""
    world = JointWorld(max_consecutive_failures=6)
    world.produce(*["headless text"] * 20)
    with pytest.raises(ExceptionGroup) as failed:
        async with world.running():
            await world.committed()
    assert failed.group_contains(TooManyFailures)


async def test_a_restarted_session_publishes_each_record_once() -> None:
    """Parts of records that were in flight before the failure are dropped."""
    world = JointWorld()
    world.delivery.on_publish = fail_times(2)
    world.produce(*(f"text {n}" for n in range(40)))
    async with world.running():
        await world.committed()
    for output in RESULTS:
        assert world.kafka.offsets(output) == list(range(40))

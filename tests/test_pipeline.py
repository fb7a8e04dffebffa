"""The pipeline with a fake Kafka and a fake model: order, dead letters, backpressure, retries, drain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest

from tests.fakes import FakeDelivery, FakeKafka, FakeModel, FakeSource, fail_times, refuse
from tests.makers import OPTIONS
from worker.errors import (
    BadSettings,
    BrokerUnavailable,
    ConsumerBroken,
    DrainIncomplete,
    OffsetOutOfRange,
    PublishFailed,
    TooManyFailures,
)
from worker.observability.metrics import WorkerTelemetry
from worker.pipeline import Pipeline
from worker.records import Output, Partition, UnreadableRange, Window
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.records import Record, TokenizedItem, Tokens

RESULTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES)


class World:
    """A pipeline and its fakes."""

    def __init__(self, *, num_partitions: int = 1, models: SingleModel | None = None, **options: Any) -> None:
        self.kafka = FakeKafka(num_partitions)
        self.source = FakeSource(self.kafka)
        self.delivery = FakeDelivery(self.kafka)
        self.model = FakeModel()
        self.telemetry = WorkerTelemetry()
        self.pipeline = Pipeline(
            source=self.source,
            delivery=self.delivery,
            models=models or SingleModel(self.model),
            telemetry=self.telemetry,
            options=replace(OPTIONS, **options),
        )

    def produce(self, *texts: str, partition: int = 0) -> None:
        """Append requests to a partition."""
        for text in texts:
            self.kafka.produce(json.dumps({"text": text}).encode(), partition=partition)

    async def committed(self, partition: int = 0) -> None:
        """Wait until all records of a partition are committed."""
        home = self.kafka.partitions[partition]
        await self.kafka.until(lambda: self.kafka.committed.get(home) == len(self.kafka.log[home]))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the pipeline, drain it at the end, and raise its exception; an early end interrupts the test."""
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pipeline.run())
            yield
            self.pipeline.drain()

    def dead_letters(self) -> list[tuple[int, str, str]]:
        """Return the offset, stage and error of each dead letter."""
        letters = [(offset, message) for _, offset, message in self.kafka.published if message.output is Output.DEAD_LETTERS]
        return [(offset, letter["stage"], letter["error"]) for offset, m in letters for letter in [json.loads(m.value or b"null")]]


async def test_every_record_comes_out_in_order_in_every_output() -> None:
    """Each output has each record once, in the order of the offsets, and every offset is committed."""
    world = World(num_partitions=3)
    for partition in range(3):
        world.produce(*(f"{'word ' * (n % 7)}text {n}" for n in range(100)), partition=partition)
    async with world.running():
        for partition in range(3):
            await world.committed(partition)
    for partition in range(3):
        for output in RESULTS:
            assert world.kafka.offsets(output, partition) == list(range(100))


async def test_a_record_gets_only_the_tasks_that_it_asks_for() -> None:
    """The other outputs have no message for the record, and its offset is committed."""
    world = World()
    world.kafka.produce(b'{"text": "only labels", "tasks": ["classify"]}')
    async with world.running():
        await world.committed()
    assert [message.output for _, _, message in world.kafka.published] == [Output.LABELS]


async def test_a_tombstone_passes_through_in_its_place() -> None:
    """Each output has a null value with the key of the record, in order, without a forward pass."""
    world = World()
    world.produce("before")
    world.kafka.produce(None, key=b"gone")
    world.produce("after")
    async with world.running():
        await world.committed()
    for output in RESULTS:
        assert world.kafka.offsets(output) == [0, 1, 2]
    assert [m.key for _, offset, m in world.kafka.published if offset == 1] == [b"gone"] * 3
    assert [m.value for _, offset, m in world.kafka.published if offset == 1] == [None] * 3
    assert sum(world.model.passes) == 2


async def test_an_invalid_record_becomes_a_dead_letter_and_the_line_goes_on() -> None:
    """All other records are published."""
    world = World()
    world.produce("good")
    world.kafka.produce(b"not json")
    world.kafka.produce(None, key=None)
    world.produce("good again")
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(1, "decode", "InvalidRecord"), (2, "decode", "InvalidRecord")]
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 3]


async def test_the_guilty_record_of_a_batch_is_found() -> None:
    """A failed batch is halved until one record is left; all other records are published in order."""
    world = World()
    world.produce(*(f"poison {n}" if n in (3, 11) else f"text {n}" for n in range(16)))
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(3, "infer", "RuntimeError"), (11, "infer", "RuntimeError")]
    assert world.kafka.offsets(Output.LABELS) == [n for n in range(16) if n not in (3, 11)]


async def test_a_head_that_fails_costs_only_its_task() -> None:
    """The other outputs of the record are published, and the dead letter names the task."""
    world = World()
    world.produce("fine", "headless", "fine too")
    async with world.running():
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 1, 2]
    assert world.kafka.offsets(Output.ENTITIES) == [0, 2]
    letter = next(json.loads(m.value or b"") for _, _, m in world.kafka.published if m.output is Output.DEAD_LETTERS)
    assert (letter["task"], letter["error"]) == ("ner", "HeadError")


async def test_a_text_that_cannot_be_tokenized_is_found_too() -> None:
    """The batch is halved for the tokenizer as it is for the model."""
    world = World()

    def on_tokenize(texts: Sequence[str]) -> None:
        if any("cursed" in text for text in texts):
            raise ValueError("no tokens")

    world.model.on_tokenize = on_tokenize
    world.produce("a", "cursed", "b", "c")
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(1, "tokenize", "ValueError")]
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 2, 3]


async def test_a_broken_model_stops_the_worker_instead_of_emptying_the_topic() -> None:
    """Many failures without a success stop the worker, and the last batch is not committed."""
    world = World(max_consecutive_failures=5)
    world.produce(*(f"poison {n}" for n in range(50)))
    with pytest.raises(ExceptionGroup) as caught:
        async with world.running():
            await asyncio.Event().wait()
    assert caught.group_contains(TooManyFailures, match="5 records failed in a row")
    assert len(world.dead_letters()) < 5
    assert world.source.num_stops == 1


async def test_a_failed_publication_is_tried_again_from_the_committed_offset() -> None:
    """No record is lost, and the order is kept."""
    world = World()
    world.delivery.on_publish = fail_times(3)
    world.produce(*(f"text {n}" for n in range(40)))
    async with world.running():
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == list(range(40))
    assert len(world.delivery.opened) == 4


async def test_a_message_that_the_topic_refuses_becomes_a_dead_letter() -> None:
    """A refusal by the broker affects one output of one record; all other messages are published."""
    world = World(max_publish_records=1)
    world.delivery.on_publish = refuse(Output.EMBEDDINGS, 2)
    world.produce(*(f"text {n}" for n in range(5)))
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(2, "publish", "RecordRefused")]
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 1, 3, 4]
    assert world.kafka.offsets(Output.LABELS) == [0, 1, 2, 3, 4]


async def test_a_message_over_the_limit_is_never_sent() -> None:
    """A dead letter replaces the message before it is sent."""
    world = World()
    world.delivery.limits[Output.EMBEDDINGS] = 10
    world.produce("text")
    async with world.running():
        await world.committed()
    assert world.dead_letters() == [(0, "publish", "RecordRefused")]
    assert world.kafka.offsets(Output.EMBEDDINGS) == []


async def test_a_dead_letter_topic_that_is_too_small_stops_the_start() -> None:
    """A dead letter of maximum size would block its partition; the error names the setting to change."""
    world = World()
    world.delivery.limits[Output.DEAD_LETTERS] = 100_000
    with pytest.raises(BadSettings, match="GIST_MAX_DEAD_LETTER_PAYLOAD_BYTES"):
        await world.pipeline.run()
    assert world.source.num_starts == 0


async def test_nothing_passes_a_dead_letter_that_cannot_be_written() -> None:
    """The offset is committed only after the dead letter is written."""
    world = World()
    world.delivery.on_publish = refuse(Output.DEAD_LETTERS, 1)
    world.produce("good")
    world.kafka.produce(b"bad")
    world.produce("waits")
    async with world.running():
        await world.kafka.until(lambda: len(world.delivery.opened) > 3)
        assert world.kafka.committed.get(world.kafka.partitions[0], 0) <= 1
        world.delivery.on_publish = lambda _partition, _outcomes: None
        await world.committed()
    assert world.kafka.offsets(Output.DEAD_LETTERS) == [1]


async def test_raised_limits_of_topics_apply_before_a_result_becomes_a_dead_letter() -> None:
    """An operator may raise `max.message.bytes` for a large record while the worker runs."""
    world = World()
    world.delivery.limits[Output.LABELS] = 10
    world.delivery.on_refresh = lambda: world.delivery.limits.update({Output.LABELS: 1_000_000})
    world.produce("large")
    async with world.running():
        await world.committed()
    assert world.kafka.offsets(Output.LABELS) == [0]
    assert world.dead_letters() == []


async def test_an_unreadable_range_becomes_one_dead_letter() -> None:
    """The dead letter names the range, and the offset after the range is committed."""
    world = World()
    home = world.kafka.partitions[0]
    world.source.unreadable = [UnreadableRange(home, 0, 7, "UnicodeDecodeError", "a header key")]
    async with world.running():
        await world.kafka.until(lambda: world.kafka.committed.get(home) == 7)
    letter = json.loads(world.kafka.published[0][2].value or b"null")
    assert (letter["source"]["offset"], letter["source"]["next_offset"], letter["payload"]) == (0, 7, None)


async def test_a_broken_consumer_is_built_anew() -> None:
    """Records in flight are dropped and read again, and none is lost."""
    world = World()
    world.source.poll_error = ConsumerBroken("planted")
    world.produce(*(f"text {n}" for n in range(10)))
    async with world.running():
        await world.committed()
    assert world.source.num_starts == 2
    assert sorted(set(world.kafka.offsets(Output.EMBEDDINGS))) == list(range(10))


async def test_records_read_before_the_offset_was_lost_are_published() -> None:
    """The broker may have deleted these records, so the worker cannot read them again."""
    world, may_infer = World(), threading.Event()
    world.model.on_infer = lambda _items: _blocked_by(may_infer)
    world.produce(*(f"text {n}" for n in range(10)))
    async with world.running():
        await _until(lambda: world.source.positions == {world.kafka.partitions[0]: 10})
        world.source.poll_error = OffsetOutOfRange("planted")
        await _until(lambda: world.source.poll_error is None)
        may_infer.set()
        await _until(lambda: world.source.num_starts == 2)
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == list(range(10))
    assert sum(world.model.passes) == 10


async def test_a_broken_consumer_is_built_anew_however_long_no_broker_answers() -> None:
    """A running worker does not exit while the brokers are down, but it is not ready."""
    world = World()
    async with world.running():
        await _until(lambda: world.pipeline.is_ready)
        world.source.assign_at_start = False
        world.source.start_errors = [BrokerUnavailable("planted")] * 3
        world.source.poll_error = ConsumerBroken("planted")
        await _until(lambda: world.source.num_starts == 5)
        assert not world.pipeline.is_ready
        assert world.source.listener is not None
        world.source.listener.assigned(world.kafka.partitions)
        world.produce(*(f"text {n}" for n in range(10)))
        await world.committed()
    assert world.source.num_starts == 5


async def test_a_partition_assigned_while_the_worker_leaves_does_not_hold_it() -> None:
    """The worker exits although a rebalance assigns partitions during the drain."""
    world = World(num_partitions=2)
    world.source.assign_at_start = False
    async with world.running():
        await _until(lambda: world.source.listener is not None)
        assert world.source.listener is not None
        world.source.listener.assigned(world.kafka.partitions[:1])
        await _until(lambda: world.pipeline.is_ready)
        world.pipeline.drain()
        world.source.listener.assigned(world.kafka.partitions[1:])
        await _until(lambda: not world.pipeline.is_ready)
        world.source.listener.assigned(world.kafka.partitions)


async def test_backpressure_holds_the_reading_and_lets_it_go_on() -> None:
    """Without acknowledgements, the worker reads at most its upper bound plus one poll; afterwards it continues."""
    world = World(max_in_flight_tokens=40, resume_in_flight_tokens=20, max_batch_tokens=8, max_poll_records=4)
    world.delivery.acknowledges.clear()
    world.produce(*(f"text {n}" for n in range(200)))
    async with world.running():
        await _until(lambda: world.source.asked[-3:] == [[], [], []])
        assert world.source.positions[world.kafka.partitions[0]] < 60
        world.delivery.acknowledges.set()
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == list(range(200))


async def test_a_long_text_weighs_what_its_windows_cost_and_goes_alone() -> None:
    """The tokens of all windows count toward the batch and toward the records in flight."""
    world = World(max_batch_tokens=64)
    tokens = world.model.tokenize

    def tokenize(texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        windows = (Window(1, 63, 0, 40), Window(2, 63, 40, 64))
        return [
            replace(text_tokens, windows=windows) if len(text_tokens) == 64 else text_tokens
            for text_tokens in tokens(texts, prompt)
        ]

    world.model.tokenize = tokenize  # type: ignore[method-assign]  # planted
    world.delivery.acknowledges.clear()
    world.produce("word " * 64, "one", "two")
    async with world.running():
        await _until(lambda: sum(world.model.passes) == 3)
        assert world.model.passes == [1, 2]
        assert world.pipeline._assignment.weight == (62 + 2) + (61 + 2) + 1 + 1
        world.delivery.acknowledges.set()
        await world.committed()


async def test_one_batch_runs_and_one_is_ready() -> None:
    """The model runs in one thread at a time, and no third batch is prepared."""
    world = World(max_batch_records=2)
    on_device, overlaps = threading.Lock(), []

    def on_infer(_items: Sequence[TokenizedItem]) -> None:
        if not on_device.acquire(blocking=False):
            overlaps.append(1)
            return
        # Gives another thread, if there were one, the time to get here.
        threading.Event().wait(0.002)
        on_device.release()

    world.model.on_infer = on_infer
    world.produce(*(f"text {n}" for n in range(50)))
    async with world.running():
        await world.committed()
    assert not overlaps
    assert max(world.model.passes) == 2


async def test_revocation_drains_and_commits() -> None:
    """On return, all records in flight are published and committed, and the new owner starts after them."""
    world = World()
    home = world.kafka.partitions[0]
    world.produce(*(f"text {n}" for n in range(30)))
    async with world.running():
        await world.kafka.until(lambda: bool(world.kafka.published))
        assert world.source.listener is not None
        await world.source.listener.revoked([home])
        published = world.kafka.offsets(Output.EMBEDDINGS)
        assert world.kafka.committed[home] == len(published)
        world.source.listener.assigned([home])
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == list(range(30))


async def test_revocation_does_not_wait_for_ever() -> None:
    """Records that are not done within the timeout are dropped, and not committed."""
    world = World(drain_timeout_s=0.05)
    home = world.kafka.partitions[0]
    world.delivery.acknowledges.clear()
    world.produce("stuck")
    async with world.running():
        await _until(lambda: bool(world.model.passes))
        assert world.source.listener is not None
        await world.source.listener.revoked([home])
        assert home not in world.kafka.committed
        assert world.pipeline.is_ready


async def test_a_drain_that_cannot_finish_says_so() -> None:
    """The pipeline raises `DrainIncomplete` if the brokers do not answer."""
    world = World(drain_timeout_s=0.05)
    world.delivery.commit_error = PublishFailed("planted")
    world.produce("text")
    with pytest.raises(ExceptionGroup) as caught:
        async with world.running():
            await world.kafka.until(lambda: bool(world.kafka.published))
    assert caught.group_contains(DrainIncomplete)


async def test_a_failed_commit_is_tried_again() -> None:
    """The next interval commits, and no record is dropped."""
    world = World()
    world.delivery.commit_error = PublishFailed("planted")
    world.produce("text")
    async with world.running():
        await world.kafka.until(lambda: bool(world.kafka.published))
        await _until(lambda: b'gist_step_retries_total{error="PublishFailed",stage="commit"}' in _exposition(world.telemetry))
        world.delivery.commit_error = None
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0]


async def test_the_telemetry_counts_what_happened() -> None:
    """The metrics count records, messages, dead letters and latencies."""
    world = World()
    world.produce("one", "two")
    world.kafka.produce(b"bad")
    async with world.running():
        await world.committed()
    exposition = _exposition(world.telemetry)
    assert b'gist_records_consumed_total{topic="texts"} 3.0' in exposition
    assert b'gist_messages_published_total{output="embeddings"} 2.0' in exposition
    assert b'gist_dead_letters_total{stage="decode"} 1.0' in exposition
    assert b'gist_end_to_end_latency_seconds_count{topic="texts"} 3.0' in exposition
    for stage in ("tokenize", "wait", "infer", "encode", "publish"):
        assert b'gist_stage_duration_seconds_count{stage="%s"} ' % stage.encode() in exposition


async def test_a_worker_without_partitions_is_ready_once_it_knows() -> None:
    """A worker without partitions is ready after its first assignment, and not before."""
    world = World(num_partitions=0)
    assert not world.pipeline.is_ready
    async with world.running():
        await _until(lambda: world.pipeline.is_ready)
    assert world.source.num_stops == 1


def _exposition(telemetry: WorkerTelemetry) -> bytes:
    return generate_latest(telemetry.registry)


async def _until(condition: Any) -> None:
    """Run the event loop until a condition holds; the time limit of the test bounds the wait."""
    while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
        await asyncio.sleep(0)


def test_partition_names_read_like_kafkas_own() -> None:
    """Logs and ids name a partition as the tools of Kafka do."""
    assert str(Partition("texts", 3)) == "texts-3"


def _blocked_by(event: threading.Event) -> None:
    assert event.wait(30)


class FakeSchemas:
    """A registry that answers when the test says so. A record needs a schema if its value begins with a zero byte."""

    def __init__(self) -> None:
        self.form = self
        self.is_away, self.asked, self.back = True, asyncio.Event(), asyncio.Event()
        self.num_waiting = 0

    def has_schemas(self, record: Record) -> bool:
        """Return whether the registry is back, or not needed."""
        return not (self.is_away and (record.value or b"").startswith(b"\0"))

    async def load(self, _record: Record) -> None:
        """Wait for the registry."""
        self.asked.set()
        self.num_waiting += 1
        try:
            await self.back.wait()
        finally:
            self.num_waiting -= 1

    def read_content(self, value: bytes, _headers: Mapping[str, bytes]) -> tuple[str, None]:
        """Return the text of a value."""
        return value.lstrip(b"\0").decode(), None

    def read_key_id(self, key: bytes | None) -> str:
        """Return the key."""
        return (key or b"").decode()

    def answer(self) -> None:
        """Let the registry answer."""
        self.is_away = False
        self.back.set()


async def test_a_registry_that_is_away_delays_its_partitions_only() -> None:
    """Nothing is lost and the order is kept; a partition whose schemas are known goes on."""
    schemas = FakeSchemas()
    world = World(num_partitions=2, schemas=schemas)
    world.kafka.produce(b"first", partition=0)
    world.kafka.produce(b"\0second", partition=0)
    world.kafka.produce(b"third", partition=0)
    world.kafka.produce(b"other", partition=1)
    async with world.running():
        await world.committed(1)
        await schemas.asked.wait()
        await world.kafka.until(lambda: world.kafka.committed.get(world.kafka.partitions[0]) == 1)
        assert world.kafka.offsets(Output.EMBEDDINGS, 0) == [0]
        schemas.answer()
        await world.committed(0)
    assert world.kafka.offsets(Output.EMBEDDINGS, 0) == [0, 1, 2]


async def test_a_drain_does_not_wait_for_the_registry_for_ever() -> None:
    """The records that wait are read again by the next owner."""
    world = World(schemas=FakeSchemas(), drain_timeout_s=0.05)
    world.kafka.produce(b"\0waits")
    with pytest.raises(ExceptionGroup) as caught:
        async with world.running():
            await world.kafka.until(lambda: world.pipeline._assignment.weight > 0)
    assert caught.group_contains(DrainIncomplete)
    assert world.kafka.published == []


async def test_records_of_sessions_that_ended_do_not_wait_for_the_registry() -> None:
    """A registry that is away during many rebalances does not fill the memory."""
    schemas = FakeSchemas()
    world = World(schemas=schemas)
    log = world.kafka.log[world.kafka.partitions[0]]
    for _ in range(3):
        world.kafka.produce(b"\0waits")
    async with world.running():
        await _until(lambda: schemas.num_waiting == 3)
        for _ in range(5):
            schemas.asked.clear()
            # A client returns new objects when it reads records again.
            log[:] = [replace(record) for record in log]
            assert world.source.listener is not None
            world.source.listener.assigned(world.kafka.partitions)
            await schemas.asked.wait()
            await _until(lambda: schemas.num_waiting == 3)
        schemas.answer()
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 1, 2]


async def test_records_of_a_session_that_ended_are_not_decoded_twice() -> None:
    """The session opens again while the registry is away: each record comes out once."""
    schemas = FakeSchemas()
    world = World(schemas=schemas)
    world.kafka.produce(b"\0waits")
    async with world.running():
        await schemas.asked.wait()
        world.source.poll_error = ConsumerBroken("planted")
        await world.kafka.until(lambda: world.source.num_starts == 2)
        schemas.answer()
        await world.committed()
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0]

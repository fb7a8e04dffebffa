"""A fake Kafka and a fake model with the ports of the real ones, and with faults that a test can plant."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from worker.batches import LIVE_PASS, PassContext
from worker.errors import ConsumerBroken, InvalidRecord, PublishFailed, RecordRefused
from worker.records import Classification, Failure, Output, Partition, PredictedEntity, Prediction, Record, Stage, Task, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from worker.ports import AssignmentListener
    from worker.records import Message, Outcome, TokenizedItem, UnreadableRange


class FakeKafka:
    """One input topic, the committed offsets of its group, and all published messages."""

    def __init__(self, num_partitions: int = 1, topic: str = "texts") -> None:
        self.partitions = [Partition(topic, index) for index in range(num_partitions)]
        # What was produced, by partition; the offset is the place in the list.
        self.log: dict[Partition, list[Record]] = {partition: [] for partition in self.partitions}
        self.committed: dict[Partition, int] = {}
        # What became visible: the input record's coordinates and the message, in order of publication.
        self.published: list[tuple[Partition, int, Message]] = []
        # Set whenever anything above changes.
        self.changed = asyncio.Event()

    def produce(self, value: bytes | None, *, partition: int = 0, key: bytes | None = b"k") -> Record:
        """Append a record to a partition."""
        home = self.partitions[partition]
        record = Record(home, len(self.log[home]), key, value, timestamp_ms=1_700_000_000_000)
        self.log[home].append(record)
        self.changed.set()
        return record

    def offsets(self, output: Output, partition: int = 0) -> list[int]:
        """Return the input offsets of the messages that an output has for a partition, in the order of publication."""
        home = self.partitions[partition]
        return [offset for where, offset, message in self.published if where == home and message.output is output]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on published messages or committed offsets; the time limit of the test bounds the wait."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class FakeSource:
    """A member of the group whose partitions the test assigns."""

    def __init__(self, kafka: FakeKafka, *, assign_at_start: bool = True) -> None:
        self.kafka = kafka
        self.positions: dict[Partition, int] = {}
        self.assign_at_start = assign_at_start
        self.listener: AssignmentListener | None = None
        # Raised by the next poll, once.
        self.poll_error: Exception | None = None
        # Raised by the starts to come, one each.
        self.start_errors: list[Exception] = []
        self.is_started = False
        # Handed out by the next poll, once, in place of records.
        self.unreadable: list[UnreadableRange] = []
        self.num_starts = 0
        self.num_stops = 0
        # The partitions that were asked for, poll by poll.
        self.asked: list[list[Partition]] = []

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group, and get all partitions."""
        self.num_starts += 1
        if self.start_errors:
            raise self.start_errors.pop(0)
        self.is_started = True
        self.listener = listener
        if self.assign_at_start:
            listener.assigned(self.kafka.partitions)

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange]:
        """Return the records at the positions."""
        self.asked.append(sorted(partitions))
        if not self.is_started:
            raise ConsumerBroken("not started")
        if self.poll_error is not None:
            error, self.poll_error = self.poll_error, None
            raise error
        if self.unreadable:
            found, self.unreadable = self.unreadable, []
            for hole in found:
                self.positions[hole.partition] = hole.next_offset
            return found
        records = [record for partition in partitions for record in self.kafka.log[partition][self.positions.get(partition, 0) :]][
            :max_records
        ]
        for record in records:
            self.positions[record.partition] = record.next_offset
        if not records:
            await asyncio.sleep(0.001)
        return records

    def seek(self, partition: Partition, offset: int) -> None:
        """Set the position of a partition."""
        self.positions[partition] = offset

    def pause(self, _partition: Partition) -> None:
        """Ignore the call: the pipeline polls open partitions only."""

    def lag(self) -> Mapping[Partition, int]:
        """Return the number of records after each position."""
        return {partition: len(log) - self.positions.get(partition, 0) for partition, log in self.kafka.log.items()}

    async def stop(self) -> None:
        """Count the call."""
        self.num_stops += 1
        self.is_started = False


class FakeDelivery:
    """An at-least-once delivery in memory."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka
        # Published and not yet committed, by open partition.
        self.next_offsets: dict[Partition, int] = {}
        # Asked before each publication; raises what should go wrong.
        self.on_publish: Callable[[Partition, Sequence[Outcome]], None] = lambda _partition, _outcomes: None
        # While cleared, nothing is acknowledged.
        self.acknowledges = asyncio.Event()
        self.acknowledges.set()
        self.commit_error: PublishFailed | None = None
        self.limits: dict[Output, int] = defaultdict(lambda: 1_000_000)
        # Called by `refresh_limits`; may change `limits`.
        self.on_refresh: Callable[[], None] = lambda: None
        # Outputs that refuse a message without a key.
        self.compacted: set[Output] = set()
        self.opened: list[tuple[Partition, int]] = []

    async def start(self) -> None:
        """Do nothing."""

    async def open(self, partition: Partition) -> int:
        """Return the committed offset."""
        start = self.kafka.committed.get(partition, 0)
        self.opened.append((partition, start))
        return start

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Make the messages visible, unless a fault is planted."""
        self.on_publish(partition, outcomes)
        await self.acknowledges.wait()
        for outcome in outcomes:
            for message in outcome.messages:
                self.kafka.published.append((partition, outcome.offset, message))
        self.next_offsets[partition] = outcomes[-1].next_offset
        self.kafka.changed.set()

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit the offsets of published outcomes."""
        if self.commit_error is not None:
            raise self.commit_error
        for partition in partitions:
            if partition in self.next_offsets:
                self.kafka.committed[partition] = self.next_offsets[partition]
        self.kafka.changed.set()

    async def forget(self, partition: Partition) -> None:
        """Drop the offset that is not committed."""
        self.next_offsets.pop(partition, None)

    async def refresh_limits(self) -> None:
        """Call the planted function."""
        self.on_refresh()

    def max_message_bytes(self, output: Output) -> int:
        """Return the planted limit."""
        return self.limits[output]

    def needs_key(self, output: Output) -> bool:
        """Tell whether the output is planted as compacted."""
        return output in self.compacted

    async def stop(self) -> None:
        """Do nothing."""


class FakeModel:
    """A model without weights: the embedding is the length of the text, and the label is its first letter.

    A text with `poison` fails the whole pass; a text with `headless` fails in its NER head only.
    """

    #: What the log of a start and `/readyz` name of a real engine.
    warnings: tuple[str, ...] = ()
    abilities = "fake"
    backend = SimpleNamespace(description="fake", measured=None)

    def __init__(self, *, max_tokens: int = 64, max_passes: int = 1) -> None:
        self.name = "fake@1"
        self.tasks = frozenset(Task)
        self.max_tokens = max_tokens
        self.max_passes = max_passes
        # The size of every pass, in items.
        self.passes: list[int] = []
        # Asked before each pass; may block or raise.
        self.on_infer: Callable[[Sequence[TokenizedItem]], None] = lambda _items: None
        # Asked before texts are tokenized; may raise.
        self.on_tokenize: Callable[[Sequence[str]], None] = lambda _texts: None

    def warm_up(self) -> None:
        """Do nothing."""

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        """Return a token for each word, and two more for a prompt."""
        if prompt == "unknown":
            raise InvalidRecord("the model fake has no prompt 'unknown'")
        self.on_tokenize(texts)
        return [replace(self._tokens(text if prompt is None else f"a prompt {text}"), prompt=prompt) for text in texts]

    def _tokens(self, text: str) -> Tokens:
        num_words = len(text.split())
        length = max(1, min(num_words, self.max_tokens))
        ids = np.arange(length, dtype=np.int32)
        return Tokens(ids, np.zeros((length, 2), dtype=np.int32), ids, truncated=num_words > self.max_tokens, model=self.name)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Yield to live records once, and return a prediction for each item, unless a fault is planted."""
        context.yield_to_live()
        self.passes.append(len(items))
        self.on_infer(items)
        if any("poison" in item.item.text for item in items):
            raise RuntimeError("the pass failed")
        return [self._predict(item) for item in items]

    def _predict(self, tokenized: TokenizedItem) -> Prediction:
        text, tasks = tokenized.item.text, tokenized.item.tasks
        is_headless = "headless" in text and Task.NER in tasks
        entities = (PredictedEntity("WORD", text[:1], 0, 1, 1.0, "ner"),)
        return Prediction(
            embedding=np.array([len(text), 1], dtype=np.float32) if Task.EMBED in tasks else None,
            labels={"first": Classification(text[:1], 1.0, {text[:1]: 1.0})} if Task.CLASSIFY in tasks else None,
            entities=entities if Task.NER in tasks and not is_headless else None,
            failures=(Failure(Stage.INFER, "HeadError", "the head failed", Task.NER),) if is_headless else (),
        )


def refuse(output: Output, offset: int) -> Callable[[Partition, Sequence[Outcome]], None]:
    """Return an `on_publish` function with which a topic always refuses the message of one record."""

    def on_publish(partition: Partition, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.offset == offset and any(message.output is output for message in outcome.messages):
                raise RecordRefused(partition, offset, output, "planted")

    return on_publish


def fail_times(num_failures: int) -> Callable[[Partition, Sequence[Outcome]], None]:
    """Return an `on_publish` function that fails `num_failures` times and succeeds afterwards."""
    left = [num_failures]

    def on_publish(partition: Partition, _outcomes: Sequence[Outcome]) -> None:
        if left[0]:
            left[0] -= 1
            raise PublishFailed(f"planted for {partition}")

    return on_publish

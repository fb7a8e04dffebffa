"""The processing pipeline.

    consume → decode → tokenize → batch → infer → encode → publish → commit

A list connects decode and tokenize, the lanes connect tokenize and infer, and the ledger of each partition connects encode and
publish. When too many tokens are in flight, polling continues without partitions, so that heartbeats are still sent.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from worker.api.queries import Queries
from worker.errors import BrokerUnavailable, ConsumerBroken, DrainIncomplete, OffsetOutOfRange, find_cause
from worker.flow.assignment import Assignment
from worker.flow.backpressure import Backpressure
from worker.flow.chunk_counts import ChunkCounts
from worker.flow.lanes import build_lanes
from worker.flow.model_executor import ModelExecutor
from worker.flow.monitor import Monitor
from worker.flow.outcomes import OutcomeBuilder
from worker.flow.schema_wait import SchemaWait
from worker.flow.session import Restarts, SessionEvents
from worker.flow.trust import TopicTrust
from worker.records import EmptyRange, Failure, Item, Record, Stage, TokenizedItem, UnreadableRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.batches import Batch
    from worker.errors import RecordRefused
    from worker.flow.lanes import Lane
    from worker.flow.options import Options
    from worker.observability.metrics import WorkerTelemetry
    from worker.ports import Delivery, ModelRouter, Source
    from worker.records import Outcome, Partition, Prediction, Tokens

# The weight of a record is its tokens, or its bytes divided by this number if that is more. This bounds the memory of long texts.
BYTES_PER_WEIGHT_UNIT = 64
# The estimate for the weight of a record before tokenization.
ESTIMATED_BYTES_PER_TOKEN = 4
# Interval between two checks of the dead letters that wait for the first result of their topic.
_RELEASE_INTERVAL_S = 1.0


class Pipeline:
    """The flow from one source, through its models, to one delivery.

    `run` returns after `drain` was called and all records in flight are published and committed. Otherwise `run` raises the
    `FatalError` that ended the pipeline. An exception of one step ends all steps.
    """

    def __init__(
        self, *, source: Source, delivery: Delivery, models: ModelRouter, telemetry: WorkerTelemetry, options: Options
    ) -> None:
        """Connect the parts; the pipeline starts with `run`."""
        self._source = source
        self._delivery = delivery
        self._telemetry = telemetry
        self._options = options
        self._monitor = Monitor(telemetry)
        # The tasks of all steps. An exception of one task ends all.
        self._tasks = asyncio.TaskGroup()
        self._spawn = self._tasks.create_task
        self._lanes = lanes = build_lanes(options, max_passes=models.max_passes, num_encoders=models.num_encoders)
        self._executor = ModelExecutor.from_flow(models, lanes, options, note_cached=telemetry.cached)
        #: The texts that clients send over HTTP.
        self.queries = Queries(models, lanes, self._executor, max_texts=options.max_query_texts)
        self._outcomes = OutcomeBuilder.from_flow(models, delivery, options, warn=telemetry.ineffective_setting)
        self._trust, self._chunks = TopicTrust.from_options(options), ChunkCounts.from_options(options)
        self._assignment = Assignment(
            spawn=self._spawn, source=source, delivery=delivery, telemetry=telemetry, events=self._build_events(), options=options
        )
        self._backpressure = Backpressure(self._assignment, options)
        self._schemas = SchemaWait(options.schemas, self._assignment, self._decode)
        self._restarts = Restarts(options.backoff)
        # Decoded items before tokenization, oldest first.
        self._decoded: list[Item] = []
        # Set while `_decoded` is not empty.
        self._has_decoded = asyncio.Event()
        # Set by `drain`.
        self._should_drain = asyncio.Event()
        # Whether the log may no longer contain the records in flight. Their dead letters are not held then.
        self._is_only_copy = False
        # When the poll loop last ran, in seconds of `time.monotonic`.
        self.last_poll_s = time.monotonic()

    async def run(self) -> None:
        """Join the group, process records until `drain`, then leave the group."""
        is_drained = True
        try:
            await self._delivery.start()
            self._outcomes.check_dead_letters_fit()
            async with self._tasks:
                await self._source.start(self._assignment)
                steps = self._consume(), self._schemas.run(), self._tokenize(), self._commit(), self._release()
                monitor = self._monitor.run(self._source, self._assignment, lambda: len(self._lanes) + len(self._decoded))
                flow = [self._spawn(step) for step in (*steps, *map(self._infer, self._lanes), monitor)]
                await self._should_drain.wait()
                is_drained, _ = await asyncio.gather(self._assignment.leave(), self.queries.drain())
                for task in flow:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise find_cause(group) from group
        finally:
            for part in (self.queries, self._executor, self._lanes):
                part.stop()
            await self._source.stop()
            await self._delivery.stop()
        if not is_drained:
            limit = f"{self._options.drain_timeout_s:g} s"
            raise DrainIncomplete(f"not all records were published and committed within {limit}; the next owner reads them again")

    def drain(self) -> None:
        """Finish and commit the records in flight, then end `run`."""
        self._should_drain.set()

    @property
    def is_ready(self) -> bool:
        """Whether the group has assigned partitions and the session of every partition is open."""
        return self._assignment.is_ready

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _consume(self) -> None:
        while True:
            self.last_poll_s = time.monotonic()
            try:
                partitions, max_records = self._backpressure.next_poll()
                sources = await self._source.poll([] if self._should_drain.is_set() else partitions, max_records=max_records)
            except ConsumerBroken as error:
                await self._rejoin(error)
                continue
            tracked = [source for source in map(self._track, sources) if source is not None]
            self._telemetry.consumed(source.partition.topic for source in tracked)
            for source in tracked:
                if isinstance(source, UnreadableRange):
                    self._reject(source, Failure(Stage.CONSUME, source.error, source.message))
                else:
                    self._schemas.decode(source)
            # A full poll means that more records are waiting, so poll again at once.
            if 0 < len(sources) < max_records:
                await self._lanes.wait_for_more()

    def _track(self, source: Record | UnreadableRange | EmptyRange) -> Record | UnreadableRange | None:
        """Track a polled record in the session of its partition; return the record, or None if there is nothing to process."""
        session = self._assignment.find_session(source.partition)
        if session is None:
            return None
        if isinstance(source, EmptyRange):
            session.skip(source)
            return None
        size_bytes = source.size_bytes if isinstance(source, Record) else 0
        return source if session.track(source, size_bytes // ESTIMATED_BYTES_PER_TOKEN) else None

    def _decode(self, record: Record) -> None:
        decoded = self._outcomes.decode(record)
        if isinstance(decoded, Item):
            self._decoded.append(decoded)
            self._has_decoded.set()
        elif decoded.failures:
            self._finish(decoded)
        else:
            self._complete(decoded)

    async def _tokenize(self) -> None:
        while True:
            await self._has_decoded.wait()
            limit = self._options.max_batch_records
            items, self._decoded = self._decoded[:limit], self._decoded[limit:]
            if not self._decoded:
                self._has_decoded.clear()
            began_s = time.monotonic()
            results = await self._executor.tokenize(items)
            self._telemetry.stage("tokenize", time.monotonic() - began_s)
            self._lanes.add(self._accept_tokens(items, results), time.monotonic())

    async def _infer(self, lane: Lane) -> None:
        while True:
            self._spawn(self._process(lane, await lane.next_batch()))

    async def _process(self, lane: Lane, batch: Batch) -> None:
        began_s = time.monotonic()
        self._monitor.started(batch, began_s, max_tokens=lane.max_tokens)
        try:
            predictions = await self._executor.run_batch(batch)
            self._monitor.inferred(batch, began_s)
            await self._encode(batch, predictions)
        finally:
            lane.release_slot(time.monotonic() - began_s)

    async def _encode(self, batch: Batch, predictions: Sequence[Prediction]) -> None:
        began_s = time.monotonic()
        records = self.queries.answer(batch, predictions)
        for outcome in await self._executor.encode(*records, self._outcomes.from_prediction):
            self._complete(outcome)
        self._telemetry.stage("encode", time.monotonic() - began_s)

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self._options.commit_interval_s)
            await self._assignment.commit(self._assignment.partitions)

    async def _release(self) -> None:
        """Release the dead letters that have waited for `dead_letter_hold_s` for the first result of their topic."""
        while True:
            await asyncio.sleep(min(_RELEASE_INTERVAL_S, self._options.dead_letter_hold_s or _RELEASE_INTERVAL_S))
            for topic in {partition.topic for partition in self._assignment.partitions}:
                self._trust.judge(topic, self._assignment.list_outcomes(topic))
            if self._trust.release(time.monotonic()):
                self._assignment.wake()

    def _accept_tokens(self, items: Sequence[Item], results: Sequence[Tokens | Failure]) -> list[TokenizedItem]:
        """Reject the items that failed, set the weight of the others, and drop the items of sessions that have ended."""
        accepted = []
        for item, result in zip(items, results, strict=True):
            record = item.record
            session = self._assignment.find_owner(record.partition)
            if session is None or not session.is_waiting_for(record):
                continue
            if isinstance(result, Failure):
                self._reject(record, result)
                continue
            weight = result.weight
            self._monitor.tokenized(record.partition, weight)
            session.weigh(record, max(weight, record.size_bytes // BYTES_PER_WEIGHT_UNIT))
            accepted.append(TokenizedItem(item, result))
        return accepted

    def _reject(self, source: Record | UnreadableRange, failure: Failure) -> None:
        self._finish(self._outcomes.build_dead_letter(source, failure))

    def _complete(self, outcome: Outcome) -> None:
        """Finish a record after the check of its messages against the limits of the output topics."""
        if self._outcomes.fits(outcome):
            self._finish(outcome)
        else:
            self._spawn(self._complete_oversized(outcome))

    async def _complete_oversized(self, outcome: Outcome) -> None:
        # An operator may have raised the limit since the topics were described.
        await self._delivery.refresh_limits()
        self._finish(self._outcomes.replace_oversized(outcome))

    def _finish(self, outcome: Outcome) -> None:
        session = self._assignment.find_owner(outcome.partition)
        topic = outcome.partition.topic
        if session is None or not session.finish(outcome) or self._trust.is_proven(topic):
            return
        if self._trust.finish(outcome, time.monotonic()):
            self._assignment.wake()
        elif self._trust.holds(outcome):
            # A held record needs no further work, so its tokens must not stop the reading of others.
            session.weigh(outcome.source, 1)
            self._monitor.held(outcome)
        self._trust.judge(topic, self._assignment.list_outcomes(topic))

    async def _rejoin(self, error: ConsumerBroken) -> None:
        self._telemetry.retry("consume", error)
        self._is_only_copy = isinstance(error, OffsetOutOfRange)
        self._assignment.wake()
        while True:
            self.last_poll_s = now_s = time.monotonic()
            try:
                pause_s = self._restarts.delay_s(now_s)
                await self._assignment.rejoin(is_draining=self._is_only_copy, delay_s=pause_s)
            except BrokerUnavailable as failure:
                # The brokers accepted the worker before, so this failure is temporary.
                self._telemetry.retry("consume", failure)
            else:
                return
            finally:
                self._is_only_copy = False

    # ── events of sessions ───────────────────────────────────────────────────────────────────────────────────────────────

    def _build_events(self) -> SessionEvents:
        complete, opened = self._chunks.complete if self._chunks else None, self._telemetry.session_opened
        return SessionEvents(opened, self._ended, self._published, self._refused, self._holds, self._trust.check, complete)

    def _holds(self, outcome: Outcome) -> bool:
        return not self._is_only_copy and self._trust.holds(outcome)

    def _published(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        self._trust.publish(outcomes)
        if self._chunks is not None:
            self._chunks.note_published(outcomes)
        self._monitor.published(outcomes, seconds)

    def _refused(self, outcome: Outcome, refusal: RecordRefused) -> Outcome:
        replaced = self._outcomes.replace_refused(outcome, refusal)
        self._trust.refuse(replaced)
        return replaced

    def _ended(self, partition: Partition, error: Exception) -> None:
        self._telemetry.session_ended(partition, error)
        self._lanes.discard(lambda tokenized: tokenized.item.record.partition == partition)

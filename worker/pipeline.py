"""The whole flow on one page.

    consume → decode → tokenize → batch → infer → encode → publish → commit

Every step hands on to the next through the smallest thing that will do: a list, the batcher, the session's ledger. Where too much
is in flight no more is read, and the poll loop turns all the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from worker.errors import BrokerUnavailable, ConsumerBroken, DrainIncomplete, InvalidRecord, OffsetOutOfRange, find_cause
from worker.flow.assignment import Assignment
from worker.flow.backpressure import Backpressure
from worker.flow.lanes import build_lanes
from worker.flow.model_executor import ModelExecutor
from worker.flow.monitor import Monitor
from worker.flow.outcomes import OutcomeBuilder, build_failure
from worker.flow.session import Restarts, SessionEvents
from worker.flow.trust import Trust
from worker.records import EmptyRange, Failure, Record, Stage, TokenizedItem, Tombstone, UnreadableRange
from worker.wire.decode import decode

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from worker.batches import Batch
    from worker.errors import RecordRefused
    from worker.flow.lanes import Lane
    from worker.flow.options import Options
    from worker.observability.metrics import Telemetry
    from worker.ports import Delivery, ModelRouter, Source
    from worker.records import Item, Outcome, Partition, Prediction, Tokens

# A record weighs its tokens, or its bytes over this number where that is more: huge texts may not fill the memory.
BYTES_PER_WEIGHT_UNIT = 64
# What a record is taken to weigh before its tokens are counted.
ESTIMATED_BYTES_PER_TOKEN = 4
# How often dead letters that wait for the first result of their topic are looked at, in seconds.
_RELEASE_INTERVAL_S = 1.0


class Pipeline:
    """The flow from one source, through its models, to one delivery.

    `run` returns after `drain` was called and everything in flight is published and committed; otherwise it raises the `Stop`
    that ended it. A step that dies ends all of them, visibly.
    """

    def __init__(self, *, source: Source, delivery: Delivery, models: ModelRouter, telemetry: Telemetry, options: Options) -> None:
        """Put the flow together; nothing runs before `run`."""
        self._source = source
        self._delivery = delivery
        self._telemetry = telemetry
        self._options = options
        self._observation = Monitor(telemetry)
        # Every task of the flow; one that dies ends them all.
        self._tasks = asyncio.TaskGroup()
        self._lanes = build_lanes(options, max_passes=models.max_passes)
        self._inference = ModelExecutor(
            models, yield_to_live=self._lanes.yield_to_live, max_consecutive_failures=options.max_consecutive_failures
        )
        self._fates = OutcomeBuilder.from_flow(models, delivery, options)
        self._trust = Trust.from_options(options)
        self._assignment = Assignment(
            spawn=self._spawn,
            source=source,
            delivery=delivery,
            telemetry=telemetry,
            events=SessionEvents(
                telemetry.session_opened, self._ended, self._published, self._refused, self._holds, self._trust.check
            ),
            options=options,
        )
        self._backpressure = Backpressure(self._assignment, options)
        self._restarts = Restarts(options.backoff)
        # Decoded and not yet tokenized, oldest first.
        self._decoded: list[Item] = []
        # Set while something is decoded and not yet tokenized.
        self._has_decoded = asyncio.Event()
        # Set once the worker is asked to finish.
        self._should_drain = asyncio.Event()
        # Whether what is in flight may be nowhere else: then nothing of it is held.
        self._is_only_copy = False
        # When the poll loop last turned, in seconds of `time.monotonic`.
        self.last_poll_s = time.monotonic()

    async def run(self) -> None:
        """Join the group, let the records flow until asked to drain, then leave."""
        is_drained = True
        try:
            await self._delivery.start()
            self._fates.check_dead_letters_fit()
            async with self._tasks:
                await self._source.start(self._assignment)
                steps = self._consume(), self._tokenize(), *map(self._infer, self._lanes), self._commit(), self._release()
                seen = self._observation.run(self._source, self._assignment, lambda: len(self._lanes) + len(self._decoded))
                flow = [self._spawn(step) for step in (*steps, seen)]
                await self._should_drain.wait()
                is_drained = await self._assignment.leave()
                for task in flow:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise find_cause(group) from group
        finally:
            self._inference.stop()
            self._lanes.stop()
            await self._source.stop()
            await self._delivery.stop()
        if not is_drained:
            limit = f"{self._options.drain_timeout_s:g} s"
            raise DrainIncomplete(f"not everything was published and committed within {limit}; its next owner does it again")

    def drain(self) -> None:
        """Finish what is in flight, commit it, and leave."""
        self._should_drain.set()

    @property
    def is_ready(self) -> bool:
        """Whether the group has given us our share and every partition of it takes records."""
        return self._assignment.is_ready

    # ── the verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _consume(self) -> None:
        while True:
            self.last_poll_s = time.monotonic()
            try:
                partitions, max_records = self._backpressure.next_poll()
                sources = await self._source.poll([] if self._should_drain.is_set() else partitions, max_records=max_records)
            except ConsumerBroken as error:
                await self._rejoin(error)
                continue
            tracked = [it for it in map(self._track, sources) if it is not None]
            self._telemetry.consumed(it.partition.topic for it in tracked)
            for source in tracked:
                if isinstance(source, UnreadableRange):
                    self._give_up(source, Failure(Stage.CONSUME, source.error, source.message))
                else:
                    self._decode(source)
            # Unless there may be more at once.
            if 0 < len(sources) < max_records:
                await self._lanes.wait_for_more()

    def _track(self, source: Record | UnreadableRange | EmptyRange) -> Record | UnreadableRange | None:
        """Put what has arrived in the line of its partition, and return what is now to be worked on."""
        session = self._assignment.find_session(source.partition)
        if session is None:
            return None
        if isinstance(source, EmptyRange):
            session.skip(source)
            return None
        size_bytes = source.size_bytes if isinstance(source, Record) else 0
        return source if session.track(source, size_bytes // ESTIMATED_BYTES_PER_TOKEN) else None

    def _decode(self, record: Record) -> None:
        try:
            decoded = decode(record, limits=self._options.limits, tasks=self._options.tasks)
            if isinstance(decoded, Tombstone):
                self._finish(self._fates.from_tombstone(decoded, self._options.tasks))
                return
        except InvalidRecord as error:
            self._give_up(record, build_failure(error, Stage.DECODE))
            return
        self._decoded.append(decoded)
        self._has_decoded.set()

    async def _tokenize(self) -> None:
        while True:
            await self._has_decoded.wait()
            items, self._decoded = (
                self._decoded[: self._options.max_batch_records],
                self._decoded[self._options.max_batch_records :],
            )
            if not self._decoded:
                self._has_decoded.clear()
            began_s = time.monotonic()
            answers = await self._inference.tokenize(items)
            self._telemetry.stage("tokenize", time.monotonic() - began_s)
            self._lanes.add(self._tokenized(items, answers), time.monotonic())

    async def _infer(self, lane: Lane) -> None:
        while True:
            self._spawn(self._process(lane, await lane.next_batch()))

    async def _process(self, lane: Lane, batch: Batch) -> None:
        self._telemetry.batch(
            num_records=len(batch.items),
            num_tokens=batch.num_tokens,
            max_tokens=lane.max_tokens,
            num_truncated=sum(item.tokens.truncated for item in batch.items),
        )
        began_s = time.monotonic()
        self._telemetry.stage("wait", began_s - batch.since_s)
        try:
            predictions = await self._inference.run_batch(batch)
            self._observation.inferred(batch, began_s)
            self._encode(batch, predictions)
        finally:
            lane.release_slot(time.monotonic() - began_s)

    def _encode(self, batch: Batch, predictions: Sequence[Prediction]) -> None:
        began_s = time.monotonic()
        for tokenized, prediction in zip(batch.items, predictions, strict=True):
            self._finish(self._fates.from_prediction(tokenized, prediction))
        self._telemetry.stage("encode", time.monotonic() - began_s)

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self._options.commit_interval_s)
            await self._assignment.commit(self._assignment.partitions)

    async def _release(self) -> None:
        """Publish the dead letters that have waited long enough for the first result of their topic."""
        while True:
            await asyncio.sleep(min(_RELEASE_INTERVAL_S, self._options.dead_letter_hold_s or _RELEASE_INTERVAL_S))
            for topic in {partition.topic for partition in self._assignment.partitions}:
                self._trust.judge(topic, self._assignment.list_outcomes(topic))
            if self._trust.release(time.monotonic()):
                self._assignment.wake()

    # ── what the verbs lean on ───────────────────────────────────────────────────────────────────────────────────────────

    def _tokenized(self, items: Sequence[Item], answers: Sequence[Tokens | Failure]) -> list[TokenizedItem]:
        """Give up what failed, weigh the rest, and drop what nobody waits for any more."""
        wanted = []
        for item, answer in zip(items, answers, strict=True):
            session = self._assignment.find_owner(item.record.partition)
            if session is None or not session.is_waiting_for(item.record):
                continue
            if isinstance(answer, Failure):
                self._give_up(item.record, answer)
                continue
            self._observation.tokenized(item.record.partition, answer.weight)
            session.weigh(item.record, max(answer.weight, item.record.size_bytes // BYTES_PER_WEIGHT_UNIT))
            wanted.append(TokenizedItem(item, answer))
        return wanted

    def _give_up(self, source: Record | UnreadableRange, failure: Failure) -> None:
        self._finish(self._fates.build_dead_letter(source, failure))

    def _finish(self, outcome: Outcome) -> None:
        session = self._assignment.find_owner(outcome.partition)
        if session is None or not session.finish(outcome):
            return
        if self._trust.finish(outcome, time.monotonic()):
            self._assignment.wake()
        elif self._trust.holds(outcome):
            # Nothing is left to do for the record, so that it does not keep others from being read.
            session.weigh(outcome.source, 1)
            self._observation.held(outcome)
        topic = outcome.partition.topic
        self._trust.judge(topic, self._assignment.list_outcomes(topic))

    async def _rejoin(self, error: ConsumerBroken) -> None:
        self._telemetry.retry("consume", error)
        self._is_only_copy = isinstance(error, OffsetOutOfRange)
        self._assignment.wake()
        while True:
            self.last_poll_s = now_s = time.monotonic()
            try:
                pause_s = self._restarts.delay_s(now_s)
                await self._assignment.rejoin(is_draining=self._is_only_copy, pause_s=pause_s)
            except BrokerUnavailable as failure:
                # They took us before, and will again.
                self._telemetry.retry("consume", failure)
            else:
                return
            finally:
                self._is_only_copy = False

    def _spawn(self, step: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(step)

    # ── what a session tells ─────────────────────────────────────────────────────────────────────────────────────────────

    def _holds(self, outcome: Outcome) -> bool:
        return not self._is_only_copy and self._trust.holds(outcome)

    def _published(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        self._trust.publish(outcomes)
        self._observation.published(outcomes, seconds)

    def _refused(self, outcome: Outcome, refusal: RecordRefused) -> Outcome:
        left = self._fates.refused(outcome, refusal)
        self._trust.refuse(left)
        return left

    def _ended(self, partition: Partition, error: Exception) -> None:
        self._telemetry.session_ended(partition, error)
        self._lanes.discard(lambda tokenized: tokenized.item.record.partition == partition)

"""The texts that clients send over HTTP. They share the lane of live records, its batches and the model with the stream.

    request ──admit──▶ tokenize ──enter──▶ live lane ──batch, infer──▶ answer

A request waits outside the lane while the texts of clients in the lane fill the passes that run and one batch more. A record
of the stream therefore waits for at most one batch of such texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING

from worker.batches import QUERIES, Batch
from worker.errors import GistStreamError, find_cause
from worker.flow.model_executor import MAX_CHARS_IN_EVENT_LOOP
from worker.parts import join_items
from worker.records import Record, TokenizedItem
from worker.rollout.joint_model import tokenize_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.flow.lanes import JointLanes, Lane, Lanes
    from worker.flow.model_executor import ModelExecutor
    from worker.flow.monitor import Monitor
    from worker.ports import ModelRouter, ServedModel
    from worker.records import Headers, Item, Prediction, Tokens

# The texts and the characters of one call of the tokenizer. Other requests and the stream have their turn between two calls.
_GROUP_TEXTS, _GROUP_CHARS = 16, 16_384
# Smaller batches take more processor time for each text.
_MIN_BATCH_TEXTS = 8
# Each request multiplies the highest number of texts in flight by this: half remains after 700 requests.
_PEAK_DECAY = 0.999


class Overloaded(GistStreamError):
    """The texts in flight are at their bound."""


class Unavailable(GistStreamError):
    """The worker starts, drains or reads other topics, and answers no query."""


@dataclass(slots=True)
class _Arrived:
    """The short texts of requests that arrive in one turn of the event loop, which the tokenizer reads in one call."""

    items: list[Item] = field(default_factory=list)
    #: None before the call, and if the call failed.
    tokens: list[Tokens] | None = None


@dataclass(frozen=True, slots=True)
class _Entered:
    """A text in the lane or in a forward pass."""

    tokenized: TokenizedItem
    answer: asyncio.Future[Prediction]

    @property
    def number(self) -> int:
        return self.tokenized.item.record.offset


class Queries:
    """Computes texts of clients in the lanes of a worker, at most `max_texts` at a time. Belongs to the event loop."""

    def __init__(self, models: ModelRouter, lanes: Lanes | JointLanes, executor: ModelExecutor, *, max_texts: int) -> None:
        """Use the parts of a pipeline; 0 texts for a worker without queries."""
        self._models = models
        self._lanes = lanes
        self._executor = executor
        self._max_texts = max_texts
        self._numbers = itertools.count()
        # The texts in the lane and in forward passes, by number, and the sum of their tokens.
        self._entered: dict[int, _Entered] = {}
        self._num_tokens = 0
        # Long texts are tokenized, and texts enter the lane, in turn, a group of each request. The stream waits for one group.
        self._tokenizing, self._turn = asyncio.Lock(), asyncio.Lock()
        # The short texts without tokens, by model and prompt.
        self._arrived: dict[tuple[str, str | None], _Arrived] = {}
        # Set when texts leave the lane or their pass.
        self._has_room = asyncio.Event()
        # Whether new requests are refused, and whether nothing is computed any more.
        self._is_draining = self._is_stopped = False
        #: The texts of all requests in flight.
        self.num_texts = 0
        # The highest number of texts in flight, which decays.
        self._peak = 0.0
        # Set while there are none.
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def list_models(self) -> list[ServedModel]:
        """Return the loaded models; the first is the model of the newest records."""
        return self._models.list_loaded()

    def create_record(self, value: bytes, headers: Headers = ()) -> Record:
        """Return a record whose offset is a number of its own."""
        return Record(QUERIES, next(self._numbers), None, value, headers, time.time_ns() // 1_000_000)

    async def compute(
        self, items: Sequence[Item], model: ServedModel, prompt: str | None = None
    ) -> list[tuple[TokenizedItem, Prediction]]:
        """Return the tokens and the prediction of each item, whose record is from `create_record`.

        Raises `Overloaded` at once if the texts exceed the bound, `Unavailable` if the worker stops, and what the tokenizer raises.
        A cancelled call takes its texts out of the lane.
        """
        if self._is_draining:
            raise Unavailable("the worker stops or reads other topics")
        if self.num_texts + len(items) > self._max_texts:
            raise Overloaded(f"{self.num_texts} texts are in flight, and at most {self._max_texts} are accepted")
        self.num_texts += len(items)
        self._peak = max(self.num_texts, self._peak * _PEAK_DECAY)
        self._is_idle.clear()
        entered: list[_Entered] = []
        try:
            for group in _split_into_groups(items, num_prompt_chars=len(prompt or "")):
                tokens = await self._tokenize(model, group, prompt)
                async with self._turn:
                    for item, own in zip(group, tokens, strict=True):
                        entered.append(await self._enter(TokenizedItem(item, own)))
            return [(text.tokenized, await text.answer) for text in entered]
        finally:
            self._leave(entered)
            self.num_texts -= len(items)
            if not self.num_texts:
                self._is_idle.set()

    def answer(self, batch: Batch, predictions: Sequence[Prediction]) -> tuple[Batch, Sequence[Prediction]]:
        """Answer the texts of clients in a batch; return the records of the stream with their predictions."""
        if not self._max_texts:
            return batch, predictions
        is_query = [tokenized.item.record.partition is QUERIES for tokenized in batch.items]
        if not any(is_query):
            return batch, predictions
        # Several encoders compute the parts of a text, of which the last one completes the text.
        texts = join_items(list(compress(batch.items, is_query)), list(compress(predictions, is_query)))
        for tokenized, prediction in zip(*texts, strict=True):
            entered = self._remove(tokenized.item.record.offset)
            if entered is not None and not entered.answer.done():
                entered.answer.set_result(prediction)
        is_record = [not found for found in is_query]
        kept = Batch(tuple(compress(batch.items, is_record)), batch.since_s, batch.priority)
        return kept, list(compress(predictions, is_record))

    async def serve(self, monitor: Monitor) -> None:
        """Run the batches of the lanes until cancelled, for a worker without a stream."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._run_batches(lane, tasks, monitor))
        except BaseExceptionGroup as group:
            raise find_cause(group) from group
        finally:
            for part in (self, self._executor, self._lanes):
                part.stop()

    async def drain(self) -> None:
        """Refuse new requests, and return when the requests in flight are answered, have failed or were cancelled."""
        self._is_draining = True
        await self._is_idle.wait()

    def stop(self) -> None:
        """Refuse new requests, and end those in flight with `Unavailable`."""
        self._is_draining = self._is_stopped = True
        for entered in self._entered.values():
            if not entered.answer.done():
                entered.answer.set_exception(Unavailable("the worker stops"))
                # A request raises the exception of its first text. That of the others is read here, else asyncio logs it.
                entered.answer.exception()
        self._has_room.set()

    async def _run_batches(self, lane: Lane, tasks: asyncio.TaskGroup, monitor: Monitor) -> None:
        while True:
            # A client that waits for its answer sends nothing. With the texts of all clients in one batch, the cores would be idle
            # while the event loop reads the next requests. Each pass therefore gets a share of the texts in flight.
            share = max(_MIN_BATCH_TEXTS, math.ceil(self._peak / self._models.max_passes))
            tasks.create_task(self._process(lane, await lane.next_batch(share), monitor))

    async def _process(self, lane: Lane, batch: Batch, monitor: Monitor) -> None:
        began_s = time.monotonic()
        monitor.started(batch, began_s, max_tokens=lane.max_tokens)
        try:
            predictions = await self._executor.run_batch(batch)
            monitor.inferred(batch, began_s)
            self.answer(batch, predictions)
        finally:
            lane.release_slot(time.monotonic() - began_s)

    async def _tokenize(self, model: ServedModel, group: Sequence[Item], prompt: str | None) -> list[Tokens]:
        """Return the tokens of texts. Long texts are tokenized in a thread, a group of one request at a time."""
        if sum([len(item.text) for item in group]) + len(group) * len(prompt or "") <= MAX_CHARS_IN_EVENT_LOOP:
            return await self._tokenize_short(model, group, prompt)
        async with self._tokenizing:
            self._check_runs()
            return await self._executor.tokenize_query(partial(tokenize_items, model, group, prompt))

    async def _tokenize_short(self, model: ServedModel, group: Sequence[Item], prompt: str | None) -> list[Tokens]:
        """Return the tokens of short texts: one call for many texts takes less time than a call for each request."""
        key = model.name, prompt
        arrived = self._arrived.setdefault(key, _Arrived())
        first = len(arrived.items)
        arrived.items += group
        if len(arrived.items) >= _GROUP_TEXTS:
            del self._arrived[key]
        try:
            # The requests that have arrived, too, add their texts.
            await asyncio.sleep(0)
        finally:
            # Later requests must not add their texts to a call that is over, or is never made after a cancellation.
            if not first and self._arrived.get(key) is arrived:
                del self._arrived[key]
        if not first:
            # A refused text fails alone, below.
            with contextlib.suppress(Exception):
                arrived.tokens = tokenize_items(model, arrived.items, prompt)
        if arrived.tokens is None:
            return tokenize_items(model, group, prompt)
        return arrived.tokens[first : first + len(group)]

    async def _enter(self, tokenized: TokenizedItem) -> _Entered:
        """Add a text to the lane as soon as there is room."""
        while self._num_tokens and self._num_tokens + tokenized.weight > self._max_tokens and not self._is_stopped:
            self._has_room.clear()
            await self._has_room.wait()
        self._check_runs()
        entered = _Entered(tokenized, asyncio.get_running_loop().create_future())
        self._entered[entered.number] = entered
        self._num_tokens += tokenized.weight
        self._lanes.add([tokenized], time.monotonic())
        return entered

    def _check_runs(self) -> None:
        if self._is_stopped:
            raise Unavailable("the worker stops")

    @property
    def _max_tokens(self) -> int:
        """The tokens of the passes that run at a time, and of one more batch."""
        return (self._models.max_passes + 1) * self._lanes.live.max_tokens

    def _leave(self, entered: Sequence[_Entered]) -> None:
        """Drop the texts of a request that have no answer."""
        left = [text for text in entered if text.number in self._entered]
        for text in left:
            self._remove(text.number)
        if left:
            self._lanes.discard(lambda queued: _is_left(queued.item, self._entered))

    def _remove(self, number: int) -> _Entered | None:
        entered = self._entered.pop(number, None)
        if entered is not None:
            self._num_tokens -= entered.tokenized.weight
            self._has_room.set()
        return entered


def _split_into_groups(items: Sequence[Item], *, num_prompt_chars: int) -> Iterator[list[Item]]:
    """Yield the items in order, in groups for one call of the tokenizer each."""
    group: list[Item] = []
    num_chars = 0
    for item in items:
        num_own = num_prompt_chars + len(item.text)
        if group and (len(group) == _GROUP_TEXTS or num_chars + num_own > _GROUP_CHARS):
            yield group
            group, num_chars = [], 0
        group.append(item)
        num_chars += num_own
    if group:
        yield group


def _is_left(item: Item, entered: Mapping[int, _Entered]) -> bool:
    """Return whether a queued text is that of a client who went away."""
    return item.record.partition is QUERIES and item.record.offset not in entered

"""Runs the tokenizer, forward passes and the encoder of outputs in threads, and bisects batches that fail.

The event loop stays free while a batch runs, so heartbeats are still sent. A batch that fails is split in two until the
failing record is alone. Its neighbours cost a second forward pass and keep their results.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from worker.batches import LIVE_PASS, QUERIES, PassContext, Priority
from worker.errors import RecordFailed, TooManyFailures
from worker.flow.outcomes import build_failure
from worker.flow.result_cache import ResultCache
from worker.host import raise_niceness
from worker.parts import join_items
from worker.records import Failure, Prediction, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.batches import Batch
    from worker.flow.lanes import JointLanes, Lanes
    from worker.flow.options import Options
    from worker.ports import ModelRouter
    from worker.records import Item, Outcome, TokenizedItem, Tokens


Result = TypeVar("Result")
#: Up to this many characters are tokenized in the event loop (0.17 ms): the switch to a thread and back takes longer.
MAX_CHARS_IN_EVENT_LOOP = 500
# Up to this number of items is encoded in the event loop, for the same reason.
_MAX_ITEMS_IN_EVENT_LOOP = 2


class ModelExecutor:
    """Tokenizes, predicts and encodes in threads. An exception of the model becomes the failure of as few records as possible.

    After `max_failures` consecutive failed records without a success, the model is at fault and not the data.
    `TooManyFailures` then ends the worker, so that the worker does not write the whole topic to the dead letters.
    """

    def __init__(
        self,
        models: ModelRouter,
        *,
        yield_to_live: Callable[[], None],
        note_pass: Callable[[Batch, float], None],
        max_failures: int,
        cache: ResultCache | None = None,
        niceness: int = 0,
    ) -> None:
        """Call `models` from threads. `yield_to_live` blocks a backfill pass while live batches need the model.

        `note_pass` gets each batch that succeeded, with the seconds that the pass would have taken alone. With a `cache` only new
        texts are computed. `niceness` is added to that of the threads that start passes.
        """
        self._models = models
        self._note_pass = note_pass
        self._cache = cache
        self._max_failures = max_failures
        # The live passes that run now, in all threads.
        self._num_running = 0
        self._counting = threading.Lock()
        self._is_joint = models.num_encoders > 0
        # Records that failed since the last success, by the name of the model; those that failed in a tokenizer have no name.
        self._num_failures: Counter[str] = Counter()
        self._contexts = {Priority.LIVE: LIVE_PASS, Priority.BACKFILL: PassContext(Priority.BACKFILL, yield_to_live)}
        # One thread, because the tokenizer has threads of its own.
        self._tokenizer = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        # A thread of its own, so that the next pass runs while the outputs of the last one are encoded.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        # Live passes start in order of submission. Backfill has a thread of its own, so that a paused pass blocks no live pass.
        self._device = {
            Priority.LIVE: ThreadPoolExecutor(
                models.max_passes, thread_name_prefix="infer", initializer=raise_niceness, initargs=(niceness,)
            ),
            Priority.BACKFILL: ThreadPoolExecutor(
                1, thread_name_prefix="background", initializer=raise_niceness, initargs=(niceness,)
            ),
        }

    @classmethod
    def from_flow(
        cls, models: ModelRouter, lanes: Lanes | JointLanes, options: Options, *, note_cached: Callable[[str, int], None]
    ) -> Self:
        """Return an executor that yields and reports to the lanes; `note_cached` counts the origins of cached results."""
        return cls(
            models,
            yield_to_live=lanes.yield_to_live,
            note_pass=lanes.note_pass,
            max_failures=options.max_consecutive_failures,
            cache=ResultCache(options.result_cache_bytes, note_cached) if options.result_cache_bytes else None,
            niceness=options.pass_niceness,
        )

    async def tokenize(self, items: Sequence[Item]) -> list[Tokens | Failure]:
        """Tokenize the texts of some items; return tokens or a failure for each item, in order."""
        if not items:
            return []
        await self._models.wait_until_loaded(items)
        try:
            if sum(len(item.text) for item in items) <= MAX_CHARS_IN_EVENT_LOOP:
                return list(self._tokenize_now(items))
            tokens = await asyncio.get_running_loop().run_in_executor(self._tokenizer, self._tokenize_now, items)
        except Exception as error:  # noqa: BLE001  any exception of the model is the failure of one record
            if len(items) == 1:
                return [self._note_failure(build_failure(error, Stage.TOKENIZE), "")]
            middle = len(items) // 2
            return [*await self.tokenize(items[:middle]), *await self.tokenize(items[middle:])]
        return list(tokens)

    async def tokenize_query(self, tokenize: Callable[[], list[Tokens]]) -> list[Tokens]:
        """Return what `tokenize` returns for texts of a client, in the thread of the tokenizer; raises what `tokenize` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._tokenizer, tokenize)

    async def run_batch(self, batch: Batch) -> list[Prediction]:
        """Return a prediction for each item, in order: from the cache, or from one forward pass, or several if the pass fails."""
        if self._cache is None:
            return await self._compute(batch)
        plan = self._cache.find(batch.items)
        missing = replace(batch, items=tuple(plan.missing.values()))
        return self._cache.complete(plan, await self._compute(missing) if missing.items else [])

    async def _compute(self, batch: Batch) -> list[Prediction]:
        threads, model = self._device[batch.priority], batch.items[0].tokens.model
        try:
            predictions, seconds = await asyncio.get_running_loop().run_in_executor(threads, self._infer_now, batch)
        except Exception as error:  # noqa: BLE001  any exception of the model is the failure of one record
            if len(batch.items) == 1:
                failure = build_failure(error, Stage.INFER)
                return [Prediction(failures=(failure if _is_query(batch.items[0]) else self._note_failure(failure, model),))]
            left, right = batch.halves()
            return [*await self._compute(left), *await self._compute(right)]
        self._note_pass(batch, seconds)
        for item, prediction in zip(batch.items, predictions, strict=True):
            if _is_query(item):
                continue
            if prediction.failures:
                self._note_failure(prediction.failures[0], model)
            else:
                self._num_failures[model] = self._num_failures[""] = 0
        return predictions

    async def encode(
        self, batch: Batch, predictions: Sequence[Prediction], build: Callable[[TokenizedItem, Prediction], Outcome]
    ) -> list[Outcome]:
        """Return what `build` returns for each item of a batch, in order. A batch of several items is encoded in a thread.

        With several encoders, the result has the records that this batch completes.
        """
        items, found = join_items(batch.items, predictions) if self._is_joint else (batch.items, predictions)
        if len(items) <= _MAX_ITEMS_IN_EVENT_LOOP:
            return list(map(build, items, found))
        return await asyncio.get_running_loop().run_in_executor(self._encoder, list, map(build, items, found))

    def stop(self) -> None:
        """Shut the threads down without waiting for running passes."""
        for threads in (self._tokenizer, self._encoder, *self._device.values()):
            threads.shutdown(wait=False, cancel_futures=True)

    def _tokenize_now(self, items: Sequence[Item]) -> list[Tokens]:
        return _check_one_per_item(self._models.tokenize(items), items)

    def _infer_now(self, batch: Batch) -> tuple[list[Prediction], float]:
        """Return the predictions of a batch, and the seconds that the pass would have taken alone."""
        context = self._contexts[batch.priority]
        context.yield_to_live()
        # A backfill pass pauses while live passes run, and takes no processor from them.
        own = 0 if context.is_background else 1
        began_s, num_at_start = time.monotonic(), self._count_running(own)
        try:
            predictions = _check_one_per_item(self._models.infer(batch.items, context), batch.items)
        finally:
            num_at_end = self._count_running(-own) + own
        # Passes that run at the same time share the processor.
        return predictions, (time.monotonic() - began_s) * 2 / max(1, num_at_start + num_at_end)

    def _count_running(self, change: int) -> int:
        with self._counting:
            self._num_running += change
            return self._num_running

    def _note_failure(self, failure: Failure, model: str) -> Failure:
        self._num_failures[model] += 1
        if self._num_failures[model] >= self._max_failures:
            raise TooManyFailures(
                f"{self._num_failures[model]} records failed in a row, so the model is at fault and not the data; "
                f"the last record failed to {failure.stage}: {failure.error}: {failure.message}",
            )
        return failure


def _is_query(tokenized: TokenizedItem) -> bool:
    """Return whether a client sent the text. The results of such texts say nothing about the records, and never end the worker."""
    return tokenized.item.record.partition is QUERIES


def _check_one_per_item(results: list[Result], items: Sequence[Item] | Sequence[TokenizedItem]) -> list[Result]:
    if len(results) != len(items):
        raise RecordFailed(f"the model returned {len(results)} results for {len(items)} items")
    return results

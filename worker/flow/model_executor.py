"""Passes in threads, and the search for the guilty record.

The device works off the event loop, in threads of its own, so that heartbeats leave while a batch runs; so does the tokenizer,
unless there is little to do. A batch that fails is halved until the record that is to blame stands alone: it costs its neighbours a
second pass, never their results.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from worker.errors import RecordFailed, TooManyFailures
from worker.flow.outcomes import build_failure
from worker.records import Batch, Failure, Prediction, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.ports import GiveWay, ModelRouter
    from worker.records import Item, TokenizedItem, Tokens


Answer = TypeVar("Answer")
# So few characters are tokenized where they are, in a sixth of a millisecond: to hand them to a thread and back takes longer.
_FEW_CHARS = 500


class ModelExecutor:
    """Tokenizes and predicts in threads; an exception of the model is the failure of as few records as possible.

    When `max_consecutive_failures` records have failed with no success between, the model is at fault, not the data:
    `TooManyFailures` then ends the worker before it empties the topic into the dead letters.
    """

    def __init__(self, models: ModelRouter, *, max_consecutive_failures: int) -> None:
        """Use `models` from threads: one tokenizes, where that is worth a thread, and each pass that may run at a time has one."""
        self._models = models
        # How many failures in a row are still the data's.
        self._max_consecutive_failures = max_consecutive_failures
        # Records that failed since the last success.
        self._num_consecutive_failures = 0
        # The tokenizer's thread: one, because the tokenizer has threads of its own.
        self._tokenizer = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        # The device's threads: passes begin in the order in which they were asked for.
        self._device = ThreadPoolExecutor(models.max_passes, thread_name_prefix="infer")
        # One more, for passes that give way to these.
        self._background = ThreadPoolExecutor(1, thread_name_prefix="background")

    async def tokenize(self, items: Sequence[Item]) -> list[Tokens | Failure]:
        """Tokenize the texts of some items; an answer for each, in order."""
        if not items:
            return []
        await self._models.await_loaded(items)
        is_little = sum(len(item.text) for item in items) <= _FEW_CHARS
        try:
            if is_little:
                return list(self._tokenize_now(items))
            tokens = await asyncio.get_running_loop().run_in_executor(self._tokenizer, self._tokenize_now, items)
        except Exception as error:  # noqa: BLE001  whatever the model raises becomes the failure of the guilty record alone
            if len(items) == 1:
                return [self._note_failure(build_failure(error, Stage.TOKENIZE))]
            middle = len(items) // 2
            return [*await self.tokenize(items[:middle]), *await self.tokenize(items[middle:])]
        return list(tokens)

    async def predict(self, batch: Batch, *, give_way: GiveWay | None = None) -> list[Prediction]:
        """Run one forward pass, or several smaller ones where it fails; a prediction for each item, in order.

        With `give_way` it runs beside the others, after whatever that waits for.
        """
        threads = self._device if give_way is None else self._background
        try:
            predictions = await asyncio.get_running_loop().run_in_executor(threads, self._infer_now, batch.items, give_way)
        except Exception as error:  # noqa: BLE001  whatever the model raises becomes the failure of the guilty record alone
            if len(batch.items) == 1:
                return [Prediction(failures=(self._note_failure(build_failure(error, Stage.INFER)),))]
            left, right = batch.halves()
            return [*await self.predict(left, give_way=give_way), *await self.predict(right, give_way=give_way)]
        for prediction in predictions:
            self._note_prediction(prediction)
        return predictions

    def stop(self) -> None:
        """Let the threads go; a pass that is running is not waited for."""
        self._tokenizer.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)
        self._background.shutdown(wait=False, cancel_futures=True)

    def _tokenize_now(self, items: Sequence[Item]) -> list[Tokens]:
        return _check_one_per_item(self._models.tokenize(items), len(items))

    def _infer_now(self, items: Sequence[TokenizedItem], give_way: GiveWay | None) -> list[Prediction]:
        if give_way is not None:
            give_way()
        return _check_one_per_item(self._models.infer(items, give_way=give_way), len(items))

    def _note_prediction(self, prediction: Prediction) -> None:
        if prediction.failures:
            self._note_failure(prediction.failures[0])
        else:
            self._num_consecutive_failures = 0

    def _note_failure(self, failure: Failure) -> Failure:
        self._num_consecutive_failures += 1
        if self._num_consecutive_failures >= self._max_consecutive_failures:
            raise TooManyFailures(
                f"{self._num_consecutive_failures} records failed in a row with no success between, so the model is broken, "
                f"not the data; the last failed to {failure.stage}: {failure.error}: {failure.message}",
            )
        return failure


def _check_one_per_item(answers: list[Answer], num_questions: int) -> list[Answer]:
    if len(answers) != num_questions:
        raise RecordFailed(f"the model gave {len(answers)} answers to {num_questions} items")
    return answers

"""The engine of GIST Stream without a broker: the batches, threads and passes of a worker under a backlog."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from worker.bench.engine.job import Job, Sample
from worker.errors import BadModel
from worker.flow.batching import Batcher
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.text.packing import pack
from worker.records import Item, Partition, Record, Task, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from worker.batches import Batch
    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.records import Tokens

_RECORD = Record(Partition("bench", 0), 0, None, b"")
_NUM_CALIBRATION_TEXTS = 256
_NUM_TURNS = 5


def batches(arriving: Iterable[Sequence[TokenizedItem]], batching: Mapping[str, int]) -> Iterator[Batch]:
    """Yield the batches of a backlog: add a poll, then take batches until the worker would poll again."""
    max_tokens, max_records = batching["max_batch_tokens"], batching["max_batch_records"]
    batcher = Batcher(max_tokens=max_tokens, max_records=max_records, max_batch_delay_s=0)
    for items in arriving:
        batcher.add(items, 0)
        while batcher.num_tokens > batching["resume_in_flight_tokens"] and (batch := batcher.take(0, device_is_idle=True)):
            yield batch
    while batch := batcher.take(0, device_is_idle=True):
        yield batch


def calibrate(loaded: Checkpoint, texts: Sequence[str]) -> Checkpoint:
    """Return a checkpoint with ranges for 8-bit products, measured on `texts` if the checkpoint has none."""
    if loaded.ranges is not None:
        return loaded
    from worker.model.encoder.quantization import measure_ranges, passes  # noqa: PLC0415  imports torch, which counts as memory

    tokens = loaded.tokenizer.encode(texts[:_NUM_CALIBRATION_TEXTS])
    return replace(loaded, ranges=measure_ranges(loaded.encoder, passes(tokens)))


class GistEngine:
    """One model on one device, in one number format."""

    def __init__(self, **options: Any) -> None:
        """Load the model of a `Job`; raises `BadModel` if this machine lacks the arithmetic."""
        self._job = job = Job(**options)
        self._corpus = job.read_corpus()
        self._loaded = checkpoint.load(job.model, max_tokens=job.max_tokens)
        self._engine = self._load(job.dtype)
        self._tasks = self._engine.tasks if job.is_whole else frozenset({Task.EMBED})
        self._tokens = None if self._corpus.is_tokenizing else self._engine.tokenize(self._corpus.texts)

    def _load(self, dtype: Any) -> Engine:
        if dtype == "int8":
            self._loaded = calibrate(self._loaded, self._corpus.texts)
        options: dict[str, Any] = {"device": self._job.device, "backend": self._job.backend, "threads": self._job.threads}
        engine = Engine.from_checkpoint(self._loaded, dtype=dtype, **options)
        # A worker computes in a more exact format instead.
        if not self._job.is_whole and self._job.device == "cpu" and dtype not in ("auto", engine.description.split()[1]):
            raise BadModel(f"the processor has no instructions for {dtype}")
        return engine

    def about(self) -> dict[str, Any]:
        """Run one text; return descriptions, the arithmetic, the measured rates of `auto`, and the tasks."""
        self._infer(self._corpus.texts[:1])
        description, backend = self._engine.description, self._engine.backend
        return {
            "about": description,
            "dtype": description.split()[1],
            "reason": self._engine.because,
            "texts_per_s": dict(backend.measured.texts_per_s) if backend.measured else {},
            "tasks": sorted(self._engine.tasks),
        }

    def measure(self, first: int, num_messages: int, limit_s: float = float("inf")) -> dict[str, Any]:
        """Return a `Sample` over `num_messages` texts, or over those that fit the time limit."""
        part, done = self._corpus.part(first, num_messages), []
        pending: deque[Callable[[], object]] = deque()
        passes = self._engine.max_passes
        with ThreadPoolExecutor(1, "tokenize") as tokenizer, ThreadPoolExecutor(passes, "device") as device:
            started_s = time.perf_counter()
            for batch in batches(self._arriving(part, tokenizer), self._job.batching):
                pending.append(self._start(batch.items, device))
                done.append(batch)
                # As in the worker, the next batch is ready before a pass ends.
                if len(pending) > passes:
                    pending.popleft()()
                if time.perf_counter() - started_s > limit_s:
                    break
            while pending:
                pending.popleft()()
            seconds = time.perf_counter() - started_s
            tokenizer.shutdown(cancel_futures=True)
        num_rows = sum(self._engine.backend.num_rows(pack([item.tokens.ids for item in batch.items])) for batch in done)
        num_tokens, num_done = sum(batch.num_tokens for batch in done), sum(len(batch.items) for batch in done)
        return asdict(Sample(num_done, num_tokens, num_rows, seconds))

    def single_ms(self, num_texts: int) -> dict[str, float]:
        """Return the median time of one text from characters to results, in milliseconds."""
        waits_s = []
        for text in self._corpus.texts[-num_texts:]:
            started_s = time.perf_counter()
            self._infer([text])
            waits_s.append(time.perf_counter() - started_s)
        return {"p50_ms": median(waits_s) * 1000}

    def processor_ms(self, sizes: Sequence[int]) -> dict[str, float]:
        """Return by batch size the processor time per text, in milliseconds: the median over turns."""
        texts = list(self._corpus.texts[: max(sizes)])
        found: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(_NUM_TURNS):
            for size in sizes:
                started_s = time.process_time()
                for first in range(0, len(texts), size):
                    self._infer(texts[first : first + size])
                found[size].append((time.process_time() - started_s) / len(texts) * 1000)
        return {str(size): median(values) for size, values in found.items()}

    def exactness(self, num_texts: int, dtypes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return by number format a `quantization.Difference` from PyTorch in fp32; a format that cannot run is left out."""
        from worker.model.encoder.quantization import difference, predictions  # noqa: PLC0415  imports torch, which counts as memory

        texts, found = self._corpus.texts[:num_texts], {}
        exact = predictions(Engine.load(self._job.model, device="cpu", dtype="float32", backend="eager"), texts)
        for dtype in dtypes:
            try:
                engine = self._load(dtype)
            except BadModel:
                continue
            found[dtype] = asdict(difference(exact, predictions(engine, texts)))
        return found

    def _infer(self, texts: Sequence[str]) -> None:
        self._engine.infer(self._build_items(self._engine.tokenize(texts)))

    def _start(self, items: Sequence[TokenizedItem], device: ThreadPoolExecutor) -> Callable[[], object]:
        """Start a forward pass; return a function that waits for its results."""
        if self._job.is_whole or self._engine.backend.is_reentrant:
            return device.submit(self._engine.infer, items).result
        # Vectors alone on a GPU: they are on their way to host memory while the next pass runs.
        readings = self._loaded.heads.readings(is_embedding=True, heads=())
        return self._engine.backend.begin(pack([item.tokens.ids for item in items]), readings).wait

    def _arriving(self, part: Sequence[int], tokenizer: ThreadPoolExecutor) -> Iterator[Sequence[TokenizedItem]]:
        """Yield the items of each poll; measured tokenizing runs in a thread, as in the worker."""
        size = self._job.batching["max_poll_records"]
        polls = [part[start : start + size] for start in range(0, len(part), size)]
        if (tokens := self._tokens) is not None:
            yield from (self._build_items([tokens[index] for index in poll]) for poll in polls)
            return
        futures = [tokenizer.submit(self._engine.tokenize, [self._corpus.texts[index] for index in poll]) for poll in polls]
        yield from (self._build_items(future.result()) for future in futures)

    def _build_items(self, tokens: Sequence[Tokens]) -> list[TokenizedItem]:
        return [TokenizedItem(Item(_RECORD, "", "", self._tasks), text) for text in tokens]

"""The engine of GIST Stream: the batches of a worker under a backlog, through one backend."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

from worker.bench.engine.candidates import head_costs
from worker.bench.engine.measures import Sample
from worker.flow.batching import Batcher
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.packing import pack
from worker.model.quantization import measure_ranges, passes
from worker.records import Item, Partition, Record, Task, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.batches import Batch
    from worker.bench.engine.job import Batching, Job
    from worker.bench.engine.workload import Corpus
    from worker.model.backends.choice import Results
    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.packing import Packed
    from worker.records import Tokens

_RECORD = Record(Partition("bench", 0), 0, None, b"")
_NUM_CALIBRATION_TEXTS = 256
Choice = Literal["auto", "eager", "compiled", "int8"]
#: Backends, and the native engine in 8 bits.
CHOICES: tuple[Choice, ...] = get_args(Choice)
_OPTIONS: Mapping[Choice, Any] = {
    "auto": {},
    "eager": {"backend": "eager"},
    "compiled": {"backend": "compiled"},
    "int8": {"dtype": "int8"},
}


def batches(arriving: Iterable[Sequence[TokenizedItem]], batching: Batching) -> Iterator[Batch]:
    """Yield the batches of a backlog: add a poll, then take batches until the worker would poll again."""
    batcher = Batcher(
        max_tokens=batching.max_batch_tokens,
        max_records=batching.max_batch_records,
        max_batch_delay_s=0,
    )
    for items in arriving:
        batcher.add(items, 0)
        while batcher.num_tokens > batching.resume_in_flight_tokens and (batch := batcher.take(0, device_is_idle=True)):
            yield batch
    while batch := batcher.take(0, device_is_idle=True):
        yield batch


def load(
    reference: str, backend: Choice, texts: Sequence[str], *, device: str = "cpu", threads: int = 0
) -> tuple[Checkpoint, Engine]:
    """Load a model with a backend; `int8` calibrates it on `texts` if the checkpoint has no ranges. Raises `BadModel`."""
    loaded = checkpoint.load(reference)
    if backend == "int8" and loaded.ranges is None:
        tokens = loaded.tokenizer.encode(texts[:_NUM_CALIBRATION_TEXTS])
        loaded = replace(loaded, ranges=measure_ranges(loaded.encoder, passes(tokens)))
    return loaded, Engine.from_checkpoint(
        loaded, device="cuda" if device == "cuda" else "cpu", threads=threads, **_OPTIONS[backend]
    )


class GistEngine:
    """One backend."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model; raises `BadModel` if this machine lacks the backend."""
        self._corpora = corpora
        self._batching = job.batching
        backend = next(name for name in CHOICES if name == job.backend)
        texts = list(chain.from_iterable(corpus.texts for corpus in corpora.values()))
        loaded, self._engine = load(job.model, backend, texts, device=job.device, threads=job.threads)
        self._chosen = backend if backend == "int8" else self._engine.backend.name
        self._heads = loaded.heads
        self._tokens = {name: self._engine.tokenize(corpus.texts) for name, corpus in corpora.items() if not corpus.is_tokenizing}

    def about(self) -> dict[str, Any]:
        """Run one text; return a description, the backend `chosen`, and all `backends`."""
        text = next(iter(self._corpora.values())).texts[0]
        self._run(self._build_items(self._engine.tokenize([text])))[1].wait()
        backends = [name for name in CHOICES if name != "auto"]
        return {"about": self._engine.description, "chosen": self._chosen, "backends": backends}

    def measure(self, corpus: str, first: int, num_messages: int) -> dict[str, Any]:
        """Return a `Sample` over `num_messages` texts."""
        part = self._corpora[corpus].part(first, num_messages)
        num_tokens, packs = 0, []
        previous: Results | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as tokenizer:
            started_s = time.perf_counter()
            for batch in batches(self._arriving(corpus, part, tokenizer), self._batching):
                packed, transfer = self._run(batch.items)
                packs.append(packed)
                num_tokens += batch.num_tokens
                if previous:
                    # A GPU already has the next batch.
                    previous.wait()
                previous = transfer
            if previous:
                previous.wait()
            seconds = time.perf_counter() - started_s
        num_rows = sum(map(self._engine.backend.num_rows, packs))
        return asdict(Sample(num_messages=len(part), num_tokens=num_tokens, num_rows=num_rows, seconds=seconds))

    def heads(self, corpus: str, num_texts: int) -> dict[str, float]:
        """Return `head_costs.measure` over `num_texts` texts."""
        tokens = self._engine.tokenize(self._corpora[corpus].texts[:num_texts])
        items = self._build_items(tokens, self._engine.tasks)
        own = [batch.items for batch in batches([items], self._batching)]
        return head_costs.measure(self._engine, self._heads, own)

    def _run(self, items: Sequence[TokenizedItem]) -> tuple[Packed, Results]:
        """Begin a forward pass; return the packed batch and the vectors, which may be on their way to host memory."""
        packed = pack([item.tokens.ids for item in items])
        return packed, self._engine.backend.begin(packed, self._heads.readings(is_embedding=True, heads=()))

    def _arriving(self, name: str, part: Sequence[int], tokenizer: ThreadPoolExecutor) -> Iterator[Sequence[TokenizedItem]]:
        """Yield the items of each poll; measured tokenizing runs in a thread, as in the worker."""
        corpus, size = self._corpora[name], self._batching.max_poll_records
        polls = [part[start : start + size] for start in range(0, len(part), size)]
        if not corpus.is_tokenizing:
            yield from (self._build_items([self._tokens[name][index] for index in poll]) for poll in polls)
            return
        futures = [tokenizer.submit(self._engine.tokenize, [corpus.texts[index] for index in poll]) for poll in polls]
        yield from (self._build_items(future.result()) for future in futures)

    @staticmethod
    def _build_items(tokens: Sequence[Tokens], tasks: frozenset[Task] = frozenset({Task.EMBED})) -> list[TokenizedItem]:
        return [TokenizedItem(Item(_RECORD, "", "", tasks), text) for text in tokens]

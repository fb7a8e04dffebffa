"""Our engine as a contestant: batches as the worker makes them under a backlog, through the backend."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, get_args

import torch

from worker.bench.engine import head_costs
from worker.bench.engine.measures import Sample
from worker.flow.batching import Batcher
from worker.model.backends.choice import BackendName
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
    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.multitask import Transfer
    from worker.model.packing import Packed
    from worker.records import Tokens

_RECORD = Record(Partition("bench", 0), 0, None, b"")
_NUM_CALIBRATION_TEXTS = 256


def batches(arriving: Iterable[Sequence[TokenizedItem]], batching: Batching) -> Iterator[Batch]:
    """Yield the batches of a backlog: read a poll, then run until so little waits that the worker would read on."""
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


def load(reference: str, way: BackendName, texts: Sequence[str], *, device: str = "cpu") -> tuple[Checkpoint, Engine]:
    """Load a model in one of our ways; one that was not calibrated is, on `texts`, where the way needs it. Raises `BadModel`."""
    loaded = checkpoint.load(reference)
    if way == "int8" and loaded.ranges is None:
        tokens = loaded.tokenizer.encode(texts[:_NUM_CALIBRATION_TEXTS])
        loaded = replace(loaded, ranges=measure_ranges(loaded.encoder, passes(tokens)))
    return loaded, Engine.of(loaded, device="cuda" if device == "cuda" else "cpu", backend=way)


class GistEngine:
    """One of our ways."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model; raises `BadModel` where this way is not here."""
        torch.set_num_threads(job.threads)
        ways: tuple[BackendName, ...] = get_args(BackendName)
        self._corpora = corpora
        self._batching = job.batching
        way = next(it for it in ways if it == job.way)
        texts = list(chain.from_iterable(it.texts for it in corpora.values()))
        loaded, self._engine = load(job.model, way, texts, device=job.device)
        # The encoder in fp32 goes with `loaded`: the worker does not keep it either.
        self._heads = loaded.heads
        self._tokens = {name: self._engine.tokenize(it.texts) for name, it in corpora.items() if not it.is_tokenizing}

    def about(self) -> dict[str, Any]:
        """Say what runs; `chosen` is what this way came to, `ways` are all that there are."""
        text = next(iter(self._corpora.values())).texts[0]
        self._run(self._items(self._engine.tokenize([text])))[1].wait()
        ways = [it for it in get_args(BackendName) if it != "auto"]
        return {"about": self._engine.description, "chosen": self._engine.backend.name, "ways": ways}

    def measure(self, corpus: str, first: int, num_messages: int) -> dict[str, Any]:
        """Run so many texts, and return a `Sample`."""
        part = self._corpora[corpus].part(first, num_messages)
        num_tokens, packs = 0, []
        before: Transfer | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as tokenizer:
            started = time.perf_counter()
            for batch in batches(self._arriving(corpus, part, tokenizer), self._batching):
                packed, transfer = self._run(batch.items)
                packs.append(packed)
                num_tokens += batch.num_tokens
                if before:
                    # Where a GPU computes, it has the next batch already.
                    before.wait()
                before = transfer
            if before:
                before.wait()
            seconds = time.perf_counter() - started
        num_rows = sum(map(self._engine.backend.num_rows, packs))
        return asdict(Sample(num_messages=len(part), num_tokens=num_tokens, num_rows=num_rows, seconds=seconds))

    def heads(self, corpus: str, num_texts: int) -> dict[str, float]:
        """Return what the heads cost on so many texts, as `head_costs.measure` does."""
        tokens = self._engine.tokenize(self._corpora[corpus].texts[:num_texts])
        items = self._items(tokens, self._engine.tasks)
        own = [it.items for it in batches([items], self._batching)]
        return head_costs.measure(self._engine, self._heads, own)

    @torch.inference_mode()
    def _run(self, items: Sequence[TokenizedItem]) -> tuple[Packed, Transfer]:
        """Run one pass to vectors, which are on their way to memory; return them, and what it packed."""
        packed = pack([it.tokens.ids for it in items])
        read = self._engine.backend.read(packed, self._heads.readings(is_embedding=True, heads=()))
        return packed, self._heads(read, is_embedding=True, heads=()).to_host()

    def _arriving(self, name: str, part: Sequence[int], tokenizer: ThreadPoolExecutor) -> Iterator[Sequence[TokenizedItem]]:
        """Yield the texts of each poll; where tokenizing is part of the work, it goes on in a thread, as in the worker."""
        corpus, size = self._corpora[name], self._batching.max_poll_records
        polls = [part[start : start + size] for start in range(0, len(part), size)]
        if not corpus.is_tokenizing:
            yield from (self._items([self._tokens[name][place] for place in poll]) for poll in polls)
            return
        coming = [tokenizer.submit(self._engine.tokenize, [corpus.texts[place] for place in poll]) for poll in polls]
        yield from (self._items(it.result()) for it in coming)

    @staticmethod
    def _items(tokens: Sequence[Tokens], tasks: frozenset[Task] = frozenset({Task.EMBED})) -> list[TokenizedItem]:
        return [TokenizedItem(Item(_RECORD, "", "", tasks), its) for its in tokens]

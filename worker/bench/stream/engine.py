"""The engine of a worker without a broker: the same model, threads, batches and tokenizer thread, without input and output.

The difference from the stream is the cost of the broker. Runs in a process of its own: `python -m worker.bench.stream.engine`.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from worker.bench.stream import child_process
from worker.bench.stream.load_generator import summarize_latency
from worker.bench.stream.tally import throughput
from worker.flow.batching import Batcher
from worker.model.engine import Engine
from worker.records import Item, Partition, Record, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from worker.batches import Batch
    from worker.records import Prediction

# Chunks that are tokenized, or wait for the tokenizer, during a forward pass. With two the model never waits.
_NUM_AHEAD = 2


def main() -> None:
    """Answer with throughput over a corpus and the time of a single text."""
    question = child_process.read_question()
    engine = Engine.load(**question["engine"])
    engine.warm_up()
    texts = orjson.loads(Path(question["texts"]).read_bytes())
    done_ms, num_tokens = [], []
    deadline_s = time.monotonic() + question["limit_s"]
    running: deque[tuple[Batch, Future[list[Prediction]]]] = deque()

    def end_oldest() -> None:
        batch, future = running.popleft()
        future.result()
        done_ms.extend([time.monotonic() * 1000] * len(batch.items))
        num_tokens.extend([item.weight for item in batch.items])

    # As in the worker, forward passes have threads of their own, and the next batch is ready.
    with ThreadPoolExecutor(engine.max_passes) as device:
        for batch in batches(engine, texts, max_tokens=question["max_batch_tokens"], max_records=question["max_batch_records"]):
            running.append((batch, device.submit(engine.infer, batch.items)))
            if len(running) > engine.max_passes:
                end_oldest()
            if time.monotonic() > deadline_s:
                break
        while running:
            end_oldest()
    description = {"description": engine.description, "tasks": sorted(engine.tasks)}
    single_text_ms = measure_single_text_ms(engine, texts[-question["num_single"] :])
    child_process.write_answer(asdict(throughput(done_ms, num_tokens)) | description | {"bare_pass_ms": single_text_ms})


def batches(engine: Engine, texts: Sequence[str], *, max_tokens: int, max_records: int) -> Iterator[Batch]:
    """Yield the batches of a worker under a backlog, while a thread tokenizes ahead."""
    batcher = Batcher(max_tokens=max_tokens, max_records=max_records, max_batch_delay_s=0.0)
    items = [Item(Record(Partition("bench", 0), n, None, b""), str(n), text, engine.tasks) for n, text in enumerate(texts)]
    chunks = deque(items[first : first + max_records] for first in range(0, len(items), max_records))
    ahead: deque[Future[list[TokenizedItem]]] = deque()
    with ThreadPoolExecutor(1) as tokenizer:
        while chunks or ahead or len(batcher):
            while chunks and len(ahead) < _NUM_AHEAD:
                ahead.append(tokenizer.submit(_tokenize, engine, chunks.popleft()))
            if ahead and batcher.num_tokens < 2 * max_tokens:
                batcher.add(ahead.popleft().result(), 0.0)
            elif (batch := batcher.take(0.0, device_is_idle=True)) is not None:
                yield batch


def measure_single_text_ms(engine: Engine, texts: Sequence[str]) -> float:
    """Return the median time of one text from characters to results, in milliseconds."""
    record = Record(Partition("bench", 0), 0, None, b"")
    waits_ms = []
    for text in texts:
        started_s = time.perf_counter()
        engine.infer(_tokenize(engine, [Item(record, "", text, engine.tasks)]))
        waits_ms.append((time.perf_counter() - started_s) * 1000)
    return summarize_latency(waits_ms).p50_ms


def _tokenize(engine: Engine, items: Sequence[Item]) -> list[TokenizedItem]:
    return [TokenizedItem(*pair) for pair in zip(items, engine.tokenize([item.text for item in items]), strict=True)]


if __name__ == "__main__":
    main()

"""The worker's own engine without a broker: the same model, threads, batches and tokenizing thread, and nothing read or written.

What the stream loses against this is what the broker's side costs. A process of its own: `python -m worker.bench.stream.engine`.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from worker.bench.stream import children
from worker.bench.stream.offered import latency
from worker.bench.stream.tally import throughput
from worker.flow.batching import Batcher
from worker.model.engine import Engine
from worker.records import Item, Partition, Record, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from worker.batches import Batch
    from worker.records import Prediction

# So many chunks of texts are being tokenized, or are and wait, while a batch computes: enough that the model never waits.
_NUM_AHEAD = 2


def main() -> None:
    """Answer with messages and tokens a second over a corpus, and with the time of one text alone."""
    asked = children.question()
    engine = Engine.load(**asked["engine"])
    engine.warm_up()
    texts = orjson.loads(Path(asked["texts"]).read_bytes())
    done_ms, num_tokens = [], []
    deadline_s = time.monotonic() + asked["limit_s"]
    running: deque[tuple[Batch, Future[list[Prediction]]]] = deque()

    def end_oldest() -> None:
        batch, ending = running.popleft()
        ending.result()
        done_ms.extend([time.monotonic() * 1000] * len(batch.items))
        num_tokens.extend([it.weight for it in batch.items])

    # As in the worker, the passes have threads of their own, and a batch is ready.
    with ThreadPoolExecutor(engine.max_passes) as device:
        for batch in batches(engine, texts, max_tokens=asked["max_batch_tokens"], max_records=asked["max_batch_records"]):
            running.append((batch, device.submit(engine.infer, batch.items)))
            if len(running) > engine.max_passes:
                end_oldest()
            if time.monotonic() > deadline_s:
                break
        while running:
            end_oldest()
    children.answer(
        asdict(throughput(done_ms, num_tokens))
        | {
            "description": engine.description,
            "tasks": sorted(engine.tasks),
            "bare_pass_ms": bare_pass_ms(engine, texts[-asked["num_single"] :]),
        }
    )


def batches(engine: Engine, texts: Sequence[str], *, max_tokens: int, max_records: int) -> Iterator[Batch]:
    """Yield batches as the worker makes them under a backlog, of at most so many tokens and records; a thread tokenizes ahead."""
    batcher = Batcher(max_tokens=max_tokens, max_records=max_records, max_batch_delay_s=0.0)
    items = [Item(Record(Partition("bench", 0), n, None, b""), str(n), text, engine.tasks) for n, text in enumerate(texts)]
    chunks = deque(items[first : first + max_records] for first in range(0, len(items), max_records))
    ahead: deque[Future[list[TokenizedItem]]] = deque()
    with ThreadPoolExecutor(1) as tokenizer:
        while chunks or ahead or len(batcher):
            while chunks and len(ahead) < _NUM_AHEAD:
                ahead.append(tokenizer.submit(_tokenized, engine, chunks.popleft()))
            if ahead and batcher.num_tokens < 2 * max_tokens:
                batcher.add(ahead.popleft().result(), 0.0)
            elif (batch := batcher.take(0.0, device_is_idle=True)) is not None:
                yield batch


def bare_pass_ms(engine: Engine, texts: Sequence[str]) -> float:
    """Return what one text alone takes from its characters to its results, in milliseconds: the median over some texts."""
    record = Record(Partition("bench", 0), 0, None, b"")
    waits_ms = []
    for text in texts:
        began_s = time.perf_counter()
        engine.infer(_tokenized(engine, [Item(record, "", text, engine.tasks)]))
        waits_ms.append((time.perf_counter() - began_s) * 1000)
    return latency(waits_ms).p50_ms


def _tokenized(engine: Engine, items: Sequence[Item]) -> list[TokenizedItem]:
    return [TokenizedItem(*pair) for pair in zip(items, engine.tokenize([it.text for it in items]), strict=True)]


if __name__ == "__main__":
    main()

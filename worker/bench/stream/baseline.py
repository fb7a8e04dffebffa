"""The tuned baseline: consume, `SentenceTransformer.encode` in large batches, produce, commit. Embeddings only, as JSON."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import orjson
import torch
from sentence_transformers import SentenceTransformer

from worker.bench.frame.fastest import choose_fastest
from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import join_group, open_producer
from worker.model.checkpoint.references import locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.broker.tools.clients import Producer
    from worker.records import Record

# After this time a smaller batch is processed; a backlog fills a batch sooner.
_TAKE_TIMEOUT_S = 1.0
# The end of the first batch starts the clock, and two are measured, even past the time limit.
_MIN_BATCHES = 3
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_WARM_UP_TEXTS = [
    f"Ada Lovelace moved to London in {number}" + ", and wrote a program" * (number % 5) + "." for number in range(128)
]


class SentenceTransformersBaseline:
    """SentenceTransformers in the number format that is faster here."""

    #: The texts of the batch that chooses the number format.
    num_trial_texts = 128

    def __init__(self, model: str, device: str, threads: int) -> None:
        """Load the model in each format."""
        torch.set_num_threads(threads)
        place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        directory = str(locate(model).directory)
        self._models = {
            name: SentenceTransformer(directory, device=place, model_kwargs={"dtype": dtype}) for name, dtype in _DTYPES.items()
        }

    def about(self) -> dict[str, Any]:
        """Choose the faster format and return its name."""
        dtype = choose_fastest(self._models, lambda model: _encode(model, _WARM_UP_TEXTS[: self.num_trial_texts]))
        self._models = {dtype: self._models[dtype]}
        return {"dtype": dtype}

    def encode(self, texts: list[str]) -> Any:
        """Return unit vectors, float32, shape `[num_texts, hidden]`, from one padded batch."""
        (model,) = self._models.values()
        return _encode(model, texts)


class StreamBaseline(SentenceTransformersBaseline):
    """A loop from an input topic to an output topic."""

    def __init__(self, model: str, device: str, threads: int, connection: Mapping[str, Any]) -> None:
        """Load the model in each format."""
        super().__init__(model, device, threads)
        self._connection = Connection(**connection)

    def process(self, topic: str, output: str, num_records: int, batch_size: int, limit_s: float) -> dict[str, float]:
        """Process records of a topic, and return `records_per_s` after the first batch; NaN for fewer than two batches."""
        return {"records_per_s": asyncio.run(self._process(topic, output, num_records, batch_size, limit_s))}

    async def _process(self, topic: str, output: str, num_records: int, batch_size: int, limit_s: float) -> float:
        deadline_s, num_done = time.monotonic() + limit_s, 0
        ends = list[tuple[float, int]]()
        async with open_producer(self._connection) as producer, join_group(self._connection, topic, group_id=output) as member:
            while num_done < num_records and (num_done < _MIN_BATCHES * batch_size or time.monotonic() < deadline_s):
                records = await member.take(batch_size, timeout_s=_TAKE_TIMEOUT_S)
                await self._publish(records, producer, output)
                await member.commit()
                num_done += len(records)
                ends += [(time.monotonic(), num_done)] if records else []
        if len(ends) < 2:  # noqa: PLR2004  a rate needs two ends
            return math.nan
        (first_s, num_first), (last_s, num_last) = ends[0], ends[-1]
        return (num_last - num_first) / (last_s - first_s)

    async def _publish(self, records: Sequence[Record], producer: Producer, output: str) -> None:
        requests = [orjson.loads(record.value or b"") for record in records]
        vectors = self.encode([request["text"] for request in requests]) if requests else []
        for record, request, vector in zip(records, requests, vectors, strict=True):
            value = orjson.dumps({"id": request["id"], "embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY)
            await producer.send(output, value, key=record.key, partition=record.partition.index)
        await producer.flush()


def _encode(model: SentenceTransformer, texts: list[str]) -> Any:
    return model.encode(texts, batch_size=len(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)

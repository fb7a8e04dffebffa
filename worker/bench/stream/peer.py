"""The best tuned peer: consume, SentenceTransformers' `encode` in large batches, produce, commit. Embeddings only, as JSON.

A process of its own: `python -m worker.bench.stream.peer`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson
import torch
from sentence_transformers import SentenceTransformer

from worker.bench.stream import children
from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import join_group, open_producer
from worker.model.checkpoint.references import locate
from worker.model.cpu_features import multiplies_bf16_faster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.tools.clients import Producer
    from worker.records import Record

# What was fetched by then is a batch, if it is smaller; a backlog never waits so long.
_TAKE_TIMEOUT_S = 1.0
# One to start the clock and two to measure, whatever the time limit says.
_MIN_BATCHES = 3


def main() -> None:
    """Process so many messages of a topic and say in which number format."""
    asked = children.question()
    torch.set_num_threads(asked["threads"])
    device = "cuda" if asked["device"] != "cpu" and torch.cuda.is_available() else "cpu"
    dtype = choose_dtype(device)
    model = SentenceTransformer(str(locate(asked["model"]).directory), device=device, model_kwargs={"torch_dtype": dtype})
    _encoded(model, ["Warm up."] * asked["max_batch_records"])
    asyncio.run(_serve(model, asked))
    children.answer({"dtype": str(dtype).removeprefix("torch.")})


async def _serve(model: SentenceTransformer, asked: dict[str, Any]) -> None:
    connection, num_done, deadline_s = Connection(**asked["connection"]), 0, time.monotonic() + asked["limit_s"]
    async with open_producer(connection) as producer, join_group(connection, asked["topic"], group_id=asked["output"]) as member:
        while num_done < asked["num_messages"] and (
            num_done < _MIN_BATCHES * asked["max_batch_records"] or time.monotonic() < deadline_s
        ):
            records = await member.take(asked["max_batch_records"], timeout_s=_TAKE_TIMEOUT_S)
            await _answer(model, records, producer, asked["output"])
            await member.commit()
            num_done += len(records)


async def _answer(model: SentenceTransformer, records: Sequence[Record], producer: Producer, output: str) -> None:
    requests = [orjson.loads(it.value or b"") for it in records]
    vectors = _encoded(model, [it["text"] for it in requests]) if requests else []
    for record, request, vector in zip(records, requests, vectors, strict=True):
        value = orjson.dumps({"id": request["id"], "embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY)
        await producer.send(output, value, key=record.key, partition=record.partition.index)
    await producer.flush()


def _encoded(model: SentenceTransformer, texts: list[str]) -> Any:
    """Return unit-length vectors, float32, shape `[num_texts, hidden]`."""
    return model.encode(texts, batch_size=len(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)


def choose_dtype(device: str) -> torch.dtype:
    """Return the fastest number format, as the worker chooses with torch."""
    return torch.bfloat16 if device == "cuda" or multiplies_bf16_faster() else torch.float32


if __name__ == "__main__":
    main()

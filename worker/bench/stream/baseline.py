"""The tuned baseline: consume, `SentenceTransformer.encode` in large batches, produce, commit. Embeddings only, as JSON.

Runs in a process of its own: `python -m worker.bench.stream.baseline`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson
import torch
from sentence_transformers import SentenceTransformer

from worker.bench.stream import child_process
from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import join_group, open_producer
from worker.model.checkpoint.references import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.tools.clients import Producer
    from worker.records import Record

# After this time a smaller batch is processed; a backlog fills a batch sooner.
_TAKE_TIMEOUT_S = 1.0
# The first batch starts the clock, and two are measured, even past the time limit.
_MIN_BATCHES = 3
_DTYPES = (torch.float32, torch.bfloat16)
# The faster data type is the one that encodes these texts sooner, in the better of two turns.
_WARM_UP_TEXTS = [
    f"Ada Lovelace moved to London in {number}" + ", and wrote a program" * (number % 5) + "." for number in range(128)
]
_NUM_TURNS = 2


def main() -> None:
    """Process records of a topic and answer with the data type that was faster during warm-up."""
    question = child_process.read_question()
    torch.set_num_threads(question["threads"])
    device = "cuda" if question["device"] != "cpu" and torch.cuda.is_available() else "cpu"
    directory = str(locate(question["model"]).directory)
    models = {dtype: SentenceTransformer(directory, device=device, model_kwargs={"torch_dtype": dtype}) for dtype in _DTYPES}
    dtype = choose_fastest(models)
    model = models.pop(dtype)
    models.clear()
    asyncio.run(_serve(model, question))
    child_process.write_answer({"dtype": str(dtype).removeprefix("torch.")})


def choose_fastest(models: dict[torch.dtype, SentenceTransformer]) -> torch.dtype:
    """Return the data type that encodes the warm-up texts in the shortest time; the first run of each model does not count."""
    least_s = dict.fromkeys(models, float("inf"))
    for turn in range(_NUM_TURNS + 1):
        for dtype, model in models.items():
            started_s = time.perf_counter()
            _encode(model, _WARM_UP_TEXTS)
            if turn:
                least_s[dtype] = min(least_s[dtype], time.perf_counter() - started_s)
    return min(least_s, key=least_s.__getitem__)


async def _serve(model: SentenceTransformer, question: dict[str, Any]) -> None:
    connection, deadline_s = Connection(**question["connection"]), time.monotonic() + question["limit_s"]
    output, num_done, batch_size = question["output"], 0, question["max_batch_records"]
    async with open_producer(connection) as producer, join_group(connection, question["topic"], group_id=output) as member:
        while num_done < question["num_records"] and (num_done < _MIN_BATCHES * batch_size or time.monotonic() < deadline_s):
            records = await member.take(batch_size, timeout_s=_TAKE_TIMEOUT_S)
            await _publish(model, records, producer, output)
            await member.commit()
            num_done += len(records)


async def _publish(model: SentenceTransformer, records: Sequence[Record], producer: Producer, output: str) -> None:
    requests = [orjson.loads(record.value or b"") for record in records]
    vectors = _encode(model, [request["text"] for request in requests]) if requests else []
    for record, request, vector in zip(records, requests, vectors, strict=True):
        value = orjson.dumps({"id": request["id"], "embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY)
        await producer.send(output, value, key=record.key, partition=record.partition.index)
    await producer.flush()


def _encode(model: SentenceTransformer, texts: list[str]) -> Any:
    """Return unit vectors, float32, shape `[num_texts, hidden]`."""
    return model.encode(texts, batch_size=len(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)


if __name__ == "__main__":
    main()

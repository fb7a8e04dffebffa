"""Measure the encodings of vectors on real sentences: what a message weighs, and what is lost for whoever searches."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from worker.bench.encodings import NUM_CANDIDATES, NUM_NEIGHBOURS, Loss, loss
from worker.errors import BadSettings
from worker.records import Item, Partition, Prediction, Record, Task, TokenizedItem, Tokens
from worker.training.data.corpora import rated_sentences, sample_texts
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, decode_embedding, encode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def bench_encodings(*, model: str, count: int, cache: Path, json_path: Path | None) -> None:
    """Embed `count` sentences in fp32, write and read them in every encoding, and print the losses."""
    exact = _vectors(model, sample_texts([it.text for it in rated_sentences(cache)], count))
    losses = [_loss(encoding, exact) for encoding in EmbeddingEncoding]
    Console(highlight=False).print(table(losses))
    if json_path is not None:
        try:
            json_path.write_text(json.dumps([asdict(it) for it in losses], indent=2) + "\n")
        except OSError as error:
            raise BadSettings(f"{json_path}: {error.strerror}") from error


def table(losses: list[Loss]) -> Table:
    """Return a line for each encoding."""
    shown = Table(title=f"{losses[0].num_vectors} sentences against all others, by cosine", title_justify="left")
    shown.add_column("encoding", no_wrap=True)
    for name in ("bytes a message", f"recall@{NUM_NEIGHBOURS}", f"in the nearest {NUM_CANDIDATES}", "cosine off by", "at most"):
        shown.add_column(name, justify="right")
    for it in losses:
        recalls, errors = (it.recall, it.recall_of_candidates), (it.mean_cosine_error, it.max_cosine_error)
        shown.add_row(it.encoding, f"{it.value_bytes:.0f}", *(f"{n:.4f}" for n in recalls), *(f"{n:.5f}" for n in errors))
    return shown


def _vectors(model: str, texts: list[str]) -> NDArray[np.float32]:
    # Heavy.
    from worker.model.engine import Engine  # noqa: PLC0415
    from worker.training.evaluation.evaluate import predictions  # noqa: PLC0415

    engine = Engine.load(model, device="cpu", dtype="float32")
    return np.stack([it.embedding for it in predictions(engine, texts, Task.EMBED) if it.embedding is not None])


def _loss(encoding: EmbeddingEncoding, exact: NDArray[np.float32]) -> Loss:
    values = [_value(number, vector, encoding) for number, vector in enumerate(exact)]
    decoded = np.stack([decode_embedding(orjson.loads(it)) for it in values])
    return loss(encoding.value, float(np.mean([len(it) for it in values])), exact, decoded)


def _value(number: int, vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> bytes:
    """Return the value of the message that the worker would write."""
    record, nothing = Record(Partition("texts", 0), number, None, b""), np.zeros(0, dtype=np.int32)
    item = Item(record, f"{record.partition}-{number}", "", frozenset({Task.EMBED}))
    tokens = Tokens(nothing, nothing.reshape(0, 2), nothing, truncated=False)
    options: dict[str, Any] = {"model_name": "", "encoding": encoding, "limits": Limits()}
    outcome = encode(TokenizedItem(item, tokens), Prediction(embedding=vector), **options)
    return outcome.messages[0].value or b""

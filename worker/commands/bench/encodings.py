"""The command `bench encodings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import orjson
import typer

from worker.bench.encodings import build_report, measure_loss
from worker.bench.frame.runs import Runs
from worker.commands.bench import flags
from worker.model.engine import Engine
from worker.records import Item, Partition, Prediction, Record, Task, TokenizedItem, Tokens
from worker.settings import DEFAULT_MODEL
from worker.training.data.corpora import rated_sentences, sample_texts
from worker.training.evaluation.evaluate import predictions
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, decode_embedding, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.bench.frame.report import ReportOutputs


@flags.write_report
def encodings(
    *,
    model: Annotated[str, typer.Option(help="Reference of the model whose vectors are encoded.")] = DEFAULT_MODEL,
    count: Annotated[int, typer.Option(min=200, help="Number of sentences.")] = 4000,
    cache: flags.Cache = Path(".data"),
    outputs: ReportOutputs,
) -> None:
    """Measure the size of each encoding of vectors and its loss in a nearest-neighbour search."""
    exact, losses = embed(model, read_texts(cache, count)), Runs()
    for encoding in EmbeddingEncoding:
        values = [_encode(number, vector, encoding) for number, vector in enumerate(exact)]
        decoded = np.stack([decode_embedding(orjson.loads(value)) for value in values])
        losses.add(encoding.value, value_bytes=float(np.mean([len(value) for value in values])), **measure_loss(exact, decoded))
    outputs.write(build_report(losses, len(exact)), flags.build_console())


def read_texts(cache: Path, count: int) -> list[str]:
    """Return `count` sentences of all sections of the corpus."""
    return list(sample_texts([sentence.text for sentence in rated_sentences(cache)], count))


def embed(model: str, texts: list[str]) -> NDArray[np.float32]:
    """Return the vectors of texts in fp32, `[n, H]`."""
    engine = Engine.load(model, device="cpu", dtype="float32")
    found = predictions(engine, texts, Task.EMBED)
    return np.stack([prediction.embedding for prediction in found if prediction.embedding is not None])


def _encode(number: int, vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> bytes:
    """Return the value of the record that the worker would publish."""
    record, nothing = Record(Partition("texts", 0), number, None, b""), np.zeros(0, dtype=np.int32)
    item = Item(record, f"{record.partition}-{number}", "", frozenset({Task.EMBED}))
    tokens = Tokens(nothing, nothing.reshape(0, 2), nothing, truncated=False)
    options: dict[str, Any] = {"model_name": "", "encoding": encoding, "limits": Limits()}
    outcome = encode(TokenizedItem(item, tokens), Prediction(embedding=vector), **options)
    return outcome.messages[0].value or b""

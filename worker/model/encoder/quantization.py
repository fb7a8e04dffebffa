"""What 8-bit products need to know of a model's states, and what they cost in exactness: measured on texts, never assumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worker.errors import BadModel
from worker.model.backends.eager import Eager
from worker.model.checkpoint import checkpoint
from worker.model.encoder.encoder import Layer
from worker.model.encoder.encoder_config import CALIBRATED
from worker.model.engine import Engine
from worker.model.text.packing import pack
from worker.records import Item, Partition, Record, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.encoder.encoder import Encoder
    from worker.model.text.packing import Packed
    from worker.records import Prediction, Tokens

#: A text whose vector turns by more than this cosine says is too much.
LEAST_COSINE = 0.99
_FEWEST_TEXTS = 64
_TOKENS_PER_PASS = 4096


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a backend is from fp32, over some texts."""

    num_texts: int
    #: Of each text's vector with its fp32 vector: the smallest, that of the worst hundredth, and the mean.
    min_cosine: float
    p01_cosine: float
    mean_cosine: float
    #: The share of labels that are the same; 1 where there are no labels.
    label_agreement: float
    #: F1 of the entities (type and place), taking those of fp32 as true; 1 where there are none.
    entity_f1: float


def quantize(reference: str, texts: Sequence[str], output: Path, *, is_forced: bool = False) -> Difference:
    """Calibrate the model at `reference` on half of `texts`, measure on the other half, and write a checkpoint to `output`.

    Raises `BadModel` where there are too few texts, or where a text's vector turns too far, unless `is_forced`.
    """
    if len(texts) < _FEWEST_TEXTS:
        raise BadModel(f"{len(texts)} texts are too few to calibrate on: give {_FEWEST_TEXTS} or more, best some thousand")
    loaded = checkpoint.load(reference)
    ranges = measure_ranges(loaded.encoder, passes(loaded.tokenizer.encode(texts[::2])))
    exact = predictions(Engine.from_checkpoint(loaded, device="cpu", dtype="float32"), texts[1::2])
    found = difference(
        exact, predictions(Engine.from_checkpoint(replace(loaded, ranges=ranges), dtype="int8", device="cpu"), texts[1::2])
    )
    if found.min_cosine < LEAST_COSINE and not is_forced:
        raise BadModel(
            f"a text's vector turns too far for 8-bit products: its cosine is {found.min_cosine:.4f}, below {LEAST_COSINE}; "
            "--force writes the checkpoint all the same"
        )
    checkpoint.save_calibrated(output, reference, ranges, asdict(found))
    return found


@torch.inference_mode()
def measure_ranges(encoder: Encoder, batches: Iterator[Packed]) -> dict[str, NDArray[np.float32]]:
    """Return for each calibrated product, `<layer>.<product>`, the largest size of each of its input channels, fp32, `[inputs]`."""
    ranges: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def note(_module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
            largest = inputs[0].float().abs().amax(0)
            ranges[name] = torch.maximum(ranges.get(name, largest), largest)

        return note

    layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
    products = [(layer.attention.query_key_value, layer.attention.output, layer.expand) for layer in layers]
    hooks = [
        product.register_forward_pre_hook(watch(f"{number}.{kind}"))
        for number, layer_products in enumerate(products)
        for kind, product in zip(CALIBRATED, layer_products, strict=True)
    ]
    exact = Eager(encoder, device=torch.device("cpu"), dtype=torch.float32)
    for packed in batches:
        exact.encode(packed, {len(layers)})
    for hook in hooks:
        hook.remove()
    return {name: sizes.numpy() for name, sizes in ranges.items()}


def passes(tokens: Sequence[Tokens]) -> Iterator[Packed]:
    """Yield texts packed, some at a time, in order."""
    for first, end in _cuts([len(text_tokens) for text_tokens in tokens]):
        yield pack([text_tokens.ids for text_tokens in tokens[first:end]])


def predictions(engine: Engine, texts: Sequence[str]) -> list[Prediction]:
    """Return what a model says of each text, for all of its tasks."""
    record = Record(Partition("texts", 0), 0, None, b"")
    tokens = engine.tokenize(texts)
    items = [
        TokenizedItem(Item(record, "", text, engine.tasks), text_tokens) for text, text_tokens in zip(texts, tokens, strict=True)
    ]
    return list(
        chain.from_iterable(engine.infer(items[first:end]) for first, end in _cuts([len(text_tokens) for text_tokens in tokens]))
    )


def difference(exact: Sequence[Prediction], others: Sequence[Prediction]) -> Difference:
    """Compare predictions, text by text."""
    cosines = np.array([_cosine(one, other) for one, other in zip(exact, others, strict=True)])
    labels = [
        (name, label.label, (other.labels or {})[name].label)
        for one, other in zip(exact, others, strict=True)
        for name, label in (one.labels or {}).items()
    ]
    counts: Counter[str] = Counter()
    for one, other in zip(exact, others, strict=True):
        true, found = _places(one), _places(other)
        counts += Counter(right=len(true & found), all=len(true) + len(found))
    return Difference(
        num_texts=len(cosines),
        min_cosine=float(cosines.min()),
        p01_cosine=float(np.quantile(cosines, 0.01)),
        mean_cosine=float(cosines.mean()),
        label_agreement=sum(one == other for _, one, other in labels) / len(labels) if labels else 1.0,
        entity_f1=2 * counts["right"] / counts["all"] if counts["all"] else 1.0,
    )


def _cosine(one: Prediction, other: Prediction) -> float:
    if one.embedding is None or other.embedding is None:
        raise BadModel("the model gives no vector for a text")
    return float(one.embedding @ other.embedding / (np.linalg.norm(one.embedding) * np.linalg.norm(other.embedding)))


def _places(prediction: Prediction) -> set[tuple[str, int, int]]:
    return {(entity.type, entity.start, entity.end) for entity in prediction.entities or ()}


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and end of runs that fit into one pass."""
    first, total = 0, 0
    for end, size in enumerate(sizes):
        if end > first and total + size > _TOKENS_PER_PASS:
            yield first, end
            first, total = end, 0
        total += size
    if sizes:
        yield first, len(sizes)

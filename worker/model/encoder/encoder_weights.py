"""The weights of an encoder as arrays in fp32, read from a published file. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from worker.errors import BadModel
from worker.model.architectures.model2vec import read_table
from worker.model.architectures.registry import find_family
from worker.model.checkpoint.mapped_tensors import map_tensors
from worker.model.checkpoint.publication import check_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig

    Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """The weights of an encoder by the names of the parameters of `encoder.Encoder`."""

    config: EncoderConfig
    arrays: Mapping[str, Floats]


def read_published(config: EncoderConfig, path: Path, *, others: Collection[str] = ()) -> EncoderWeights:
    """Read a published `model.safetensors`; raises `BadModel` where a tensor is missing, of another shape or not known.

    `others` are the names of known tensors that are not the encoder's, such as those of a head.
    """
    if config.is_static:
        return EncoderWeights(config, {"words.weight": read_table(path.parent)})
    try:
        with safe_open(path, framework="numpy") as published:
            names = set(published.keys())
            prefix = find_prefix(config, names)
            sources = {name: [_spelt(prefix + part, names) for part in own] for name, own in name_sources(config).items()}
            used = set().union(*sources.values())
            if missing := sorted(used - names):
                raise BadModel(f"{path}: not the weights of this encoder: the tensor {missing[0]} is missing")
            check_tensors(path, names, used.union(others), find_family(config.family), prefix)
        tensors = map_tensors(path, used)
    except (OSError, SafetensorError, ValueError) as error:
        raise BadModel(f"{path}: not the weights of this encoder: {error}") from error
    arrays = {
        name: np.ascontiguousarray(
            tensors[own[0]] if len(own) == 1 else np.concatenate([tensors[source] for source in own]), dtype=np.float32
        )
        for name, own in sources.items()
    }
    check_shapes(path, arrays, config)
    return EncoderWeights(config, arrays)


def find_prefix(config: EncoderConfig, names: Collection[str]) -> str:
    """Return what a file of weights has before the names of the encoder's tensors."""
    return next((prefix for prefix in find_family(config.family).prefixes if any(name.startswith(prefix) for name in names)), "")


def check_shapes(path: Path, arrays: Mapping[str, Floats], config: EncoderConfig) -> None:
    """Raise `BadModel` for an array whose shape is not that of the configuration."""
    for name, expected in find_shapes(config).items():
        if arrays[name].shape != expected:
            raise BadModel(
                f"{path}: not the weights of this encoder: {name} has the shape {list(arrays[name].shape)}, not {list(expected)}"
            )


def find_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter of `encoder.Encoder`."""
    hidden, narrow = config.hidden_size, config.embedding_size or config.hidden_size
    shapes = _table_shapes(config, narrow)
    widths = {} if config.is_static else {"norm": narrow}
    if config.attention.has_distance_norm:
        widths["distance_norm"] = hidden
    if config.is_norm_first:
        widths["final_norm"] = hidden
    layers = range(config.num_hidden_layers)
    widths |= {f"layers.{number}.attention_norm": hidden for number in layers if number or not config.is_norm_first}
    widths |= {f"layers.{number}.feed_forward_norm": hidden for number in layers}
    for name, width in widths.items():
        shapes |= _with_bias(name, (width,), has_bias="norm" not in config.without_bias)
    if config.embedding_size:
        shapes |= _with_bias("project", (hidden, narrow), has_bias=True)
    for number in layers:
        for name, shape in _layer_shapes(config).items():
            shapes |= _with_bias(f"layers.{number}.{name}", shape, has_bias=name not in config.without_bias)
    return shapes


def _table_shapes(config: EncoderConfig, narrow: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each table of embeddings, which are `narrow` numbers wide."""
    attention = config.attention
    shapes = {
        "words": (config.vocab_size, narrow),
        "positions": (config.max_position_embeddings * config.has_positions, narrow),
        "types": (config.type_vocab_size, narrow),
        "distance_bias": (attention.num_bias_buckets, config.num_attention_heads),
        "distances": (2 * attention.span, config.hidden_size),
    }
    return {f"{name}.weight": shape for name, shape in shapes.items() if shape[0]}


def _layer_shapes(config: EncoderConfig) -> dict[str, tuple[int, int]]:
    """Return the shape of each linear map of a layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    return {
        "attention.query_key_value": (3 * hidden, hidden),
        "attention.output": (hidden, hidden),
        "expand": (2 * inner if config.is_gated else inner, hidden),
        "contract": (hidden, inner),
    }


def _with_bias(name: str, shape: tuple[int, ...], *, has_bias: bool) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if has_bias else {})


def _spelt(name: str, names: Collection[str]) -> str:
    """Return a tensor's name as a file spells it: weights that were converted from TensorFlow say gamma and beta."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return old if name not in names and old in names else name


def name_sources(config: EncoderConfig) -> dict[str, list[str]]:
    """Return for each parameter of ours the published tensors that it is made of, one below the other."""
    names = find_family(config.family).names
    sources: dict[str, list[str]] = {}
    for name in find_shapes(config):
        module, _, kind = name.rpartition(".")
        number, _, inside = module.removeprefix("layers.").partition(".")
        theirs = names[inside if module.startswith("layers.") else module]
        sources[name] = [f"{source.format(n=number)}.{kind}" for source in theirs]
    return sources

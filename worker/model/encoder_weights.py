"""The weights of an encoder as arrays in fp32, read from a published file. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from worker.errors import BadModel
from worker.model.checkpoint.publication import check_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder_config import EncoderConfig

    Floats = NDArray[np.float32]

# Formats of published weights.
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """The weights of an encoder by the names of the parameters of `encoder.Encoder`."""

    config: EncoderConfig
    arrays: Mapping[str, Floats]


def read_published(config: EncoderConfig, path: Path, *, others: Collection[str] = ()) -> EncoderWeights:
    """Read a published `model.safetensors`; raises `BadModel` where a tensor is missing, of another shape or not known.

    `others` are the names of known tensors that are not the encoder's, such as those of a head.
    """
    try:
        with safe_open(path, framework="numpy") as published:
            names = set(published.keys())
            prefix = "bert." if any(name.startswith("bert.") for name in names) else ""
            sources = {name: [_spelt(prefix + part, names) for part in own] for name, own in name_sources(config).items()}
            used = set().union(*sources.values())
            if missing := sorted(used - names):
                raise BadModel(f"{path}: not the weights of this encoder: the tensor {missing[0]} is missing")
            check_tensors(path, names, used.union(others))
            formats = {name: published.get_slice(name).get_dtype() for name in used}
            for name, form in sorted(formats.items()):
                if form not in _FLOATS:
                    raise BadModel(f"{path}: the tensor {name} holds {form}, and weights of {', '.join(sorted(_FLOATS))} are read")
            # The library hands bfloat16 over as bytes alone, and only of whole files.
            narrow = _read_bytes(path) if "BF16" in formats.values() else {}
            tensors = {name: _widen(narrow[name]) if formats.get(name) == "BF16" else published.get_tensor(name) for name in used}
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path}: not the weights of this encoder: {error}") from error
    arrays = {
        name: np.ascontiguousarray(
            tensors[own[0]] if len(own) == 1 else np.concatenate([tensors[source] for source in own]), dtype=np.float32
        )
        for name, own in sources.items()
    }
    check_shapes(path, arrays, config)
    return EncoderWeights(config, arrays)


def check_shapes(path: Path, arrays: Mapping[str, Floats], config: EncoderConfig) -> None:
    """Raise `BadModel` for an array whose shape is not that of the configuration."""
    for name, expected in find_shapes(config).items():
        if arrays[name].shape != expected:
            raise BadModel(
                f"{path}: not the weights of this encoder: {name} has the shape {list(arrays[name].shape)}, not {list(expected)}"
            )


def find_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "words.weight": (config.vocab_size, hidden),
        "positions.weight": (config.max_position_embeddings, hidden),
        "types.weight": (config.type_vocab_size, hidden),
        "norm.weight": (hidden,),
        "norm.bias": (hidden,),
    }
    linear = {"attention.query_key_value": (3 * hidden, hidden), "attention.output": (hidden, hidden)}
    linear |= {"expand": (inner, hidden), "contract": (hidden, inner)}
    for number in range(config.num_hidden_layers):
        for name, shape in linear.items():
            shapes |= {f"layers.{number}.{name}.weight": shape, f"layers.{number}.{name}.bias": shape[:1]}
        for name in ("attention_norm", "feed_forward_norm"):
            shapes |= {f"layers.{number}.{name}.weight": (hidden,), f"layers.{number}.{name}.bias": (hidden,)}
    return shapes


def _read_bytes(path: Path) -> dict[str, Any]:
    """Return each tensor of a file as its format, shape and bytes."""
    return dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]  # the library has no types


def _widen(tensor: Mapping[str, Any]) -> Floats:
    """Return a tensor in bfloat16, as bytes, in fp32."""
    bits = np.frombuffer(tensor["data"], dtype=np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).reshape(tensor["shape"])


def _spelt(name: str, names: Collection[str]) -> str:
    """Return a tensor's name as a file spells it: weights that were converted from TensorFlow say gamma and beta."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return old if name not in names and old in names else name


def name_sources(config: EncoderConfig) -> dict[str, list[str]]:
    """Return for each parameter of ours the published tensors that it is made of, one below the other."""
    names = {
        "words": ["embeddings.word_embeddings"],
        "positions": ["embeddings.position_embeddings"],
        "types": ["embeddings.token_type_embeddings"],
    }
    with_bias = {"norm": ["embeddings.LayerNorm"]}
    for number in range(config.num_hidden_layers):
        ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
        with_bias |= {
            f"{ours}.attention.query_key_value": [
                f"{theirs}.attention.self.{projection}" for projection in ("query", "key", "value")
            ],
            f"{ours}.attention.output": [f"{theirs}.attention.output.dense"],
            f"{ours}.attention_norm": [f"{theirs}.attention.output.LayerNorm"],
            f"{ours}.expand": [f"{theirs}.intermediate.dense"],
            f"{ours}.contract": [f"{theirs}.output.dense"],
            f"{ours}.feed_forward_norm": [f"{theirs}.output.LayerNorm"],
        }
    weights = {f"{ours}.weight": [f"{source}.weight" for source in theirs] for ours, theirs in (names | with_bias).items()}
    biases = {f"{ours}.bias": [f"{source}.bias" for source in theirs] for ours, theirs in with_bias.items()}
    return weights | biases

"""Model2Vec (Tulkens and van Dongen, 2024): a table of tokens, of which a text's vector is the normalised mean.

An empty row at the end of the table is the state of what counts for nothing: the places around a text, and unknown tokens.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from worker.errors import BadModel
from worker.model.architectures.family import Family, UnsupportedConfig
from worker.model.encoder.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_WEIGHTS, _TABLE, _MAPPING, _SHARES = "model.safetensors", "embeddings", "mapping", "weights"
# The tokens of a text that the library reads, and the places around them.
_MAX_TOKENS = 512 + 2
# What a step of the kernels takes: no layer reads it.
_INNER = 64


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration, with the sizes of its table, into ours."""
    if not published.get("normalize"):
        raise UnsupportedConfig("normalize is not set, and only normalised vectors are supported for Model2Vec")
    return EncoderConfig(
        family="model2vec",
        vocab_size=published["vocab_size"],
        hidden_size=published["hidden_size"],
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=_INNER,
        max_position_embeddings=_MAX_TOKENS,
        type_vocab_size=0,
        has_positions=False,
    )


def read_sizes(directory: Path) -> dict[str, int]:
    """Return the sizes of a published table, the empty row included; raises `BadModel` where there is none."""
    path = directory / _WEIGHTS
    try:
        with safe_open(path, framework="numpy") as published:
            names = set(published.keys())
            if unknown := sorted(names - {_TABLE, _MAPPING, _SHARES}):
                raise BadModel(f"{path}: the tensor {unknown[0]} is not part of a Model2Vec")
            num_rows, width = published.get_slice(_TABLE).get_shape()
            if _MAPPING in names:
                (num_rows,) = published.get_slice(_MAPPING).get_shape()
    except (OSError, SafetensorError, ValueError) as error:
        raise BadModel(f"{path}: not the weights of a Model2Vec: {error}") from error
    return {"vocab_size": num_rows + 1, "hidden_size": width}


def read_table(directory: Path) -> NDArray[np.float32]:
    """Return the row of each token, fp32, `[vocab_size, hidden_size]`; raises `BadModel` for arrays that do not fit."""
    try:
        arrays = load_file(directory / _WEIGHTS)
        table = arrays[_TABLE].astype(np.float32)
        if _MAPPING in arrays:
            table = table[arrays[_MAPPING]]
        if _SHARES in arrays:
            table = table * arrays[_SHARES].astype(np.float32)[:, None]
        model = json.loads((directory / "tokenizer.json").read_bytes())["model"]
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadModel(f"{directory}: not a Model2Vec: {error}") from error
    rows = np.concatenate([table, np.zeros((1, table.shape[1]), dtype=np.float32)])
    unknown = model["vocab"].get(model.get("unk_token")) if isinstance(model.get("vocab"), dict) else model.get("unk_id")
    if unknown is not None:
        rows[unknown] = 0
    return rows


MODEL2VEC = Family(
    model_types=("model2vec",),
    prefixes=(),
    names={"words": (_TABLE,)},
    describe=describe,
    encoders=frozenset({"StaticModel"}),
    ignored=(),
)

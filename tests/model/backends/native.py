"""The arithmetics of the native engine on this machine, and small encoders to run in each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from worker.model.backends.arithmetics import ARITHMETICS, Arithmetic
from worker.model.backends.compiled import Compiled
from worker.model.backends.native.build import VARIANTS, Variant, load
from worker.model.encoder.encoder import Encoder, to_weights
from worker.model.encoder.encoder_config import EncoderConfig

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 448,
    "max_position_embeddings": 600,
}
#: Every set of instructions and arithmetic that this machine can run.
WAYS = [
    (variant, arithmetic)
    for variant in VARIANTS
    if variant.runs_here
    for arithmetic in ARITHMETICS
    if load(variant).gist_has(arithmetic.number)
]
IDS = [f"{variant.name}-{arithmetic.number}-{arithmetic.name}" for variant, arithmetic in WAYS]
EXACT = [way for way in WAYS if way[1].name == "float32"]


def build_small_encoder(**changed: Any) -> Encoder:
    """Return a small encoder with random weights."""
    torch.manual_seed(0)
    return Encoder(EncoderConfig(**SHAPE | changed)).eval()


@lru_cache
def compile_small(variant: Variant, arithmetic: Arithmetic, num_heads: int = 4) -> Compiled:
    """Return a small encoder in one arithmetic, calibrated on nothing in particular."""
    encoder = build_small_encoder(num_attention_heads=num_heads)
    ranges = {
        f"{layer}.{kind}": np.full(encoder.config.hidden_size, 3.0, dtype=np.float32)
        for layer in range(encoder.config.num_hidden_layers)
        for kind in ("query_key_value", "output", "expand")
    }
    return Compiled(to_weights(encoder), arithmetic, variant=variant, ranges=ranges if arithmetic.is_calibrated else None)

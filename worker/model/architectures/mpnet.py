"""MPNet (Song et al., 2020): a BERT with a bias of attention by distance, and without token types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family
from worker.model.encoder.encoder_config import AttentionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.model.encoder.encoder_config import EncoderConfig

_LAYER = "encoder.layer.{n}"
# Positions begin after that of padding, whose number is fixed in the published code; so are the buckets.
_FIRST_POSITION, _NUM_BUCKETS = 2, 32


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    attention = AttentionConfig(num_bias_buckets=_NUM_BUCKETS)
    return replace(bert.describe(published), family="mpnet", type_vocab_size=0, first_position=_FIRST_POSITION, attention=attention)


MPNET = Family(
    model_types=("mpnet",),
    prefixes=("mpnet.",),
    names={
        **bert.NAMES,
        "attention.query_key_value": tuple(f"{_LAYER}.attention.attn.{projection}" for projection in "qkv"),
        "attention.output": (f"{_LAYER}.attention.attn.o",),
        "attention_norm": (f"{_LAYER}.attention.LayerNorm",),
        "distance_bias": ("encoder.relative_attention_bias",),
    },
    describe=describe,
    encoders=frozenset({"MPNetModel", "MPNetForMaskedLM"}),
    ignored=("pooler.", "lm_head.", *bert.BUFFERS),
)

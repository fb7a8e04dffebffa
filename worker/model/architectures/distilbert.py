"""DistilBERT (Sanh et al., 2019): a BERT without token types, under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family
from worker.model.encoder.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAYER = "transformer.layer.{n}"
_NAMES = {
    **{name: bert.NAMES[name] for name in ("words", "positions", "norm")},
    "attention.query_key_value": tuple(f"{_LAYER}.attention.{projection}_lin" for projection in "qkv"),
    "attention.output": (f"{_LAYER}.attention.out_lin",),
    "attention_norm": (f"{_LAYER}.sa_layer_norm",),
    "expand": (f"{_LAYER}.ffn.lin1",),
    "contract": (f"{_LAYER}.ffn.lin2",),
    "feed_forward_norm": (f"{_LAYER}.output_layer_norm",),
}


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    return EncoderConfig(
        family="distilbert",
        vocab_size=published["vocab_size"],
        hidden_size=published["dim"],
        num_hidden_layers=published["n_layers"],
        num_attention_heads=published["n_heads"],
        intermediate_size=published["hidden_dim"],
        max_position_embeddings=published["max_position_embeddings"],
        type_vocab_size=0,
        hidden_act=published.get("activation", "gelu"),
    )


DISTILBERT = Family(
    model_types=("distilbert",),
    prefixes=("distilbert.",),
    names=_NAMES,
    describe=describe,
    encoders=frozenset({"DistilBertModel", "DistilBertForMaskedLM"}),
    ignored=("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", *bert.BUFFERS),
)

"""DeBERTa v2 and v3 (He et al., 2021): scores of attention add up content and distance; no positions are added to words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family, UnsupportedConfig
from worker.model.encoder.encoder_config import AttentionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.model.encoder.encoder_config import EncoderConfig

_LAYER = "encoder.layer.{n}"


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    for name, is_refused in {
        "conv_kernel_size": (published.get("conv_kernel_size") or 0) > 0,
        "share_att_key": not published.get("share_att_key"),
        "relative_attention": not published.get("relative_attention"),
        "embedding_size": published.get("embedding_size", published["hidden_size"]) != published["hidden_size"],
    }.items():
        if is_refused:
            raise UnsupportedConfig(f"{name} = {published.get(name)!r} is not supported for DeBERTa")
    longest = published.get("max_relative_positions", -1)
    longest = published["max_position_embeddings"] if longest < 1 else longest
    num_buckets = published.get("position_buckets", -1)
    kinds = published.get("pos_att_type") or ()
    kinds = kinds.lower().split("|") if isinstance(kinds, str) else kinds
    return replace(
        bert.describe({"type_vocab_size": 0, "layer_norm_eps": 1e-7, **published}),
        family="deberta-v2",
        has_positions=bool(published.get("position_biased_input", True)),
        attention=AttentionConfig(
            span=num_buckets if num_buckets > 0 else longest,
            max_distance=longest if num_buckets > 0 else 0,
            has_content_to_position="c2p" in kinds,
            has_position_to_content="p2c" in kinds,
            has_distance_norm="layer_norm" in str(published.get("norm_rel_ebd") or "none").lower(),
        ),
    )


DEBERTA = Family(
    model_types=("deberta-v2",),
    prefixes=("deberta.",),
    names={
        **bert.NAMES,
        "attention.query_key_value": tuple(f"{_LAYER}.attention.self.{name}_proj" for name in ("query", "key", "value")),
        "distances": ("encoder.rel_embeddings",),
        "distance_norm": ("encoder.LayerNorm",),
    },
    describe=describe,
    encoders=frozenset({"DebertaV2Model", "DebertaV2ForMaskedLM"}),
    # The table of positions is published, and not read, where positions are not added to words.
    ignored=("cls.", "lm_predictions.", "mask_predictions.", "embeddings.position_embeddings", *bert.BUFFERS),
)

"""The encoder of GTE (Zhang et al., "mGTE", 2024), published as `new`: a BERT with rotary positions and gated feed-forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family, UnsupportedConfig, read_fields
from worker.model.encoder.encoder_config import AttentionConfig, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAYER = "encoder.layer.{n}"
_NAMES = {
    **{name: bert.NAMES[name] for name in ("words", "types", "norm")},
    "attention.query_key_value": (f"{_LAYER}.attention.qkv_proj",),
    "attention.output": (f"{_LAYER}.attention.o_proj",),
    "attention_norm": (f"{_LAYER}.attn_ln",),
    "expand": (f"{_LAYER}.mlp.up_gate_proj",),
    "contract": (f"{_LAYER}.mlp.down_proj",),
    "feed_forward_norm": (f"{_LAYER}.mlp_ln",),
}
# The values of the published code's own settings that are computed here.
_VALUES: Mapping[str, tuple[object, ...]] = {
    "position_embedding_type": ("rope",),
    "layer_norm_type": ("layer_norm",),
    "pack_qkv": (True,),
    "logn_attention_scale": (False,),
}


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours: that of the published code, or that of transformers."""
    for key, allowed in _VALUES.items():
        if key in published and published[key] not in allowed:
            raise UnsupportedConfig(f"{key} = {published[key]!r} is not supported for GTE")
    base, divisor = _read_rotary(published)
    return EncoderConfig(
        **{
            **read_fields(published),
            "family": "gte",
            "has_positions": False,
            "is_gated": True,
            "is_second_half_activated": True,
            "without_bias": ("expand",),
        },
        attention=AttentionConfig(rotary_base=base, rotary_divisor=divisor),
    )


def _read_rotary(published: Mapping[str, Any]) -> tuple[float, float]:
    """Return the base of the rotary positions, and what frequencies are divided by: longer texts turn more slowly (NTK)."""
    newer = published.get("rope_parameters") or {}
    base = float(newer.get("rope_theta") or published.get("rope_theta") or 160_000.0)
    scaling = published.get("rope_scaling") or (newer if newer.get("rope_type", "default") != "default" else {})
    if not scaling:
        return base, 1.0
    kind = scaling.get("type") or scaling.get("rope_type")
    if kind != "ntk" or scaling.get("mixed_b") is not None:
        raise UnsupportedConfig(f"scaled rotary positions of the type {kind!r} are not supported for GTE")
    factor, width = float(scaling["factor"]), published["hidden_size"] // published["num_attention_heads"]
    return base * factor, factor ** (2 / width)


GTE = Family(
    model_types=("gte", "new"),
    prefixes=("gte.", "new."),
    names=_NAMES,
    describe=describe,
    encoders=frozenset(f"{model}{kind}" for model in ("Gte", "New") for kind in ("Model", "ForMaskedLM")),
    ignored=("pooler.", "lm_head.", *bert.BUFFERS),
    is_published_with_code=True,
)

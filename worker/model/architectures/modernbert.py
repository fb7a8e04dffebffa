"""ModernBERT (Warner et al., 2024): rotary positions, gated feed-forward, norms first, and local attention between global."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.model.architectures.family import Family, UnsupportedConfig, read_fields
from worker.model.encoder.encoder_config import AttentionConfig, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAYER = "layers.{n}"
_NAMES = {
    "words": ("embeddings.tok_embeddings",),
    "norm": ("embeddings.norm",),
    "attention_norm": (f"{_LAYER}.attn_norm",),
    "attention.query_key_value": (f"{_LAYER}.attn.Wqkv",),
    "attention.output": (f"{_LAYER}.attn.Wo",),
    "feed_forward_norm": (f"{_LAYER}.mlp_norm",),
    "expand": (f"{_LAYER}.mlp.Wi",),
    "contract": (f"{_LAYER}.mlp.Wo",),
    "final_norm": ("final_norm",),
}
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    every, num_layers = published.get("global_attn_every_n_layers", 3), published["num_hidden_layers"]
    layers = published.get("layer_types") or [_LOCAL if number % every else _GLOBAL for number in range(num_layers)]
    biases = {
        "norm": "norm_bias",
        "attention.query_key_value": "attention_bias",
        "attention.output": "attention_bias",
        "expand": "mlp_bias",
        "contract": "mlp_bias",
    }
    return EncoderConfig(
        **{
            **read_fields(published),
            "family": "modernbert",
            "type_vocab_size": 0,
            "has_positions": False,
            "hidden_act": published.get("hidden_activation", "gelu"),
            "layer_norm_eps": published.get("norm_eps", 1e-5),
            "is_norm_first": True,
            "is_gated": True,
            "without_bias": tuple(name for name, key in biases.items() if not published.get(key)),
        },
        attention=AttentionConfig(
            rotary_base=_read_base(published, _GLOBAL, "global_rope_theta", 160_000.0),
            local_rotary_base=_read_base(published, _LOCAL, "local_rope_theta", 10_000.0),
            local_layers=tuple(number for number, kind in enumerate(layers) if kind == _LOCAL),
            window=published.get("local_attention", 128) // 2,
        ),
    )


def _read_base(published: Mapping[str, Any], kind: str, old: str, default: float) -> float:
    """Return the base of the rotary positions of a kind of layers; older configurations have a key for each kind."""
    rotary = (published.get("rope_parameters") or {}).get(kind) or {}
    if rotary.get("rope_type", "default") != "default" or published.get("rope_scaling"):
        raise UnsupportedConfig(f"scaled rotary positions (rope_type {rotary.get('rope_type')!r}) are not supported")
    return float(rotary.get("rope_theta") or published.get(old) or default)


MODERNBERT = Family(
    model_types=("modernbert",),
    prefixes=("model.",),
    names=_NAMES,
    describe=describe,
    encoders=frozenset({"ModernBertModel", "ModernBertForMaskedLM"}),
    ignored=("head.", "decoder."),
)

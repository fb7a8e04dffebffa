"""Nomic BERT (Nussbaum et al., 2024): a BERT with rotary positions, gated feed-forward and no biases but those of norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family, UnsupportedConfig, read_fields
from worker.model.encoder.encoder_config import AttentionConfig, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAYER = "encoder.layers.{n}"
_NAMES = {
    **{name: bert.NAMES[name] for name in ("words", "types")},
    "norm": ("emb_ln",),
    "attention.query_key_value": (f"{_LAYER}.attn.Wqkv",),
    "attention.output": (f"{_LAYER}.attn.out_proj",),
    "attention_norm": (f"{_LAYER}.norm1",),
    # The second of the two is activated.
    "expand": (f"{_LAYER}.mlp.fc12", f"{_LAYER}.mlp.fc11"),
    "contract": (f"{_LAYER}.mlp.fc2",),
    "feed_forward_norm": (f"{_LAYER}.norm2",),
}
# The keys of the older form, which is GPT-2's, by the names of the newer.
_OLD = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
}
# The values of the older form that are computed here.
_OLD_VALUES: Mapping[str, tuple[object, ...]] = {
    "activation_function": ("swiglu",),
    "prenorm": (False,),
    "parallel_block": (False,),
    "qkv_proj_bias": (False,),
    "mlp_fc1_bias": (False,),
    "mlp_fc2_bias": (False,),
    "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False,),
    "rotary_emb_scale_base": (None,),
    "rotary_scaling_factor": (None,),
    "num_experts": (0, None),
    "use_rms_norm": (False, None),
    "causal": (False, None),
    "scale_attn_weights": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
}


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours: that of the published code, or that of transformers."""
    for key, allowed in _OLD_VALUES.items():
        if key in published and published[key] not in allowed:
            raise UnsupportedConfig(f"{key} = {published[key]!r} is not supported for Nomic BERT")
    fields = dict(published) | {ours: published[theirs] for ours, theirs in _OLD.items() if theirs in published}
    rotary = published.get("rope_parameters") or {}
    if rotary.get("rope_type", "default") != "default":
        raise UnsupportedConfig(f"scaled rotary positions (rope_type {rotary['rope_type']!r}) are not supported")
    if fields.get("intermediate_size") is None:
        fields["intermediate_size"] = 4 * fields["hidden_size"]
    return EncoderConfig(
        **{
            **read_fields(fields),
            "family": "nomic_bert",
            "hidden_act": published.get("hidden_act", "silu"),
            "has_positions": False,
            "is_gated": True,
            "without_bias": ("attention.query_key_value", "attention.output", "expand", "contract"),
        },
        attention=AttentionConfig(rotary_base=float(rotary.get("rope_theta") or published.get("rotary_emb_base") or 1000.0)),
    )


NOMIC_BERT = Family(
    model_types=("nomic_bert",),
    prefixes=("nomic_bert.", "bert."),
    names=_NAMES,
    describe=describe,
    encoders=frozenset({"NomicBertModel", "NomicBertForMaskedLM", "NomicBertForPreTraining"}),
    ignored=("pooler.", "cls.predictions.", "lm_head.", *bert.BUFFERS),
    is_published_with_code=True,
)

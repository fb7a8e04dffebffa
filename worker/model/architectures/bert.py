"""BERT (Devlin et al., 2019): the encoder from which the other families differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.model.architectures.family import OPTIONAL, SIZES, Family, check_absolute, read_fields
from worker.model.encoder.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAYER = "encoder.layer.{n}"
#: The names that most families share.
NAMES: Mapping[str, tuple[str, ...]] = {
    "words": ("embeddings.word_embeddings",),
    "positions": ("embeddings.position_embeddings",),
    "types": ("embeddings.token_type_embeddings",),
    "norm": ("embeddings.LayerNorm",),
    "attention.query_key_value": tuple(f"{_LAYER}.attention.self.{projection}" for projection in ("query", "key", "value")),
    "attention.output": (f"{_LAYER}.attention.output.dense",),
    "attention_norm": (f"{_LAYER}.attention.output.LayerNorm",),
    "expand": (f"{_LAYER}.intermediate.dense",),
    "contract": (f"{_LAYER}.output.dense",),
    "feed_forward_norm": (f"{_LAYER}.output.LayerNorm",),
}
#: Buffers that older versions of transformers wrote.
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    check_absolute(published)
    return EncoderConfig(**read_fields(published))


def publish(config: EncoderConfig) -> dict[str, Any]:
    """Return the published configuration of a BERT."""
    names = (*SIZES, *OPTIONAL)
    return {"architectures": ["BertModel"], "model_type": "bert"} | {name: getattr(config, name) for name in names}


BERT = Family(
    model_types=("bert",),
    prefixes=("bert.",),
    names=NAMES,
    describe=describe,
    encoders=frozenset({"BertModel", "BertForMaskedLM", "BertForPreTraining"}),
    ignored=("pooler.", "cls.predictions.", "cls.seq_relationship.", *BUFFERS),
)

"""RoBERTa (Liu et al., 2019), XLM-RoBERTa and CamemBERT: a BERT whose positions begin after that of padding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.model.encoder.encoder_config import EncoderConfig

_MODELS = ("Roberta", "XLMRoberta", "Camembert")


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    padding = published.get("pad_token_id")
    return replace(bert.describe(published), family="roberta", first_position=(1 if padding is None else padding) + 1)


ROBERTA = Family(
    model_types=("roberta", "xlm-roberta", "camembert"),
    prefixes=("roberta.", "camembert."),
    names=bert.NAMES,
    describe=describe,
    encoders=frozenset(f"{model}{kind}" for model in _MODELS for kind in ("Model", "ForMaskedLM")),
    ignored=("pooler.", "lm_head.", *bert.BUFFERS),
)

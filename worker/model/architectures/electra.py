"""ELECTRA (Clark et al., 2020): a BERT whose embeddings may be narrower than its states."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.model.architectures import bert
from worker.model.architectures.family import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.model.encoder.encoder_config import EncoderConfig


def describe(published: Mapping[str, Any]) -> EncoderConfig:
    """Turn a published configuration into ours."""
    config, width = bert.describe(published), published.get("embedding_size", 128)
    return replace(config, family="electra", embedding_size=0 if width == config.hidden_size else width)


ELECTRA = Family(
    model_types=("electra",),
    prefixes=("electra.",),
    names={**bert.NAMES, "project": ("embeddings_project",)},
    describe=describe,
    encoders=frozenset({"ElectraModel", "ElectraForMaskedLM", "ElectraForPreTraining"}),
    ignored=("generator_predictions.", "generator_lm_head.", "discriminator_predictions.", *bert.BUFFERS),
)

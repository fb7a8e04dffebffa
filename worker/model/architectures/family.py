"""What a family of encoders is: how its configuration is read, and what its tensors are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.model.encoder.encoder_config import EncoderConfig

#: The fields that most families publish under the names of ours, and those that may be missing.
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
OPTIONAL = ("type_vocab_size", "hidden_act", "layer_norm_eps")


class UnsupportedConfig(Exception):
    """A published configuration that asks for a computation that is not done here; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of published encoders."""

    #: The names of the family in `model_type`; the first is the name of ours.
    model_types: tuple[str, ...]
    #: What may be before the name of each tensor of a model with a head.
    prefixes: tuple[str, ...]
    #: For each module of `encoder.Encoder` the published modules that it is made of, one below the other; `{n}` is a layer.
    names: Mapping[str, tuple[str, ...]]
    #: Turn a published configuration into ours; raises `UnsupportedConfig`, and `KeyError` for a missing field.
    describe: Callable[[Mapping[str, Any]], EncoderConfig]
    #: The published classes whose vectors are those of the encoder alone: bare encoders, and those with heads of pretraining.
    encoders: frozenset[str]
    #: The beginnings of tensors that change no vector: poolers and heads of pretraining, without the prefix.
    ignored: tuple[str, ...]
    #: Whether models of the family name published code, which is never run: what it computes is described here.
    is_published_with_code: bool = False

    @property
    def name(self) -> str:
        """The name of the family."""
        return self.model_types[0]


def read_fields(published: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that are called as ours; raises `KeyError` for a missing size."""
    return {name: published[name] for name in SIZES} | {name: published[name] for name in OPTIONAL if name in published}


def check_absolute(published: Mapping[str, Any]) -> None:
    """Raise `UnsupportedConfig` where positions are not those of a table."""
    positions = published.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UnsupportedConfig(f"position_embedding_type is {positions!r}, and only absolute positions are supported")

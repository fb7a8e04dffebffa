"""The shape of an encoder, as its publisher writes it in `config.json`. Without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import BadModel
from worker.model.checkpoint.publication import check_configuration

if TYPE_CHECKING:
    from pathlib import Path

#: The activations of the feed-forward that are known.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

# Fields of the configuration that are sizes.
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
    "type_vocab_size",
)  # fmt: skip

#: The products of a layer whose inputs are calibrated for 8-bit products.
CALIBRATED = ("query_key_value", "output", "expand")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The shape of an encoder, in the words of the published `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12

    @classmethod
    def read(cls, path: Path) -> EncoderConfig:
        """Read a published `config.json`; raises `BadModel` for an architecture that this encoder is not."""
        try:
            published = json.loads(path.read_bytes())
            if not isinstance(published, dict):
                raise BadModel(f"{path}: not an object of JSON")
            check_configuration(path, published)
            config = cls(**{name: published[name] for name in cls.__dataclass_fields__ if name in published})
        except FileNotFoundError as error:
            raise BadModel(f"{path}: no such file: a model's directory holds the configuration of its encoder") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadModel(f"{path}: not the configuration of an encoder: {error}") from error
        for name in _SIZES:
            size = getattr(config, name)
            if not isinstance(size, int) or size < 1:
                raise BadModel(f"{path}: {name} is {size!r}, not a whole number from 1 on")
        if config.hidden_act not in ACTIVATIONS:
            raise BadModel(f"{path}: the activation {config.hidden_act!r} is not one of {', '.join(ACTIVATIONS)}")
        if config.hidden_size % config.num_attention_heads:
            raise BadModel(f"{path}: {config.hidden_size} dimensions do not divide into {config.num_attention_heads} heads")
        return config

"""The families of encoders that are known, and the reading of a published `config.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from worker.errors import BadModel
from worker.model.architectures.bert import BERT
from worker.model.architectures.deberta import DEBERTA
from worker.model.architectures.distilbert import DISTILBERT
from worker.model.architectures.electra import ELECTRA
from worker.model.architectures.family import Family, UnsupportedConfig
from worker.model.architectures.gte import GTE
from worker.model.architectures.model2vec import MODEL2VEC, read_sizes
from worker.model.architectures.modernbert import MODERNBERT
from worker.model.architectures.mpnet import MPNET
from worker.model.architectures.nomic_bert import NOMIC_BERT
from worker.model.architectures.roberta import ROBERTA
from worker.model.encoder.encoder_config import ACTIVATIONS, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: All families.
FAMILIES = (BERT, ROBERTA, DISTILBERT, ELECTRA, MPNET, MODERNBERT, DEBERTA, NOMIC_BERT, GTE, MODEL2VEC)
_BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}

# Fields that are sizes, and the smallest value of each.
_SIZES = {
    "vocab_size": 1, "hidden_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 1,
    "max_position_embeddings": 1, "type_vocab_size": 0, "first_position": 0, "embedding_size": 0,
}  # fmt: skip


def find_family(model_type: str) -> Family:
    """Return the family of a `model_type`; raises `KeyError` for one that is not known."""
    return _BY_TYPE[model_type]


def read_json(path: Path) -> dict[str, Any]:
    """Read a published `config.json`; raises `BadModel` where it is missing or broken."""
    try:
        published = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BadModel(f"{path}: no such file: a model's directory holds the configuration of its encoder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{path}: not the configuration of an encoder: {error}") from error
    if not isinstance(published, dict):
        raise BadModel(f"{path}: not an object of JSON")
    return published


def describe(path: Path, published: Mapping[str, Any]) -> EncoderConfig:
    """Return what the configuration at `path` describes; raises `BadModel` for an encoder that is not supported."""
    family = _BY_TYPE.get(str(published.get("model_type")))
    if family is None:
        raise BadModel(
            f"{path}: the model is of type {published.get('model_type')!r}, and supported are {', '.join(sorted(_BY_TYPE))}"
        )
    if family is MODEL2VEC:
        published = {**published, **read_sizes(path.parent)}
    try:
        config = family.describe(published)
    except UnsupportedConfig as error:
        raise BadModel(f"{path}: {error}") from error
    except KeyError as error:
        raise BadModel(f"{path}: not the configuration of an encoder: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise BadModel(f"{path}: not the configuration of an encoder: {error}") from error
    _check_numbers(path, config)
    return config


def _check_numbers(path: Path, config: EncoderConfig) -> None:
    """Raise `BadModel` for a size, an epsilon or an activation that no encoder has."""
    for name, smallest in _SIZES.items():
        size = getattr(config, name)
        is_static = config.family == MODEL2VEC.name and name == "num_hidden_layers"
        if type(size) is not int or (size < smallest and not is_static):
            raise BadModel(f"{path}: {name} is {size!r}, not a whole number from {smallest} on")
    if type(config.layer_norm_eps) not in (int, float) or not 0 <= config.layer_norm_eps < 1:
        raise BadModel(f"{path}: the epsilon of the norms is {config.layer_norm_eps!r}, not a number from 0 to 1")
    if config.hidden_act not in ACTIVATIONS:
        raise BadModel(f"{path}: the activation {config.hidden_act!r} is not one of {', '.join(ACTIVATIONS)}")
    if config.hidden_size % config.num_attention_heads:
        raise BadModel(f"{path}: {config.hidden_size} dimensions do not divide into {config.num_attention_heads} heads")

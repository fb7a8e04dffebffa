"""From tokens to one vector for a text, as the publisher of the weights says: pooling, normalisation, longest text.

The configuration is that of sentence-transformers (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`,
`config_sentence_transformers.json`). The configuration is obeyed, or refused by name: with the wrong pooling, case or prompt a
model separates paraphrases half as well, and nothing else looks wrong.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from worker.errors import BadModel, BadSettings
from worker.model.pooling.dense import DENSE_FILES, DENSE_FOLDERS, Dense, check_names, read_dense

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Pooling = Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"]

#: The file with the steps from a text to its vector.
MODULES = "modules.json"
_PROMPTS = "config_sentence_transformers.json"
# The names that sentence-transformers has had for the configuration of its first module; the first that is there counts.
_TRANSFORMER = tuple(
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_DENSE = tuple(f"{folder}/{file}" for folder in DENSE_FOLDERS for file in DENSE_FILES)
#: The files that say how a vector is made.
SENTENCE_FILES = (MODULES, "1_Pooling/config.json", *_DENSE, *_TRANSFORMER, _PROMPTS)
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
# The modules in their order: as many `Dense` as there are folders for them, and `Normalize` or not.
_ORDER = re.compile(r"Transformer Pooling( Dense){0,2}( Normalize)?")
# The poolings by their names in both forms of the configuration.
_POOLINGS: Mapping[str, Pooling] = {
    "cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean", "max": "max", "max_tokens": "max", "lasttoken": "last",
    "weightedmean": "weighted_mean", "weightedmean_tokens": "weighted_mean", "mean_sqrt_len_tokens": "mean_sqrt_len",
}  # fmt: skip
# Settings of the first module that change no vector, or that are obeyed, by their values; None for any.
_KNOWN: Mapping[str, tuple[object, ...] | None] = {
    "max_seq_length": None,
    "do_lower_case": (False, True),
    "transformer_task": ("feature-extraction", "fill-mask"),
    "module_output_name": ("token_embeddings",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
    "unpad_inputs": (False, True),
}
# A special token before and after the text, and one of the text.
_FEWEST_TOKENS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingConfig:
    """How the vector of a text is made."""

    pooling: Pooling
    is_normalized: bool
    #: The longest text that the model was published for, in tokens; None where its publisher does not say.
    max_tokens: int | None
    #: Whether texts are lower-cased before the tokenizer sees them.
    do_lower_case: bool = False
    #: Whether the publisher says how vectors are made; else they are those of a plain BERT.
    is_configured: bool = True
    #: The published prompts by name, and the name of the one that texts have by default.
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    #: Whether the tokens of a prompt count for the mean.
    includes_prompt: bool = True
    #: The first dimensions that are kept of a vector; None for all.
    dimensions: int | None = None
    #: The linear maps after pooling, and before normalisation.
    dense: tuple[Dense, ...] = ()

    def cut(self, dimensions: int, hidden_size: int) -> PoolingConfig:
        """Return the configuration of vectors of which the first `dimensions` are kept; 0 for all.

        `hidden_size` is that of the encoder. Raises `BadSettings` where the vectors are shorter, and `BadModel` where a module
        `Dense` is of another encoder.
        """
        size = hidden_size
        for dense in self.dense:
            if dense.weight.shape[1] != size:
                raise BadModel(f"a module Dense takes {dense.weight.shape[1]} dimensions, and there are {size}")
            size = len(dense.weight)
        if dimensions > size:
            raise BadSettings(f"GIST_EMBEDDING_DIMENSIONS is {dimensions}, and the vectors of the model have {size} dimensions")
        return replace(self, dimensions=dimensions or None)

    @classmethod
    def read(cls, directory: Path) -> PoolingConfig:
        """Read a published directory; one without `modules.json` is a plain BERT: mean pooling, normalised."""
        if not (directory / MODULES).exists():
            return cls(pooling="mean", is_normalized=True, max_tokens=None, is_configured=False)
        prompts, default_prompt = _prompts(directory / _PROMPTS)
        if _is_static(directory / MODULES):
            return cls(pooling="mean", is_normalized=True, max_tokens=None, prompts=prompts, default_prompt=default_prompt)
        paths, dense = _modules(directory)
        pooling, includes_prompt = _pooling(directory / paths["Pooling"] / "config.json")
        transformer = next((directory / name for name in _TRANSFORMER if (directory / name).exists()), None)
        settings = _transformer(transformer) if transformer else {}
        return cls(
            pooling=pooling,
            is_normalized="Normalize" in paths,
            max_tokens=settings.get("max_seq_length"),
            do_lower_case=bool(settings.get("do_lower_case")),
            prompts=prompts,
            default_prompt=default_prompt,
            includes_prompt=includes_prompt,
            dense=tuple(read_dense(directory / folder) for folder in dense),
        )


def _is_static(path: Path) -> bool:
    """Tell whether the modules are those of a normalised Model2Vec, whose configuration has all the rest."""
    kinds = [str(module.get("type")).rsplit(".", 1)[-1] for module in _read(path, list) if isinstance(module, dict)]
    return kinds == ["StaticEmbedding", "Normalize"]


def _modules(directory: Path) -> tuple[dict[str, str], list[str]]:
    """Return the folder of each module by its kind, and the folders of the `Dense` modules.

    Raises `BadModel` for modules that are not done here.
    """
    path = directory / MODULES
    modules = _read(path, list)
    types = [str(module.get("type")) if isinstance(module, dict) else str(module) for module in modules]
    kinds = [name.rsplit(".", 1)[-1] for name in types]
    for name, kind in zip(types, kinds, strict=True):
        if kind not in _KINDS or not name.startswith("sentence_transformers."):
            raise BadModel(f"{path}: the module {name} is not supported")
    if not _ORDER.fullmatch(" ".join(kinds)):
        raise BadModel(
            f"{path}: the modules {', '.join(kinds) or 'none'} are not supported, only {', '.join(_KINDS)} in this order"
        )
    paths = {kind: str(module.get("path") or "") for kind, module in zip(kinds, modules, strict=True)}
    dense = [str(module.get("path")) for kind, module in zip(kinds, modules, strict=True) if kind == "Dense"]
    if wrong := [folder for folder in dense if folder not in DENSE_FOLDERS]:
        raise BadModel(f"{path}: the module Dense in the folder {wrong[0]!r} is not supported, only in {', '.join(DENSE_FOLDERS)}")
    if "Normalize" in paths and (normalize := directory / paths["Normalize"] / "config.json").exists():
        check_names(normalize, _read(normalize, dict))
    if paths["Transformer"]:
        raise BadModel(f"{path}: the module Transformer in the folder {paths['Transformer']!r} is not supported: move its files up")
    return paths, dense


def _transformer(path: Path) -> dict[str, Any]:
    """Read the settings of the first module; raises `BadModel` for one that is not obeyed here."""
    settings: dict[str, Any] = _read(path, dict)
    for name, value in settings.items():
        allowed = _KNOWN.get(name, ())
        if value not in (None, {}, []) and allowed is not None and value not in allowed:
            raise BadModel(f"{path}: the setting {name} = {value!r} is not supported")
    length = settings.get("max_seq_length")
    if length is not None and (type(length) is not int or length < _FEWEST_TOKENS):
        raise BadModel(f"{path}: max_seq_length is {length!r}, not a number of tokens from {_FEWEST_TOKENS} on")
    return settings


def _prompts(path: Path) -> tuple[dict[str, str], str | None]:
    """Return the published prompts, and the name of the default; raises `BadModel` where the directory is not of an embedder."""
    if not path.exists():
        return {}, None
    config = _read(path, dict)
    kind = config.get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise BadModel(f"{path}: a {kind} is not supported, only a SentenceTransformer")
    if (size := config.get("truncate_dim")) is not None:
        raise BadModel(
            f"{path}: truncate_dim = {size!r} is not supported: set GIST_EMBEDDING_DIMENSIONS={size}, and truncate_dim to null "
            "in a copy of the directory"
        )
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise BadModel(f"{path}: prompts are not texts by their names")
    return prompts, config.get("default_prompt_name")


def _pooling(path: Path) -> tuple[Pooling, bool]:
    """Return the pooling, and whether the tokens of a prompt count."""
    config = _read(path, dict)
    # Newer directories name one mode or several; older ones have a switch for each.
    if "pooling_mode" in config:
        named = config["pooling_mode"]
        modes = named if isinstance(named, list) else [named]
    else:
        modes = [name.removeprefix("pooling_mode_") for name, is_on in config.items() if name.startswith("pooling_mode_") and is_on]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise BadModel(
            f"{path}: the pooling {' and '.join(map(str, modes)) or 'none'} is not supported, only one of {', '.join(_POOLINGS)}"
        )
    return _POOLINGS[modes[0]], bool(config.get("include_prompt", True))


def _read(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{path}: {error}") from error
    if not isinstance(found, kind):
        raise BadModel(f"{path}: not a {'list' if kind is list else 'object'} of JSON")
    return found

"""From tokens to one vector for a text, as the publisher of the weights says: pooling, normalisation, longest text.

The configuration is that of sentence-transformers (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`). It is
read, never assumed: with the wrong pooling a model separates paraphrases half as well, and nothing else looks wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from worker.errors import BadModel

if TYPE_CHECKING:
    from pathlib import Path

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceConfig:
    """How the vector of a text is made."""

    pooling: Pooling
    is_normalized: bool
    #: The longest text that the model was published for, in tokens; None where its publisher does not say.
    max_tokens: int | None

    @classmethod
    def read(cls, directory: Path) -> SentenceConfig:
        """Read a published directory; one without `modules.json` is a plain BERT: mean pooling, normalised."""
        if not (directory / "modules.json").exists():
            return cls(pooling="mean", is_normalized=True, max_tokens=None)
        modules = _read(directory / "modules.json")
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
            raise BadModel(f"{directory}/modules.json: the module {unknown.pop()} is not supported")
        paths = {kind: directory / module.get("path", "") for kind, module in zip(kinds, modules, strict=True)}
        longest = directory / "sentence_bert_config.json"
        return cls(
            pooling=_pooling(paths["Pooling"] / "config.json") if "Pooling" in paths else "mean",
            is_normalized="Normalize" in kinds,
            max_tokens=_read(longest).get("max_seq_length") if longest.exists() else None,
        )


def _pooling(path: Path) -> Pooling:
    config = _read(path)
    # Newer directories name the mode; older ones have a switch for each.
    modes = [config["pooling_mode"]] if "pooling_mode" in config else []
    modes += [name.removeprefix("pooling_mode_") for name, is_on in config.items() if name.startswith("pooling_mode_") and is_on]
    names: dict[str, Pooling] = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    if len(modes) != 1 or modes[0] not in names:
        raise BadModel(f"{path}: only mean and CLS pooling are supported, not {' and '.join(map(str, modes)) or 'none'}")
    return names[modes[0]]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadModel(f"{path}: {error}") from error


def pool(states: Tensor, cu_seqlens: Tensor, pooling: Pooling) -> Tensor:
    """Pool the states `[T, H]` of packed texts (starts `cu_seqlens`, `[n + 1]`) to `[n, H]`, in fp32."""
    if pooling == "cls":
        # A text without tokens may stand past the end, where nothing is; what it gets is nobody's.
        return states[cu_seqlens[:-1].clamp(max=len(states) - 1)].float()
    everybody = torch.arange(len(states), device=states.device)
    # The library's fastest mean over runs of rows.
    return functional.embedding_bag(everybody, states.float(), cu_seqlens[:-1], mode="mean")


def sentence_vectors(pooled: Tensor, config: SentenceConfig) -> Tensor:
    """Return the vectors `[n, H]` of texts from the encoder's last states, pooled, both in fp32."""
    return functional.normalize(pooled, dim=-1) if config.is_normalized else pooled

"""The module `Dense` of sentence-transformers: a linear map of a text's vector, and an activation. Without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: The folders in which sentence-transformers saves the modules, and the files of each.
DENSE_FOLDERS, DENSE_FILES = ("2_Dense", "3_Dense"), ("config.json", "model.safetensors")

#: The vector that a module reads and writes; other names are those of token states.
SENTENCE_VECTOR = "sentence_embedding"
# The activations by the last part of their names in `torch.nn`.
_ACTIVATIONS: Mapping[str, Callable[[Floats], Any]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense:
    """A linear map and an activation."""

    #: `[outputs, inputs]`.
    weight: Floats
    #: `[outputs]`.
    bias: Floats
    activation: str

    def apply(self, vectors: Floats) -> Floats:
        """Return `[n, outputs]` from vectors `[n, inputs]`, in fp32."""
        mapped: Floats = np.asarray(_ACTIVATIONS[self.activation](vectors @ self.weight.T + self.bias), dtype=np.float32)
        return mapped


def read_dense(directory: Path) -> Dense:
    """Read a published module; raises `BadModel` for weights that do not fit, and for another activation."""
    path = directory / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        activation = str(config.get("activation_function", "torch.nn.Tanh")).rsplit(".", 1)[-1]
        shape = (config["out_features"], config["in_features"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadModel(f"{path}: not the configuration of a module Dense: {error}") from error
    check_names(path, config)
    if config.get("use_residual"):
        raise BadModel(f"{path}: use_residual is not supported: the vector is not added to its linear map here")
    if activation not in _ACTIVATIONS:
        raise BadModel(f"{path}: the activation {activation} is not one of {', '.join(_ACTIVATIONS)}")
    weights = directory / "model.safetensors"
    if not weights.is_file():
        found = ", ".join(sorted(file.name for file in directory.iterdir() if file != path)) or "no other file"
        raise BadModel(
            f"{directory}: there is {found} and no {weights.name}. Write it with `SentenceTransformer(…).save_pretrained(…)`"
        )
    try:
        arrays = load_file(weights)
    except (OSError, SafetensorError, TypeError) as error:
        raise BadModel(f"{weights}: not the weights of a module Dense: {error}") from error
    weight = arrays.get("linear.weight", np.zeros(0))
    bias = arrays.get("linear.bias", np.zeros(shape[0]))
    if weight.shape != shape or bias.shape != shape[:1]:
        raise BadModel(f"{weights}: linear.weight has the shape {list(weight.shape)}, and {path} says {list(shape)}")
    return Dense(weight=weight.astype(np.float32), bias=bias.astype(np.float32), activation=activation)


def check_names(path: Path, config: Mapping[str, Any]) -> None:
    """Raise `BadModel` where the configuration of a module names another input or output than the vector of a text."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, SENTENCE_VECTOR):
            raise BadModel(f"{path}: {key} = {config[key]!r} is not supported, only {SENTENCE_VECTOR}")

"""A published head: its configuration, its weights, and its logits. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from worker.errors import BadModel
from worker.model.heads.head_config import HeadConfig
from worker.model.outputs.tag_schemes import read_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from worker.model.pooling.pooling import Pooling

Floats: TypeAlias = "NDArray[np.float32]"
_SQRT_2, _SQRT_2_BY_PI = 0.7071067811865476, 0.7978845608028654
# The coefficients of the error function in Abramowitz and Stegun, 7.1.26, whose error is below 1.5e-7.
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedHeadConfig(HeadConfig):
    """The configuration of a head that was published with its encoder. The head reads the last layer, without a norm before it."""

    #: The activation after the hidden layer; None for a linear head.
    activation: str | None = None
    #: The state of a text that the head reads; None for a head that reads tokens.
    pooling: Pooling | None = None
    #: The term of the norm after the activation that avoids a division by zero.
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what could not be a head."""
        # A dataclass with slots has no `super()` without arguments.
        HeadConfig.__post_init__(self)
        if self.activation is not None and self.activation not in _ACTIVATIONS:
            raise BadModel(f"the head {self.name!r} has the activation {self.activation!r}; {', '.join(_ACTIVATIONS)} are known")
        if self.task == "ner":
            read_scheme(self.labels)

    @property
    def is_published(self) -> bool:
        """Whether another project trained the head, with layers of its own."""
        return True

    @property
    def is_binary(self) -> bool:
        """Whether one logit decides between two classes: a published head has a logit for each label."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedHead:
    """The parameters of a published head as arrays in fp32, by `hidden`, `norm` and `output` with `.weight` and `.bias`."""

    config: PublishedHeadConfig
    parameters: Mapping[str, Floats]

    @classmethod
    def read(cls, config: PublishedHeadConfig, encoder_size: int, arrays: Mapping[str, Floats]) -> PublishedHead:
        """Take the arrays of a head; raises `ValueError` where one is missing, of another shape or not known."""
        names = {"output.weight", "output.bias"} | ({"hidden.weight"} if config.activation else set())
        optional = {"hidden.bias", "norm.weight", "norm.bias"} if config.activation else set()
        if not names <= arrays.keys() <= names | optional:
            raise ValueError(
                f"the head {config.name!r} has the tensors {', '.join(sorted(arrays))}, not {', '.join(sorted(names))}"
            )
        for name, array in arrays.items():
            rows = len(config.labels) if name.startswith("output") else encoder_size
            shape = (rows, encoder_size) if array.ndim == 2 else (rows,)  # noqa: PLR2004  a matrix
            if array.shape != shape or (array.ndim == 1 and name in ("output.weight", "hidden.weight")):
                raise ValueError(f"{config.name}.{name} has the shape {list(array.shape)}, not {list(shape)}")
        return cls(config=config, parameters={name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()})

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """The share of the layer that it reads."""
        return ((self.config.layers[0], 1.0),)

    def arrays(self) -> dict[str, Floats]:
        """Return the parameters by their names in a checkpoint."""
        return dict(self.parameters)

    def compute_logits(self, states: Floats) -> Floats:
        """Return logits `[rows, labels]` from the states `[rows, H]` of tokens or texts."""
        if self.config.activation is not None:
            states = _ACTIVATIONS[self.config.activation](self._map("hidden", states))
        if "norm.weight" in self.parameters:
            centred = states - states.mean(axis=1, keepdims=True)
            spread = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(self.config.norm_epsilon))
            states = centred / spread * self.parameters["norm.weight"] + self.parameters.get("norm.bias", np.float32(0))
        return self._map("output", states)

    def _map(self, name: str, states: Floats) -> Floats:
        mapped: Floats = states @ self.parameters[f"{name}.weight"].T + self.parameters.get(f"{name}.bias", np.float32(0))
        return mapped


def _compute_gelu(x: Floats) -> Floats:
    size = np.abs(x) * np.float32(_SQRT_2)
    t = 1 / (1 + np.float32(0.3275911) * size)
    erf = np.copysign(1 - np.polyval(np.array([*_ERF, 0.0], dtype=np.float32), t) * np.exp(-size * size), x)
    found: Floats = x * (1 + erf) / 2
    return found


def _compute_gelu_tanh(x: Floats) -> Floats:
    found: Floats = x * (1 + np.tanh(np.float32(_SQRT_2_BY_PI) * (x + np.float32(0.044715) * x**3))) / 2
    return found


def _compute_relu(x: Floats) -> Floats:
    found: Floats = np.maximum(x, 0)
    return found


_ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "tanh": np.tanh,
    "relu": _compute_relu,
    "gelu": _compute_gelu,
    "gelu_new": _compute_gelu_tanh,
    "gelu_pytorch_tanh": _compute_gelu_tanh,
}
